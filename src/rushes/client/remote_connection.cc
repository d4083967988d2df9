#include "rushes/client/remote_connection.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/table.h"
#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/client/address.h"
#include "rushes/client/fork.h"
#include "rushes/rrd/manifest.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes::client {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;
using wire::FromProto;
using wire::ToProto;

// Schemas kept per connection; the cache is emptied when it would grow beyond.
constexpr size_t kMaxCachedSchemas = 8192;
// How long the deletion behind an Unregister may take.
constexpr double kUnregisterTimeoutS = 600;
// Bound of the places of chunks in a manifest whose file we never see.
constexpr uint64_t kAnywhere = uint64_t{1} << 62;

arrow::Status IndexByUrlOnly(const std::string& segment) {
  return arrow::Status::NotImplemented("segment ", segment, ": the server gives its index by URL only, which is not supported");
}

template <typename Meta>
void NoteMeta(RpcChannel* rpc, bool has_meta, const Meta& meta) {
  if (!has_meta || !meta.has_entry_id()) return;
  const auto id = FromProto(meta.entry_id(), "DatasetResponseMeta.entry_id");
  if (id.ok()) rpc->NoteRevision(*id, meta.dataset_revision());
}

CallOptions About(const EntryId& entry, bool is_read = true) {
  CallOptions out;
  out.entry = entry;
  out.is_read = is_read;
  return out;
}

// The rows of `table` for which `keep` holds.
arrow::Result<std::shared_ptr<arrow::Table>> SelectRows(const std::shared_ptr<arrow::Table>& table, const std::vector<bool>& keep) {
  std::vector<std::shared_ptr<arrow::Table>> parts;
  for (size_t begin = 0; begin < keep.size();) {
    size_t end = begin;
    while (end < keep.size() && keep[end] == keep[begin]) ++end;
    if (keep[begin]) parts.push_back(table->Slice(static_cast<int64_t>(begin), static_cast<int64_t>(end - begin)));
    begin = end;
  }
  if (parts.empty()) return table->Slice(0, 0);
  return arrow::ConcatenateTables(parts);
}

// A column as one array.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> OneBatch(const std::shared_ptr<arrow::Table>& table) {
  return table->CombineChunksToBatch();
}

template <typename Response>
arrow::Result<std::shared_ptr<arrow::Table>> ReadTable(Session* session, const char* method, const google::protobuf::Message& request,
                                                       EntryId dataset) {
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  Response response;
  ARROW_RETURN_NOT_OK(session->rpc().ReadAll(method, request, About(dataset), &response, [&]() -> arrow::Status {
    NoteMeta(&session->rpc(), response.has_meta(), response.meta());
    ARROW_ASSIGN_OR_RAISE(auto batch, wire::DecodePart(response.data(), std::string(method) + "Response.data"));
    batches.push_back(std::move(batch));
    return arrow::Status::OK();
  }));
  return wire::ConcatenateBatches(batches, nullptr, method);
}

}  // namespace

// --- Session

