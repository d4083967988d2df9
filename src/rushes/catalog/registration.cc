// Catalog::Register: from files to layers.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "arrow/util/parallel.h"
#include "rushes/catalog/catalog.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/source_url.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace {

// The task of everything that went well at once.
constexpr char kDoneTask[] = "task_0000000000000000";

constexpr size_t kMaxAssetRows = 12;
constexpr uint64_t kMaxAssetBytes = uint64_t{300} << 20;
constexpr uint64_t kMaxBlueprintBytes = uint64_t{25} << 20;

arrow::Result<Recording> OpenSource(const SourceFile& file, bool accept_damaged) {
  std::error_code error;
  const auto status = std::filesystem::status(file.path, error);
  if (!std::filesystem::exists(status)) return arrow::Status::KeyError("RRD file not found, '", file.path, "'");
  if (std::filesystem::is_directory(status)) {
    return arrow::Status::KeyError("RRD file not found, '", file.path,
                                   "' is a directory; register it as a prefix to take all recordings below it");
  }
  auto recording = OpenRecording(file.path);
  if (!recording.ok()) {
    const arrow::Status& why = recording.status();
    return why.IsInvalid() ? why.WithMessage("Failed to enumerate RRD stores: ", why.message()) : why;
  }
  if (!recording->warnings.empty() && !accept_damaged) {
    std::string text;
    for (const std::string& warning : recording->warnings) text += "\n- " + warning;
    return arrow::Status::Invalid("Failed to enumerate RRD stores: the recording is damaged", text);
  }
  for (const std::string& warning : recording->warnings) spdlog::warn("{}", warning);
  // What is wrong inside a store harms single columns or chunks; queries of those say so again.
  for (const RecordingStorePtr& store : recording->stores) {
    for (const std::string& warning : store->warnings()) {
      if (std::find(recording->warnings.begin(), recording->warnings.end(), warning) == recording->warnings.end())
        spdlog::warn("{}", warning);
    }
  }
  return recording;
}

arrow::Result<std::shared_ptr<Layer>> MakeLayer(const SourceFile& file, const RecordingStorePtr& store) {
  auto layer = std::make_shared<Layer>();
  layer->id = Tuid::New();
  layer->segment_id = store->id().recording_id;
  layer->name = file.layer;
  layer->url = file.url;
  layer->num_chunks = store->index()->num_chunks();
  layer->size_bytes = store->index()->size_bytes();
  layer->schema_sha256 = store->schema_sha256();
  layer->schema = store->schema();
  const SegmentIndex& index = *store->index();
  for (size_t i = 0; i < index.timelines().size(); ++i) {
    if (const auto span = index.TotalSpan(static_cast<int>(i))) {
      layer->ranges.push_back({index.timelines()[i], span->start, span->end});
    }
  }
  ARROW_ASSIGN_OR_RAISE(layer->properties, MakePropertyColumns(store->property_chunks()));
  layer->store = store;
  return layer;
}

// The next content of a dataset while rows are added to it.
class ContentBuilder {
 public:
  explicit ContentBuilder(const DatasetContent& content)
      : segments_(content.segments()), schema_(std::make_shared<DatasetSchema>(*content.schema())) {
    for (const auto& [id, segment] : segments_) {
      for (const LayerPtr& layer : segment->layers) {
        Count(*layer);
        ARROW_UNUSED(UniteProperties(*layer, &property_types_));  // they did when they were put
        ++num_rows_;
      }
    }
  }

  const Segment* FindSegment(const std::string& id) const {
    const auto it = segments_.find(id);
    return it == segments_.end() ? nullptr : it->second.get();
  }
  size_t num_rows() const { return num_rows_; }

