// What a scan does, decided once before any data is touched.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "arrow/result.h"
#include "arrow/type.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/chunk/mutex.h"
#include "rushes/query/expression.h"
#include "rushes/query/query.h"

namespace rushes {

// Immutable, shared by all segments of a scan.
struct ScanPlan {
  enum class OutputKind { kSegmentId, kIndex, kOtherIndex, kComponent, kOriginTime, kRowId };
  struct Output {
    OutputKind kind;
    int position = 0;  // in `other_timelines` (kOtherIndex) or `view` (kComponent, kOriginTime)
    std::shared_ptr<arrow::Field> field;
  };
  // A component column in view.
  struct ViewColumn {
    ComponentColumn column;
    bool is_needed = false;  // projected or filtered on
    bool has_rows = true;    // its cells make rows: not cut off by the projection
  };

  std::shared_ptr<ChunkSource> source;
  Query query;
  ScanOptions options;
  std::shared_ptr<const DatasetSchema> dataset_schema;
  std::vector<ViewColumn> view;
  // Entity and component -> position in `view`.
  std::unordered_map<EntityPath, std::unordered_map<std::string, int>> view_index;
  // Timelines but the index whose columns are needed.
  std::vector<Timeline> other_timelines;
  bool has_row_ids = false;
  // Every cell of a row counts, not only those of needed columns: for its times on other timelines, for its row id.
  bool needs_every_cell() const { return has_row_ids || !other_timelines.empty(); }
  std::vector<Output> outputs;         // columns of the result
  std::vector<Output> filter_outputs;  // columns the filter reads
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<arrow::Schema> filter_schema;
  std::shared_ptr<const RowFilter> filter;  // or null
  // Entities to look for chunks in; nullopt: all of the dataset.
  std::optional<std::vector<EntityPath>> entities;
  // Per entity of the dataset: the components whose values are needed, clears among them.
  struct Needs {
    ComponentList values;
    bool has_clears = false;
  };
  std::unordered_map<EntityPath, Needs> needs;
  // Rows depend on needed columns and clears alone: chunks that have none of them need not be looked at. `has_rows` is false for others.
  bool only_needed_make_rows = false;
  // Positions in `view`: without a value in each of these at its index value, which can only come from chunks there, no row passes.
  std::vector<int> not_null;
  // The dataset has clears.
  bool has_clears = false;
  // Nothing can pass the filter.
  bool is_empty = false;
  // Per column in view, whether a segment with this schema shows it: the view's rules hold for a segment's own data too. Thread safe.
  std::shared_ptr<const std::vector<uint8_t>> ColumnsOfSegment(const std::shared_ptr<const DatasetSchema>& schema) const;
  // Per element of `other_timelines`: its position among the timelines of a chunk's schema; -1: not there, or of another type.
  std::vector<int> OtherTimelinesOf(const ChunkSchema& schema) const;
  // Whether to fetch what comes after the rows at work: not for a few rows.
  bool reads_ahead() const { return options.limit < 0 || options.limit > kFewRows; }
  static constexpr int64_t kFewRows = 8192;
  // Up to which size chunks may be read by the group: none for a few rows, nor where every byte counts; if not all values are needed,
  // none of which a part can be read.
  int64_t max_joined_bytes() const {
    if (!reads_ahead() || options.memory_budget < kTightBudget) return 0;
    return needs_all_values() ? std::numeric_limits<int64_t>::max() : std::max<int64_t>(0, options.min_partial_bytes - 1);
  }
  bool needs_all_values() const {
    return std::all_of(view.begin(), view.end(), [](const ViewColumn& column) { return column.is_needed; });
  }
  static constexpr int64_t kTightBudget = int64_t{64} << 20;

  static arrow::Result<std::shared_ptr<const ScanPlan>> Make(std::shared_ptr<ChunkSource> source, const Query& query,
                                                             std::shared_ptr<const DatasetSchema> dataset_schema,
                                                             const std::shared_ptr<arrow::Schema>& query_schema,
                                                             const std::optional<std::vector<std::string>>& columns,
                                                             const std::optional<arrow::compute::Expression>& filter,
                                                             const ScanOptions& options);

 private:
  // Many segments share few schemas.
  struct KnownSchema {
    std::shared_ptr<const DatasetSchema> schema;
    std::shared_ptr<const std::vector<uint8_t>> shows;
  };
  mutable Mutex mutex_;
  mutable std::unordered_map<const DatasetSchema*, KnownSchema> known_schemas_ RUSHES_GUARDED_BY(mutex_);
};

// Positions in `schema.columns()` of the component columns in view.
std::vector<int> ColumnsInView(const DatasetSchema& schema, const Query& query);

}  // namespace rushes
