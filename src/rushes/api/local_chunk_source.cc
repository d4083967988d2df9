// Joins catalog and query: a dataset of the catalog in this process, as a source of chunks.

#include <algorithm>
#include <unordered_map>

#include "rushes/api/embedded_catalog.h"
#include "rushes/query/chunk_source.h"
#include "rushes/store/chunk_selection.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

// A chunk's locator: layer and position in the layer's index.
uint64_t Locator(const SelectedChunk& chunk) { return (uint64_t{chunk.layer} << 32) | chunk.chunk; }

SegmentSelection ToSegmentSelection(const ChunkSelection& selection) {
  SegmentSelection out;
  switch (selection.mode) {
    case ChunkSelection::Mode::kAll:
      out.mode = SegmentSelection::Mode::kAll;
      break;
    case ChunkSelection::Mode::kStatic:
      out.mode = SegmentSelection::Mode::kStatic;
      break;
    case ChunkSelection::Mode::kRange:
      out.mode = SegmentSelection::Mode::kRange;
      break;
    case ChunkSelection::Mode::kSamples:
      out.mode = SegmentSelection::Mode::kSamples;
      break;
  }
  out.entities = selection.entities;
  out.timeline = selection.timeline;
  out.start = selection.start;
  out.end = selection.end;
  out.latest_at = selection.latest_at;
  return out;
}

class LocalChunkSource final : public ChunkSource {
 public:
  LocalChunkSource(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive, EntryId dataset)
      : shared_(std::move(catalog)), keep_alive_(std::move(keep_alive)), dataset_(dataset) {}

  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override {
    ARROW_ASSIGN_OR_RAISE(const auto content, Content());
    return content->schema();
  }

  arrow::Result<std::vector<std::string>> ListSegments() override {
    ARROW_ASSIGN_OR_RAISE(const auto content, Content());
    std::vector<std::string> ids;
    ids.reserve(content->segments().size());
    for (const auto& [id, segment] : content->segments()) ids.push_back(id);
    return ids;
  }

  arrow::Result<std::vector<IndexRange>> GetIndexRanges(const std::string& timeline) override {
    ARROW_ASSIGN_OR_RAISE(const auto content, Content());
    std::vector<IndexRange> ranges;
    for (const auto& [id, segment] : content->segments()) {
      for (const TimelineRange& range : segment->ranges) {
        if (range.timeline.name == timeline) ranges.push_back({id, range.start, range.end});
      }
    }
    return ranges;
  }

