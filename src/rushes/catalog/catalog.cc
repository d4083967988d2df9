#include "rushes/catalog/catalog.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "rushes/catalog/entry_name.h"

namespace rushes {
namespace {

// Registrations that go on in the background, each with one thread; others wait for their turn.
constexpr int kJobThreads = 4;

constexpr char kRevisionMismatch[] = "rushes::RevisionMismatch";
class RevisionMismatchDetail : public arrow::StatusDetail {
 public:
  const char* type_id() const override { return kRevisionMismatch; }
  std::string ToString() const override { return "revision mismatch"; }
};

constexpr char kBusy[] = "rushes::Busy";
class BusyDetail : public arrow::StatusDetail {
 public:
  const char* type_id() const override { return kBusy; }
  std::string ToString() const override { return "being registered"; }
};

}  // namespace

Catalog::Catalog(std::unique_ptr<Journal> journal, TableSpaceOptions tables)
    : journal_(std::move(journal)), table_space_(std::move(tables)), jobs_(kJobThreads) {
  auto state = std::make_shared<CatalogState>();
  auto entries = std::make_shared<Entry>();
  {
    MutexLock lock(write_mutex_);
    const int64_t now_ns = NowNs();
    entries->entry = {Tuid::New(), kEntriesTableName, EntryKind::kTable, now_ns, now_ns};
  }
  state->Put(std::move(entries));
  MutexLock lock(state_mutex_);
  state_ = std::move(state);
}

Catalog::~Catalog() {
  std::vector<std::string> open;
  for (const TaskInfo& task : tasks_.QueryAll()) {
    if (task.state == TaskState::kPending || task.state == TaskState::kRunning) open.push_back(task.id);
  }
  tasks_.Cancel(open);
}

std::shared_ptr<const CatalogState> Catalog::state() const {
  MutexLock lock(state_mutex_);
  return state_;
}

int64_t Catalog::NowNs() {
  const int64_t now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  last_time_ns_ = std::max(last_time_ns_ + 1, now_ns);
  return last_time_ns_;
}

arrow::Status Catalog::Commit(const Edit& edit) {
  MutexLock lock(write_mutex_);
  auto next = std::make_shared<CatalogState>(*state());
  CatalogChange change;
  ARROW_RETURN_NOT_OK(edit(next.get(), &change));
  ARROW_RETURN_NOT_OK(journal_->Commit(change));
  std::shared_ptr<const CatalogState> old = std::move(next);
  {
    MutexLock state_lock(state_mutex_);
    state_.swap(old);
  }
  return arrow::Status::OK();  // the old state is freed here, outside the readers' lock
}

std::vector<EntryDetails> Catalog::FindEntries(const Filter& filter) const {
  const auto now = state();
  std::vector<EntryDetails> found;
  const auto consider = [&](const EntryPtr& entry) {
    if (!entry) return;
    if (filter.id && entry->entry.id != *filter.id) return;
    if (filter.name && entry->entry.name != *filter.name) return;
    if (filter.kinds && std::find(filter.kinds->begin(), filter.kinds->end(), entry->entry.kind) == filter.kinds->end()) return;
    found.push_back(entry->entry);
  };
  if (filter.id) {
    consider(now->Find(*filter.id));
  } else if (filter.name) {
    consider(now->Find(*filter.name));
  } else {
    for (const auto& [id, entry] : now->entries()) consider(entry);
  }
  return found;
}

arrow::Result<EntryPtr> Catalog::CreateDataset(const std::string& name, std::optional<EntryId> wanted_id) {
  ARROW_RETURN_NOT_OK(ValidateEntryName(name));
  const EntryId id = wanted_id.value_or(Tuid::New());
  EntryPtr created;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    if (next->Find(id)) return arrow::Status::AlreadyExists("Entry id '", EntryIdText(id), "' already exists");
    for (const std::string& taken : {name, BlueprintDatasetName(id), AssetDatasetName(id)}) {
      if (next->Find(taken)) return arrow::Status::AlreadyExists("Entry name '", taken, "' already exists");
    }
    const int64_t now_ns = NowNs();
    auto blueprints = MakeDatasetEntry(Tuid::New(), BlueprintDatasetName(id), EntryKind::kBlueprintDataset, now_ns);
    auto assets = MakeDatasetEntry(Tuid::New(), AssetDatasetName(id), EntryKind::kAssetDataset, now_ns);
    auto dataset = MakeDatasetEntry(id, name, EntryKind::kDataset, now_ns);
    dataset->details.blueprint_dataset = blueprints->entry.id;
    dataset->details.asset_dataset = assets->entry.id;
    created = dataset;
    for (EntryPtr entry : {EntryPtr(blueprints), EntryPtr(assets), created}) {
      change->put_entries.push_back(entry);
      next->Put(std::move(entry));
    }
    return arrow::Status::OK();
  }));
  Notify({true, id});
  return created;
}

