// One catalog, wherever it lives: in this process (api/) or behind an address (remote_connection.h).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "arrow/table.h"
#include "rushes/chunk/catalog_types.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/client/event_stream.h"
#include "rushes/query/chunk_source.h"

namespace rushes {

// A catalog that Python, C++ and the command line talk to. Thread safe.
//
// Errors: KeyError (not found), AlreadyExists, Invalid (bad argument), NotImplemented, IOError (connection, files), Cancelled (server
// stopped); the message is the text users see.
class Connection {
 public:
  virtual ~Connection() = default;

  // `rerun+http://host:port` of the catalog; `local:name` of recordings that are opened without a server.
  virtual std::string url() const = 0;
  virtual bool is_local() const = 0;

  // The shortest of `num_pings` round trips, and the speed at which `num_bytes` that do not compress arrive. Invalid: no ping or
  // more than 10000, or more than 32 MiB. In process a round trip is the smallest question to the catalog, and no bytes travel.
  virtual arrow::Result<LinkSpeed> MeasureLink(uint64_t num_bytes, uint32_t num_pings) = 0;

  // What happens to the entries of the catalog from now on: what happens after this has returned is seen. NotImplemented: the server
  // knows of no events. Keeps the connection (and an embedded server) alive.
  virtual arrow::Result<std::shared_ptr<EventStream>> WatchEvents() = 0;

  virtual arrow::Result<std::vector<EntryDetails>> FindEntries(const EntryFilter& filter) = 0;
  virtual arrow::Result<DatasetEntry> CreateDataset(const std::string& name) = 0;
  virtual arrow::Result<DatasetEntry> ReadDataset(EntryId id) = 0;
  virtual arrow::Result<EntryDetails> RenameEntry(EntryId id, const std::string& name) = 0;
  virtual arrow::Status DeleteEntry(EntryId id) = 0;

  // All or nothing per source row; the answer lists what the sources became.
  virtual arrow::Result<std::vector<RegisteredSource>> Register(EntryId dataset, const std::vector<DataSource>& sources,
                                                                IfDuplicate on_duplicate) = 0;
  // Removes the product of segments and layers; an empty list means all of that kind (both empty: Invalid). The removed manifest rows.
  virtual arrow::Result<std::shared_ptr<arrow::Table>> Unregister(EntryId dataset, const std::vector<std::string>& segments,
                                                                  const std::vector<std::string>& layers, bool force) = 0;
  // Waits for tasks and calls `on_task` once per task as it ends. IOError after `timeout_s` seconds (negative: no limit).
  virtual arrow::Status WaitForTasks(const std::vector<std::string>& task_ids, double timeout_s,
                                     const std::function<arrow::Status(const TaskInfo&)>& on_task) = 0;
  virtual arrow::Result<std::vector<TaskInfo>> QueryTasks(const std::vector<std::string>& task_ids) = 0;
  // Gives up what has not ended; tasks that have, and unknown ones, are left alone.
  virtual arrow::Status CancelTasks(const std::vector<std::string>& task_ids) = 0;

  // --- what belongs to a dataset: companions, properties of segments, maintenance

  // Replaces the details. Invalid: a reference to what is no dataset of the right kind.
  virtual arrow::Result<DatasetEntry> UpdateDataset(EntryId id, const DatasetDetails& details) = 0;
  // Segments of the asset dataset that apply to a segment, which need not exist.
  virtual arrow::Result<std::vector<std::string>> AssetsForSegment(EntryId dataset, const std::string& segment_id) = 0;
  // Of those of the segments that have any.
  virtual arrow::Result<std::vector<PropertiesOfSegment>> GetProperties(EntryId dataset, const std::vector<std::string>& segments) = 0;
  // Replaces all properties of a segment by a row; gives the new revision. With an expected one: FAILED_PRECONDITION if it is another
  // (0: none there).
  virtual arrow::Result<uint64_t> SetProperties(EntryId dataset, const std::string& segment_id, std::shared_ptr<arrow::RecordBatch> row,
                                                std::optional<uint64_t> expected_revision) = 0;
  virtual arrow::Status DeleteProperties(EntryId dataset, const std::vector<std::string>& segments) = 0;
  // Gives a report for the user.
  virtual arrow::Result<std::string> Maintain(EntryId dataset, const MaintenanceOptions& options) = 0;
  virtual arrow::Status MaintainAll() = 0;