arrow::Status Session::Handshake() {
  cloud::WhoAmIResponse who;
  arrow::Status status = rpc_->Unary("WhoAmI", cloud::WhoAmIRequest(), &who);
  if (wire::CodeOf(status) == wire::RpcCode::kUnimplemented) {
    // A server from before this call, or none of a catalog: the next call tells.
    cloud::FindEntriesRequest request;
    request.mutable_filter();
    cloud::FindEntriesResponse entries;
    status = rpc_->Unary("FindEntries", request, &entries);
    if (wire::CodeOf(status) == wire::RpcCode::kUnimplemented) {
      return wire::MakeStatus(wire::RpcCode::kUnavailable, rpc_->url() + " is not a catalog server: " + status.message());
    }
    return status;
  }
  ARROW_RETURN_NOT_OK(status);
  if (!who.can_read()) {
    if (who.has_user_id()) {
      return wire::MakeStatus(wire::RpcCode::kPermissionDenied, "user '" + who.user_id() + "' may not read from " + rpc_->url());
    }
    return wire::MakeStatus(wire::RpcCode::kUnauthenticated, "missing or invalid credentials for " + rpc_->url());
  }
  for (const auto& name : who.capabilities().capabilities()) {
    if (name == wire::kCapabilityFindChunks) has_find_chunks_ = true;
    if (name == wire::kCapabilityNarrowComponents) can_narrow_components_ = true;
  }
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::Schema>> Session::DatasetSchemaOf(EntryId dataset) {
  cloud::GetDatasetSchemaResponse response;
  ARROW_RETURN_NOT_OK(rpc_->Unary("GetDatasetSchema", cloud::GetDatasetSchemaRequest(), &response, About(dataset)));
  NoteMeta(rpc_.get(), response.has_meta(), response.meta());
  return wire::DecodeSchema(response.schema(), "GetDatasetSchemaResponse.schema");
}

arrow::Result<std::shared_ptr<arrow::Table>> Session::ScanSegmentTable(EntryId dataset, const std::vector<std::string>& columns,
                                                                       const std::vector<std::string>* segments) {
  cloud::ScanSegmentTableRequest request;
  for (const auto& column : columns) request.add_columns(column);
  if (segments != nullptr) {
    auto* list = request.mutable_segment_id_filter()->mutable_scan_only();
    for (const auto& id : *segments) list->add_segment_ids(id);
  }
  return ReadTable<cloud::ScanSegmentTableResponse>(this, "ScanSegmentTable", request, dataset);
}

arrow::Result<std::shared_ptr<arrow::Table>> Session::ScanManifest(EntryId dataset, const std::vector<std::string>& columns,
                                                                   const std::vector<std::string>* segments) {
  cloud::ScanDatasetManifestRequest request;
  for (const auto& column : columns) request.add_columns(column);
  if (segments != nullptr) {
    auto* list = request.mutable_segment_id_filter()->mutable_scan_only();
    for (const auto& id : *segments) list->add_segment_ids(id);
  }
  return ReadTable<cloud::ScanDatasetManifestResponse>(this, "ScanDatasetManifest", request, dataset);
}

std::shared_ptr<const DatasetSchema> Session::FindCached(const std::string& key) {
  MutexLock lock(mutex_);
  const auto it = schemas_.find(key);
  return it == schemas_.end() ? nullptr : it->second;
}

void Session::Cache(const std::string& key, std::shared_ptr<const DatasetSchema> schema) {
  MutexLock lock(mutex_);
  if (schemas_.size() >= kMaxCachedSchemas) schemas_.clear();
  schemas_[key] = std::move(schema);
}

arrow::Status Session::FetchSchemas(EntryId dataset, const std::vector<std::string>& hashes) {
  for (size_t begin = 0; begin < hashes.size(); begin += wire::kMaxSchemaIds) {
    cloud::GetSchemasRequest request;
    const size_t end = std::min(hashes.size(), begin + wire::kMaxSchemaIds);
    for (size_t i = begin; i < end; ++i) request.add_schema_ids()->set_sha256(hashes[i]);
    cloud::GetSchemasResponse response;
    ARROW_RETURN_NOT_OK(rpc_->ReadAll("GetSchemas", request, About(dataset), &response, [&]() -> arrow::Status {
      NoteMeta(rpc_.get(), response.has_meta(), response.meta());
      ARROW_ASSIGN_OR_RAISE(const auto arrow_schema, wire::DecodeSchema(response.schema(), "GetSchemasResponse.schema"));
      ARROW_ASSIGN_OR_RAISE(auto schema, DatasetSchema::FromArrow(*arrow_schema));
      Cache(response.schema_id().sha256(), std::make_shared<const DatasetSchema>(std::move(schema)));
      return arrow::Status::OK();
    }));
  }
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<const DatasetSchema>> Session::SchemaFromManifest(EntryId dataset, const std::string& segment) {
  cloud::GetRrdManifestRequest request;
  request.mutable_segment_id()->set_id(segment);
  cloud::GetRrdManifestResponse response;
  auto out = std::make_shared<DatasetSchema>();
  ARROW_RETURN_NOT_OK(rpc_->ReadAll("GetRrdManifest", request, About(dataset), &response, [&]() -> arrow::Status {
    NoteMeta(rpc_.get(), response.has_meta(), response.meta());
    if (!response.has_rrd_manifest()) {
      return IndexByUrlOnly(segment);
    }
    ARROW_ASSIGN_OR_RAISE(const auto arrow_schema,
                          wire::DecodeSchema(response.rrd_manifest().sorbet_schema(), "RrdManifest.sorbet_schema"));
    ARROW_ASSIGN_OR_RAISE(const auto schema, DatasetSchema::FromArrow(*arrow_schema));
    return out->Merge(schema);
  }));
  return out;
}

arrow::Result<Session::SegmentSchemas> Session::ReadSegmentSchemas(EntryId dataset, const std::vector<std::string>* segments,
                                                                   const std::vector<std::string>* layers) {
  ARROW_ASSIGN_OR_RAISE(const auto table, ScanManifest(dataset,
                                                       {wire::kSegmentIdColumnName, wire::kLayerNameColumn, wire::kSchemaHashColumn,
                                                        wire::kRegistrationStatusColumn, wire::kRegistrationTimeColumn},
                                                       segments));
  ARROW_ASSIGN_OR_RAISE(const auto batch, OneBatch(table));
  constexpr char kWhat[] = "dataset manifest";
  ARROW_ASSIGN_OR_RAISE(const auto ids, wire::FindColumn(*batch, wire::kSegmentIdColumnName, arrow::utf8(), false, kWhat));
  ARROW_ASSIGN_OR_RAISE(const auto names, wire::FindColumn(*batch, wire::kLayerNameColumn, arrow::utf8(), false, kWhat));
  ARROW_ASSIGN_OR_RAISE(const auto hashes, wire::FindColumn(*batch, wire::kSchemaHashColumn, arrow::fixed_size_binary(32), true, kWhat));
  ARROW_ASSIGN_OR_RAISE(const auto states, wire::FindColumn(*batch, wire::kRegistrationStatusColumn, arrow::utf8(), false, kWhat));
  ARROW_ASSIGN_OR_RAISE(const auto times,
                        wire::FindColumn(*batch, wire::kRegistrationTimeColumn, arrow::timestamp(arrow::TimeUnit::NANO), false, kWhat));

  struct LayerRow {
    int64_t registered;
    std::string name;
    std::string hash;  // empty: not known
    bool operator<(const LayerRow& other) const { return std::tie(registered, name) < std::tie(other.registered, other.name); }
  };
  const std::set<std::string_view> wanted_segments =
      segments == nullptr ? std::set<std::string_view>() : std::set<std::string_view>(segments->begin(), segments->end());
  const std::set<std::string_view> wanted_layers =
      layers == nullptr ? std::set<std::string_view>() : std::set<std::string_view>(layers->begin(), layers->end());
  std::map<std::string, std::vector<LayerRow>> by_segment;
  for (int64_t i = 0; i < batch->num_rows(); ++i) {
    const auto id = static_cast<const arrow::StringArray&>(*ids).GetView(i);
    const auto name = static_cast<const arrow::StringArray&>(*names).GetView(i);
    if (static_cast<const arrow::StringArray&>(*states).GetView(i) != "done") continue;
    if (segments != nullptr && !wanted_segments.contains(id)) continue;
    if (layers != nullptr && !wanted_layers.contains(name)) continue;
    LayerRow row{static_cast<const arrow::TimestampArray&>(*times).Value(i), std::string(name), {}};
    if (!hashes->IsNull(i)) row.hash = static_cast<const arrow::FixedSizeBinaryArray&>(*hashes).GetView(i);
    by_segment[std::string(id)].push_back(std::move(row));
  }

  std::set<std::string> missing;
  for (const auto& [id, rows] : by_segment) {
    for (const auto& row : rows) {
      if (!row.hash.empty() && FindCached(row.hash) == nullptr) missing.insert(row.hash);
    }
  }
  if (!missing.empty()) {
    const arrow::Status status = FetchSchemas(dataset, {missing.begin(), missing.end()});
    if (!status.ok() && wire::CodeOf(status) != wire::RpcCode::kUnimplemented) return status;
  }

  SegmentSchemas out;
  for (auto& [id, rows] : by_segment) {
    std::sort(rows.begin(), rows.end());
    std::string key;
    for (const auto& row : rows) key += row.hash;
    const bool has_all_hashes = key.size() == 32 * rows.size();
    auto schema = has_all_hashes ? FindCached(key) : nullptr;
    if (schema == nullptr && has_all_hashes) {
      auto merged = std::make_shared<DatasetSchema>();
      bool complete = true;
      for (const auto& row : rows) {
        const auto part = FindCached(row.hash);
        complete = part != nullptr;
        if (!complete) break;
        const arrow::Status status = merged->Merge(*part);
        if (!status.ok()) return status.WithMessage("segment ", id, ", layer ", row.name, ": ", status.message());
      }
      if (complete) {
        schema = merged;
        if (rows.size() > 1) Cache(key, schema);
      }
    }
    if (schema == nullptr) {
      ARROW_ASSIGN_OR_RAISE(schema, SchemaFromManifest(dataset, id));
    }
    out.emplace(id, std::move(schema));
  }
  return out;
}

// --- RemoteConnection

arrow::Result<std::shared_ptr<Connection>> RemoteConnection::Open(const std::string& address, const std::string& token, double timeout_s) {
  ARROW_ASSIGN_OR_RAISE(auto parsed, ParseAddress(address));
  ARROW_ASSIGN_OR_RAISE(auto rpc, RpcChannel::Make(std::move(parsed), token));
  ARROW_RETURN_NOT_OK(rpc->WaitUntilConnected(timeout_s));
  auto session = std::make_shared<Session>(std::move(rpc));
  ARROW_RETURN_NOT_OK(session->Handshake());
  return std::shared_ptr<Connection>(new RemoteConnection(std::move(session)));
}

std::string RemoteConnection::url() const { return session_->rpc().url(); }

arrow::Result<std::vector<EntryDetails>> RemoteConnection::FindEntries(const EntryFilter& filter) {
  cloud::FindEntriesRequest request;
  ToProto(filter, request.mutable_filter());
  cloud::FindEntriesResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("FindEntries", request, &response));
  std::vector<EntryDetails> out;
  for (const auto& entry : response.entries()) {
    ARROW_ASSIGN_OR_RAISE(auto details, FromProto(entry));
    out.push_back(std::move(details));
  }
  return out;
}

arrow::Result<DatasetEntry> RemoteConnection::CreateDataset(const std::string& name) {
  cloud::CreateDatasetEntryRequest request;
  request.set_name(name);
  cloud::CreateDatasetEntryResponse response;
  CallOptions options;
  options.is_read = false;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("CreateDatasetEntry", request, &response, options));
  return FromProto(response.dataset());
}

