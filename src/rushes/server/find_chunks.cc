#include "rushes/server/find_chunks.h"

#include <algorithm>
#include <optional>
#include <set>

#include "rushes/server/chunk_key.h"

namespace rushes {
namespace {

// A batch is sent when it has this many rows and a segment is done.
constexpr int64_t kRowsPerBatch = 8192;

// Timelines of a full scan's start columns: the one that the projection names, or all, since readers before 0.40 name none.
std::vector<std::string> StartTimelines(const DatasetSchema& schema, const std::vector<std::string>& columns) {
  std::set<std::string> named;
  for (const std::string& column : columns) {
    if (!column.ends_with(":start")) continue;
    const std::string timeline = column.substr(0, column.size() - 6);
    if (schema.FindTimeline(timeline)) named.insert(timeline);
  }
  if (named.size() == 1) return {*named.begin()};
  std::vector<std::string> all;
  for (const Timeline& timeline : schema.timelines()) all.push_back(timeline.name);
  return all;
}

// Which chunks of a layer have a value that is wanted; chunks of entities without an entry in `narrowed` are not looked at.
std::vector<bool> HasWanted(const SegmentIndex& index, const std::unordered_map<EntityPath, std::set<std::string, std::less<>>>& narrowed) {
  std::vector<bool> has(index.num_chunks(), false);
  for (const auto& [path, components] : narrowed) {
    const int entity = index.EntityIndex(path);
    if (entity < 0) continue;
    for (const auto& column : index.ColumnsOf(static_cast<uint32_t>(entity))) {
      if (!components.contains(index.components()[column.component].component)) continue;
      for (const auto& entry : index.Entries(column)) has[entry.chunk] = true;
    }
  }
  return has;
}

}  // namespace

arrow::Result<std::unique_ptr<ChunkFinder>> ChunkFinder::Make(std::shared_ptr<const DatasetContent> content, wire::ChunkQuery query,
                                                              bool find_chunks) {
  using Mode = wire::ChunkQuery::Mode;
  const DatasetSchema& schema = *content->schema();
  if (!query.timeline.empty() && !schema.empty() && !schema.FindTimeline(query.timeline)) {
    std::string have;
    for (const Timeline& timeline : schema.timelines()) have += (have.empty() ? "'" : ", '") + timeline.name + "'";
    return arrow::Status::Invalid("timeline '", query.timeline, "' does not exist in the dataset; it has ", have.empty() ? "none" : have);
  }
  wire::ChunkRowsLayout layout;
  layout.find_chunks = find_chunks;
  if (!find_chunks && query.mode != Mode::kStatic) {
    layout.start_timelines = query.timeline.empty() ? StartTimelines(schema, query.columns) : std::vector<std::string>{query.timeline};
  }
  std::unique_ptr<ChunkFinder> finder(new ChunkFinder(std::move(layout)));
  SegmentSelection& selection = finder->selection_;
  if (query.mode == Mode::kStatic) {
    selection.mode = SegmentSelection::Mode::kStatic;
  } else if (query.mode == Mode::kSamples) {
    selection.mode = SegmentSelection::Mode::kSamples;
  } else {
    selection.mode = query.is_unbounded() ? SegmentSelection::Mode::kAll : SegmentSelection::Mode::kRange;
  }
  selection.timeline = query.timeline;
  selection.start = query.start.value_or(kMinTime);
  selection.end = query.end.value_or(kMaxTime);
  selection.latest_at = query.latest_at;
  if (query.entities) {
    selection.entities.emplace();
    for (const auto& entity : *query.entities) {
      // An entity of which no component is wanted gives nothing; otherwise all its chunks are candidates.
      if (!entity.components || !entity.components->empty()) selection.entities->push_back(entity.path);
      if (query.narrow_components && entity.components) {
        finder->narrowed_[entity.path] = {entity.components->begin(), entity.components->end()};
      }
    }
  }
  if (query.mode != Mode::kStatic) finder->timeline_ = query.timeline;
  if (query.mode == Mode::kSamples) {
    finder->with_samples_ = true;
    for (auto& [id, values] : query.samples) {
      const Segment* segment = content->FindSegment(id);
      if (!segment || values.empty()) continue;
      std::sort(values.begin(), values.end());
      values.erase(std::unique(values.begin(), values.end()), values.end());
      finder->segments_.emplace_back(segment, std::move(values));
    }
  } else if (query.segments) {
    const std::set<std::string> ids(query.segments->begin(), query.segments->end());
    for (const std::string& id : ids) {
      if (const Segment* segment = content->FindSegment(id)) finder->segments_.emplace_back(segment, std::vector<int64_t>());
    }
  } else {
    for (const auto& [id, segment] : content->segments()) finder->segments_.emplace_back(segment.get(), std::vector<int64_t>());
  }
  finder->content_ = std::move(content);
  return finder;
}

arrow::Status ChunkFinder::AppendSegment(const Segment& segment) {
  std::vector<const SegmentIndex*> indexes;
  for (const LayerPtr& layer : segment.layers) indexes.push_back(layer->store->index().get());
  const auto chunks = SelectChunks(indexes, selection_);
  std::vector<std::vector<bool>> has_wanted;
  if (!narrowed_.empty()) {
    for (const SegmentIndex* index : indexes) has_wanted.push_back(HasWanted(*index, narrowed_));
  }
  // Positions of the timelines in each layer's index.
  std::vector<int> main_timeline;
  std::vector<std::vector<int>> start_timelines;
  for (const SegmentIndex* index : indexes) {
    main_timeline.push_back(timeline_.empty() ? -1 : index->TimelineIndex(timeline_));
    start_timelines.emplace_back();
    for (const std::string& name : layout_.start_timelines) start_timelines.back().push_back(index->TimelineIndex(name));
  }
  const auto start = [](const SegmentIndex& index, uint32_t chunk, int timeline) -> std::optional<int64_t> {
    if (timeline < 0) return std::nullopt;
    const auto span = index.Span(chunk, timeline);
    return span ? std::optional<int64_t>(span->start) : std::nullopt;
  };
  std::vector<std::optional<int64_t>> starts(layout_.start_timelines.size());
  for (const SelectedChunk& chosen : chunks) {
    const Layer& layer = *segment.layers[chosen.layer];
    const SegmentIndex& index = *indexes[chosen.layer];
    if (!narrowed_.empty() && !has_wanted[chosen.layer][chosen.chunk] && narrowed_.contains(index.entities()[index.entity(chosen.chunk)])) {
      continue;
    }
    const std::string key = EncodeChunkKey({layer.id, chosen.chunk, index.id(chosen.chunk)});
    wire::ChunkRow row;
    row.id = index.id(chosen.chunk);
    row.segment_id = segment.id;
    row.layer = layer.name;
    row.key = key;
    row.entity_path = index.entities()[index.entity(chosen.chunk)].text();
    row.is_static = index.is_static(chosen.chunk);
    const ChunkPlace& place = index.place(chosen.chunk);
    row.byte_len = place.size;
    row.byte_size_uncompressed = std::max<uint64_t>(place.size_uncompressed, 1);
    row.timeline_start = start(index, chosen.chunk, main_timeline[chosen.layer]);
    for (size_t i = 0; i < starts.size(); ++i) starts[i] = start(index, chosen.chunk, start_timelines[chosen.layer][i]);
    ARROW_RETURN_NOT_OK(rows_.Append(row, starts));
  }
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ChunkFinder::Next() {
  while (next_ < segments_.size() && rows_.num_rows() < kRowsPerBatch) {
    auto& [segment, samples] = segments_[next_++];
    if (with_samples_) selection_.samples = std::move(samples);
    ARROW_RETURN_NOT_OK(AppendSegment(*segment));
  }
  if (rows_.num_rows() == 0 && sent_any_) return nullptr;
  sent_any_ = true;
  return rows_.Finish();
}

}  // namespace rushes
