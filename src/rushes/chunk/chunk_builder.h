// Builds chunks row by row; for tests, tools and the writer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrow/array.h"
#include "arrow/result.h"
#include "rushes/chunk/chunk.h"

namespace rushes {

// Not thread safe. Rows may come in any row id order; Finish sorts them (stable).
class ChunkBuilder {
 public:
  ChunkBuilder(EntityPath entity, std::vector<Timeline> timelines);  // no timelines: a static chunk

  // Declares a component column with item type `item_type`; returns its position.
  int AddColumn(ComponentDescriptor descriptor, std::shared_ptr<arrow::DataType> item_type);
  // Appends a row. `times`: one per timeline. `cells`: one per column; nullptr = not logged, else the instances (of the item type).
  arrow::Status AddRow(RowId row_id, std::vector<int64_t> times, std::vector<std::shared_ptr<arrow::Array>> cells);
  arrow::Result<ChunkPtr> Finish(ChunkId id);

 private:
  struct Row {
    RowId row_id;
    std::vector<int64_t> times;
    std::vector<std::shared_ptr<arrow::Array>> cells;
  };
  EntityPath entity_;
  std::vector<Timeline> timelines_;
  std::vector<ChunkColumn> columns_;
  std::vector<Row> rows_;
};

// The arrow schema of a chunk with these columns, in the form of the format (names, metadata, order), without a chunk id.
std::shared_ptr<arrow::Schema> MakeChunkArrowSchema(const EntityPath& entity, const std::vector<Timeline>& timelines,
                                                    const std::vector<ChunkColumn>& columns);

}  // namespace rushes