arrow::Result<DatasetEntry> RemoteConnection::ReadDataset(EntryId id) {
  cloud::ReadDatasetEntryResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("ReadDatasetEntry", cloud::ReadDatasetEntryRequest(), &response, About(id)));
  return FromProto(response.dataset());
}

arrow::Result<EntryDetails> RemoteConnection::RenameEntry(EntryId id, const std::string& name) {
  cloud::UpdateEntryRequest request;
  ToProto(id, request.mutable_id());
  request.mutable_entry_details_update()->set_name(name);
  cloud::UpdateEntryResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("UpdateEntry", request, &response, About(id, false)));
  return FromProto(response.entry_details());
}

arrow::Status RemoteConnection::DeleteEntry(EntryId id) {
  cloud::DeleteEntryRequest request;
  ToProto(id, request.mutable_id());
  cloud::DeleteEntryResponse response;
  return session_->rpc().Unary("DeleteEntry", request, &response, About(id, false));
}

arrow::Result<std::vector<RegisteredSource>> RemoteConnection::Register(EntryId dataset, const std::vector<DataSource>& sources,
                                                                        IfDuplicate on_duplicate) {
  cloud::RegisterWithDatasetRequest request;
  for (const auto& source : sources) ToProto(source, request.add_data_sources());
  request.set_on_duplicate(ToProto(on_duplicate));
  cloud::RegisterWithDatasetResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("RegisterWithDataset", request, &response, About(dataset, false)));
  ARROW_ASSIGN_OR_RAISE(const auto batch, wire::DecodePart(response.data(), "RegisterWithDatasetResponse.data"));
  return wire::ReadRegisterBatch(*batch);
}