arrow::Result<EntryPtr> Catalog::UpdateDataset(EntryId id, DatasetDetails details,
                                               std::optional<std::string> default_segment_table_blueprint) {
  EntryPtr updated;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    if ((details.default_blueprint_segment || default_segment_table_blueprint) && !details.blueprint_dataset) {
      return arrow::Status::Invalid("default dataset blueprint requires a blueprint dataset");
    }
    if (details.blueprint_dataset) {
      const EntryPtr blueprints = next->Find(*details.blueprint_dataset);
      if (!blueprints) {
        return arrow::Status::Invalid("dataset blueprint dataset does not exist: '", EntryIdText(*details.blueprint_dataset), "'");
      }
      if (blueprints->entry.kind != EntryKind::kBlueprintDataset) {
        return arrow::Status::Invalid("dataset blueprint dataset '", blueprints->entry.name, "' is not a blueprint dataset");
      }
    }
    ARROW_ASSIGN_OR_RAISE(const EntryPtr old, next->GetDataset(id));
    const int64_t now_ns = NowNs();
    const auto& stored = old->details.asset_dataset;
    if (!details.asset_dataset || details.asset_dataset == stored) {
      details.asset_dataset = stored;
      if (old->entry.kind == EntryKind::kDataset && (!stored || !next->Find(*stored))) {
        std::string name = AssetDatasetName(id);
        if (next->Find(name)) return arrow::Status::AlreadyExists("Entry name '", name, "' already exists");
        EntryPtr assets = MakeDatasetEntry(Tuid::New(), std::move(name), EntryKind::kAssetDataset, now_ns);
        details.asset_dataset = assets->entry.id;
        change->put_entries.push_back(assets);
        next->Put(std::move(assets));
      }
    } else {
      const EntryPtr assets = next->Find(*details.asset_dataset);
      if (!assets || assets->entry.kind != EntryKind::kAssetDataset) {
        return arrow::Status::Invalid("asset dataset '", EntryIdText(*details.asset_dataset),
                                      assets ? "' is not an asset dataset" : "' does not exist");
      }
    }
    const auto same = [&] {
      const DatasetDetails& d = old->details;
      return d.blueprint_dataset == details.blueprint_dataset && d.default_blueprint_segment == details.default_blueprint_segment &&
             d.asset_dataset == details.asset_dataset && d.default_asset_segments == details.default_asset_segments &&
             old->default_segment_table_blueprint == default_segment_table_blueprint;
    };
    updated = old;
    if (same()) return arrow::Status::OK();
    auto entry = std::make_shared<Entry>(*old);
    entry->details = details;
    entry->default_segment_table_blueprint = default_segment_table_blueprint;
    entry->entry.updated_at_ns = now_ns;
    updated = entry;
    change->put_entries.push_back(updated);
    next->Put(updated);
    return arrow::Status::OK();
  }));
  return updated;
}

arrow::Result<EntryPtr> Catalog::Rename(EntryId id, const std::string& name) {
  ARROW_RETURN_NOT_OK(ValidateEntryName(name));
  EntryPtr renamed;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    const EntryPtr old = next->Find(id);
    if (!old) return arrow::Status::KeyError("Entry id '", EntryIdText(id), "' not found");
    renamed = old;
    if (old->entry.name == name) return arrow::Status::OK();
    if (old->entry.name == kEntriesTableName) {
      return arrow::Status::Invalid("the system table '", kEntriesTableName, "' cannot be renamed");
    }
    if (next->Find(name)) return arrow::Status::AlreadyExists("Entry name '", name, "' already exists");
    auto entry = std::make_shared<Entry>(*old);
    entry->entry.name = name;
    entry->entry.updated_at_ns = NowNs();
    renamed = entry;
    change->put_entries.push_back(renamed);
    next->Put(renamed);
    return arrow::Status::OK();
  }));
  return renamed;
}

