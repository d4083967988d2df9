#include "rushes/api/embedded_catalog.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <unordered_set>

#include "arrow/array/builder_binary.h"
#include "arrow/io/file.h"
#include "arrow/table.h"
#include "rushes/catalog/asset_coverage.h"
#include "rushes/catalog/source_url.h"
#include "rushes/client/event_queue.h"
#include "rushes/client/table_batches.h"
#include "rushes/wire/status.h"

namespace rushes {
namespace {

// A registration that takes longer goes on behind its answer.
constexpr double kRegisterWaitS = 2;
constexpr int64_t kStageBlockBytes = 1 << 20;
// How soon those who wait for events see that the server is closed.
constexpr double kEventWaitS = 0.1;

arrow::Result<std::shared_ptr<arrow::Table>> ToTable(arrow::Result<std::shared_ptr<arrow::RecordBatch>> batch) {
  ARROW_RETURN_NOT_OK(batch.status());
  return arrow::Table::FromRecordBatches((*batch)->schema(), {*batch});
}

// The rows of a table, until the server is closed.
class EmbeddedTableReader final : public arrow::RecordBatchReader {
 public:
  EmbeddedTableReader(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive,
                      std::shared_ptr<arrow::RecordBatchReader> reader)
      : shared_(std::move(catalog)), keep_alive_(std::move(keep_alive)), reader_(std::move(reader)) {}
  std::shared_ptr<arrow::Schema> schema() const override { return reader_->schema(); }
  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return reader_->ReadNext(batch);
  }

 private:
  const std::shared_ptr<EmbeddedCatalog> shared_;
  const std::shared_ptr<void> keep_alive_;
  const std::shared_ptr<arrow::RecordBatchReader> reader_;
};

// The events of a catalog, until the server is closed.
class EmbeddedEventStream final : public EventStream {
 public:
  EmbeddedEventStream(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive)
      : shared_(std::move(catalog)), keep_alive_(std::move(keep_alive)) {
    subscription_ = shared_->catalog->Subscribe([queue = queue_](const CatalogEvent& event) { queue->Push(event); });
  }

  arrow::Result<std::optional<CatalogEvent>> Next(double timeout_s) override {
    for (;; timeout_s -= kEventWaitS) {
      ARROW_ASSIGN_OR_RAISE(const auto event, queue_->Next(std::min(timeout_s, kEventWaitS)));
      if (event || queue_->is_closed()) return event;
      ARROW_RETURN_NOT_OK(shared_->CheckOpen());
      if (timeout_s <= kEventWaitS) return event;
    }
  }
  void Close() override { queue_->Close(); }
  bool is_closed() const override { return queue_->is_closed(); }

 private:
  const std::shared_ptr<EmbeddedCatalog> shared_;
  const std::shared_ptr<void> keep_alive_;
  const std::shared_ptr<EventQueue> queue_ = std::make_shared<EventQueue>();
  std::shared_ptr<void> subscription_;
};

// The chunks of a segment's layers as their manifest lists them.
std::vector<SegmentChunk> ChunksOf(const Segment& segment) {
  std::vector<SegmentChunk> out;
  std::unordered_set<ChunkId> seen;
  for (const LayerPtr& layer : segment.layers) {
    const SegmentIndex& index = *layer->store->index();
    std::vector<std::vector<std::string>> components(index.num_chunks());
    for (const SegmentIndex::Column& column : index.columns()) {
      for (const auto& entry : index.Entries(column)) components[entry.chunk].push_back(index.components()[column.component].component);
    }
    for (size_t i = 0; i < index.num_chunks(); ++i) {
      if (!seen.insert(index.id(i)).second) continue;
      SegmentChunk chunk{index.id(i), index.entities()[index.entity(i)], index.is_static(i), index.num_rows(i),
                         {},          std::move(components[i])};
      for (size_t t = 0; t < index.timelines().size(); ++t) {
        if (index.Span(i, static_cast<int>(t))) chunk.timelines.push_back(index.timelines()[t].name);
      }
      std::sort(chunk.components.begin(), chunk.components.end());
      out.push_back(std::move(chunk));
    }
  }
  return out;
}

class EmbeddedConnection final : public Connection {
 public:
  EmbeddedConnection(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive)
      : shared_(std::move(catalog)), keep_alive_(std::move(keep_alive)) {}

