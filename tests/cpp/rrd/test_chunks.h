// Chunks for the tests of storage.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arrow/array/builder_primitive.h"
#include "rushes/chunk/chunk_builder.h"

namespace rushes {

inline std::shared_ptr<arrow::Array> Doubles(const std::vector<double>& values) {
  arrow::DoubleBuilder builder;
  ARROW_UNUSED(builder.AppendValues(values));
  return builder.Finish().ValueOrDie();
}

// A row of the column `x` and, if given, of `y`: nullopt is null.
struct TestRow {
  uint64_t row_id;
  std::vector<int64_t> times;
  std::optional<std::vector<double>> x;
  std::optional<std::vector<double>> y;
};

inline ChunkPtr TestChunk(uint64_t id, const std::string& entity, std::vector<Timeline> timelines, const std::vector<TestRow>& rows,
                          bool with_y = false) {
  ChunkBuilder builder(EntityPath::Parse(entity), std::move(timelines));
  builder.AddColumn({std::nullopt, "x", std::nullopt}, arrow::float64());
  if (with_y) builder.AddColumn({"example.Two", "example.Two:y", "example.Y"}, arrow::float64());
  for (const TestRow& row : rows) {
    std::vector<std::shared_ptr<arrow::Array>> cells(with_y ? 2 : 1);
    if (row.x) cells[0] = Doubles(*row.x);
    if (with_y && row.y) cells[1] = Doubles(*row.y);
    const auto status = builder.AddRow(RowId{1, row.row_id}, row.times, cells);
    if (!status.ok()) status.Abort();
  }
  return builder.Finish(ChunkId{7, id}).ValueOrDie();
}

}  // namespace rushes
