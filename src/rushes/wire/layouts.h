// Layouts of the record batches that requests and responses carry: builders and readers, so that both ends agree.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type_fwd.h"
#include "rushes/chunk/catalog_types.h"
#include "rushes/chunk/tuid.h"

namespace rushes::wire {

// --- FindChunks and QueryDataset responses: one row per chunk

inline constexpr char kChunkIdColumn[] = "chunk_id";
inline constexpr char kChunkSegmentIdColumn[] = "chunk_segment_id";
inline constexpr char kChunkLayerColumn[] = "rerun_segment_layer";
inline constexpr char kChunkKeyColumn[] = "chunk_key";
inline constexpr char kChunkEntityPathColumn[] = "chunk_entity_path";
inline constexpr char kChunkIsStaticColumn[] = "chunk_is_static";
inline constexpr char kChunkByteLenColumn[] = "chunk_byte_len";
inline constexpr char kChunkUncompressedColumn[] = "chunk_byte_size_uncompressed";
inline constexpr char kChunkTimelineStartColumn[] = "chunk_timeline_start";
inline constexpr char kDirectUrlColumn[] = "rerun_layer_direct_url";
inline constexpr char kDirectUrlExpiresColumn[] = "rerun_layer_direct_url_expires_at";

// One row. Views live as long as what they were taken from.
struct ChunkRow {
  ChunkId id;
  std::string_view segment_id;
  std::string_view layer;
  std::string_view key;  // meaning private to the server
  std::string_view entity_path;
  bool is_static = false;
  uint64_t byte_len = 0;  // size as stored
  std::optional<uint64_t> byte_size_uncompressed;
  std::optional<int64_t> timeline_start;  // first time on the timeline asked for
};

// Which of the two layouts. Columns, order, types and metadata are fixed; official clients concatenate by position.
struct ChunkRowsLayout {
  bool find_chunks = true;
  // QueryDataset only: the names of the timelines that get a `{timeline}:start` column, at the end, in this order.
  std::vector<std::string> start_timelines;

  std::shared_ptr<arrow::Schema> ToSchema() const;
};

// Collects rows; not thread safe. `starts` of Append: one per start_timelines (QueryDataset), otherwise row.timeline_start is used.
class ChunkRowsBuilder {
 public:
  explicit ChunkRowsBuilder(ChunkRowsLayout layout);
  ~ChunkRowsBuilder();
  arrow::Status Append(const ChunkRow& row, const std::vector<std::optional<int64_t>>& starts = {});
  int64_t num_rows() const { return num_rows_; }
  // All rows so far; the builder is empty afterwards.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Finish();

 private:
  struct Impl;
  ChunkRowsLayout layout_;
  std::unique_ptr<Impl> impl_;
  int64_t num_rows_ = 0;
};

// Rows of a response batch of either layout; columns are found by name. Immutable, thread safe.
class ChunkRows {
 public:
  // `timeline`: whose `{timeline}:start` to read where there is no `chunk_timeline_start`. Invalid names the column that is missing, of
  // another type or has a null.
  static arrow::Result<ChunkRows> Make(std::shared_ptr<arrow::RecordBatch> batch, const std::string& timeline);
  int64_t num_rows() const;
  ChunkRow row(int64_t i) const;
  // Whether rows can have a timeline_start at all.
  bool has_starts() const { return starts_ != nullptr; }
  const std::shared_ptr<arrow::RecordBatch>& batch() const { return batch_; }

 private:
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::shared_ptr<arrow::Array> ids_, segments_, layers_, keys_, entities_, statics_, byte_lens_, sizes_, starts_;
};

// --- FetchChunks request: the rows to fetch, cut down to what every server needs

// chunk_id, chunk_segment_id, rerun_segment_layer, chunk_key, chunk_byte_len of these rows.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeFetchBatch(const std::vector<ChunkRow>& rows);
// The `chunk_key` column. Invalid "..." when it is missing, not Binary, or has a null. Views into `batch`.
arrow::Result<std::vector<std::string_view>> ReadFetchKeys(const arrow::RecordBatch& batch);

// --- RegisterWithDataset response

// rerun_segment_id, rerun_segment_layer, rerun_segment_type, rerun_storage_url, rerun_task_id; all Utf8, not null.
const std::shared_ptr<arrow::Schema>& RegisterSchema();
arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeRegisterBatch(const std::vector<RegisteredSource>& rows);
arrow::Result<std::vector<RegisteredSource>> ReadRegisterBatch(const arrow::RecordBatch& batch);

// --- QueryTasks and QueryTasksOnCompletion responses

// task_id, kind, data, exec_status, msgs, blob, lease_owner, lease_expiration, attempts, creation_time, last_update_time.
const std::shared_ptr<arrow::Schema>& TaskSchema();
arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeTaskBatch(const std::vector<TaskInfo>& tasks);
// Needs task_id, exec_status and msgs only. A status other than success, pending, running and cancelled is a failure; a message is made up
// from it where the server gives none.
arrow::Result<std::vector<TaskInfo>> ReadTaskBatch(const arrow::RecordBatch& batch);

// --- columns of the segment table and the manifest that clients read

inline constexpr char kSegmentIdColumnName[] = "rerun_segment_id";
inline constexpr char kLayerNameColumn[] = "rerun_layer_name";
inline constexpr char kLayerNamesColumn[] = "rerun_layer_names";
inline constexpr char kSchemaHashColumn[] = "rerun_schema_sha256";
inline constexpr char kRegistrationStatusColumn[] = "rerun_registration_status";
inline constexpr char kRegistrationTimeColumn[] = "rerun_registration_time";

// A column by name with the type `type`. Invalid, naming `what`, when there is none or it has another type; with `nullable` false also
// when it has a null.
arrow::Result<std::shared_ptr<arrow::Array>> FindColumn(const arrow::RecordBatch& batch, std::string_view name,
                                                        const std::shared_ptr<arrow::DataType>& type, bool nullable, std::string_view what);

}  // namespace rushes::wire
