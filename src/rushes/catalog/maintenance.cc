// Catalog::Maintain: layers of many small chunks are written anew into the staging area, and files there that nobody uses are removed.
// What users registered is read, never written.
#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "arrow/io/interfaces.h"
#include "rushes/catalog/catalog.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/compaction.h"

namespace rushes {
namespace {

// Uploads may be registered a while after they were made.
constexpr int64_t kRecentNs = int64_t{3600} * 1'000'000'000;
// What DoGlobalMaintenance, which has no arguments, takes for abandoned.
constexpr int64_t kAbandonedNs = int64_t{24} * 3600 * 1'000'000'000;

int64_t SystemNowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Writes into a draft.
class DraftStream final : public arrow::io::OutputStream {
 public:
  explicit DraftStream(StagingArea::Draft* draft) : draft_(draft) { set_mode(arrow::io::FileMode::WRITE); }
  using arrow::io::OutputStream::Write;
  arrow::Status Write(const void* data, int64_t size) override {
    return draft_->Append({static_cast<const char*>(data), static_cast<size_t>(size)});
  }
  arrow::Status Close() override {
    is_closed_ = true;
    return arrow::Status::OK();
  }
  arrow::Result<int64_t> Tell() const override { return draft_->size(); }
  bool closed() const override { return is_closed_; }

 private:
  StagingArea::Draft* const draft_;
  bool is_closed_ = false;
};

// It pays to write a layer anew when that leaves at most half of its chunks.
bool IsWorthIt(const Layer& layer, const CompactionOptions& options) {
  return layer.num_chunks >= 4 && 2 * EstimateCompacted(*layer.store->index(), options) <= layer.num_chunks;
}

int64_t CountRows(const SegmentIndex& index) {
  int64_t rows = 0;
  for (size_t chunk = 0; chunk < index.num_chunks(); ++chunk) rows += index.num_rows(chunk);
  return rows;
}

// What must not differ, checked before the new file takes the place of the old one.
arrow::Status CheckSame(const RecordingStore& before, const RecordingStore& after) {
  if (before.id() != after.id()) return arrow::Status::Invalid("the recording has another id");
  if (!after.warnings().empty()) return arrow::Status::Invalid(after.warnings().front());
  if (CountRows(*before.index()) != CountRows(*after.index())) return arrow::Status::Invalid("the number of rows differs");
  if (before.index()->timelines().size() != after.index()->timelines().size()) return arrow::Status::Invalid("the timelines differ");
  for (int i = 0; i < static_cast<int>(before.index()->timelines().size()); ++i) {
    const std::string& name = before.index()->timelines()[static_cast<size_t>(i)].name;
    if (before.index()->TotalSpan(i) != after.index()->TotalSpan(after.index()->TimelineIndex(name))) {
      return arrow::Status::Invalid("the range of timeline '", name, "' differs");
    }
  }
  const auto old_schema = before.schema()->ToArrow();
  const auto new_schema = after.schema()->ToArrow();
  for (const auto& field : old_schema->fields()) {
    const auto other = new_schema->GetFieldByName(field->name());
    if (!other || !other->type()->Equals(*field->type())) return arrow::Status::Invalid("column ", field->name(), " differs");
  }
  if (new_schema->num_fields() != old_schema->num_fields()) return arrow::Status::Invalid("the columns differ");
  return arrow::Status::OK();
}

struct CompactedLayer {
  std::shared_ptr<Layer> layer;
  std::shared_ptr<void> hold;  // on its file
};

// The layer, read from a new file below `area`.
arrow::Result<CompactedLayer> CompactLayer(const LayerPtr& layer, StagingArea* area, const CompactionOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const auto draft, area->NewDraft(area->options().max_total_bytes));
  ARROW_ASSIGN_OR_RAISE(const auto writer, rrd::Writer::Make(std::make_shared<DraftStream>(draft.get())));
  ARROW_RETURN_NOT_OK(Compact(*layer->store, writer.get(), options));
  ARROW_RETURN_NOT_OK(writer->Close());
  ARROW_ASSIGN_OR_RAISE(const auto file, draft->PublishLayer());
  const auto check = [&]() -> arrow::Result<CompactedLayer> {
    ARROW_ASSIGN_OR_RAISE(const Recording recording, OpenRecording(file.path));
    if (recording.stores.size() != 1) return arrow::Status::Invalid("the new file holds ", recording.stores.size(), " recordings");
    const RecordingStorePtr& store = recording.stores.front();
    ARROW_RETURN_NOT_OK(CheckSame(*layer->store, *store));
    auto compacted = std::make_shared<Layer>(*layer);
    compacted->id = Tuid::New();
    compacted->num_chunks = store->index()->num_chunks();
    compacted->size_bytes = store->index()->size_bytes();
    compacted->store = store;
    return CompactedLayer{std::move(compacted), file.hold};
  };
  auto compacted = check();
  if (!compacted.ok()) area->RemoveLayer(file.path);
  return compacted;
}

std::string Count(size_t n, const char* one, const char* many) { return std::to_string(n) + " " + (n == 1 ? one : many); }

}  // namespace