  // Adds `layer`, in place of one of the same name. Invalid, changing nothing, if its schema does not fit those of the others.
  arrow::Status Put(const LayerPtr& layer) {
    const Segment* old = FindSegment(layer->segment_id);
    const Layer* replaced = old ? old->FindLayer(layer->name) : nullptr;
    std::shared_ptr<DatasetSchema> schema;
    const bool shrinks = replaced && schemas_.at(replaced->schema_sha256).second == 1;
    if (shrinks) {
      schema = std::make_shared<DatasetSchema>();
      for (const auto& [hash, known] : schemas_) {
        if (hash != replaced->schema_sha256) ARROW_RETURN_NOT_OK(schema->Merge(*known.first));
      }
      ARROW_RETURN_NOT_OK(schema->Merge(*layer->schema));
    } else if (!schemas_.contains(layer->schema_sha256)) {
      schema = std::make_shared<DatasetSchema>(*schema_);
      ARROW_RETURN_NOT_OK(schema->Merge(*layer->schema));
    }
    // Their columns have shorter names than the components, so that two may become one.
    PropertyTypes property_types = property_types_;
    if (replaced && !replaced->properties.empty()) {
      property_types.clear();
      for (const auto& [id, segment] : segments_) {
        for (const LayerPtr& other : segment->layers) {
          if (other.get() != replaced) ARROW_RETURN_NOT_OK(UniteProperties(*other, &property_types));
        }
      }
    }
    ARROW_RETURN_NOT_OK(UniteProperties(*layer, &property_types));
    std::vector<LayerPtr> layers;
    if (old) {
      for (const LayerPtr& other : old->layers) {
        if (other.get() != replaced) layers.push_back(other);
      }
    }
    layers.push_back(layer);
    ARROW_ASSIGN_OR_RAISE(auto segment, MakeSegment(layer->segment_id, std::move(layers)));
    if (replaced) {
      const auto it = schemas_.find(replaced->schema_sha256);
      if (--it->second.second == 0) schemas_.erase(it);
    } else {
      ++num_rows_;
    }
    Count(*layer);
    property_types_ = std::move(property_types);
    if (schema) schema_ = std::move(schema);
    segments_[layer->segment_id] = std::move(segment);
    return arrow::Status::OK();
  }

  std::shared_ptr<const DatasetContent> Finish() {
    return std::make_shared<const DatasetContent>(std::move(segments_), std::move(schema_));
  }

 private:
  using PropertyTypes = std::map<std::string, std::shared_ptr<arrow::DataType>>;

  static arrow::Status UniteProperties(const Layer& layer, PropertyTypes* types) {
    for (const PropertyColumn& column : layer.properties) {
      auto& type = (*types)[column.field->name()];
      if (type == nullptr || type->Equals(*column.field->type())) {
        type = column.field->type();
        continue;
      }
      auto united = UniteTypes(type, column.field->type());
      if (!united.ok()) return united.status().WithMessage("column ", column.field->name(), ": ", united.status().message());
      type = *united;
    }
    return arrow::Status::OK();
  }

  void Count(const Layer& layer) {
    auto& known = schemas_[layer.schema_sha256];
    known.first = layer.schema;
    ++known.second;
  }

  DatasetContent::Segments segments_;
  std::shared_ptr<DatasetSchema> schema_;
  // Distinct schemas of the layers, by hash, and how many layers have each.
  std::map<std::string, std::pair<std::shared_ptr<const DatasetSchema>, int>> schemas_;
  PropertyTypes property_types_;  // of the metadata tables' property columns
  size_t num_rows_ = 0;
};

// What the dataset's kind does not allow; Invalid says why.
arrow::Status CheckLimits(EntryKind kind, const ContentBuilder& content, const Layer& layer) {
  if (kind != EntryKind::kAssetDataset && kind != EntryKind::kBlueprintDataset) return arrow::Status::OK();
  const Segment* segment = content.FindSegment(layer.segment_id);
  uint64_t bytes = layer.size_bytes;
  if (segment) {
    for (const LayerPtr& other : segment->layers) {
      if (other->name != layer.name) bytes += other->size_bytes;
    }
  }
  if (kind == EntryKind::kBlueprintDataset) {
    if (bytes > kMaxBlueprintBytes) {
      return arrow::Status::Invalid("the segment would have ", bytes, " bytes, more than the ", kMaxBlueprintBytes,
                                    "-byte limit for blueprint datasets");
    }
    return arrow::Status::OK();
  }
  const bool is_new = !segment || !segment->FindLayer(layer.name);
  if (is_new && content.num_rows() + 1 > kMaxAssetRows) {
    return arrow::Status::Invalid("the asset dataset has ", content.num_rows(), " rows; another one would exceed the limit of ",
                                  kMaxAssetRows);
  }
  if (!layer.ranges.empty()) return arrow::Status::Invalid("asset datasets only accept static chunks");
  if (bytes > kMaxAssetBytes) {
    return arrow::Status::Invalid("the segment would have ", bytes, " bytes, more than the ", kMaxAssetBytes,
                                  "-byte limit for asset datasets");
  }
  return arrow::Status::OK();
}

std::string Failure(const Layer& layer, const std::string& reason) {
  return "Registration failed for the segments/layers listed below.\n- Segment \"" + layer.segment_id + "\", layer \"" + layer.name +
         "\": " + reason;
}

}  // namespace

