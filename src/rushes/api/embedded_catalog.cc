#include "rushes/api/embedded_catalog.h"

#include <set>

#include "arrow/array/builder_binary.h"
#include "arrow/table.h"
#include "rushes/client/table_batches.h"

namespace rushes {
namespace {

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

class EmbeddedConnection final : public Connection {
 public:
  EmbeddedConnection(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive)
      : shared_(std::move(catalog)), keep_alive_(std::move(keep_alive)) {}

  std::string url() const override { return shared_->url; }
  bool is_local() const override { return true; }

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
    return catalog().Register(dataset, sources, on_duplicate);
  }

  arrow::Result<std::shared_ptr<arrow::Table>> Unregister(EntryId dataset, const std::vector<std::string>& segments,
                                                          const std::vector<std::string>& layers, bool /*force*/) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const auto removed, catalog().Unregister(dataset, segments, layers));
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

  arrow::Status WaitForTasks(const std::vector<std::string>& task_ids, double /*timeout_s*/,
                             const std::function<arrow::Status(const TaskInfo&)>& on_task) override {
    // Registrations are done when Register returns.
    ARROW_ASSIGN_OR_RAISE(const auto tasks, QueryTasks(task_ids));
    for (const TaskInfo& task : tasks) ARROW_RETURN_NOT_OK(on_task(task));
    return arrow::Status::OK();
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

 private:
  Catalog& catalog() { return *shared_->catalog; }
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
