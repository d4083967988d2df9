// Chunks: the unit in which recordings are stored, indexed, sent and queried.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/array.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type.h"
#include "rushes/chunk/component.h"
#include "rushes/chunk/entity_path.h"
#include "rushes/chunk/row_ids.h"
#include "rushes/chunk/timeline.h"
#include "rushes/chunk/tuid.h"

namespace rushes {

// A component column of a chunk: descriptor and List(item: T, nullable) type.
struct ChunkColumn {
  ComponentDescriptor descriptor;
  std::shared_ptr<arrow::DataType> type;
};

// What all chunks of one shape share: entity, timelines, columns. Immutable and shared between chunks; decoding caches it by the
// bytes of the schema message. Built from the schema of a chunk's record batch, after migration to the current form.
class ChunkSchema {
 public:
  // `arrow_schema` must be a current chunk schema: row ids first, then index columns, then component columns (docs/format.md, "Chunks").
  // Invalid says which field is wrong and why.
  static arrow::Result<std::shared_ptr<const ChunkSchema>> Make(std::shared_ptr<arrow::Schema> arrow_schema);

  const EntityPath& entity() const { return entity_; }
  const std::vector<Timeline>& timelines() const { return timelines_; }
  const std::vector<ChunkColumn>& columns() const { return columns_; }
  bool is_static() const { return timelines_.empty(); }
  // Positions in timelines() / columns(), or -1.
  int TimelineIndex(std::string_view name) const;
  int ColumnIndex(std::string_view component) const;
  // The record batch's schema. Its metadata has the id of the chunk that was decoded first, not of each.
  const std::shared_ptr<arrow::Schema>& arrow_schema() const { return arrow_schema_; }

 private:
  ChunkSchema() = default;
  EntityPath entity_;
  std::vector<Timeline> timelines_;
  std::vector<ChunkColumn> columns_;
  std::shared_ptr<arrow::Schema> arrow_schema_;
};

// Rows of one entity. Immutable; thread safe. Row ids never descend and hold no nulls; time columns hold no nulls and need not be
// sorted; component cells are null (not logged), empty (logged as empty) or lists of instances.
class Chunk {
 public:
  // Checks `batch` against the rules above and takes its columns. `batch` must have the fields of `schema`. Invalid names the rule.
  static arrow::Result<std::shared_ptr<const Chunk>> Make(ChunkId id, std::shared_ptr<const ChunkSchema> schema,
                                                          std::shared_ptr<arrow::RecordBatch> batch);
  // The same from row ids and all other columns, the timelines first.
  static arrow::Result<std::shared_ptr<const Chunk>> Make(ChunkId id, std::shared_ptr<const ChunkSchema> schema, RowIds row_ids,
                                                          arrow::ArrayVector columns);

  ChunkId id() const { return id_; }
  const ChunkSchema& schema() const { return *schema_; }
  const std::shared_ptr<const ChunkSchema>& schema_ptr() const { return schema_; }
  const EntityPath& entity() const { return schema_->entity(); }
  bool is_static() const { return schema_->is_static(); }
  int64_t num_rows() const { return num_rows_; }

  RowId row_id(int64_t row) const { return row_ids_[row]; }
  // num_rows() values of a timeline (position in schema().timelines()).
  const int64_t* times(int timeline) const { return times_[timeline]; }
  bool times_sorted(int timeline) const { return times_order_[static_cast<size_t>(timeline)] != TimeOrder::kNone; }
  // Sorted, and no time occurs twice.
  bool times_strict(int timeline) const { return times_order_[static_cast<size_t>(timeline)] == TimeOrder::kStrict; }
  // The same as an array of the timeline's type.
  const std::shared_ptr<arrow::Array>& time_array(int timeline) const { return time_arrays_[static_cast<size_t>(timeline)]; }
  // A component column (position in schema().columns()).
  const std::shared_ptr<arrow::ListArray>& column(int index) const { return columns_[index]; }

  // Bytes of the buffers this chunk keeps alive, but for what all chunks share (AscendingOffsets).
  int64_t byte_size() const { return byte_size_; }
  // The chunk as the record batch of the format, with its id in the metadata.
  std::shared_ptr<arrow::RecordBatch> ToRecordBatch() const;
  // The same chunk with its times in other buffers, one per timeline, of equal values; null: as they are.
  std::shared_ptr<const Chunk> WithTimes(const std::vector<std::shared_ptr<arrow::Buffer>>& times) const;

 private:
  enum class TimeOrder : uint8_t { kNone, kSorted, kStrict };

  Chunk() = default;
  arrow::ArrayVector Columns() const;
  int64_t CountBytes() const;

  ChunkId id_;
  std::shared_ptr<const ChunkSchema> schema_;
  int64_t num_rows_ = 0;
  RowIds row_ids_;
  arrow::ArrayVector time_arrays_;
  std::vector<const int64_t*> times_;  // their values
  std::vector<TimeOrder> times_order_;
  std::vector<std::shared_ptr<arrow::ListArray>> columns_;
  int64_t byte_size_ = 0;
};

using ChunkPtr = std::shared_ptr<const Chunk>;

// The components of a chunk whose values are needed, by name; null: all of them. A chunk decoded in part has stand-ins for the others:
// a column of their type in which every row is an empty list.
using ComponentList = std::shared_ptr<const std::vector<std::string>>;

// The offsets of lists of one item each, for as many of them: 0, 1, 2 … in a buffer that all share. Null: too many. Thread
// safe.
std::shared_ptr<arrow::Buffer> AscendingOffsets(int64_t num_lists);
// A stand-in for a component column.
std::shared_ptr<arrow::Array> MakeStandIn(const std::shared_ptr<arrow::DataType>& list_type, int64_t num_rows);
// The chunk with stand-ins for all components but these.
arrow::Result<ChunkPtr> KeepComponents(const Chunk& chunk, const std::vector<std::string>& components);

}  // namespace rushes