arrow::Status Catalog::Delete(EntryId id) {
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) -> arrow::Status {
    const EntryPtr entry = next->Find(id);
    if (!entry) return arrow::Status::KeyError("Entry id '", EntryIdText(id), "' not found");
    if (entry->entry.name == kEntriesTableName) {
      return arrow::Status::Invalid("the system table '", kEntriesTableName, "' cannot be deleted");
    }
    std::vector<EntryId> ids = {id};
    if (entry->entry.kind == EntryKind::kDataset || entry->entry.kind == EntryKind::kTable) {
      // Companions of this entry, wherever its details point now; what is gone already is gone.
      for (const auto& companion : {entry->details.blueprint_dataset, entry->details.asset_dataset}) {
        if (!companion) continue;
        const EntryPtr owned = next->Find(*companion);
        if (owned && (owned->entry.name == BlueprintDatasetName(id) || owned->entry.name == AssetDatasetName(id))) {
          ids.push_back(*companion);
        }
      }
    }
    for (const EntryId& gone : ids) {
      change->erased_entries.push_back(gone);
      next->Erase(gone);
    }
    return arrow::Status::OK();
  }));
  Notify({false, id});
  return arrow::Status::OK();
}

arrow::Result<std::vector<LayerPtr>> Catalog::Unregister(EntryId dataset, const std::vector<std::string>& segments,
                                                         const std::vector<std::string>& layers, bool force) {
  ARROW_RETURN_NOT_OK(state()->GetDataset(dataset));
  if (segments.empty() && layers.empty()) {
    return arrow::Status::Invalid("must specify at least 1 segment ID or layer for removal");
  }
  for (const std::string& layer : layers) {
    if (layer.empty()) return arrow::Status::Invalid("Invalid layer name: must not be empty");
  }
  if (const auto pending = tasks_.FindOpen(dataset, segments, layers); !pending.empty()) {
    if (!force) {
      return arrow::Status(arrow::StatusCode::Invalid,
                           "what is to be removed is being registered (task " + pending.front() +
                               "): wait for the registration, cancel it, or remove with force",
                           std::make_shared<BusyDetail>());
    }
    tasks_.Cancel(pending);
  }
  const std::set<std::string_view> drop_segments(segments.begin(), segments.end());
  const std::set<std::string_view> drop_layers(layers.begin(), layers.end());
  std::vector<LayerPtr> removed;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    removed.clear();
    ARROW_ASSIGN_OR_RAISE(const EntryPtr old, next->GetDataset(dataset));
    DatasetContent::Segments kept = old->content->segments();
    for (auto it = kept.begin(); it != kept.end();) {
      if (!drop_segments.empty() && !drop_segments.contains(it->first)) {
        ++it;
        continue;
      }
      std::vector<LayerPtr> left;
      for (const LayerPtr& layer : it->second->layers) {
        if (!drop_layers.empty() && !drop_layers.contains(layer->name)) {
          left.push_back(layer);
        } else {
          removed.push_back(layer);
          change->erased_layers.push_back({dataset, layer->segment_id, layer->name});
        }
      }
      if (left.empty()) {
        it = kept.erase(it);
        continue;
      }
      if (left.size() < it->second->layers.size()) {
        ARROW_ASSIGN_OR_RAISE(it->second, MakeSegment(it->first, std::move(left)));
      }
      ++it;
    }
    if (removed.empty()) return arrow::Status::OK();
    auto entry = std::make_shared<Entry>(*old);
    ARROW_ASSIGN_OR_RAISE(entry->content, DatasetContent::Make(std::move(kept)));
    entry->entry.updated_at_ns = NowNs();
    entry->revision = static_cast<uint64_t>(entry->entry.updated_at_ns);
    change->put_entries.push_back(entry);
    next->Put(std::move(entry));
    return arrow::Status::OK();
  }));
  return removed;
}

bool Catalog::IsBusy(const arrow::Status& status) { return status.detail() && std::string_view(status.detail()->type_id()) == kBusy; }

