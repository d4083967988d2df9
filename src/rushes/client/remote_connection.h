// A catalog behind an address.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "arrow/result.h"
#include "rushes/chunk/mutex.h"
#include "rushes/client/connection.h"
#include "rushes/client/rpc.h"

namespace rushes::client {

// What the parts of one connection share. Thread safe.
class Session {
 public:
  explicit Session(std::shared_ptr<RpcChannel> rpc) : rpc_(std::move(rpc)) {}

  RpcChannel& rpc() const { return *rpc_; }
  // Asks who we are and what the server can do. PERMISSION_DENIED or UNAUTHENTICATED when we may not read.
  arrow::Status Handshake();
  bool has_find_chunks() const { return has_find_chunks_; }
  // Whether an explicit list of components can be made to decide.
  bool can_narrow_components() const { return can_narrow_components_; }

  arrow::Result<std::shared_ptr<arrow::Schema>> DatasetSchemaOf(EntryId dataset);
  // `columns` empty: all. `segments`, if any: only these.
  arrow::Result<std::shared_ptr<arrow::Table>> ScanSegmentTable(EntryId dataset, const std::vector<std::string>& columns,
                                                                const std::vector<std::string>* segments = nullptr);
  arrow::Result<std::shared_ptr<arrow::Table>> ScanManifest(EntryId dataset, const std::vector<std::string>& columns,
                                                            const std::vector<std::string>* segments = nullptr);

  // The merged schema of each segment's layers, for the segments that exist. `segments` null: all. `layers` null: all; segments without any
  // of the layers are left out.
  using SegmentSchemas = std::map<std::string, std::shared_ptr<const DatasetSchema>>;
  arrow::Result<SegmentSchemas> ReadSegmentSchemas(EntryId dataset, const std::vector<std::string>* segments,
                                                   const std::vector<std::string>* layers);

 private:
  // Schemas by their 32-byte hashes, from the cache or the server.
  arrow::Status FetchSchemas(EntryId dataset, const std::vector<std::string>& hashes);
  std::shared_ptr<const DatasetSchema> FindCached(const std::string& key);
  void Cache(const std::string& key, std::shared_ptr<const DatasetSchema> schema);
  // For servers without GetSchemas.
  arrow::Result<std::shared_ptr<const DatasetSchema>> SchemaFromManifest(EntryId dataset, const std::string& segment);

  const std::shared_ptr<RpcChannel> rpc_;
  bool has_find_chunks_ = false;  // both constant after Handshake
  bool can_narrow_components_ = false;
  Mutex mutex_;
  // By hash, and by the joined hashes of a segment's layers: what a key stands for never changes.
  std::unordered_map<std::string, std::shared_ptr<const DatasetSchema>> schemas_ RUSHES_GUARDED_BY(mutex_);
};

// All calls of Connection over gRPC. Works with our server and the official one. Thread safe.
class RemoteConnection : public Connection {
 public:
  // Connects and shakes hands within `timeout_s` seconds. `address` as ParseAddress reads it; `token` may be empty.
  static arrow::Result<std::shared_ptr<Connection>> Open(const std::string& address, const std::string& token, double timeout_s);

  std::string url() const override;
  bool is_local() const override { return false; }
  arrow::Result<LinkSpeed> MeasureLink(uint64_t num_bytes, uint32_t num_pings) override;
  arrow::Result<std::shared_ptr<EventStream>> WatchEvents() override;

  arrow::Result<std::vector<EntryDetails>> FindEntries(const EntryFilter& filter) override;
  arrow::Result<DatasetEntry> CreateDataset(const std::string& name) override;
  arrow::Result<DatasetEntry> ReadDataset(EntryId id) override;
  arrow::Result<EntryDetails> RenameEntry(EntryId id, const std::string& name) override;
  arrow::Status DeleteEntry(EntryId id) override;
  arrow::Result<std::vector<RegisteredSource>> Register(EntryId dataset, const std::vector<DataSource>& sources,
                                                        IfDuplicate on_duplicate) override;
  arrow::Result<std::shared_ptr<arrow::Table>> Unregister(EntryId dataset, const std::vector<std::string>& segments,
                                                          const std::vector<std::string>& layers, bool force) override;
  arrow::Status WaitForTasks(const std::vector<std::string>& task_ids, double timeout_s,
                             const std::function<arrow::Status(const TaskInfo&)>& on_task) override;
  arrow::Result<std::vector<TaskInfo>> QueryTasks(const std::vector<std::string>& task_ids) override;
  arrow::Status CancelTasks(const std::vector<std::string>& task_ids) override;
  arrow::Result<DatasetEntry> UpdateDataset(EntryId id, const DatasetDetails& details) override;
  arrow::Result<std::vector<std::string>> AssetsForSegment(EntryId dataset, const std::string& segment_id) override;
  arrow::Result<std::vector<PropertiesOfSegment>> GetProperties(EntryId dataset, const std::vector<std::string>& segments) override;
  arrow::Result<uint64_t> SetProperties(EntryId dataset, const std::string& segment_id, std::shared_ptr<arrow::RecordBatch> row,
                                        std::optional<uint64_t> expected_revision) override;
  arrow::Status DeleteProperties(EntryId dataset, const std::vector<std::string>& segments) override;
  arrow::Result<std::string> Maintain(EntryId dataset, const MaintenanceOptions& options) override;
  arrow::Status MaintainAll() override;
  arrow::Result<UploadGrant> GetWriteGrant(const std::string& key, std::optional<uint64_t> size) override;
  arrow::Result<UploadGrant::Request> GetPartGrant(const std::string& upload_token, uint32_t number) override;
  arrow::Status CompleteUpload(const std::string& upload_token, const std::vector<std::string>& etags) override;
  arrow::Status AbortUpload(const std::string& upload_token) override;
  arrow::Result<std::shared_ptr<arrow::Schema>> GetDatasetSchema(EntryId dataset) override;
  arrow::Result<std::shared_ptr<arrow::Schema>> GetSegmentSchema(EntryId dataset, const std::vector<std::string>& segments,
                                                                 const std::vector<std::string>& layers) override;
  arrow::Result<std::shared_ptr<arrow::Table>> ScanSegmentTable(EntryId dataset) override;
  arrow::Result<std::shared_ptr<arrow::Table>> ScanManifest(EntryId dataset) override;
  arrow::Result<TableEntry> CreateTable(const std::string& name, const arrow::Schema& schema,
                                        const std::optional<std::string>& url) override;
  arrow::Result<TableEntry> RegisterTable(const std::string& name, const std::string& url) override;
  arrow::Result<TableEntry> ReadTableEntry(EntryId id) override;
  arrow::Result<TableEntry> UpdateTable(EntryId id, const TableDetails& details) override;
  arrow::Result<std::shared_ptr<arrow::Schema>> GetTableSchema(EntryId id) override;
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ScanTable(EntryId id,
                                                                     const std::optional<std::vector<std::string>>& columns) override;
  arrow::Status WriteTable(EntryId id, TableInsertMode mode, arrow::RecordBatchReader* rows) override;
  arrow::Result<std::shared_ptr<ChunkSource>> OpenDataset(EntryId dataset) override;
  arrow::Result<std::vector<SegmentChunk>> ListSegmentChunks(EntryId dataset, const std::string& segment_id) override;

 private:
  explicit RemoteConnection(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  std::shared_ptr<Session> session_;
};

// The dataset as a source of chunks.
std::shared_ptr<ChunkSource> MakeRemoteChunkSource(std::shared_ptr<Session> session, EntryId dataset);

}  // namespace rushes::client
