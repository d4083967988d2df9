// Joins catalog and query: a dataset of the catalog in this process, as a source of chunks.

#include <algorithm>
#include <unordered_map>

#include "rushes/api/embedded_catalog.h"
#include "rushes/query/chunk_source.h"
#include "rushes/query/work_pool.h"
#include "rushes/store/chunk_selection.h"
#include "rushes/store/recording.h"
#include "rushes/store/store_bundle.h"

namespace rushes {
namespace {

// Where a ChunkInfo's chunk is, as its locator: the layer, and the position in the layer's index, or among its groups.
struct Place {
  static constexpr uint64_t kGroup = uint64_t{1} << 63;

  explicit Place(uint64_t locator)
      : layer(static_cast<uint32_t>((locator & ~kGroup) >> 32)), position(static_cast<uint32_t>(locator)), is_group(locator & kGroup) {}
  static uint64_t Locator(uint32_t layer, uint32_t position, bool is_group = false) {
    return (is_group ? kGroup : 0) | uint64_t{layer} << 32 | position;
  }

  uint32_t layer;
  uint32_t position;
  bool is_group;
};

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

  bool is_local() const override { return true; }
  bool FetchesLocally() override {
    const auto content = Content();
    return content.ok() && (*content)->is_on_this_machine();
  }

  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override {
    ARROW_ASSIGN_OR_RAISE(const auto content, Content());
    return content->schema();
  }