arrow::Result<std::shared_ptr<arrow::Table>> RemoteConnection::Unregister(EntryId dataset, const std::vector<std::string>& segments,
                                                                          const std::vector<std::string>& layers, bool force) {
  // The answer has no rows; what is going to be removed is what the manifest has now.
  ARROW_ASSIGN_OR_RAISE(const auto manifest, session_->ScanManifest(dataset, {}));
  cloud::UnregisterFromDatasetRequest request;
  for (const auto& id : segments) request.add_segments_to_drop()->set_id(id);
  for (const auto& layer : layers) request.add_layers_to_drop(layer);
  request.set_force(force);
  std::set<std::string> tasks;
  cloud::UnregisterFromDatasetResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().ReadAll("UnregisterFromDataset", request, About(dataset, false), &response, [&]() -> arrow::Status {
    if (!response.task_id().id().empty()) tasks.insert(response.task_id().id());
    return arrow::Status::OK();
  }));
  ARROW_RETURN_NOT_OK(WaitForTasks({tasks.begin(), tasks.end()}, kUnregisterTimeoutS, [](const TaskInfo& task) {
    if (task.state == TaskState::kSuccess) return arrow::Status::OK();
    return arrow::Status::IOError("unregistering failed: ", task.message);
  }));

  ARROW_ASSIGN_OR_RAISE(const auto batch, OneBatch(manifest));
  constexpr char kWhat[] = "dataset manifest";
  ARROW_ASSIGN_OR_RAISE(const auto ids, wire::FindColumn(*batch, wire::kSegmentIdColumnName, arrow::utf8(), false, kWhat));
  ARROW_ASSIGN_OR_RAISE(const auto names, wire::FindColumn(*batch, wire::kLayerNameColumn, arrow::utf8(), false, kWhat));
  const std::set<std::string_view> dropped_segments(segments.begin(), segments.end());
  const std::set<std::string_view> dropped_layers(layers.begin(), layers.end());
  std::vector<bool> keep(static_cast<size_t>(batch->num_rows()));
  for (int64_t i = 0; i < batch->num_rows(); ++i) {
    keep[static_cast<size_t>(i)] =
        (segments.empty() || dropped_segments.contains(static_cast<const arrow::StringArray&>(*ids).GetView(i))) &&
        (layers.empty() || dropped_layers.contains(static_cast<const arrow::StringArray&>(*names).GetView(i)));
  }
  return SelectRows(manifest, keep);
}