arrow::Result<std::shared_ptr<StagingArea>> Catalog::staging() {
  if (auto area = OpenedStaging()) return area;
  StagingOptions options;
  {
    MutexLock lock(staging_mutex_);
    options = staging_options_;
  }
  auto made = StagingArea::Open(options);
  MutexLock lock(staging_mutex_);
  // Another thread may have been faster; its area is the one.
  if (!staging_ && made.ok()) staging_ = *made;
  return staging_ ? staging_ : made;
}

std::shared_ptr<StagingArea> Catalog::OpenedStaging() const {
  MutexLock lock(staging_mutex_);
  return staging_;
}

void Catalog::SetStagingOptions(StagingOptions options) {
  MutexLock lock(staging_mutex_);
  staging_options_ = std::move(options);
}

std::vector<std::string> Catalog::ListFilesInUse() const {
  std::vector<LayerPtr> layers;
  {
    MutexLock lock(layers_mutex_);
    for (const auto& [id, weak] : layers_) {
      if (LayerPtr layer = weak.lock()) layers.push_back(std::move(layer));
    }
  }
  std::vector<std::string> paths;
  for (const LayerPtr& layer : layers) paths.push_back(layer->store->source().name());
  return paths;
}

bool Catalog::IsRevisionMismatch(const arrow::Status& status) {
  return status.detail() && std::string_view(status.detail()->type_id()) == kRevisionMismatch;
}

arrow::Result<uint64_t> Catalog::SetProperties(EntryId dataset, const std::string& segment_id, std::shared_ptr<arrow::RecordBatch> row,
                                               std::optional<uint64_t> expected_revision) {
  if (row->num_rows() != 1) return arrow::Status::Invalid("segment properties must be exactly one row, got ", row->num_rows());
  uint64_t revision = 0;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr old, next->GetDataset(dataset));
    const auto it = old->properties.find(segment_id);
    const uint64_t present = it == old->properties.end() ? 0 : it->second.revision;
    if (expected_revision && *expected_revision != present) {
      return arrow::Status(arrow::StatusCode::Invalid,
                           "the properties of segment '" + segment_id + "' are at revision " + std::to_string(present) + ", not " +
                               std::to_string(*expected_revision),
                           std::make_shared<RevisionMismatchDetail>());
    }
    revision = static_cast<uint64_t>(NowNs());  // grows with every change of the catalog, so never used twice
    auto entry = std::make_shared<Entry>(*old);
    entry->properties[segment_id] = {row, revision};
    change->put_properties.push_back({dataset, segment_id, {row, revision}});
    next->Put(std::move(entry));
    return arrow::Status::OK();
  }));
  return revision;
}

arrow::Status Catalog::DeleteProperties(EntryId dataset, const std::vector<PropertiesDeletion>& deletions) {
  return Commit([&](CatalogState* next, CatalogChange* change) -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr old, next->GetDataset(dataset));
    auto entry = std::make_shared<Entry>(*old);
    for (const PropertiesDeletion& deletion : deletions) {
      const auto it = entry->properties.find(deletion.segment_id);
      if (it == entry->properties.end()) continue;
      if (deletion.expected_revision && *deletion.expected_revision != it->second.revision) continue;
      entry->properties.erase(it);
      change->put_properties.push_back({dataset, deletion.segment_id, {}});
    }
    next->Put(std::move(entry));
    return arrow::Status::OK();
  });
}

std::shared_ptr<void> Catalog::Subscribe(std::function<void(const CatalogEvent&)> listener) {
  auto handle = std::make_shared<std::function<void(const CatalogEvent&)>>(std::move(listener));
  MutexLock lock(listeners_mutex_);
  std::erase_if(listeners_, [](const auto& weak) { return weak.expired(); });
  listeners_.push_back(handle);
  return handle;
}

void Catalog::Notify(const CatalogEvent& event) {
  std::vector<std::shared_ptr<std::function<void(const CatalogEvent&)>>> listeners;
  {
    MutexLock lock(listeners_mutex_);
    for (const auto& weak : listeners_) {
      if (auto listener = weak.lock()) listeners.push_back(std::move(listener));
    }
  }
  for (const auto& listener : listeners) (*listener)(event);
}

}  // namespace rushes