  arrow::Result<SegmentIds> ListSegments() override {
    ARROW_ASSIGN_OR_RAISE(const auto content, Content());
    return SegmentIds(content, &content->segment_ids());
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
        found.push_back(FindInSegment(it->second, segment_selection, selection.max_joined_bytes));
      }
      return found;
    }
    std::vector<std::string> ids = selection.segments;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    std::vector<const SegmentPtr*> segments;
    segments.reserve(ids.size());
    for (const std::string& id : ids) {
      if (const auto it = content->segments().find(id); it != content->segments().end()) segments.push_back(&it->second);
    }
    found.resize(segments.size());
    constexpr size_t kSegmentsAPiece = 64;
    const auto pieces = static_cast<int>((segments.size() + kSegmentsAPiece - 1) / kSegmentsAPiece);
    ARROW_RETURN_NOT_OK(ParallelFor(pieces, 0, [&](int piece) {
      const size_t begin = static_cast<size_t>(piece) * kSegmentsAPiece;
      for (size_t i = begin; i < std::min(segments.size(), begin + kSegmentsAPiece); ++i) {
        found[i] = FindInSegment(*segments[i], segment_selection, selection.max_joined_bytes);
      }
      return arrow::Status::OK();
    }));
    return found;
  }

  std::optional<std::vector<ChunkComponent>> ComponentsOf(const SegmentChunks& segment, uint32_t chunk) override {
    const Place place(segment.chunks[chunk].locator);
    const RecordingStore& store = *static_cast<const Segment*>(segment.state.get())->layers[place.layer]->store;
    const SegmentIndex& index = *store.index();
    // The members of a group have the same components.
    const std::span<const uint32_t> chunks = place.is_group ? store.groups().Members(place.position) : std::span(&place.position, 1);
    std::vector<ChunkComponent> out;
    for (const SegmentIndex::Column& column : index.ColumnsOf(index.entity(chunks[0]))) {
      const auto entries = index.Entries(column);
      auto entry = std::lower_bound(entries.begin(), entries.end(), chunks[0],
                                    [](const SegmentIndex::ColumnEntry& a, uint32_t b) { return a.chunk < b; });
      if (entry == entries.end() || entry->chunk != chunks[0]) continue;
      int64_t rows = 0;
      size_t known = 0;
      for (; entry != entries.end() && known < chunks.size(); ++entry) {
        if (entry->chunk != chunks[known]) continue;
        rows = entry->num_rows < 0 || rows < 0 ? -1 : rows + entry->num_rows;
        ++known;
      }
      out.push_back({index.components()[column.component].component, rows});
    }
    return out;
  }

  arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                       std::span<const ComponentList> values) override {
    return Fetch(segment, chunks, values, /*only_kept=*/false);
  }

  std::optional<std::vector<FetchedChunk>> FindKept(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                    std::span<const ComponentList> values) override {
    auto found = Fetch(segment, chunks, values, /*only_kept=*/true);
    return found.ok() ? std::optional(std::move(*found)) : std::nullopt;
  }

  arrow::Result<SegmentBundle> FetchBundle(std::span<const SegmentChunks> segments,
                                           std::span<const std::vector<uint32_t>> chunks) override {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    std::vector<StoreRequest> requests;
    std::vector<uint32_t> positions;  // of all requests
    requests.reserve(segments.size());
    positions.reserve(segments.size() * chunks[0].size());
    for (size_t i = 0; i < segments.size() && chunks[i].size() == chunks[0].size(); ++i) {
      const Segment& segment = *static_cast<const Segment*>(segments[i].state.get());
      const RecordingStore& store = *segment.layers[0]->store;
      if (segment.layers.size() > 1 || segment.id != store.id().recording_id) break;
      const size_t begin = positions.size();
      bool are_chunks = true;
      for (const uint32_t chunk : chunks[i]) {
        const Place place(segments[i].chunks[chunk].locator);
        are_chunks &= !place.is_group;
        positions.push_back(place.position);
      }
      if (!are_chunks) break;
      requests.push_back({&store, std::span(positions).subspan(begin)});
    }
    ARROW_ASSIGN_OR_RAISE(const BundlePart part, ReadBundle(requests, &shared_->cache));
    SegmentBundle out;
    if (part.num_members == 0) return out;
    const StoreBundle& bundle = *part.bundle;
    out.num_segments = part.num_members;
    out.first_row = bundle.row_begin(part.first_member);
    out.first_segment = part.first_member;
    out.lanes.reserve(bundle.lanes.size());
    for (const StoreBundle::Lane& lane : bundle.lanes) out.lanes.push_back({&lane.rows, lane.is_strict});
    out.row_ends.reserve(part.num_members);
    for (size_t i = 0; i < part.num_members; ++i) out.row_ends.push_back(bundle.members[part.first_member + i].row_end);
    out.segment_ids = bundle.recording_ids;
    out.byte_size = bundle.byte_size * static_cast<int64_t>(part.num_members) / static_cast<int64_t>(bundle.members.size());
    out.keep_alive = part.bundle;
    return out;
  }

  void Keep(const ScanKind& kind, std::span<const SegmentChunks> segments, const SegmentBundle& bundle,
            std::shared_ptr<const KeptBatch> batch) override {
    const auto content = Content();
    const auto& store_bundle = *static_cast<const StoreBundle*>(bundle.keep_alive.get());
    if (!content.ok() || !shared_->cache.MayKeep(store_bundle.byte_size)) return;
    // They may have been found in an earlier content.
    for (const SegmentChunks& segment : segments) {
      if ((*content)->FindSegment(segment.segment_id) != segment.state.get()) return;
    }
    shared_->kept_batches.Add(dataset_, *content, kind, batch);
    store_bundle.Attach(std::move(batch));
  }

  std::vector<std::shared_ptr<const KeptBatch>> Recall(const ScanKind& kind, std::span<const std::string> ids, int64_t max_bytes) override {
    const auto content = Content();
    if (!content.ok()) return {};
    return shared_->kept_batches.Find(dataset_, *content, kind, ids, max_bytes);
  }

  arrow::Result<std::shared_ptr<arrow::StringArray>> RepeatId(const SegmentChunks& segment, int64_t num_rows) override {
    constexpr int64_t kWorthKeeping = 1024;
    const auto& layers = static_cast<const Segment*>(segment.state.get())->layers;
    if (num_rows < kWorthKeeping || layers.empty()) return ChunkSource::RepeatId(segment, num_rows);
    // Kept with the first layer's chunks, under the one id that these are ever of.
    if (segment.segment_id != layers[0]->store->id().recording_id) return ChunkSource::RepeatId(segment, num_rows);
    const uint64_t owner = layers[0]->store->cache_owner();
    if (auto kept = shared_->cache.FindId(owner, num_rows)) return kept;
    ARROW_ASSIGN_OR_RAISE(auto repeated, ChunkSource::RepeatId(segment, num_rows));
    shared_->cache.InsertId(owner, repeated);
    return repeated;
  }

 private:
  // `only_kept`: KeyError if not all is in the cache.
  arrow::Result<std::vector<FetchedChunk>> Fetch(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                 std::span<const ComponentList> values, bool only_kept) {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    const auto& layers = static_cast<const Segment*>(segment.state.get())->layers;
    // Per layer, almost always one: its chunks and groups, and whose requests they are.
    struct Wanted {
      std::vector<uint32_t> chunks, chunk_requests, groups, group_requests;
      std::vector<ComponentList> values;
    };
    std::vector<Wanted> wanted(layers.size());
    for (uint32_t i = 0; i < chunks.size(); ++i) {
      const Place place(segment.chunks[chunks[i]].locator);
      Wanted& layer = wanted[place.layer];
      (place.is_group ? layer.groups : layer.chunks).push_back(place.position);
      (place.is_group ? layer.group_requests : layer.chunk_requests).push_back(i);
      if (!values.empty() && !place.is_group) layer.values.push_back(values[i]);
    }
    std::vector<FetchedChunk> out;
    out.reserve(chunks.size());
    for (size_t l = 0; l < layers.size(); ++l) {
      const RecordingStore& store = *layers[l]->store;
      const auto in_layer = [&](const arrow::Status& status) {
        return status.WithMessage("segment \"", segment.segment_id, "\", layer \"", layers[l]->name, "\": ", status.message());
      };
      if (!wanted[l].chunks.empty()) {
        auto read = only_kept ? store.FindChunks(wanted[l].chunks, wanted[l].values, &shared_->cache)
                              : store.ReadChunks(wanted[l].chunks, wanted[l].values, &shared_->cache);
        if (!read.ok()) return in_layer(read.status());
        for (size_t i = 0; i < read->size(); ++i) out.push_back({std::move((*read)[i]), wanted[l].chunk_requests[i]});
      }
      if (!wanted[l].groups.empty()) {
        auto read = only_kept ? store.FindGroups(wanted[l].groups, &shared_->cache) : store.ReadGroups(wanted[l].groups, &shared_->cache);
        if (!read.ok()) return in_layer(read.status());
        for (size_t i = 0; i < read->size(); ++i) {
          for (ChunkPtr& chunk : (*read)[i]) out.push_back({std::move(chunk), wanted[l].group_requests[i]});
        }
      }
    }
    const auto is_before = [](const FetchedChunk& a, const FetchedChunk& b) { return a.request < b.request; };
    if (!std::is_sorted(out.begin(), out.end(), is_before)) std::stable_sort(out.begin(), out.end(), is_before);
    return out;
  }

  arrow::Result<std::shared_ptr<const DatasetContent>> Content() {
    ARROW_RETURN_NOT_OK(shared_->CheckOpen());
    ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, shared_->catalog->state()->GetDataset(dataset_));
    return entry->content;
  }

  static SegmentChunks FindInSegment(const SegmentPtr& segment, const SegmentSelection& selection, int64_t max_joined_bytes) {
    SegmentChunks out;
    out.segment_id = segment->id;
    out.schema = segment->schema;
    out.state = segment;
    std::vector<const SegmentIndex*> indexes;
    for (const LayerPtr& layer : segment->layers) indexes.push_back(layer->store->index().get());

    // Entities of all layers; positions of each layer's own list in it, unless it is that list.
    std::vector<std::vector<uint32_t>> entity_of(indexes.size());
    if (indexes.size() == 1) {
      out.entities = indexes[0]->shared_entities();
    } else {
      std::vector<EntityPath> entities;
      std::unordered_map<EntityPath, uint32_t> known;
      for (size_t l = 0; l < indexes.size(); ++l) {
        for (const EntityPath& entity : indexes[l]->entities()) {
          const auto [it, added] = known.emplace(entity, static_cast<uint32_t>(entities.size()));
          if (added) entities.push_back(entity);
          entity_of[l].push_back(it->second);
        }
      }
      out.entities = std::make_shared<const std::vector<EntityPath>>(std::move(entities));
    }
    std::vector<int> timeline_of;
    for (const SegmentIndex* index : indexes) {
      timeline_of.push_back(selection.timeline.empty() ? -1 : index->TimelineIndex(selection.timeline));
    }

    const auto set_span = [](const std::optional<TimeSpan>& span, ChunkInfo* info) {
      if (!span) return;
      info->start = span->start;
      info->end = span->end;
      info->has_timeline = true;
    };
    const auto add = [&](uint32_t layer, uint32_t chunk) {
      const SegmentIndex& index = *indexes[layer];
      ChunkInfo info;
      info.locator = Place::Locator(layer, chunk);
      info.id = index.id(chunk);
      info.entity = indexes.size() == 1 ? index.entity(chunk) : entity_of[layer][index.entity(chunk)];
      info.is_static = index.is_static(chunk);
      info.num_rows = index.num_rows(chunk);
      info.byte_size = static_cast<int64_t>(index.place(chunk).size_uncompressed);
      if (timeline_of[layer] >= 0) set_span(index.Span(chunk, timeline_of[layer]), &info);
      out.chunks.push_back(info);
    };
    const auto add_group = [&](uint32_t layer, const ChunkGroups& groups, uint32_t group) {
      add(layer, groups.Members(group)[0]);
      ChunkInfo& info = out.chunks.back();
      const ChunkGroups::Summary& summary = groups.summary(group);
      info.locator = Place::Locator(layer, group, /*is_group=*/true);
      info.num_chunks = static_cast<uint32_t>(groups.Members(group).size());
      info.num_rows = summary.num_rows;
      info.byte_size = static_cast<int64_t>(summary.size_uncompressed);
      if (timeline_of[layer] >= 0) set_span(groups.Span(group, timeline_of[layer]), &info);
    };
    const auto may_join = [&](const ChunkGroups& groups, uint32_t group) {
      return groups.summary(group).max_member_bytes <= static_cast<uint64_t>(max_joined_bytes) && !groups.IsDissolved(group);
    };

    if (indexes.size() == 1 && selection.mode == SegmentSelection::Mode::kAll && !selection.entities && max_joined_bytes > 0) {
      // All of it: the members of groups need not be looked at one by one.
      const ChunkGroups& groups = segment->layers[0]->store->groups();
      if (groups.size() > 0) {
        out.chunks.reserve(groups.alone().size() + groups.size());
        for (const uint32_t chunk : groups.alone()) add(0, chunk);
        for (uint32_t group = 0; group < groups.size(); ++group) {
          if (may_join(groups, group)) {
            add_group(0, groups, group);
          } else {
            for (const uint32_t chunk : groups.Members(group)) add(0, chunk);
          }
        }
        return out;
      }
    }
    const std::vector<SelectedChunk> selected = SelectChunks(indexes, selection);
    // Groups of which every member was selected are found whole: where the first member is, the others are left out.
    std::vector<const ChunkGroups*> groups_of(indexes.size(), nullptr);  // null: none
    std::vector<std::vector<uint32_t>> members_left(indexes.size());
    for (size_t l = 0; max_joined_bytes > 0 && l < indexes.size(); ++l) {
      const ChunkGroups& groups = segment->layers[l]->store->groups();
      if (groups.size() == 0) continue;
      groups_of[l] = &groups;
      members_left[l].resize(groups.size());
      for (uint32_t g = 0; g < groups.size(); ++g) {
        members_left[l][g] = may_join(groups, g) ? static_cast<uint32_t>(groups.Members(g).size()) : ChunkGroups::kNone;
      }
    }
    for (const SelectedChunk& chunk : selected) {
      if (groups_of[chunk.layer] == nullptr) continue;
      const uint32_t group = groups_of[chunk.layer]->GroupOf(chunk.chunk);
      if (group != ChunkGroups::kNone) --members_left[chunk.layer][group];
    }
    out.chunks.reserve(selected.size());
    for (const SelectedChunk& chunk : selected) {
      const ChunkGroups* const groups = groups_of[chunk.layer];
      const uint32_t group = groups == nullptr ? ChunkGroups::kNone : groups->GroupOf(chunk.chunk);
      if (group == ChunkGroups::kNone || members_left[chunk.layer][group] != 0) {
        add(chunk.layer, chunk.chunk);
      } else if (groups->Members(group)[0] == chunk.chunk) {
        add_group(chunk.layer, *groups, group);
      }
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
