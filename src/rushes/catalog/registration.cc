// Catalog::Register: from files to layers.
//
// Files with a footer, and small ones, are opened before the request is answered. Of the others only the stores are listed, which gives
// the rows of the answer; a job in the background reads them, while the request waits for it as long as it may. All rows of a request are
// added in one change at its end, so that a request that is given up leaves nothing behind.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "arrow/util/parallel.h"
#include "rushes/catalog/catalog.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/source_url.h"
#include "rushes/store/list_stores.h"
#include "spdlog/spdlog.h"

namespace rushes {

struct RegistrationRow {
  RegisteredSource answer;       // its task id is empty while nobody was told of the row
  std::shared_ptr<Layer> layer;  // null: it could not be read
  std::string failure;           // why it was not added
};

namespace {

constexpr char kTaskKind[] = "register";
// How often a request that waits looks whether its client is still there.
constexpr auto kPollInterval = std::chrono::milliseconds(50);

constexpr size_t kMaxAssetRows = 12;
constexpr uint64_t kMaxAssetBytes = uint64_t{300} << 20;
constexpr uint64_t kMaxBlueprintBytes = uint64_t{25} << 20;

// Bytes that nobody gets any more once the work they are for was given up.
class CancellableSource final : public ByteSource {
 public:
  CancellableSource(ByteSourcePtr source, std::shared_ptr<const std::atomic<bool>> is_cancelled)
      : ByteSource(source->name(), source->stamp(), source->is_local()),
        source_(std::move(source)),
        is_cancelled_(std::move(is_cancelled)) {}

 protected:
  arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> DoRead(const std::vector<ByteRange>& ranges) const override {
    if (*is_cancelled_) return arrow::Status::IOError("reading ", name(), " was cancelled");
    return source_->ReadRanges(ranges);
  }