  // --- uploads

  // An object put into the server's storage without the network; gives its URL. NotImplemented where there is a network: there a grant says
  // how. AlreadyExists: the key is taken; Invalid: it is no key.
  virtual arrow::Result<std::string> StageFile(const std::string& key, const std::string& path) {
    return arrow::Status::NotImplemented("the server is elsewhere");
  }
  virtual arrow::Result<std::string> StageBytes(const std::string& key, std::string_view bytes) {
    return arrow::Status::NotImplemented("the server is elsewhere");
  }
  // Errors as above; NotImplemented where there is no network.
  virtual arrow::Result<UploadGrant> GetWriteGrant(const std::string& key, std::optional<uint64_t> size) = 0;
  virtual arrow::Result<UploadGrant::Request> GetPartGrant(const std::string& upload_token, uint32_t number) = 0;
  // `etags`: what the requests for parts 1, 2, … were answered with.
  virtual arrow::Status CompleteUpload(const std::string& upload_token, const std::vector<std::string>& etags) = 0;
  virtual arrow::Status AbortUpload(const std::string& upload_token) = 0;

  // The dataset's schema with its metadata (`DatasetSchema::ToArrow`, or as another server sends it).
  virtual arrow::Result<std::shared_ptr<arrow::Schema>> GetDatasetSchema(EntryId dataset) = 0;
  // Schema of given segments and layers (empty: all), merged.
  virtual arrow::Result<std::shared_ptr<arrow::Schema>> GetSegmentSchema(EntryId dataset, const std::vector<std::string>& segments,
                                                                         const std::vector<std::string>& layers) = 0;
  virtual arrow::Result<std::shared_ptr<arrow::Table>> ScanSegmentTable(EntryId dataset) = 0;
  virtual arrow::Result<std::shared_ptr<arrow::Table>> ScanManifest(EntryId dataset) = 0;
  // --- tables; the list of entries is the table `__entries`

  // An empty table with rows at `url` (a `file://` URL as the server sees it), or where the server keeps tables.
  virtual arrow::Result<TableEntry> CreateTable(const std::string& name, const arrow::Schema& schema,
                                                const std::optional<std::string>& url) = 0;
  // One that is at `url` already.
  virtual arrow::Result<TableEntry> RegisterTable(const std::string& name, const std::string& url) = 0;
  virtual arrow::Result<TableEntry> ReadTableEntry(EntryId id) = 0;
  // Replaces the details; an unset blueprint dataset means the one there is.
  virtual arrow::Result<TableEntry> UpdateTable(EntryId id, const TableDetails& details) = 0;
  virtual arrow::Result<std::shared_ptr<arrow::Schema>> GetTableSchema(EntryId id) = 0;
  // The rows as they are now, streamed. `columns`: only these, in this order (Invalid: unknown or twice). The reader keeps the connection
  // alive.
  virtual arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ScanTable(EntryId id,
                                                                             const std::optional<std::vector<std::string>>& columns) = 0;
  // Writes all batches of `rows` as one change (on servers of ours; others apply each batch by itself). A failure of `rows` is returned
  // and nothing is changed.
  virtual arrow::Status WriteTable(EntryId id, TableInsertMode mode, arrow::RecordBatchReader* rows) = 0;

  // The dataset as a source of chunks; keeps the connection (and an embedded server) alive.
  virtual arrow::Result<std::shared_ptr<ChunkSource>> OpenDataset(EntryId dataset) = 0;
  // The chunks of a segment over all its layers, none twice. KeyError: there is no such segment.
  virtual arrow::Result<std::vector<SegmentChunk>> ListSegmentChunks(EntryId dataset, const std::string& segment_id) = 0;
};

// What MeasureLink takes.
arrow::Status CheckLinkMeasure(uint64_t num_bytes, uint32_t num_pings);

}  // namespace rushes