arrow::Result<std::string> Catalog::Maintain(EntryId dataset, const MaintenanceOptions& options,
                                             const std::function<bool()>& is_cancelled) {
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, state()->GetDataset(dataset));
  std::string report;
  const auto say = [&report](const std::string& line) { report += (report.empty() ? "" : "\n") + line; };
  if (options.cleanup_before_ns && !options.unsafe_allow_recent_cleanup && *options.cleanup_before_ns > SystemNowNs() - kRecentNs) {
    return arrow::Status::Invalid(
        "cleanup_before must be at least one hour ago: files that were just uploaded may be about to be registered "
        "(unsafe_allow_recent_cleanup lifts this)");
  }
  if (options.compact) {
    ARROW_ASSIGN_OR_RAISE(const std::string line, CompactDataset(*entry, is_cancelled));
    say(line);
  }
  if (options.optimize_indexes || options.retrain_indexes) say("indexes: they are always up to date, nothing to do");
  if (options.cleanup_before_ns) {
    ARROW_ASSIGN_OR_RAISE(const std::string line, SweepStaging(*options.cleanup_before_ns));
    say(line);
  }
  return report;
}

arrow::Status Catalog::MaintainAll() { return SweepStaging(SystemNowNs() - kAbandonedNs).status(); }

arrow::Result<std::string> Catalog::CompactDataset(const Entry& dataset, const std::function<bool()>& is_cancelled) {
  CompactionOptions compaction;
  compaction.is_cancelled = is_cancelled;
  std::vector<LayerPtr> candidates;
  if (dataset.entry.kind == EntryKind::kDataset) {
    for (const auto& [id, segment] : dataset.content->segments()) {
      for (const LayerPtr& layer : segment->layers) {
        if (IsWorthIt(*layer, compaction)) candidates.push_back(layer);
      }
    }
  }
  if (candidates.empty()) return std::string("compaction: no layer has enough small chunks");
  ARROW_ASSIGN_OR_RAISE(const auto area, staging());
  size_t done = 0;
  uint64_t before = 0, after = 0, bytes = 0;
  std::string problems;
  for (const LayerPtr& layer : candidates) {
    auto compacted = CompactLayer(layer, area.get(), compaction);
    if (compacted.status().IsCancelled() || compacted.status().IsCapacityError()) return compacted.status();
    if (!compacted.ok()) {
      // It stays as it is; the others are not to suffer.
      problems += "\n- segment '" + layer->segment_id + "', layer '" + layer->name + "' was left as it is: " + compacted.status().message();
      continue;
    }
    ARROW_ASSIGN_OR_RAISE(const bool replaced, ReplaceLayer(dataset.entry.id, layer, compacted->layer));
    if (!replaced) {  // removed or registered anew meanwhile
      area->RemoveLayer(compacted->layer->store->source().name());
      continue;
    }
    ++done;
    before += layer->num_chunks;
    after += compacted->layer->num_chunks;
    bytes += compacted->layer->size_bytes;
  }
  return "compaction: " + Count(done, "layer", "layers") + ", " + Count(before, "chunk", "chunks") + " became " + std::to_string(after) +
         ", " + std::to_string(bytes) + " bytes written" + problems;
}

arrow::Result<bool> Catalog::ReplaceLayer(EntryId dataset, const LayerPtr& old_layer, const std::shared_ptr<Layer>& layer) {
  bool replaced = false;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    replaced = false;
    const EntryPtr old = next->Find(dataset);
    if (!old || !old->is_dataset()) return arrow::Status::OK();
    DatasetContent::Segments segments = old->content->segments();
    const auto segment = segments.find(layer->segment_id);
    if (segment == segments.end()) return arrow::Status::OK();
    std::vector<LayerPtr> layers = segment->second->layers;
    const auto place = std::find(layers.begin(), layers.end(), old_layer);
    if (place == layers.end()) return arrow::Status::OK();
    *place = layer;
    ARROW_ASSIGN_OR_RAISE(segment->second, MakeSegment(layer->segment_id, std::move(layers)));
    auto entry = std::make_shared<Entry>(*old);
    entry->content = std::make_shared<const DatasetContent>(std::move(segments), old->content->schema());
    entry->revision = static_cast<uint64_t>(NowNs());
    change->put_layers.push_back({dataset, layer});
    change->put_entries.push_back(entry);
    next->Put(std::move(entry));
    RememberLayer(layer);
    replaced = true;
    return arrow::Status::OK();
  }));
  // Queries that found chunks in the old file go on to fetch them.
  if (replaced) Retire(old_layer);
  return replaced;
}

void Catalog::Retire(const LayerPtr& layer) {
  std::vector<LayerPtr> gone;  // freed outside the lock
  const auto now = std::chrono::steady_clock::now();
  MutexLock lock(layers_mutex_);
  while (!retired_.empty() && retired_.front().first < now) {
    gone.push_back(std::move(retired_.front().second));
    retired_.pop_front();
  }
  if (layer) retired_.emplace_back(now + kRetirement, layer);
}

arrow::Result<std::string> Catalog::SweepStaging(int64_t before_ns) {
  Retire(nullptr);
  const auto area = OpenedStaging();
  if (!area) return std::string("cleanup: nothing was ever uploaded");
  ARROW_ASSIGN_OR_RAISE(const auto swept, area->Sweep(before_ns, [this] { return ListFilesInUse(); }));
  return "cleanup: " + Count(static_cast<size_t>(swept.files), "file", "files") + " that nobody uses removed, " +
         std::to_string(swept.bytes) + " bytes";
}

}  // namespace rushes