 private:
  const ByteSourcePtr source_;
  const std::shared_ptr<const std::atomic<bool>> is_cancelled_;
};

arrow::Result<ByteSourcePtr> FindSource(const SourceFile& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file.path, error);
  if (!std::filesystem::exists(status)) return arrow::Status::KeyError("RRD file not found, '", file.path, "'");
  if (std::filesystem::is_directory(status)) {
    return arrow::Status::KeyError("RRD file not found, '", file.path,
                                   "' is a directory; register it as a prefix to take all recordings below it");
  }
  return OpenByteSource(file.path);
}

arrow::Status InRrd(const arrow::Status& status) {
  return status.IsInvalid() ? status.WithMessage("Failed to enumerate RRD stores: ", status.message()) : status;
}

arrow::Result<Recording> OpenSource(ByteSourcePtr source, bool accept_damaged) {
  auto recording = OpenRecording(std::move(source));
  if (!recording.ok()) return InRrd(recording.status());
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
  layer->arrow_schema = store->arrow_schema();
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

// One file of a request.
struct RegisteredFile {
  SourceFile place;
  ByteSourcePtr source;
  bool is_slow = false;
  std::vector<ListedStore> listed;             // if it is slow
  std::vector<std::shared_ptr<Layer>> layers;  // once it is read
  arrow::Status error;
  size_t first_row = 0;
  size_t num_rows = 0;
  std::shared_ptr<std::atomic<bool>> is_cancelled = std::make_shared<std::atomic<bool>>(false);
};

// What a request and the job that finishes it share.
struct RegistrationWork {
  EntryId dataset;
  StoreKind kind = StoreKind::kRecording;
  IfDuplicate on_duplicate = IfDuplicate::kError;
  bool accept_damaged = false;
  std::vector<RegisteredFile> files;
  std::vector<RegistrationRow> rows;
  std::shared_ptr<void> hold;  // on files of the staging area

  Mutex mutex;
  CondVar changed;
  bool is_answered RUSHES_GUARDED_BY(mutex) = false;  // the client has the ids of the tasks
  bool is_done RUSHES_GUARDED_BY(mutex) = false;
  arrow::Status status RUSHES_GUARDED_BY(mutex);  // why nothing was registered
};

arrow::Status ReadLayers(RegisteredFile* file, StoreKind kind, bool accept_damaged) {
  ARROW_ASSIGN_OR_RAISE(const Recording recording, OpenSource(file->source, accept_damaged));
  for (const RecordingStorePtr& store : recording.stores) {
    // A store that is announced but holds no chunk is no segment.
    if (store->id().kind != kind || store->index()->num_chunks() == 0) continue;
    ARROW_ASSIGN_OR_RAISE(auto layer, MakeLayer(file->place, store));
    file->layers.push_back(std::move(layer));
  }
  return arrow::Status::OK();
}

arrow::Status Probe(RegisteredFile* file, StoreKind kind, bool accept_damaged) {
  ARROW_ASSIGN_OR_RAISE(auto source, FindSource(file->place));
  file->source = std::make_shared<CancellableSource>(std::move(source), file->is_cancelled);
  ARROW_ASSIGN_OR_RAISE(file->is_slow, IsSlowToOpen(*file->source));
  if (!file->is_slow) return ReadLayers(file, kind, accept_damaged);
  auto listed = ListStores(file->source, accept_damaged);
  if (!listed.ok()) return InRrd(listed.status());
  std::erase_if(*listed, [kind](const ListedStore& store) { return store.kind != kind; });
  file->listed = std::move(*listed);
  return arrow::Status::OK();
}

// For all files at once; each keeps its error.
void ForEachFile(std::vector<RegisteredFile>* files, const std::function<arrow::Status(RegisteredFile*)>& work) {
  ARROW_UNUSED(arrow::internal::OptionalParallelFor(files->size() > 1, static_cast<int>(files->size()), [&](int i) {
    RegisteredFile& file = (*files)[static_cast<size_t>(i)];
    if (file.error.ok()) file.error = work(&file);
    return arrow::Status::OK();
  }));
}

void AddRow(const RegisteredFile& file, std::string segment_id, std::shared_ptr<Layer> layer, std::vector<RegistrationRow>* rows) {
  RegistrationRow row;
  row.answer = {std::move(segment_id), file.place.layer, file.place.url, ""};
  row.layer = std::move(layer);
  rows->push_back(std::move(row));
}

// Invalid if a (segment, layer) is there twice.
arrow::Status CheckDistinct(const std::vector<RegistrationRow>& rows) {
  std::map<std::pair<std::string_view, std::string_view>, std::vector<std::string_view>> urls;
  for (const auto& row : rows) urls[{row.answer.segment_id, row.answer.layer}].push_back(row.answer.url);
  std::string duplicates;
  for (const auto& [key, where] : urls) {
    if (where.size() < 2) continue;
    duplicates.append("\n- segment id: ").append(key.first).append(", layer name: ").append(key.second);
    for (const std::string_view url : where) duplicates.append("\n    ").append(url);
  }
  if (duplicates.empty()) return arrow::Status::OK();
  return arrow::Status::Invalid("duplicate segment layers in request:", duplicates);
}

std::string Failure(const RegistrationRow& row) {
  return "Registration failed for the segments/layers listed below.\n- Segment \"" + row.answer.segment_id + "\", layer \"" +
         row.answer.layer + "\": " + row.failure;
}

std::vector<RegisteredSource> Answers(const std::vector<RegistrationRow>& rows) {
  std::vector<RegisteredSource> answers;
  answers.reserve(rows.size());
  for (const RegistrationRow& row : rows) answers.push_back(row.answer);
  return answers;
}

arrow::Status GivenUp() { return arrow::Status::Cancelled("the registration was given up; nothing was registered"); }

// Reads the slow files of a request; what came of it is in their rows.
void ReadSlowFiles(RegistrationWork* work, TaskList* tasks) {
  ForEachFile(&work->files, [&](RegisteredFile* file) -> arrow::Status {
    if (!file->is_slow) return arrow::Status::OK();
    for (size_t i = 0; i < file->num_rows; ++i) tasks->Start(work->rows[file->first_row + i].answer.task_id);
    return ReadLayers(file, work->kind, work->accept_damaged);
  });
  for (RegisteredFile& file : work->files) {
    if (!file.is_slow) continue;
    for (size_t i = file.first_row; i < file.first_row + file.num_rows; ++i) {
      RegistrationRow& row = work->rows[i];
      for (auto& layer : file.layers) {
        if (layer && layer->segment_id == row.answer.segment_id) row.layer = std::move(layer);
      }
      if (!row.layer) row.failure = file.error.ok() ? "the recording holds no data" : file.error.message();
    }
  }
}

}  // namespace

arrow::Result<std::vector<RegisteredSource>> Catalog::Register(EntryId dataset, const std::vector<DataSource>& sources,
                                                               IfDuplicate on_duplicate, const RegisterOptions& options) {
  ARROW_ASSIGN_OR_RAISE(std::vector<SourceFile> files, ResolveSources(sources));
  if (files.empty()) return arrow::Status::Invalid("no data sources to register");
  ARROW_ASSIGN_OR_RAISE(const EntryPtr target, state()->GetDataset(dataset));
  auto work = std::make_shared<RegistrationWork>();
  work->dataset = dataset;
  work->kind = target->entry.kind == EntryKind::kBlueprintDataset ? StoreKind::kBlueprint : StoreKind::kRecording;
  work->on_duplicate = on_duplicate;
  work->accept_damaged = options.accept_damaged;
  if (const auto area = OpenedStaging()) {
    std::vector<std::string> paths;
    for (const SourceFile& file : files) paths.push_back(file.path);
    ARROW_ASSIGN_OR_RAISE(work->hold, area->Hold(paths));
  }
  for (SourceFile& file : files) work->files.emplace_back().place = std::move(file);

  // Everything is looked at before anything is changed.
  const auto is_cancelled = [&options] { return options.is_cancelled && options.is_cancelled(); };
  ForEachFile(&work->files,
              [&](RegisteredFile* file) { return is_cancelled() ? GivenUp() : Probe(file, work->kind, work->accept_damaged); });
  bool has_slow = false;
  for (RegisteredFile& file : work->files) {
    ARROW_RETURN_NOT_OK(file.error);
    file.first_row = work->rows.size();
    has_slow |= file.is_slow;
    for (const ListedStore& store : file.listed) AddRow(file, store.recording_id, nullptr, &work->rows);
    for (auto& layer : file.layers) {
      std::string id = layer->segment_id;
      AddRow(file, std::move(id), std::move(layer), &work->rows);
    }
    file.layers.clear();
    file.num_rows = work->rows.size() - file.first_row;
  }
  ARROW_RETURN_NOT_OK(CheckDistinct(work->rows));
  if (is_cancelled()) return GivenUp();
  if (!has_slow) {
    ARROW_ASSIGN_OR_RAISE(const uint64_t revision, CommitRows(dataset, on_duplicate, &work->rows));
    std::string success;
    for (RegistrationRow& row : work->rows) {
      if (!row.failure.empty()) {
        row.answer.task_id = tasks_.AddEnded(kTaskKind, {TaskState::kFailed, Failure(row), {}, 0});
        continue;
      }
      if (success.empty()) success = tasks_.AddEnded(kTaskKind, {TaskState::kSuccess, "", dataset, revision});
      row.answer.task_id = success;
    }
    return Answers(work->rows);
  }

  for (const RegisteredFile& file : work->files) {
    // The last row that is given up ends the reading.
    auto left = std::make_shared<std::atomic<size_t>>(file.num_rows);
    for (size_t i = file.first_row; i < file.first_row + file.num_rows; ++i) {
      RegisteredSource& answer = work->rows[i].answer;
      answer.task_id = tasks_.Add(kTaskKind, {dataset, answer.segment_id, answer.layer}, [left, flag = file.is_cancelled] {
        if (left->fetch_sub(1) == 1) *flag = true;
      });
    }
  }
  const std::vector<RegisteredSource> answers = Answers(work->rows);
  std::vector<std::string> task_ids;
  for (const RegisteredSource& answer : answers) task_ids.push_back(answer.task_id);

  jobs_.Submit([this, work] {
    ReadSlowFiles(work.get(), &tasks_);
    arrow::Status status;
    {
      MutexLock lock(work->mutex);
      if (!work->is_answered) {
        for (const RegisteredFile& file : work->files) {
          if (status.ok()) status = file.error;
        }
      }
    }
    uint64_t revision = 0;
    if (status.ok()) {
      const auto committed = CommitRows(work->dataset, work->on_duplicate, &work->rows);
      status = committed.status();
      revision = committed.ValueOr(0);
    }
    for (RegistrationRow& row : work->rows) {
      if (!status.ok()) row.failure = status.message();
      if (row.failure.empty()) {
        tasks_.End(row.answer.task_id, {TaskState::kSuccess, "", work->dataset, revision});
      } else {
        tasks_.End(row.answer.task_id, {TaskState::kFailed, Failure(row), {}, 0});
      }
    }
    MutexLock lock(work->mutex);
    work->status = status;
    work->is_done = true;
    work->hold.reset();
    work->changed.NotifyAll();
  });

  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                           std::chrono::duration<double>(options.wait_s < 0 ? 1e9 : std::min(options.wait_s, 1e9)));
  const auto is_done = [&]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return work->is_done; };
  for (;;) {
    if (is_cancelled()) {
      tasks_.Cancel(task_ids);
      return GivenUp();
    }
    {
      MutexLock lock(work->mutex);
      if (work->changed.WaitFor(lock, std::min<Clock::duration>(kPollInterval, deadline - Clock::now()), is_done)) {
        ARROW_RETURN_NOT_OK(work->status);
        return answers;
      }
      if (Clock::now() >= deadline) {
        work->is_answered = true;
        return answers;
      }
    }
  }
}

