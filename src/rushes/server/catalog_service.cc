#include "rushes/server/catalog_service.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <unordered_map>
#include <utility>

#include "arrow/array/builder_binary.h"
#include "arrow/util/byte_size.h"
#include "rerun/cloud/v1alpha1/cloud.grpc.pb.h"
#include "rushes/catalog/asset_coverage.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/metadata_tables.h"
#include "rushes/catalog/source_url.h"
#include "rushes/server/chunk_key.h"
#include "rushes/server/fetch_chunks.h"
#include "rushes/server/find_chunks.h"
#include "rushes/server/rpc_internal.h"
#include "rushes/server/table_calls.h"
#include "rushes/server/task_calls.h"
#include "rushes/server/upload_calls.h"
#include "rushes/wire/chunk_query.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;
namespace common = ::rerun::common::v1alpha1;
using Context = grpc::CallbackServerContext;
using UnaryReactor = grpc::ServerUnaryReactor;
using Service = cloud::RerunCloudService;

// Subscribers that do not read lose the oldest events beyond this.
constexpr size_t kMaxQueuedEvents = 1024;
constexpr int kPropertiesPerMessage = 100;
// A registration that takes longer goes on behind its answer.
constexpr double kRegisterWaitS = 2;

// Events of the catalog, as they happen, until the client leaves.
class EventReactor final : public PushReactor<cloud::WatchEventsResponse> {
 public:
  EventReactor(Catalog& catalog, bool entries) {
    if (entries) subscription_ = catalog.Subscribe(Notifier<EventReactor>(&EventReactor::Push));
    Start([] {});
  }

 private:
  void Push(const CatalogEvent& event) {
    queue_.push_back(event);
    if (queue_.size() > kMaxQueuedEvents) queue_.pop_front();
  }
  arrow::Result<Step> Next(cloud::WatchEventsResponse* message) override {
    if (queue_.empty()) return Step::kWait;
    const CatalogEvent event = queue_.front();
    queue_.pop_front();
    wire::ToProto(event.id,
                  event.created ? message->mutable_entry_created()->mutable_id() : message->mutable_entry_deleted()->mutable_id());
    return Step::kWrite;
  }

  std::deque<CatalogEvent> queue_;
  std::shared_ptr<void> subscription_;
};

TableScan::Filter MakeFilter(const char* column, bool skip, const google::protobuf::RepeatedPtrField<std::string>& values) {
  return {column, skip, {values.begin(), values.end()}};
}

void AddFilter(const cloud::SegmentIdFilter& filter, TableScan* scan) {
  if (filter.has_scan_only()) scan->filters.push_back(MakeFilter("rerun_segment_id", false, filter.scan_only().segment_ids()));
  if (filter.has_skip()) scan->filters.push_back(MakeFilter("rerun_segment_id", true, filter.skip().segment_ids()));
}

void AddFilter(const cloud::LayerNameFilter& filter, TableScan* scan) {
  if (filter.has_scan_only()) scan->filters.push_back(MakeFilter("rerun_layer_name", false, filter.scan_only().layer_names()));
  if (filter.has_skip()) scan->filters.push_back(MakeFilter("rerun_layer_name", true, filter.skip().layer_names()));
}

// A stream of one message.
template <typename Response>
typename StreamReactor<Response>::Next Once(Response message) {
  return [message = std::move(message), sent = false](Response* out) mutable -> arrow::Result<bool> {
    if (sent) return false;
    sent = true;
    *out = std::move(message);
    return true;
  };
}

void ToProto(const Entry& entry, cloud::DatasetEntry* out) { wire::ToProto(entry.ToDatasetEntry(), out); }

class CatalogService final : public Service::WithRawCallbackMethod_FetchChunks<Service::CallbackService> {
 public:
  CatalogService(std::shared_ptr<Catalog> catalog, UploadGrants& uploads, const RpcEnvironment& environment)
      : catalog_(std::move(catalog)), uploads_(uploads), environment_(environment), tables_(catalog_, environment_) {}

  // --- server

  UnaryReactor* Version(Context* context, const cloud::VersionRequest*, cloud::VersionResponse* response) override {
    return Unary(context, environment_, [response] {
      auto* build = response->mutable_build_info();
      build->set_crate_name("rushes");
      build->set_features("");
      int major = 0, minor = 0, patch = 0;
      std::sscanf(RUSHES_VERSION, "%d.%d.%d", &major, &minor, &patch);
      build->mutable_version()->set_major(major);
      build->mutable_version()->set_minor(minor);
      build->mutable_version()->set_patch(patch);
      build->set_rustc_version("");
      build->set_llvm_version("");
      build->set_git_hash("");
      build->set_git_branch("");
      build->set_target_triple("x86_64-unknown-linux-gnu");
      build->set_build_time("");
      build->set_is_debug_build(false);
      response->set_version("rushes " RUSHES_VERSION);
      response->add_features(wire::kFeaturePerSegmentValues);
      return arrow::Status::OK();
    });
  }

