// Payloads of several small chunks -> one Chunk, or the rows of one after another.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/buffer_builder.h"
#include "arrow/result.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/chunk/ipc_layout.h"

namespace rushes {

// Rows of chunks of one schema, one chunk's after another's, in the order in which they were added. Unlike in a Chunk neither row ids,
// which are not kept, nor times need ascend.
struct JoinedRows {
  std::shared_ptr<const ChunkSchema> schema;
  int64_t num_rows = 0;
  std::vector<std::shared_ptr<arrow::Buffer>> times;       // per timeline num_rows x int64, none before kMinTime
  std::vector<std::shared_ptr<arrow::ListArray>> columns;  // per component
  const int64_t* times_of(int timeline) const { return reinterpret_cast<const int64_t*>(times[static_cast<size_t>(timeline)]->data()); }
};

// Joins chunks of one shape into one that holds the rows of all, which costs a fraction of decoding each: recordings that were logged live
// consist of thousands of chunks of a few rows. The values are copied out of the payloads straight into the columns of the joined chunk.
// Not thread safe.
//
// A reader sees no difference: what a chunk's rows mean depends on their times and row ids alone (docs/query.md), and the joined chunk is
// sorted by row id like any other.
class ChunkJoiner {
 public:
  enum class Into {
    kChunk,  // Finish
    kRows,   // FinishRows; chunks may be static
  };
  // `num_rows`: about as many rows will come in all.
  explicit ChunkJoiner(int64_t num_rows, Into into = Into::kChunk, ChunkDecoder& decoder = ChunkDecoder::Default())
      : decoder_(decoder), expected_rows_(num_rows), into_(into), row_ids_(num_rows) {}

  // Adds a chunk from its payload, of which nothing is referred to afterwards. False, and nothing was added: it does not fit those before,
  // or it can only be decoded alone (another schema, an older version, dictionaries, types whose buffers are not plain values). Invalid
  // says what is wrong with it; never reads out of bounds. `id`: the one that the chunk must have.
  // `known` spares comparing.
  struct Known {
    // The first bytes of the payload are those of one that was added, but for some between changes_begin and changes_end.
    size_t num_bytes = 0;
    size_t changes_begin = 0;
    size_t changes_end = 0;
  };
  arrow::Result<bool> Add(const ChunkId& id, std::string_view payload, Known known);
  arrow::Result<bool> Add(const ChunkId& id, std::string_view payload) { return Add(id, payload, Known()); }
  // Bytes of the payload added last that precede its values.
  size_t last_head_size() const { return head_.size() + static_cast<size_t>(layout_.metadata_length); }
  int64_t num_rows() const { return num_rows_; }
  // Whether chunks with a component of that list type may fit.
  static bool MayJoin(const arrow::DataType& list) {
    Plan plan;
    return MakePlan(list, &plan);
  }
  // All of them, with the id of the first one. At least one must have been added; the joiner is empty afterwards.
  arrow::Result<ChunkPtr> Finish();
  // The same as rows: the first `num_rows` of them.
  arrow::Result<JoinedRows> FinishRows(int64_t num_rows);

 private:
  // How the values of a list column are stored: items are plain values of `width` bytes, or fixed numbers of them, in levels. Each level
  // has a bitmap before the values.
  struct Plan {
    int64_t width = 0;
    std::vector<int64_t> per_item = {1};  // per level, how many of it an item of the list has
    int64_t bytes_per_item() const { return per_item.back() * width; }
  };
  struct Column {
    Plan plan;
    arrow::TypedBufferBuilder<bool> validity;  // empty while no list is null
    bool has_single_items = true;              // each list has one item: then there are no offsets here
    arrow::TypedBufferBuilder<int32_t> offsets;
    arrow::BufferBuilder values;
    int64_t num_items = 0;
  };
  static bool MakePlan(const arrow::DataType& list, Plan* plan);
  bool IsLikeBefore(std::string_view payload, const Known& known) const;
  arrow::Result<bool> Begin(std::string_view payload, const ChunkDecoder::Head& head);
  arrow::Result<bool> AddRows(std::string_view body);
  arrow::Status BeginOffsets(Column* column) const;
  arrow::Result<std::shared_ptr<arrow::ArrayData>> FinishColumn(const std::shared_ptr<arrow::DataType>& type, Column* column);

  ChunkDecoder& decoder_;
  const int64_t expected_rows_;
  const Into into_;
  std::shared_ptr<const ChunkSchema> schema_;
  ChunkId id_;
  std::string head_;    // the schema message of the first chunk
  int64_t digits_ = 0;  // where its id is in it
  int64_t num_rows_ = 0;
  RowIdsBuilder row_ids_;
  std::vector<arrow::BufferBuilder> times_;
  std::vector<Column> columns_;
  IpcBatchLayout layout_;  // of the chunk at hand
};

}  // namespace rushes
