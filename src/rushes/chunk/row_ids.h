// The row ids of a chunk, in as little memory as they need.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "arrow/array.h"
#include "arrow/buffer.h"
#include "arrow/buffer_builder.h"
#include "arrow/result.h"
#include "rushes/chunk/tuid.h"

namespace rushes {

// Rows that were sent together count up from one id: such runs are kept by their first one, which takes the place of 16 bytes a row.
// Immutable; thread safe.
class RowIds {
 public:
  RowIds() = default;
  // num_rows x 16 big-endian bytes, which are kept.
  RowIds(std::shared_ptr<arrow::Buffer> bytes, int64_t num_rows) : num_rows_(num_rows), bytes_(std::move(bytes)) {}

  explicit RowIds(RowId id) : num_rows_(1), runs_({{0, id}}) {}

  int64_t num_rows() const { return num_rows_; }
  // 0 <= row < num_rows().
  RowId operator[](int64_t row) const {
    if (bytes_ != nullptr) return RowId::FromBytes(bytes_->data() + row * RowId::kNumBytes);
    const auto after = std::upper_bound(runs_.begin() + 1, runs_.end(), row, [](int64_t at, const Run& run) { return at < run.begin; });
    const Run& run = *(after - 1);
    return {run.first.time_ns, run.first.counter + static_cast<uint64_t>(row - run.begin)};
  }
  // None is less than the one before it.
  bool Ascend() const;
  // As fixed_size_binary[16].
  std::shared_ptr<arrow::Array> ToArray() const;
  // What they keep alive.
  int64_t byte_size() const;

 private:
  friend class RowIdsBuilder;
  struct Run {
    int64_t begin;  // row; it ends where the next one begins
    RowId first;
  };
  int64_t num_rows_ = 0;
  std::shared_ptr<arrow::Buffer> bytes_;  // null: as runs
  std::vector<Run> runs_;
};

// Row ids, chunk after chunk. Errors are those of the allocator. Not thread safe.
class RowIdsBuilder {
 public:
  // `num_rows`: about as many will come in all.
  explicit RowIdsBuilder(int64_t num_rows) : expected_rows_(num_rows) {}
  // Adds n x 16 big-endian bytes.
  arrow::Status Append(const uint8_t* bytes, int64_t n);
  // All of them; the builder is empty afterwards.
  arrow::Result<RowIds> Finish();

 private:
  arrow::Status ToBytes(int64_t num_rows);

  int64_t expected_rows_;
  RowIds ids_;
  bool are_runs_ = true;
  arrow::BufferBuilder bytes_;  // if not
};

}  // namespace rushes