  UnaryReactor* WhoAmI(Context* context, const cloud::WhoAmIRequest*, cloud::WhoAmIResponse* response) override {
    return Unary(context, environment_, [response] {
      response->set_can_read(true);
      response->set_can_write(true);
      auto* capabilities = response->mutable_capabilities();
      capabilities->add_capabilities(std::string(wire::kCapabilityRegisterPrefix) + "file");
      capabilities->add_capabilities(wire::kCapabilityStaging);
      capabilities->add_capabilities(wire::kCapabilityFindChunks);
      capabilities->add_capabilities(wire::kCapabilityNarrowComponents);
      return arrow::Status::OK();
    });
  }

  grpc::ServerWriteReactor<cloud::DoBandwidthTestResponse>* DoBandwidthTest(Context* context,
                                                                            const cloud::DoBandwidthTestRequest* request) override {
    using Response = cloud::DoBandwidthTestResponse;
    return Stream<Response>(context, environment_, [wanted = request->num_bytes()]() -> arrow::Result<StreamReactor<Response>::Next> {
      if (wanted > wire::kMaxBandwidthTestBytes) {
        return arrow::Status::Invalid("at most ", wire::kMaxBandwidthTestBytes, " bytes can be asked for, not ", wanted);
      }
      return [left = wanted, random = std::mt19937_64(wanted)](Response* out) mutable -> arrow::Result<bool> {
        if (left == 0) return false;
        std::string* payload = out->mutable_payload();
        payload->resize(std::min(left, wire::kBandwidthMessageBytes));
        for (size_t i = 0; i < payload->size(); i += 8) {
          const uint64_t word = random();
          std::memcpy(payload->data() + i, &word, std::min<size_t>(8, payload->size() - i));
        }
        left -= payload->size();
        return true;
      };
    });
  }

  grpc::ServerWriteReactor<cloud::WatchEventsResponse>* WatchEvents(Context* context, const cloud::WatchEventsRequest* request) override {
    AddResponseHeaders(context, environment_);
    const bool entries = request->kinds().empty() ||
                         std::any_of(request->kinds().begin(), request->kinds().end(), [](const auto& kind) { return kind.has_entry(); });
    return new EventReactor(*catalog_, entries);
  }

  // --- entries

