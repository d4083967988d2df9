// A dataframe query and its execution.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrow/compute/expression.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type_fwd.h"
#include "rushes/chunk/content_filter.h"
#include "rushes/query/chunk_source.h"

namespace rushes {

// The segment id column of every dataframe: Utf8, not null.
inline constexpr char kSegmentIdColumn[] = "rerun_segment_id";

// The row id column that a query can ask for: FixedSizeBinary(16), nullable.
inline constexpr char kRowIdColumn[] = "rerun_row_id";
// Name of the column that says when the value of a component column was logged: `column@index`.
std::string OriginTimeColumn(const std::string& column, const std::string& index);

// What to read: a value. The rules are in docs/query.md.
struct Query {
  // The timeline that rows are placed on; nullopt: only static data, one row per segment that has any.
  std::optional<std::string> index;
  // Entities in view.
  ContentView contents;
  // Segments in view; nullopt: all. Unknown ids are harmless.
  std::optional<std::vector<std::string>> segments;
  bool include_semantically_empty_columns = false;
  bool include_tombstone_columns = false;
  // Fill null component cells with the latest value at or before the row.
  bool fill_latest_at = false;
  // Limits of the fill, off by default; without `fill_latest_at` they mean nothing. A value is filled only into rows that are at most this
  // far after it, in units of the index (nanoseconds for times; never negative).
  std::optional<int64_t> fill_max_age;
  // A clear ends the fill of what it clears: later rows are null until the next logged value, as in the viewer.
  bool fill_respects_clears = false;
  // Rows at exactly these index values, per segment id, in place of those of the data. Values are unique; any order.
  std::optional<std::map<std::string, std::vector<int64_t>>> using_index_values;
  // With an index: one more column per component column that is not static anywhere, of the index's type: the index value of the row in
  // which the value shown was logged, which is earlier than that of the row where it is filled. Null where nothing is shown.
  bool include_origin_times = false;
  // With an index: the column kRowIdColumn, the greatest row id of the temporal values shown in a row.
  bool include_row_ids = false;
  // Rows come from all columns in view, whatever is projected. Otherwise, without fill, the entities whose component columns are
  // projected or filtered on decide the rows, unless all of those are static or there are none.
  bool view_decides_rows = false;
};

// What scans have read so far. Thread safe; counts of several scans add up.
struct ScanStatistics {
  std::atomic<int64_t> segments = 0;        // whose chunks were looked up
  std::atomic<int64_t> chunks_found = 0;    // by those lookups
  std::atomic<int64_t> chunks_fetched = 0;  // and asked for, those in part among them
  std::atomic<int64_t> chunks_in_part = 0;  // without the values of some components
  std::atomic<int64_t> bytes_fetched = 0;   // what they take decoded
  std::atomic<int64_t> rows = 0;            // given out
};

// How to execute. But for the limit, nothing here changes results.
struct ScanOptions {
  // Bytes of decoded chunks held by one scan; 0: what the environment variable RUSHES_MEMORY_BUDGET says, else 1 GiB.
  int64_t memory_budget = 0;
  int64_t max_batch_rows = 64 * 1024;
  int64_t max_batch_bytes = int64_t{64} << 20;
  int max_parallelism = 0;  // 0: the shared pool's size
  // Filters follow SQL where Arrow's kernels differ (null in `is_in`, order of NaN): for engines that drop the filters they push.
  bool sql_filter_semantics = false;
  // Ends the scan after so many rows; it reads little more than these need. Negative: no limit.
  int64_t limit = -1;
  // Chunks of less bytes are always fetched with all their values.
  int64_t min_partial_bytes = 16 * 1024;
  // Counts what is read, if given.
  std::shared_ptr<ScanStatistics> statistics;
  // Called now and then while a batch is made, by whichever thread makes it, several at once; an error ends the scan.
  // Must be cheap and thread safe.
  std::function<arrow::Status()> check;
};

// The schema of the dataframe that `query` gives over a dataset with `schema`: `rerun_segment_id`, all timelines, the component columns
// in view, in schema order; then their origin times, then row ids, if asked for. Invalid if two columns would have one name. KeyError
// "Index '…' does not exist in the dataset." for an unknown index.
arrow::Result<std::shared_ptr<arrow::Schema>> MakeQuerySchema(const DatasetSchema& schema, const Query& query);

// A planned query over one dataset. Immutable, thread safe; may be executed many times, at the same time, each time over the chunks that
// are there then, always with the schema it was planned with.
class PreparedQuery {
 public:
  // Reads the source's schema (one call) and checks the query against it.
  static arrow::Result<std::shared_ptr<const PreparedQuery>> Make(std::shared_ptr<ChunkSource> source, Query query);

  // All columns.
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  const Query& query() const { return query_; }
  const std::shared_ptr<ChunkSource>& source() const { return source_; }

  // Starts a scan. `columns`: names to return, in order, or nullopt for all; empty gives batches with a row count and no columns.
  // `filter` is applied exactly and completely; it may use columns that are not returned. Segments come in byte order of their ids,
  // rows by index. The reader's methods must be called from one thread at a time; dropping it cancels the scan and joins its tasks.
  // Planning errors (KeyError for unknown columns, Invalid for those of a filter) are returned here, those of execution by ReadNext.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> Scan(std::optional<std::vector<std::string>> columns = std::nullopt,
                                                                std::optional<arrow::compute::Expression> filter = std::nullopt,
                                                                const ScanOptions& options = {}) const;

 private:
  PreparedQuery() = default;
  std::shared_ptr<ChunkSource> source_;
  Query query_;
  std::shared_ptr<const DatasetSchema> dataset_schema_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace rushes