  std::string url() const override { return shared_->url; }
  bool is_local() const override { return true; }

  arrow::Result<LinkSpeed> MeasureLink(uint64_t num_bytes, uint32_t num_pings) override {
    ARROW_RETURN_NOT_OK(CheckLinkMeasure(num_bytes, num_pings));
    LinkSpeed out;
    for (uint32_t i = 0; i < num_pings; ++i) {
      const auto start = std::chrono::steady_clock::now();
      ARROW_RETURN_NOT_OK(FindEntries({EntryId(), std::nullopt, std::nullopt}).status());
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      if (i == 0 || elapsed.count() < out.round_trip_s) out.round_trip_s = elapsed.count();
    }
    return out;
  }

  arrow::Result<std::shared_ptr<EventStream>> WatchEvents() override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return std::make_shared<EmbeddedEventStream>(shared_, keep_alive_);
  }

  arrow::Result<std::vector<EntryDetails>> FindEntries(const EntryFilter& filter) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    Catalog::Filter wanted{filter.id, filter.name, std::nullopt};
    if (filter.kind) wanted.kinds = {*filter.kind};
    return catalog().FindEntries(wanted);
  }

  arrow::Result<DatasetEntry> CreateDataset(const std::string& name) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog().CreateDataset(name));
    return entry->ToDatasetEntry();
  }

  arrow::Result<DatasetEntry> ReadDataset(EntryId id) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(id));
    return entry->ToDatasetEntry();
  }

  arrow::Result<EntryDetails> RenameEntry(EntryId id, const std::string& name) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog().Rename(id, name));
    return entry->entry;
  }

  arrow::Status DeleteEntry(EntryId id) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return catalog().Delete(id);
  }

  arrow::Result<std::vector<RegisteredSource>> Register(EntryId dataset, const std::vector<DataSource>& sources,
                                                        IfDuplicate on_duplicate) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    RegisterOptions options;
    options.wait_s = kRegisterWaitS;
    return catalog().Register(dataset, sources, on_duplicate, options);
  }

  arrow::Result<std::shared_ptr<arrow::Table>> Unregister(EntryId dataset, const std::vector<std::string>& segments,
                                                          const std::vector<std::string>& layers, bool force) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    auto unregistered = catalog().Unregister(dataset, segments, layers, force);
    if (Catalog::IsBusy(unregistered.status())) {
      return wire::MakeStatus(wire::RpcCode::kFailedPrecondition, unregistered.status().message());
    }
    ARROW_ASSIGN_OR_RAISE(const auto removed, std::move(unregistered));
    arrow::StringBuilder ids, names;
    for (const LayerPtr& layer : removed) {
      ARROW_RETURN_NOT_OK(ids.Append(layer->segment_id));
      ARROW_RETURN_NOT_OK(names.Append(layer->name));
    }
    ARROW_ASSIGN_OR_RAISE(auto id_array, ids.Finish());
    ARROW_ASSIGN_OR_RAISE(auto name_array, names.Finish());
    return arrow::Table::Make(
        arrow::schema({arrow::field("rerun_segment_id", arrow::utf8(), false), arrow::field("rerun_layer_name", arrow::utf8(), false)}),
        {std::move(id_array), std::move(name_array)});
  }

  arrow::Status WaitForTasks(const std::vector<std::string>& task_ids, double timeout_s,
                             const std::function<arrow::Status(const TaskInfo&)>& on_task) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    const arrow::Status status = catalog().tasks().Wait(task_ids, timeout_s, on_task);
    return status.IsIOError() ? wire::MakeStatus(wire::RpcCode::kDeadlineExceeded, status.message()) : status;
  }

  arrow::Result<std::vector<TaskInfo>> QueryTasks(const std::vector<std::string>& task_ids) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    std::vector<std::string> distinct;
    std::set<std::string_view> seen;
    for (const std::string& id : task_ids) {
      if (seen.insert(id).second) distinct.push_back(id);
    }
    return catalog().QueryTasks(distinct);
  }

  arrow::Status CancelTasks(const std::vector<std::string>& task_ids) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    catalog().tasks().Cancel(task_ids);
    return arrow::Status::OK();
  }

  arrow::Result<DatasetEntry> UpdateDataset(EntryId id, const DatasetDetails& details) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    DatasetDetails rest = details;
    rest.default_segment_table_blueprint_segment.reset();
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry,
                          catalog().UpdateDataset(id, std::move(rest), details.default_segment_table_blueprint_segment));
    return entry->ToDatasetEntry();
  }

  arrow::Result<std::vector<std::string>> AssetsForSegment(EntryId dataset, const std::string& segment_id) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(dataset));
    if (entry->entry.kind != EntryKind::kDataset || !entry->details.asset_dataset) return std::vector<std::string>();
    ARROW_ASSIGN_OR_RAISE(const EntryPtr assets, Dataset(*entry->details.asset_dataset));
    return AssetsOf(*assets, segment_id);
  }

  arrow::Result<std::vector<PropertiesOfSegment>> GetProperties(EntryId dataset, const std::vector<std::string>& segments) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(dataset));
    std::vector<PropertiesOfSegment> out;
    for (const std::string& id : segments) {
      const auto it = entry->properties.find(id);
      if (it != entry->properties.end()) out.push_back({id, it->second.row, it->second.revision});
    }
    return out;
  }

  arrow::Result<uint64_t> SetProperties(EntryId dataset, const std::string& segment_id, std::shared_ptr<arrow::RecordBatch> row,
                                        std::optional<uint64_t> expected_revision) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    auto revision = catalog().SetProperties(dataset, segment_id, std::move(row), expected_revision);
    if (Catalog::IsRevisionMismatch(revision.status())) {
      return wire::MakeStatus(wire::RpcCode::kFailedPrecondition, revision.status().message());
    }
    return revision;
  }

  arrow::Status DeleteProperties(EntryId dataset, const std::vector<std::string>& segments) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    std::vector<Catalog::PropertiesDeletion> deletions;
    for (const std::string& id : segments) deletions.push_back({id, std::nullopt});
    return catalog().DeleteProperties(dataset, deletions);
  }

  arrow::Result<std::string> Maintain(EntryId dataset, const MaintenanceOptions& options) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return catalog().Maintain(dataset, options, [shared = shared_] { return shared->is_closed.load(); });
  }

  arrow::Status MaintainAll() override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return catalog().MaintainAll();
  }

  arrow::Result<std::string> StageFile(const std::string& key, const std::string& path) override {
    ARROW_ASSIGN_OR_RAISE(const auto draft, NewObject(key));
    ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::ReadableFile::Open(path));
    for (;;) {
      ARROW_ASSIGN_OR_RAISE(const auto block, file->Read(kStageBlockBytes));
      if (block->size() == 0) break;
      ARROW_RETURN_NOT_OK(shared_->CheckOpen());
      ARROW_RETURN_NOT_OK(draft->Append(std::string_view(*block)));
    }
    return Publish(draft.get(), key);
  }

  arrow::Result<std::string> StageBytes(const std::string& key, std::string_view bytes) override {
    ARROW_ASSIGN_OR_RAISE(const auto draft, NewObject(key));
    ARROW_RETURN_NOT_OK(draft->Append(bytes));
    return Publish(draft.get(), key);
  }

  arrow::Result<UploadGrant> GetWriteGrant(const std::string&, std::optional<uint64_t>) override { return NoNetwork(); }
  arrow::Result<UploadGrant::Request> GetPartGrant(const std::string&, uint32_t) override { return NoNetwork(); }
  arrow::Status CompleteUpload(const std::string&, const std::vector<std::string>&) override { return NoNetwork(); }
  arrow::Status AbortUpload(const std::string&) override { return NoNetwork(); }

  arrow::Result<std::shared_ptr<arrow::Schema>> GetDatasetSchema(EntryId dataset) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(dataset));
    return entry->content->schema()->ToArrow();
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> GetSegmentSchema(EntryId dataset, const std::vector<std::string>& segments,
                                                                 const std::vector<std::string>& layers) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(dataset));
    const std::set<std::string> wanted_segments(segments.begin(), segments.end()), wanted_layers(layers.begin(), layers.end());
    DatasetSchema schema;
    for (const auto& [id, segment] : entry->content->segments()) {
      if (!wanted_segments.empty() && !wanted_segments.contains(id)) continue;
      for (const LayerPtr& layer : segment->layers) {
        if (wanted_layers.empty() || wanted_layers.contains(layer->name)) ARROW_RETURN_NOT_OK(schema.Merge(*layer->schema));
      }
    }
    return schema.ToArrow();
  }

  arrow::Result<std::shared_ptr<arrow::Table>> ScanSegmentTable(EntryId dataset) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(dataset));
    return ToTable(entry->content->SegmentTable());
  }

  arrow::Result<std::shared_ptr<arrow::Table>> ScanManifest(EntryId dataset) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(dataset));
    return ToTable(entry->content->Manifest());
  }

  arrow::Result<TableEntry> CreateTable(const std::string& name, const arrow::Schema& schema,
                                        const std::optional<std::string>& url) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog().CreateTable(name, schema, url));
    return entry->ToTableEntry();
  }

  arrow::Result<TableEntry> RegisterTable(const std::string& name, const std::string& url) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog().RegisterTable(name, url));
    return entry->ToTableEntry();
  }

  arrow::Result<TableEntry> ReadTableEntry(EntryId id) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog().state()->GetTable(id));
    return entry->ToTableEntry();
  }

  arrow::Result<TableEntry> UpdateTable(EntryId id, const TableDetails& details) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog().UpdateTable(id, details));
    return entry->ToTableEntry();
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> GetTableSchema(EntryId id) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return catalog().GetTableSchema(id);
  }

  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ScanTable(EntryId id,
                                                                     const std::optional<std::vector<std::string>>& columns) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(auto reader, catalog().ReadTable(id, columns));
    return std::make_shared<EmbeddedTableReader>(shared_, keep_alive_, std::move(reader));
  }

  arrow::Status WriteTable(EntryId id, TableInsertMode mode, arrow::RecordBatchReader* rows) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const auto writer, catalog().WriteTable(id));
    for (;;) {
      std::shared_ptr<arrow::RecordBatch> batch;
      ARROW_RETURN_NOT_OK(rows->ReadNext(&batch));
      if (batch == nullptr) break;
      ARROW_ASSIGN_OR_RAISE(const auto parts, SplitForWriting(std::move(batch), mode));
      for (const auto& part : parts) ARROW_RETURN_NOT_OK(writer->Write(part, mode));
    }
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return writer->Commit();
  }

  arrow::Result<std::shared_ptr<ChunkSource>> OpenDataset(EntryId dataset) override {
    ARROW_RETURN_NOT_OK(Dataset(dataset).status());
    return MakeLocalChunkSource(shared_, keep_alive_, dataset);
  }

  arrow::Result<std::vector<SegmentChunk>> ListSegmentChunks(EntryId dataset, const std::string& segment_id) override {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, Dataset(dataset));
    const Segment* segment = entry->content->FindSegment(segment_id);
    if (segment == nullptr) {
      return arrow::Status::KeyError("Segment '", segment_id, "' not found in dataset '", entry->entry.name, "'");
    }
    return ChunksOf(*segment);
  }

 private:
  Catalog& catalog() { return *shared_->catalog; }
  static arrow::Status NoNetwork() { return arrow::Status::NotImplemented("the catalog is in this process: objects are staged directly"); }

  arrow::Result<std::unique_ptr<StagingArea::Draft>> NewObject(const std::string& key) {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_RETURN_NOT_OK(StagingArea::CheckKey(key));
    ARROW_ASSIGN_OR_RAISE(const auto area, catalog().staging());
    if (area->IsTaken(key)) return arrow::Status::AlreadyExists("object '", key, "' already exists");
    return area->NewDraft();
  }
  arrow::Result<std::string> Publish(StagingArea::Draft* draft, const std::string& key) {
    ARROW_RETURN_NOT_OK(draft->PublishObject(key));
    ARROW_ASSIGN_OR_RAISE(const auto area, catalog().staging());
    return FileUrl(area->ObjectPath(key));
  }
  arrow::Result<EntryPtr> Dataset(EntryId id) {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    return catalog().state()->GetDataset(id);
  }

  const std::shared_ptr<EmbeddedCatalog> shared_;
  const std::shared_ptr<void> keep_alive_;
};

}  // namespace

arrow::Status EmbeddedCatalog::CheckOpen() const {
  return is_closed.load() ? arrow::Status::Cancelled("the server at ", url, " is closed") : arrow::Status::OK();
}

std::shared_ptr<Connection> MakeEmbeddedConnection(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive) {
  return std::make_shared<EmbeddedConnection>(std::move(catalog), std::move(keep_alive));
}

}  // namespace rushes