  UnaryReactor* FindEntries(Context* context, const cloud::FindEntriesRequest* request, cloud::FindEntriesResponse* response) override {
    return Unary(context, environment_, [this, request, response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const wire::EntryQuery query, wire::FromProto(request->filter()));
      for (const EntryDetails& entry : catalog_->FindEntries({query.id, query.name, std::nullopt})) {
        if (query.MatchesKind(entry.kind)) wire::ToProto(entry, response->add_entries());
      }
      return arrow::Status::OK();
    });
  }

  UnaryReactor* CreateDatasetEntry(Context* context, const cloud::CreateDatasetEntryRequest* request,
                                   cloud::CreateDatasetEntryResponse* response) override {
    return Unary(context, environment_, [this, request, response]() -> arrow::Status {
      if (!request->has_name()) return wire::MissingField("CreateDatasetEntryRequest.name");
      std::optional<EntryId> id;
      if (request->has_id()) {
        ARROW_ASSIGN_OR_RAISE(id, wire::FromProto(request->id(), "CreateDatasetEntryRequest.id"));
      }
      ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog_->CreateDataset(request->name(), id));
      ToProto(*entry, response->mutable_dataset());
      return arrow::Status::OK();
    });
  }

  UnaryReactor* ReadDatasetEntry(Context* context, const cloud::ReadDatasetEntryRequest*,
                                 cloud::ReadDatasetEntryResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, FindDataset(headers));
      ToProto(*entry, response->mutable_dataset());
      return arrow::Status::OK();
    });
  }

  UnaryReactor* UpdateDatasetEntry(Context* context, const cloud::UpdateDatasetEntryRequest* request,
                                   cloud::UpdateDatasetEntryResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request, response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.FindId(request->has_id() ? &request->id() : nullptr));
      if (!request->has_dataset_details()) return wire::MissingField("UpdateDatasetEntryRequest.dataset_details");
      ARROW_ASSIGN_OR_RAISE(DatasetDetails details, wire::FromProto(request->dataset_details()));
      std::optional<std::string> table_blueprint = std::move(details.default_segment_table_blueprint_segment);
      details.default_segment_table_blueprint_segment.reset();
      ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog_->UpdateDataset(id, std::move(details), std::move(table_blueprint)));
      ToProto(*entry, response->mutable_dataset());
      return arrow::Status::OK();
    });
  }

  UnaryReactor* UpdateEntry(Context* context, const cloud::UpdateEntryRequest* request, cloud::UpdateEntryResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request, response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.FindId(request->has_id() ? &request->id() : nullptr));
      if (!request->has_entry_details_update()) return wire::MissingField("UpdateEntryRequest.entry_details_update");
      EntryPtr entry = catalog_->state()->Find(id);
      if (!entry) return arrow::Status::KeyError("Entry id '", EntryIdText(id), "' not found");
      if (request->entry_details_update().has_name()) {
        ARROW_ASSIGN_OR_RAISE(entry, catalog_->Rename(id, request->entry_details_update().name()));
      }
      wire::ToProto(entry->entry, response->mutable_entry_details());
      return arrow::Status::OK();
    });
  }

  UnaryReactor* DeleteEntry(Context* context, const cloud::DeleteEntryRequest* request, cloud::DeleteEntryResponse*) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.FindId(request->has_id() ? &request->id() : nullptr));
      return catalog_->Delete(id);
    });
  }

  // --- tables: table_calls.cc

  UnaryReactor* CreateTableEntry(Context* context, const cloud::CreateTableEntryRequest* request,
                                 cloud::CreateTableEntryResponse* response) override {
    return Unary(context, environment_, [this, request, response] { return tables_.CreateTableEntry(*request, response); });
  }
  UnaryReactor* RegisterTable(Context* context, const cloud::RegisterTableRequest* request,
                              cloud::RegisterTableResponse* response) override {
    return Unary(context, environment_, [this, request, response] { return tables_.RegisterTable(*request, response); });
  }
  UnaryReactor* ReadTableEntry(Context* context, const cloud::ReadTableEntryRequest* request,
                               cloud::ReadTableEntryResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request, response] {
      return tables_.ReadTableEntry(headers, *request, response);
    });
  }
  UnaryReactor* UpdateTableEntry(Context* context, const cloud::UpdateTableEntryRequest* request,
                                 cloud::UpdateTableEntryResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request, response] {
      return tables_.UpdateTableEntry(headers, *request, response);
    });
  }
  UnaryReactor* GetTableSchema(Context* context, const cloud::GetTableSchemaRequest* request,
                               cloud::GetTableSchemaResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request, response] {
      return tables_.GetTableSchema(headers, *request, response);
    });
  }
  grpc::ServerWriteReactor<cloud::ScanTableResponse>* ScanTable(Context* context, const cloud::ScanTableRequest* request) override {
    return Stream<cloud::ScanTableResponse>(
        context, environment_, [this, headers = EntryHeaders::Read(*context), request] { return tables_.ScanTable(headers, *request); });
  }
  grpc::ServerReadReactor<cloud::WriteTableRequest>* WriteTable(Context* context, cloud::WriteTableResponse*) override {
    return tables_.WriteTable(context);
  }

  // --- registration

  UnaryReactor* RegisterWithDataset(Context* context, const cloud::RegisterWithDatasetRequest* request,
                                    cloud::RegisterWithDatasetResponse* response) override {
    const auto register_all = [this, context, headers = EntryHeaders::Read(*context), request, response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryId id, FindDatasetId(headers));
      std::vector<DataSource> sources;
      for (const auto& item : request->data_sources()) {
        ARROW_ASSIGN_OR_RAISE(DataSource source, wire::FromProto(item));
        if (!HasUrlScheme(source.url)) {
          return arrow::Status::Invalid("Could not parse URL '", source.url,
                                        "': relative URL without a base; a local file is file:///path");
        }
        sources.push_back(std::move(source));
      }
      ARROW_ASSIGN_OR_RAISE(const IfDuplicate on_duplicate, wire::FromProto(request->on_duplicate()));
      RegisterOptions options;
      options.wait_s = kRegisterWaitS;
      options.is_cancelled = [context] { return context->IsCancelled(); };
      ARROW_ASSIGN_OR_RAISE(const auto rows, catalog_->Register(id, sources, on_duplicate, options));
      ARROW_ASSIGN_OR_RAISE(const auto batch, wire::MakeRegisterBatch(rows));
      return wire::EncodePart(*batch, response->mutable_data());
    };
    return UnaryOn(environment_.slow_pool, context, environment_, register_all);
  }

  grpc::ServerWriteReactor<cloud::UnregisterFromDatasetResponse>* UnregisterFromDataset(
      Context* context, const cloud::UnregisterFromDatasetRequest* request) override {
    using Response = cloud::UnregisterFromDatasetResponse;
    return Stream<Response>(
        context, environment_, [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
          ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDataset(headers));
          std::vector<std::string> segments;
          for (const auto& segment : request->segments_to_drop()) {
            ARROW_ASSIGN_OR_RAISE(std::string id, wire::FromProto(segment, "UnregisterFromDatasetRequest.segments_to_drop"));
            segments.push_back(std::move(id));
          }
          const arrow::Status removed =
              catalog_
                  ->Unregister(dataset->entry.id, segments, {request->layers_to_drop().begin(), request->layers_to_drop().end()},
                               request->force())
                  .status();
          if (Catalog::IsBusy(removed)) return wire::MakeStatus(wire::RpcCode::kFailedPrecondition, removed.message());
          ARROW_RETURN_NOT_OK(removed);
          Response message;
          ARROW_ASSIGN_OR_RAISE(const auto empty, arrow::RecordBatch::MakeEmpty(ManifestBaseSchema()));
          ARROW_RETURN_NOT_OK(wire::EncodePart(*empty, message.mutable_data()));
          const EntryPtr now = catalog_->state()->Find(dataset->entry.id);
          message.mutable_task_id()->set_id(
              catalog_->tasks().AddEnded("unregister", {TaskState::kSuccess, "", dataset->entry.id, now ? now->revision : 0}));
          return Once(std::move(message));
        });
  }

  // No id: all that are known.
  UnaryReactor* QueryTasks(Context* context, const cloud::QueryTasksRequest* request, cloud::QueryTasksResponse* response) override {
    return Unary(context, environment_, [this, request, response]() -> arrow::Status {
      ARROW_RETURN_NOT_OK(TaskIds(request->ids()).status());
      std::vector<std::string> ids;
      for (const auto& id : request->ids()) ids.push_back(id.id());
      const auto tasks = ids.empty() ? catalog_->tasks().QueryAll() : catalog_->tasks().Query(ids);
      ARROW_ASSIGN_OR_RAISE(const auto batch, wire::MakeTaskBatch(tasks));
      return wire::EncodePart(*batch, response->mutable_data());
    });
  }

  grpc::ServerWriteReactor<cloud::QueryTasksOnCompletionResponse>* QueryTasksOnCompletion(
      Context* context, const cloud::QueryTasksOnCompletionRequest* request) override {
    return WaitForTasks(context, environment_, catalog_, *request);
  }

  UnaryReactor* CancelTasks(Context* context, const cloud::CancelTasksRequest* request, cloud::CancelTasksResponse*) override {
    return Unary(context, environment_, [this, request]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const auto ids, TaskIds(request->ids()));
      catalog_->tasks().Cancel(ids);
      return arrow::Status::OK();
    });
  }

  // --- metadata tables and schemas

  UnaryReactor* GetSegmentTableSchema(Context* context, const cloud::GetSegmentTableSchemaRequest*,
                                      cloud::GetSegmentTableSchemaResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
      SetMeta(*dataset, response->mutable_meta());
      ARROW_ASSIGN_OR_RAISE(const auto table, dataset->content->SegmentTable());
      return wire::EncodeSchema(*table->schema(), response->mutable_schema());
    });
  }

  grpc::ServerWriteReactor<cloud::ScanSegmentTableResponse>* ScanSegmentTable(Context* context,
                                                                              const cloud::ScanSegmentTableRequest* request) override {
    using Response = cloud::ScanSegmentTableResponse;
    return Stream<Response>(context, environment_,
                            [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
                              ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
                              TableScan scan;
                              scan.columns.assign(request->columns().begin(), request->columns().end());
                              AddFilter(request->segment_id_filter(), &scan);
                              ARROW_ASSIGN_OR_RAISE(auto table, dataset->content->SegmentTable());
                              ARROW_ASSIGN_OR_RAISE(table, ApplyScan(table, scan));
                              return WithMeta<Response>(*dataset, Batches<Response>(std::move(table)));
                            });
  }

  UnaryReactor* GetDatasetManifestSchema(Context* context, const cloud::GetDatasetManifestSchemaRequest*,
                                         cloud::GetDatasetManifestSchemaResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
      SetMeta(*dataset, response->mutable_meta());
      ARROW_ASSIGN_OR_RAISE(const auto table, dataset->content->Manifest());
      return wire::EncodeSchema(*table->schema(), response->mutable_schema());
    });
  }

  grpc::ServerWriteReactor<cloud::ScanDatasetManifestResponse>* ScanDatasetManifest(
      Context* context, const cloud::ScanDatasetManifestRequest* request) override {
    using Response = cloud::ScanDatasetManifestResponse;
    return Stream<Response>(context, environment_,
                            [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
                              ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
                              TableScan scan;
                              scan.columns.assign(request->columns().begin(), request->columns().end());
                              AddFilter(request->segment_id_filter(), &scan);
                              AddFilter(request->layer_name_filter(), &scan);
                              ARROW_ASSIGN_OR_RAISE(auto table, dataset->content->Manifest());
                              ARROW_ASSIGN_OR_RAISE(table, ApplyScan(table, scan));
                              return WithMeta<Response>(*dataset, Batches<Response>(std::move(table)));
                            });
  }

  UnaryReactor* GetDatasetSchema(Context* context, const cloud::GetDatasetSchemaRequest*,
                                 cloud::GetDatasetSchemaResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
      SetMeta(*dataset, response->mutable_meta());
      return wire::EncodeSchema(*dataset->content->schema()->ToArrow(), response->mutable_schema());
    });
  }

  grpc::ServerWriteReactor<cloud::GetSchemasResponse>* GetSchemas(Context* context, const cloud::GetSchemasRequest* request) override {
    using Response = cloud::GetSchemasResponse;
    return Stream<Response>(context, environment_,
                            [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
                              ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
                              if (request->schema_ids_size() > wire::kMaxSchemaIds) {
                                return arrow::Status::Invalid("at most ", wire::kMaxSchemaIds, " schema ids can be asked for, not ",
                                                              request->schema_ids_size());
                              }
                              std::set<std::string> wanted;
                              for (const auto& id : request->schema_ids()) {
                                if (!id.has_sha256())
                                  return arrow::Status::Invalid("missing required field: 'rerun.common.v1alpha1.SchemaId.sha256'");
                                if (id.sha256().size() != 32)
                                  return arrow::Status::Invalid("a schema id has 32 bytes, not ", id.sha256().size());
                                wanted.insert(id.sha256());
                              }
                              std::vector<std::pair<std::string, std::shared_ptr<arrow::Schema>>> found;
                              for (const auto& [id, segment] : dataset->content->segments()) {
                                for (const LayerPtr& layer : segment->layers) {
                                  if (wanted.erase(layer->schema_sha256)) found.emplace_back(layer->schema_sha256, layer->arrow_schema);
                                }
                                if (wanted.empty()) break;
                              }
                              auto next = [found = std::move(found), i = size_t{0}](Response* out) mutable -> arrow::Result<bool> {
                                if (i == found.size()) return false;
                                out->mutable_schema_id()->set_sha256(found[i].first);
                                ARROW_RETURN_NOT_OK(wire::EncodeSchema(*found[i].second, out->mutable_schema()));
                                ++i;
                                return true;
                              };
                              return WithMeta<Response>(*dataset, std::move(next));
                            });
  }

  grpc::ServerWriteReactor<cloud::GetRrdManifestResponse>* GetRrdManifest(Context* context,
                                                                          const cloud::GetRrdManifestRequest* request) override {
    using Response = cloud::GetRrdManifestResponse;
    return Stream<Response>(
        context, environment_, [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
          if (!request->has_segment_id()) return wire::MissingField("GetRrdManifestRequest.segment_id");
          ARROW_ASSIGN_OR_RAISE(const std::string id, wire::FromProto(request->segment_id(), "GetRrdManifestRequest.segment_id"));
          ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
          const Segment* segment = dataset->content->FindSegment(id);
          if (!segment) {
            return arrow::Status::KeyError("Segment '", id, "' not found in dataset '", EntryIdText(dataset->entry.id), "'");
          }
          std::vector<ManifestPart> parts;
          for (const LayerPtr& layer : segment->layers) {
            const SegmentIndex& index = *layer->store->index();
            arrow::BinaryBuilder keys;
            ARROW_RETURN_NOT_OK(keys.Reserve(static_cast<int64_t>(index.num_chunks())));
            for (uint32_t i = 0; i < index.num_chunks(); ++i) {
              ARROW_RETURN_NOT_OK(keys.Append(EncodeChunkKey({layer->id, i, index.id(i)})));
            }
            ManifestPart part;
            part.index = &index;
            ARROW_ASSIGN_OR_RAISE(part.keys, keys.Finish());
            parts.push_back(std::move(part));
          }
          ARROW_ASSIGN_OR_RAISE(const RrdManifest manifest, MakeManifest(parts, *segment->schema));
          Response message;
          SetMeta(*dataset, message.mutable_meta());
          auto* out = message.mutable_rrd_manifest();
          out->mutable_store_id()->set_kind(dataset->entry.kind == EntryKind::kBlueprintDataset ? common::STORE_KIND_BLUEPRINT
                                                                                                : common::STORE_KIND_RECORDING);
          out->mutable_store_id()->set_recording_id(id);
          out->mutable_store_id()->mutable_application_id()->set_id(EntryIdText(dataset->entry.id));
          ARROW_RETURN_NOT_OK(wire::EncodeSchema(*manifest.schema, out->mutable_sorbet_schema()));
          out->set_sorbet_schema_sha256(manifest.schema_sha256);
          ARROW_RETURN_NOT_OK(wire::EncodePart(*manifest.data, out->mutable_data()));
          return Once(std::move(message));
        });
  }

  // --- assets and properties

  grpc::ServerWriteReactor<cloud::GetAssetsForSegmentResponse>* GetAssetsForSegment(
      Context* context, const cloud::GetAssetsForSegmentRequest* request) override {
    using Response = cloud::GetAssetsForSegmentResponse;
    return Stream<Response>(
        context, environment_, [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
          const auto state = catalog_->state();
          ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDataset(headers));
          if (dataset->entry.kind != EntryKind::kDataset) {
            return arrow::Status::Invalid("'", dataset->entry.name, "' is not a recording dataset and has no assets");
          }
          std::optional<std::string> segment;
          if (request->has_segment_id()) {
            ARROW_ASSIGN_OR_RAISE(segment, wire::FromProto(request->segment_id(), "GetAssetsForSegmentRequest.segment_id"));
          }
          if (!dataset->details.asset_dataset) return [](Response*) -> arrow::Result<bool> { return false; };
          ARROW_ASSIGN_OR_RAISE(const EntryPtr assets, state->GetDataset(*dataset->details.asset_dataset));
          Response message;
          wire::ToProto(assets->entry.id, message.mutable_assets_entry());
          for (const std::string& id : AssetsOf(*assets, segment)) message.add_asset_segment_ids()->set_id(id);
          return Once(std::move(message));
        });
  }

  grpc::ServerWriteReactor<cloud::GetSegmentPropertiesResponse>* GetSegmentProperties(
      Context* context, const cloud::GetSegmentPropertiesRequest* request) override {
    using Response = cloud::GetSegmentPropertiesResponse;
    return Stream<Response>(context, environment_,
                            [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
                              ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDataset(headers));
                              if (request->segment_ids().empty()) return arrow::Status::Invalid("at least one segment id is needed");
                              std::vector<std::string> ids;
                              for (const auto& item : request->segment_ids()) {
                                ARROW_ASSIGN_OR_RAISE(std::string id, wire::FromProto(item, "GetSegmentPropertiesRequest.segment_ids"));
                                ids.push_back(std::move(id));
                              }
                              return [dataset, ids = std::move(ids), i = size_t{0}](Response* out) mutable -> arrow::Result<bool> {
                                if (i == ids.size()) return false;
                                for (int n = 0; n < kPropertiesPerMessage && i < ids.size(); ++i, ++n) {
                                  const auto it = dataset->properties.find(ids[i]);
                                  if (it == dataset->properties.end()) continue;
                                  auto* item = out->add_segments();
                                  item->mutable_segment_id()->set_id(ids[i]);
                                  item->set_revision(it->second.revision);
                                  ARROW_RETURN_NOT_OK(wire::EncodePart(*it->second.row, item->mutable_properties()));
                                }
                                return true;
                              };
                            });
  }

  UnaryReactor* SetSegmentProperties(Context* context, const cloud::SetSegmentPropertiesRequest* request,
                                     cloud::SetSegmentPropertiesResponse* response) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request, response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryId dataset, FindDatasetId(headers));
      if (!request->has_segment_id()) return wire::MissingField("SetSegmentPropertiesRequest.segment_id");
      if (!request->has_properties()) return wire::MissingField("SetSegmentPropertiesRequest.properties");
      ARROW_ASSIGN_OR_RAISE(const std::string id, wire::FromProto(request->segment_id(), "SetSegmentPropertiesRequest.segment_id"));
      ARROW_ASSIGN_OR_RAISE(auto row, wire::DecodePart(request->properties(), "SetSegmentPropertiesRequest.properties"));
      const auto expected = request->has_expected_revision() ? std::optional<uint64_t>(request->expected_revision()) : std::nullopt;
      const auto revision = catalog_->SetProperties(dataset, id, std::move(row), expected);
      if (!revision.ok()) {
        return Catalog::IsRevisionMismatch(revision.status())
                   ? wire::MakeStatus(wire::RpcCode::kFailedPrecondition, revision.status().message())
                   : revision.status();
      }
      response->set_revision(*revision);
      return arrow::Status::OK();
    });
  }

  UnaryReactor* DeleteSegmentProperties(Context* context, const cloud::DeleteSegmentPropertiesRequest* request,
                                        cloud::DeleteSegmentPropertiesResponse*) override {
    return Unary(context, environment_, [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryId dataset, FindDatasetId(headers));
      std::vector<Catalog::PropertiesDeletion> deletions;
      for (const auto& item : request->segments()) {
        if (!item.has_segment_id()) return wire::MissingField("SegmentPropertiesDeletion.segment_id");
        ARROW_ASSIGN_OR_RAISE(std::string id, wire::FromProto(item.segment_id(), "SegmentPropertiesDeletion.segment_id"));
        deletions.push_back(
            {std::move(id), item.has_expected_revision() ? std::optional<uint64_t>(item.expected_revision()) : std::nullopt});
      }
      return catalog_->DeleteProperties(dataset, deletions);
    });
  }

  // --- chunks

  grpc::ServerWriteReactor<cloud::FindChunksResponse>* FindChunks(Context* context, const cloud::FindChunksRequest* request) override {
    using Response = cloud::FindChunksResponse;
    return Stream<Response>(context, environment_,
                            [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
                              ARROW_ASSIGN_OR_RAISE(auto query, wire::ParseFindChunks(*request));
                              query.narrow_components = headers.narrow_components;
                              return Find<Response>(headers, std::move(query), true);
                            });
  }

  grpc::ServerWriteReactor<cloud::QueryDatasetResponse>* QueryDataset(Context* context,
                                                                      const cloud::QueryDatasetRequest* request) override {
    using Response = cloud::QueryDatasetResponse;
    return Stream<Response>(context, environment_,
                            [this, headers = EntryHeaders::Read(*context), request]() -> arrow::Result<StreamReactor<Response>::Next> {
                              ARROW_ASSIGN_OR_RAISE(auto query, wire::ParseQueryDataset(*request));
                              return Find<Response>(headers, std::move(query), false);
                            });
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* FetchChunks(Context* context, const grpc::ByteBuffer* request) override {
    using Reactor = StreamReactor<grpc::ByteBuffer>;
    const auto fetcher = std::make_shared<ChunkFetcher>();
    return Stream<grpc::ByteBuffer>(
        context, environment_,
        [this, request, fetcher]() -> arrow::Result<Reactor::Next> {
          ARROW_RETURN_NOT_OK(fetcher->Open(*catalog_, *request));
          return [fetcher](grpc::ByteBuffer* out) { return fetcher->Next(out); };
        },
        [fetcher] { return !fetcher->must_read(); });
  }

  // --- uploads

  UnaryReactor* GetWriteAccessGrant(Context* context, const cloud::GetWriteAccessGrantRequest* request,
                                    cloud::GetWriteAccessGrantResponse* response) override {
    return Unary(context, environment_, [this, request, response] { return GrantWriteAccess(uploads_, *request, response); });
  }
  UnaryReactor* GetMultipartUploadPartGrants(Context* context, const cloud::GetMultipartUploadPartGrantsRequest* request,
                                             cloud::GetMultipartUploadPartGrantsResponse* response) override {
    return Unary(context, environment_, [this, request, response] { return GrantParts(uploads_, *request, response); });
  }
  UnaryReactor* CompleteMultipartUpload(Context* context, const cloud::CompleteMultipartUploadRequest* request,
                                        cloud::CompleteMultipartUploadResponse*) override {
    return UnaryOn(environment_.slow_pool, context, environment_, [this, request] { return CompleteUpload(uploads_, *request); });
  }
  UnaryReactor* AbortMultipartUpload(Context* context, const cloud::AbortMultipartUploadRequest* request,
                                     cloud::AbortMultipartUploadResponse*) override {
    return Unary(context, environment_, [this, request] {
      uploads_.Abort(request->upload_token());
      return arrow::Status::OK();
    });
  }

  // --- maintenance

  UnaryReactor* DoMaintenance(Context* context, const cloud::DoMaintenanceRequest* request,
                              cloud::DoMaintenanceResponse* response) override {
    const auto maintain = [this, context, headers = EntryHeaders::Read(*context), request, response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDataset(headers));
      MaintenanceOptions options;
      options.compact = request->compact_fragments();
      options.optimize_indexes = request->optimize_indexes();
      options.retrain_indexes = request->retrain_indexes();
      options.unsafe_allow_recent_cleanup = request->unsafe_allow_recent_cleanup();
      if (request->has_cleanup_before()) {
        options.cleanup_before_ns = request->cleanup_before().seconds() * 1'000'000'000 + request->cleanup_before().nanos();
      }
      ARROW_ASSIGN_OR_RAISE(std::string report,
                            catalog_->Maintain(dataset->entry.id, options, [context] { return context->IsCancelled(); }));
      response->set_report(std::move(report));
      return arrow::Status::OK();
    };
    return UnaryOn(environment_.slow_pool, context, environment_, maintain);
  }
  UnaryReactor* DoGlobalMaintenance(Context* context, const cloud::DoGlobalMaintenanceRequest*,
                                    cloud::DoGlobalMaintenanceResponse*) override {
    return UnaryOn(environment_.slow_pool, context, environment_, [this] { return catalog_->MaintainAll(); });
  }

 private:
  // The dataset that the headers name. A name finds datasets only.
  arrow::Result<EntryPtr> FindDataset(const EntryHeaders& headers) const {
    if (headers.id_text) {
      ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.ParseId());
      return catalog_->state()->GetDataset(id);
    }
    if (!headers.name) return headers.Missing();
    return catalog_->state()->GetDataset(std::string_view(*headers.name));
  }
  // The same for a read, which may need the dataset at a revision or a later one.
  arrow::Result<EntryPtr> FindDatasetToRead(const EntryHeaders& headers) const {
    uint64_t wanted = 0;
    if (headers.revision_text) {
      const std::string& text = *headers.revision_text;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted);
      if (error != std::errc() || end != text.data() + text.size()) {
        return arrow::Status::Invalid("header '", wire::kDatasetRevisionHeader, "' is not a number: '", text, "'");
      }
    }
    ARROW_ASSIGN_OR_RAISE(EntryPtr dataset, FindDataset(headers));
    if (wanted > dataset->revision) {
      return wire::RevisionBehind("dataset '" + dataset->entry.name + "' is at revision " + std::to_string(dataset->revision) +
                                  ", before revision " + std::to_string(wanted) + " that the call needs");
    }
    return dataset;
  }
  static void SetMeta(const Entry& dataset, cloud::DatasetResponseMeta* meta) {
    wire::ToProto(dataset.entry.id, meta->mutable_entry_id());
    meta->set_dataset_revision(dataset.revision);
  }
  // Puts the revision into the first message of a stream.
  template <typename Response>
  static typename StreamReactor<Response>::Next WithMeta(const Entry& dataset, typename StreamReactor<Response>::Next next) {
    cloud::DatasetResponseMeta meta;
    SetMeta(dataset, &meta);
    return [meta = std::move(meta), next = std::move(next), is_first = true](Response* out) mutable -> arrow::Result<bool> {
      if (std::exchange(is_first, false)) *out->mutable_meta() = meta;
      return next(out);
    };
  }

  // Its id; an id header is not looked up, so that errors of the arguments come first.
  arrow::Result<EntryId> FindDatasetId(const EntryHeaders& headers) const {
    if (headers.id_text) return headers.ParseId();
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, FindDataset(headers));
    return entry->entry.id;
  }

  // A table as a stream: at least one message, none much larger than the limits of clients like.
  template <typename Response>
  static typename StreamReactor<Response>::Next Batches(std::shared_ptr<arrow::RecordBatch> table) {
    const int64_t bytes_per_row = table->num_rows() == 0 ? 1 : arrow::util::TotalBufferSize(*table) / table->num_rows() + 1;
    const int64_t rows_per_message = std::max<int64_t>(1, (int64_t{64} << 20) / bytes_per_row);
    return [table = std::move(table), rows_per_message, row = int64_t{0}, first = true](Response* out) mutable -> arrow::Result<bool> {
      if (!first && row >= table->num_rows()) return false;
      first = false;
      ARROW_RETURN_NOT_OK(wire::EncodePart(*table->Slice(row, rows_per_message), out->mutable_data()));
      row += rows_per_message;
      return true;
    };
  }

  template <typename Response>
  arrow::Result<typename StreamReactor<Response>::Next> Find(const EntryHeaders& headers, wire::ChunkQuery query, bool find_chunks) const {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, FindDatasetToRead(headers));
    ARROW_ASSIGN_OR_RAISE(auto made, ChunkFinder::Make(dataset->content, std::move(query), find_chunks));
    auto next = [finder = std::shared_ptr<ChunkFinder>(std::move(made))](Response* out) -> arrow::Result<bool> {
      ARROW_ASSIGN_OR_RAISE(const auto batch, finder->Next());
      if (!batch) return false;
      ARROW_RETURN_NOT_OK(wire::EncodePart(*batch, out->mutable_data()));
      return true;
    };
    return WithMeta<Response>(*dataset, std::move(next));
  }

  const std::shared_ptr<Catalog> catalog_;
  UploadGrants& uploads_;
  const RpcEnvironment& environment_;
  const TableCalls tables_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeCatalogService(std::shared_ptr<Catalog> catalog, UploadGrants& uploads,
                                                  const RpcEnvironment& environment) {
  return std::make_unique<CatalogService>(std::move(catalog), uploads, environment);
}

}  // namespace rushes