arrow::Status RemoteConnection::WaitForTasks(const std::vector<std::string>& task_ids, double timeout_s,
                                             const std::function<arrow::Status(const TaskInfo&)>& on_task) {
  using Clock = std::chrono::steady_clock;
  std::set<std::string> waiting(task_ids.begin(), task_ids.end());
  const size_t total = waiting.size();
  const auto start = Clock::now();
  const auto late = [&] {
    return wire::MakeStatus(wire::RpcCode::kDeadlineExceeded, "timeout: " + std::to_string(waiting.size()) + " of " +
                                                                  std::to_string(total) + " tasks have not ended within " +
                                                                  std::to_string(timeout_s) + " seconds");
  };
  // A day at a time stands for no limit.
  constexpr double kLongWaitS = 86400;
  while (!waiting.empty()) {
    double left = kLongWaitS;
    if (timeout_s >= 0) {
      left = std::min(left, timeout_s - std::chrono::duration<double>(Clock::now() - start).count());
      if (left <= 0 && Clock::now() - start > std::chrono::milliseconds(0) && timeout_s > 0) return late();
      left = std::max(left, 0.0);
    }
    cloud::QueryTasksOnCompletionRequest request;
    for (const auto& id : waiting) request.add_ids()->set_id(id);
    const auto nanos = static_cast<int64_t>(left * 1e9);
    request.mutable_timeout()->set_seconds(nanos / 1'000'000'000);
    request.mutable_timeout()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    CallOptions options;
    // The server answers at the end of the timeout; we give up a little later, should it not.
    if (timeout_s >= 0) options.timeout_s = left + 1;
    size_t ended = 0;
    arrow::Status failed;  // of on_task
    cloud::QueryTasksOnCompletionResponse response;
    const arrow::Status status = session_->rpc().ReadAll("QueryTasksOnCompletion", request, options, &response, [&]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const auto batch, wire::DecodePart(response.data(), "QueryTasksOnCompletionResponse.data"));
      ARROW_ASSIGN_OR_RAISE(const auto tasks, wire::ReadTaskBatch(*batch));
      for (const TaskInfo& task : tasks) {
        if (task.state == TaskState::kPending || task.state == TaskState::kRunning) continue;
        if (waiting.erase(task.id) == 0) continue;
        if (task.dataset_revision > 0) session_->rpc().NoteRevision(task.dataset, task.dataset_revision);
        ++ended;
        failed = on_task(task);
        ARROW_RETURN_NOT_OK(failed);
      }
      return arrow::Status::OK();
    });
    ARROW_RETURN_NOT_OK(failed);
    if (!status.ok()) {
      if (wire::CodeOf(status) == wire::RpcCode::kDeadlineExceeded) return late();
      return status;
    }
    if (waiting.empty()) break;
    if (timeout_s == 0) return late();
    // The stream ended early; not in a hot loop.
    if (ended == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return arrow::Status::OK();
}

arrow::Result<std::vector<TaskInfo>> RemoteConnection::QueryTasks(const std::vector<std::string>& task_ids) {
  if (task_ids.empty()) return std::vector<TaskInfo>();
  cloud::QueryTasksRequest request;
  const std::set<std::string> distinct(task_ids.begin(), task_ids.end());
  for (const auto& id : distinct) request.add_ids()->set_id(id);
  cloud::QueryTasksResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("QueryTasks", request, &response));
  ARROW_ASSIGN_OR_RAISE(const auto batch, wire::DecodePart(response.data(), "QueryTasksResponse.data"));
  return wire::ReadTaskBatch(*batch);
}