arrow::Result<uint64_t> Catalog::CommitRows(EntryId dataset, IfDuplicate on_duplicate, std::vector<RegistrationRow>* rows) {
  uint64_t revision = 0;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr old, next->GetDataset(dataset));
    revision = old->revision;
    ContentBuilder content(*old->content);
    for (RegistrationRow& row : *rows) {
      if (!row.answer.task_id.empty() && !tasks_.Claim(row.answer.task_id)) continue;  // cancelled
      if (!row.failure.empty()) continue;
      const auto& layer = row.layer;
      const Segment* segment = content.FindSegment(layer->segment_id);
      const bool exists = segment && segment->FindLayer(layer->name);
      if (exists && on_duplicate == IfDuplicate::kError) {
        row.failure = "already exists";
      } else if (!exists || on_duplicate == IfDuplicate::kOverwrite) {
        layer->registered_at_ns = layer->updated_at_ns = NowNs();
        if (const arrow::Status limits = CheckLimits(old->entry.kind, content, *layer); !limits.ok()) {
          row.failure = limits.message();
        } else if (const arrow::Status fits = content.Put(layer); !fits.ok()) {
          row.failure = "schema incompatibility on segment '" + layer->segment_id + "', layer '" + layer->name + "': " + fits.message();
        } else {
          change->put_layers.push_back({dataset, layer});
        }
      }
    }
    if (change->put_layers.empty()) return arrow::Status::OK();
    auto entry = std::make_shared<Entry>(*old);
    entry->content = content.Finish();
    entry->entry.updated_at_ns = NowNs();
    revision = entry->revision = static_cast<uint64_t>(entry->entry.updated_at_ns);
    change->put_entries.push_back(entry);
    next->Put(std::move(entry));
    for (const auto& put : change->put_layers) RememberLayer(put.layer);
    return arrow::Status::OK();
  }));
  return revision;
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
