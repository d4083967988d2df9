// What a scan reads and returns, decided before any chunk is found. Private to query/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "arrow/type_fwd.h"
#include "rushes/query/chunk_source.h"
#include "rushes/query/expression.h"
#include "rushes/query/query.h"

namespace rushes {

// One field of the dataframe.
struct FrameColumn {
  enum class Kind {
    kSegmentId,
    kIndex,      // the timeline that rows are placed on
    kTimeline,   // another timeline
    kComponent,
    kNull,       // a timeline when there is no index
  };
  Kind kind = Kind::kSegmentId;
  int position = 0;  // kTimeline: in ScanPlan::timelines; kComponent: in ScanPlan::columns
  std::shared_ptr<arrow::DataType> type;
};

// A component column that decides rows.
struct PlanColumn {
  EntityPath entity;
  std::string component;
  std::shared_ptr<arrow::DataType> type;
  bool is_gathered = false;  // its values are returned or filtered on
};

// An entity whose chunks are read.
struct PlanEntity {
  EntityPath path;
  std::vector<int> columns;  // in ScanPlan::columns
};

// Immutable; shared by the tasks of one scan.
struct ScanPlan {
  std::shared_ptr<ChunkSource> source;
  Query query;
  ScanOptions options;

  std::shared_ptr<arrow::Schema> schema;  // of the batches
  std::vector<FrameColumn> outputs;
  std::shared_ptr<const RowFilter> filter;   // null: none
  std::shared_ptr<arrow::Schema> filter_schema;
  std::vector<FrameColumn> filter_columns;   // of filter->columns()

  std::vector<PlanColumn> columns;
  std::vector<PlanEntity> entities;
  std::vector<Timeline> timelines;  // other than the index, that are returned or filtered on
  std::optional<Timeline> index;

  FilterBounds bounds() const { return filter ? filter->bounds() : FilterBounds{}; }
};

// KeyError for unknown columns; errors of the filter as in RowFilter::Make.
arrow::Result<std::shared_ptr<const ScanPlan>> MakePlan(std::shared_ptr<ChunkSource> source, const Query& query,
                                                        const DatasetSchema& dataset, const std::shared_ptr<arrow::Schema>& schema,
                                                        const std::optional<std::vector<std::string>>& columns,
                                                        const std::optional<arrow::compute::Expression>& filter,
                                                        const ScanOptions& options);

// True if the dataframe shows the column: its entity is in view, and its flags are.
bool IsInView(const ComponentColumn& column, const Query& query);

// The lookup for `segments` (ids; ignored where samples name them).
ChunkSelection MakeSelection(const ScanPlan& plan, std::vector<std::string> segments);

// The batches of `plan`, as they are asked for.
arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> StartScan(std::shared_ptr<const ScanPlan> plan);

}  // namespace rushes