arrow::Result<std::shared_ptr<arrow::Schema>> RemoteConnection::GetDatasetSchema(EntryId dataset) {
  return session_->DatasetSchemaOf(dataset);
}

arrow::Result<std::shared_ptr<arrow::Schema>> RemoteConnection::GetSegmentSchema(EntryId dataset, const std::vector<std::string>& segments,
                                                                                 const std::vector<std::string>& layers) {
  ARROW_ASSIGN_OR_RAISE(const auto schemas,
                        session_->ReadSegmentSchemas(dataset, segments.empty() ? nullptr : &segments, layers.empty() ? nullptr : &layers));
  DatasetSchema out;
  for (const auto& [id, schema] : schemas) ARROW_RETURN_NOT_OK(out.Merge(*schema));
  return out.ToArrow();
}

arrow::Result<std::shared_ptr<arrow::Table>> RemoteConnection::ScanSegmentTable(EntryId dataset) {
  return session_->ScanSegmentTable(dataset, {});
}

arrow::Result<std::shared_ptr<arrow::Table>> RemoteConnection::ScanManifest(EntryId dataset) { return session_->ScanManifest(dataset, {}); }

arrow::Result<std::shared_ptr<ChunkSource>> RemoteConnection::OpenDataset(EntryId dataset) {
  // A clear error now rather than at the first query.
  ARROW_RETURN_NOT_OK(ReadDataset(dataset).status());
  return MakeRemoteChunkSource(session_, dataset);
}

arrow::Result<std::vector<SegmentChunk>> RemoteConnection::ListSegmentChunks(EntryId dataset, const std::string& segment_id) {
  cloud::GetRrdManifestRequest request;
  request.mutable_segment_id()->set_id(segment_id);
  cloud::GetRrdManifestResponse response;
  std::vector<SegmentChunk> out;
  std::unordered_set<ChunkId> seen;
  ARROW_RETURN_NOT_OK(session_->rpc().ReadAll("GetRrdManifest", request, About(dataset), &response, [&]() -> arrow::Status {
    NoteMeta(&session_->rpc(), response.has_meta(), response.meta());
    if (!response.has_rrd_manifest()) return IndexByUrlOnly(segment_id);
    // The same message as in files; where a server keeps the chunks does not matter here.
    const std::string bytes = response.rrd_manifest().SerializeAsString();
    ARROW_ASSIGN_OR_RAISE(const auto packed, rrd::ParseManifest(bytes));
    auto manifest = rrd::UnpackManifest(packed, 0, kAnywhere);
    if (!manifest.ok()) {
      return manifest.status().WithMessage("segment '", segment_id, "' of ", url(), ": ", manifest.status().message());
    }
    for (auto& entry : manifest->chunks) {
      if (!seen.insert(entry.id).second) continue;
      SegmentChunk chunk{entry.id, std::move(entry.entity), entry.is_static, entry.num_rows, {}, {}};
      for (const Timeline& timeline : entry.timelines) chunk.timelines.push_back(timeline.name);
      for (const auto& component : entry.components) chunk.components.push_back(component.descriptor.component);
      std::sort(chunk.timelines.begin(), chunk.timelines.end());
      std::sort(chunk.components.begin(), chunk.components.end());
      out.push_back(std::move(chunk));
    }
    return arrow::Status::OK();
  }));
  return out;
}

}  // namespace rushes::client