  arrow::Result<std::vector<SegmentChunks>> FindChunks(const ChunkSelection& selection) override {
    ARROW_ASSIGN_OR_RAISE(const auto content, Content());
    if (!selection.timeline.empty() && !content->schema()->empty() && content->schema()->FindTimeline(selection.timeline) == nullptr) {
      return arrow::Status::KeyError("unknown timeline \"", selection.timeline, "\"");
    }
    SegmentSelection segment_selection = ToSegmentSelection(selection);
    std::vector<SegmentChunks> found;
    if (selection.mode == ChunkSelection::Mode::kSamples) {
      for (const auto& [id, samples] : selection.samples) {
        const auto it = content->segments().find(id);
        if (it == content->segments().end()) continue;
        segment_selection.samples = samples;
        std::sort(segment_selection.samples.begin(), segment_selection.samples.end());
        found.push_back(FindInSegment(it->second, segment_selection));
      }
      return found;
    }
    std::vector<std::string> ids = selection.segments;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const std::string& id : ids) {
      const auto it = content->segments().find(id);
      if (it != content->segments().end()) found.push_back(FindInSegment(it->second, segment_selection));
    }
    return found;
  }

  std::optional<std::vector<ChunkComponent>> ComponentsOf(const SegmentChunks& segment, uint32_t chunk) override {
    const uint64_t locator = segment.chunks[chunk].locator;
    const auto& layers = static_cast<const Segment*>(segment.state.get())->layers;
    const SegmentIndex& index = *layers[locator >> 32]->store->index();
    const auto position = static_cast<uint32_t>(locator);
    std::vector<ChunkComponent> out;
    for (const SegmentIndex::Column& column : index.ColumnsOf(index.entity(position))) {
      const auto entries = index.Entries(column);
      const auto entry = std::lower_bound(entries.begin(), entries.end(), position,
                                          [](const SegmentIndex::ColumnEntry& a, uint32_t b) { return a.chunk < b; });
      if (entry != entries.end() && entry->chunk == position)
        out.push_back({index.components()[column.component].component, entry->num_rows});
    }
    return out;
  }

  arrow::Result<std::vector<ChunkPtr>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                   std::span<const ComponentList> values) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    const auto& layers = static_cast<const Segment*>(segment.state.get())->layers;
    // Almost always one layer: then the reads of the store come in the order asked for.
    std::vector<std::vector<uint32_t>> wanted(layers.size()), places(layers.size());
    std::vector<std::vector<ComponentList>> wanted_values(layers.size());
    for (uint32_t i = 0; i < chunks.size(); ++i) {
      const uint64_t locator = segment.chunks[chunks[i]].locator;
      wanted[locator >> 32].push_back(static_cast<uint32_t>(locator));
      places[locator >> 32].push_back(i);
      if (!values.empty()) wanted_values[locator >> 32].push_back(values[i]);
    }
    std::vector<ChunkPtr> out(chunks.size());
    for (size_t l = 0; l < layers.size(); ++l) {
      if (wanted[l].empty()) continue;
      auto read = layers[l]->store->ReadChunks(wanted[l], wanted_values[l], &shared_->cache);
      if (!read.ok()) {
        return read.status().WithMessage("segment \"", segment.segment_id, "\", layer \"", layers[l]->name,
                                         "\": ", read.status().message());
      }
      for (size_t i = 0; i < read->size(); ++i) out[places[l][i]] = std::move((*read)[i]);
    }
    return out;
  }

 private:
  arrow::Result<std::shared_ptr<const DatasetContent>> Content() {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, shared_->catalog->state()->GetDataset(dataset_));
    return entry->content;
  }

  static SegmentChunks FindInSegment(const SegmentPtr& segment, const SegmentSelection& selection) {
    SegmentChunks out;
    out.segment_id = segment->id;
    out.schema = segment->schema;
    out.state = segment;
    std::vector<const SegmentIndex*> indexes;
    for (const LayerPtr& layer : segment->layers) indexes.push_back(layer->store->index().get());

    // Entities of all layers; positions of each layer's own list in it.
    std::vector<std::vector<uint32_t>> entity_of(indexes.size());
    std::unordered_map<EntityPath, uint32_t> known;
    for (size_t l = 0; l < indexes.size(); ++l) {
      for (const EntityPath& entity : indexes[l]->entities()) {
        const auto [it, added] = known.emplace(entity, static_cast<uint32_t>(out.entities.size()));
        if (added) out.entities.push_back(entity);
        entity_of[l].push_back(it->second);
      }
    }

    const std::vector<SelectedChunk> selected = SelectChunks(indexes, selection);
    out.chunks.reserve(selected.size());
    for (const SelectedChunk& chunk : selected) {
      const SegmentIndex& index = *indexes[chunk.layer];
      ChunkInfo info;
      info.id = index.id(chunk.chunk);
      info.entity = entity_of[chunk.layer][index.entity(chunk.chunk)];
      info.is_static = index.is_static(chunk.chunk);
      if (const int timeline = selection.timeline.empty() ? -1 : index.TimelineIndex(selection.timeline); timeline >= 0) {
        if (const auto span = index.Span(chunk.chunk, timeline)) {
          info.has_timeline = true;
          info.start = span->start;
          info.end = span->end;
        }
      }
      info.num_rows = index.num_rows(chunk.chunk);
      info.byte_size = static_cast<int64_t>(index.place(chunk.chunk).size_uncompressed);
      info.locator = Locator(chunk);
      out.chunks.push_back(info);
    }
    return out;
  }

  const std::shared_ptr<EmbeddedCatalog> shared_;
  const std::shared_ptr<void> keep_alive_;
  const EntryId dataset_;
};

}  // namespace

std::shared_ptr<ChunkSource> MakeLocalChunkSource(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive,
                                                  EntryId dataset) {
  return std::make_shared<LocalChunkSource>(std::move(catalog), std::move(keep_alive), dataset);
}

}  // namespace rushes
