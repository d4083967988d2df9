#include "rushes/chunk/row_ids.h"

#include <limits>
#include <utility>

#include "arrow/array/array_binary.h"
#include "arrow/type.h"

namespace rushes {
namespace {

// Shorter runs than this, on average, are not worth the search for the right one.
constexpr int64_t kMinRunRows = 8;

bool IsBefore(const RowId& a, const RowId& b) { return (a.time_ns < b.time_ns) | ((a.time_ns == b.time_ns) & (a.counter < b.counter)); }

// How many of the ids, the first one among them, count up.
int64_t LengthOfRun(const uint8_t* bytes, int64_t n) {
  const RowId first = RowId::FromBytes(bytes);
  // The counter must not begin again at zero.
  const uint64_t most = std::numeric_limits<uint64_t>::max() - first.counter;
  if (most < static_cast<uint64_t>(n - 1)) n = static_cast<int64_t>(most) + 1;
  constexpr int64_t kBlock = 16;
  int64_t row = 1;
  // Without a branch per row, so that several are compared at once.
  for (; row + kBlock <= n; row += kBlock) {
    uint64_t difference = 0;
    for (int64_t i = row; i < row + kBlock; ++i) {
      const RowId id = RowId::FromBytes(bytes + i * RowId::kNumBytes);
      difference |= (id.time_ns ^ first.time_ns) | (id.counter ^ (first.counter + static_cast<uint64_t>(i)));
    }
    if (difference != 0) break;
  }
  for (; row < n; ++row) {
    if (RowId::FromBytes(bytes + row * RowId::kNumBytes) != RowId{first.time_ns, first.counter + static_cast<uint64_t>(row)}) break;
  }
  return row;
}

}  // namespace

bool RowIds::Ascend() const {
  if (num_rows_ == 0) return true;
  if (bytes_ == nullptr) {
    for (size_t i = 1; i < runs_.size(); ++i) {
      if (IsBefore(runs_[i].first, (*this)[runs_[i].begin - 1])) return false;
    }
    return true;
  }
  // Without a branch per row, as above.
  bool descend = false;
  RowId before = RowId::FromBytes(bytes_->data());
  for (int64_t i = 1; i < num_rows_; ++i) {
    const RowId id = RowId::FromBytes(bytes_->data() + i * RowId::kNumBytes);
    descend |= IsBefore(id, before);
    before = id;
  }
  return !descend;
}

std::shared_ptr<arrow::Array> RowIds::ToArray() const {
  std::shared_ptr<arrow::Buffer> bytes = bytes_;
  if (bytes == nullptr) {
    std::string made(static_cast<size_t>(num_rows_) * RowId::kNumBytes, '\0');
    for (size_t i = 0; i < runs_.size(); ++i) {
      const int64_t end = i + 1 < runs_.size() ? runs_[i + 1].begin : num_rows_;
      for (int64_t row = runs_[i].begin; row < end; ++row) {
        const RowId id{runs_[i].first.time_ns, runs_[i].first.counter + static_cast<uint64_t>(row - runs_[i].begin)};
        id.ToBytes(made.data() + row * RowId::kNumBytes);
      }
    }
    bytes = arrow::Buffer::FromString(std::move(made));
  }
  return std::make_shared<arrow::FixedSizeBinaryArray>(arrow::fixed_size_binary(RowId::kNumBytes), num_rows_, std::move(bytes));
}

int64_t RowIds::byte_size() const { return bytes_ != nullptr ? bytes_->size() : static_cast<int64_t>(runs_.size() * sizeof(Run)); }

arrow::Status RowIdsBuilder::ToBytes(int64_t num_rows) {
  are_runs_ = false;
  ARROW_RETURN_NOT_OK(bytes_.Reserve(std::max(num_rows, expected_rows_) * RowId::kNumBytes));
  const auto known = std::static_pointer_cast<arrow::FixedSizeBinaryArray>(ids_.ToArray());
  ids_.runs_.clear();
  return bytes_.Append(known->raw_values(), ids_.num_rows_ * RowId::kNumBytes);
}

arrow::Status RowIdsBuilder::Append(const uint8_t* bytes, int64_t n) {
  const int64_t all = ids_.num_rows_ + n;
  for (int64_t done = 0; are_runs_ && done < n;) {
    const int64_t length = LengthOfRun(bytes + done * RowId::kNumBytes, n - done);
    ids_.runs_.push_back({ids_.num_rows_ + done, RowId::FromBytes(bytes + done * RowId::kNumBytes)});
    done += length;
    if (static_cast<int64_t>(ids_.runs_.size()) <= 1 + (ids_.num_rows_ + done) / kMinRunRows) continue;
    // Those of this call are copied below.
    std::erase_if(ids_.runs_, [&](const RowIds::Run& run) { return run.begin >= ids_.num_rows_; });
    ARROW_RETURN_NOT_OK(ToBytes(all));
  }
  if (!are_runs_) ARROW_RETURN_NOT_OK(bytes_.Append(bytes, n * RowId::kNumBytes));
  ids_.num_rows_ = all;
  return arrow::Status::OK();
}

arrow::Result<RowIds> RowIdsBuilder::Finish() {
  if (!are_runs_) ARROW_RETURN_NOT_OK(bytes_.Finish().Value(&ids_.bytes_));
  are_runs_ = true;
  return std::exchange(ids_, RowIds());
}

}  // namespace rushes