arrow::Result<std::vector<RegisteredSource>> Catalog::Register(EntryId dataset, const std::vector<DataSource>& sources,
                                                               IfDuplicate on_duplicate, bool accept_damaged) {
  ARROW_ASSIGN_OR_RAISE(const std::vector<SourceFile> files, ResolveSources(sources));
  if (files.empty()) return arrow::Status::Invalid("no data sources to register");
  ARROW_ASSIGN_OR_RAISE(const EntryPtr target, state()->GetDataset(dataset));
  const StoreKind kind = target->entry.kind == EntryKind::kBlueprintDataset ? StoreKind::kBlueprint : StoreKind::kRecording;

  // Read everything before anything is changed.
  std::vector<std::vector<std::shared_ptr<Layer>>> opened(files.size());
  std::vector<arrow::Status> errors(files.size());
  ARROW_RETURN_NOT_OK(arrow::internal::OptionalParallelFor(files.size() > 1, static_cast<int>(files.size()), [&](int i) {
    const auto open = [&]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const Recording recording, OpenSource(files[i], accept_damaged));
      for (const RecordingStorePtr& store : recording.stores) {
        // A store that is announced but holds no chunk is no segment.
        if (store->id().kind != kind || store->index()->num_chunks() == 0) continue;
        ARROW_ASSIGN_OR_RAISE(auto layer, MakeLayer(files[i], store));
        opened[i].push_back(std::move(layer));
      }
      return arrow::Status::OK();
    };
    errors[i] = open();
    return arrow::Status::OK();
  }));
  for (const arrow::Status& error : errors) ARROW_RETURN_NOT_OK(error);

  std::vector<std::shared_ptr<Layer>> layers;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> urls;
  for (const auto& of_file : opened) {
    for (const auto& layer : of_file) {
      urls[{layer->segment_id, layer->name}].push_back(layer->url);
      layers.push_back(layer);
    }
  }
  std::string duplicates;
  for (const auto& [key, where] : urls) {
    if (where.size() < 2) continue;
    duplicates += "\n- segment id: " + key.first + ", layer name: " + key.second;
    for (const std::string& url : where) duplicates += "\n    " + url;
  }
  if (!duplicates.empty()) return arrow::Status::Invalid("duplicate segment layers in request:", duplicates);

  std::vector<RegisteredSource> rows;
  std::vector<std::pair<size_t, std::string>> failures;  // row, message
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr old, next->GetDataset(dataset));
    ContentBuilder content(*old->content);
    for (const auto& layer : layers) {
      const auto fail = [&](const std::string& reason) { failures.emplace_back(rows.size(), Failure(*layer, reason)); };
      const Segment* segment = content.FindSegment(layer->segment_id);
      const bool exists = segment && segment->FindLayer(layer->name);
      if (exists && on_duplicate == IfDuplicate::kError) {
        fail("already exists");
      } else if (!exists || on_duplicate == IfDuplicate::kOverwrite) {
        layer->registered_at_ns = layer->updated_at_ns = NowNs();
        if (const arrow::Status limits = CheckLimits(old->entry.kind, content, *layer); !limits.ok()) {
          fail(limits.message());
        } else if (const arrow::Status fits = content.Put(layer); !fits.ok()) {
          fail("schema incompatibility on segment '" + layer->segment_id + "', layer '" + layer->name + "': " + fits.message());
        } else {
          change->put_layers.push_back({dataset, layer});
        }
      }
      rows.push_back({layer->segment_id, layer->name, layer->url, kDoneTask});
    }
    if (change->put_layers.empty()) return arrow::Status::OK();
    auto entry = std::make_shared<Entry>(*old);
    entry->content = content.Finish();
    entry->entry.updated_at_ns = NowNs();
    change->put_entries.push_back(entry);
    next->Put(std::move(entry));
    for (const auto& put : change->put_layers) RememberLayer(put.layer);
    return arrow::Status::OK();
  }));
  for (const auto& [row, message] : failures) rows[row].task_id = FailTask(message);
  return rows;
}

void Catalog::RememberLayer(const LayerPtr& layer) {
  MutexLock lock(layers_mutex_);
  layers_[layer->id] = layer;
  if (layers_.size() > layers_purge_at_) {
    std::erase_if(layers_, [](const auto& item) { return item.second.expired(); });
    layers_purge_at_ = 2 * layers_.size() + 1024;
  }
}

LayerPtr Catalog::FindLayer(const Tuid& layer_id) const {
  MutexLock lock(layers_mutex_);
  const auto it = layers_.find(layer_id);
  return it == layers_.end() ? nullptr : it->second.lock();
}

}  // namespace rushes
