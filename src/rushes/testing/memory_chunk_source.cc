#include "rushes/testing/memory_chunk_source.h"

#include <algorithm>
#include <set>

#include "arrow/array/concatenate.h"
#include "rushes/chunk/repeat_texts.h"

namespace rushes {
namespace {

// Least and greatest time of the rows in which a component (or, without one, anything) is.
struct Range {
  int64_t start = kMaxTime;
  int64_t end = kMinTime;
};

bool HasOneOf(const Chunk& chunk, const ComponentList& components) {
  if (components == nullptr) return true;
  return std::any_of(components->begin(), components->end(),
                     [&](const std::string& name) { return chunk.schema().ColumnIndex(name) >= 0; });
}

Range RangeOf(const Chunk& chunk, int timeline) {
  Range range;
  for (int64_t row = 0; row < chunk.num_rows(); ++row) {
    range.start = std::min(range.start, chunk.times(timeline)[row]);
    range.end = std::max(range.end, chunk.times(timeline)[row]);
  }
  return range;
}

// Whether a chunk may hold, for one of its components, the latest value at or before `time`: simply, whether it begins by then and no
// chunk of the same entity and component that begins by then ends later without overlapping it.
bool MayHoldLatest(const std::vector<ChunkPtr>& chunks, const Chunk& chunk, int timeline, int64_t time) {
  const Range own = RangeOf(chunk, timeline);
  if (own.start > time) return false;
  for (const ChunkColumn& column : chunk.schema().columns()) {
    bool beaten = false;
    for (const ChunkPtr& other : chunks) {
      if (other.get() == &chunk || other->entity() != chunk.entity()) continue;
      const int other_timeline = other->schema().TimelineIndex(chunk.schema().timelines()[static_cast<size_t>(timeline)].name);
      const int other_column = other->schema().ColumnIndex(column.descriptor.component);
      if (other_timeline < 0 || other_column < 0) continue;
      // A value of `other` that is surely later than all of ours, and not after `time`.
      for (int64_t row = 0; row < other->num_rows(); ++row) {
        const int64_t t = other->times(other_timeline)[row];
        beaten |= other->column(other_column)->IsValid(row) && t > own.end && t <= time;
      }
    }
    if (!beaten) return true;
  }
  return false;
}

bool HaveOneSchema(const ChunkSchema& a, const ChunkSchema& b) {
  if (a.entity() != b.entity() || a.timelines() != b.timelines() || a.columns().size() != b.columns().size()) return false;
  for (size_t i = 0; i < a.columns().size(); ++i) {
    const ChunkColumn &x = a.columns()[i], &y = b.columns()[i];
    if (x.descriptor.component != y.descriptor.component || !x.type->Equals(*y.type)) return false;
  }
  return true;
}

bool AscendStrictly(const Chunk& chunk, int timeline) {
  const int64_t* const times = chunk.times(timeline);
  return std::adjacent_find(times, times + chunk.num_rows(), std::greater_equal<>()) == times + chunk.num_rows();
}

}  // namespace

std::vector<ChunkPtr> MemorySegment::Chunks() const {
  std::vector<ChunkPtr> out;
  std::set<ChunkId> seen;
  for (const auto& [name, chunks] : layers) {
    for (const ChunkPtr& chunk : chunks) {
      if (seen.insert(chunk->id()).second) out.push_back(chunk);
    }
  }
  return out;
}

arrow::Result<DatasetSchema> MemorySegment::Schema() const {
  DatasetSchema schema;
  for (const auto& [name, chunks] : layers) {
    ARROW_ASSIGN_OR_RAISE(const DatasetSchema layer, DatasetSchema::FromChunks(chunks));
    ARROW_RETURN_NOT_OK(schema.Merge(layer));
  }
  return schema;
}

arrow::Result<DatasetSchema> SchemaOf(const std::vector<MemorySegment>& segments) {
  DatasetSchema schema;
  for (const MemorySegment& segment : segments) {
    ARROW_ASSIGN_OR_RAISE(const DatasetSchema own, segment.Schema());
    ARROW_RETURN_NOT_OK(schema.Merge(own));
  }
  return schema;
}

arrow::Result<std::shared_ptr<MemoryChunkSource>> MemoryChunkSource::Make(std::vector<MemorySegment> segments, Answers answers) {
  std::shared_ptr<MemoryChunkSource> source(new MemoryChunkSource());
  source->answers_ = answers;
  ARROW_ASSIGN_OR_RAISE(auto schema, SchemaOf(segments));
  source->schema_ = std::make_shared<const DatasetSchema>(std::move(schema));
  for (const MemorySegment& segment : segments) {
    ARROW_ASSIGN_OR_RAISE(auto own, segment.Schema());
    source->segments_[segment.id] = {segment.Chunks(), std::make_shared<const DatasetSchema>(std::move(own))};
  }
  return source;
}

arrow::Result<SegmentIds> MemoryChunkSource::ListSegments() {
  std::vector<std::string> ids;
  for (const auto& [id, segment] : segments_) ids.push_back(id);
  return std::make_shared<const std::vector<std::string>>(std::move(ids));
}

arrow::Result<std::vector<IndexRange>> MemoryChunkSource::GetIndexRanges(const std::string& timeline) {
  std::vector<IndexRange> ranges;
  for (const auto& [id, segment] : segments_) {
    Range range;
    for (const ChunkPtr& chunk : segment.chunks) {
      const int at = chunk->schema().TimelineIndex(timeline);
      if (at < 0) continue;
      const Range own = RangeOf(*chunk, at);
      range.start = std::min(range.start, own.start);
      range.end = std::max(range.end, own.end);
    }
    if (range.start <= range.end) ranges.push_back({id, range.start, range.end});
  }
  return ranges;
}

bool MemoryChunkSource::IsSelected(const ChunkSelection& selection, const std::string& segment_id, const Segment& segment,
                                   const Chunk& chunk) {
  using Mode = ChunkSelection::Mode;
  if (selection.mode == Mode::kAll || chunk.is_static()) return true;
  if (selection.mode == Mode::kStatic) return false;
  const int timeline = chunk.schema().TimelineIndex(selection.timeline);
  if (timeline < 0) return false;
  if (selection.mode == Mode::kRange) {
    for (int64_t row = 0; row < chunk.num_rows(); ++row) {
      const int64_t time = chunk.times(timeline)[row];
      if (time >= selection.start && time <= selection.end) return true;
    }
    return selection.latest_at && MayHoldLatest(segment.chunks, chunk, timeline, selection.start);
  }
  for (const int64_t sample : selection.samples.at(segment_id)) {
    for (int64_t row = 0; row < chunk.num_rows(); ++row) {
      if (chunk.times(timeline)[row] == sample) return true;
    }
    if (selection.latest_at && MayHoldLatest(segment.chunks, chunk, timeline, sample)) return true;
  }
  return false;
}

arrow::Result<std::vector<SegmentChunks>> MemoryChunkSource::FindChunks(const ChunkSelection& selection) {
  const bool is_generous = answers_ == Answers::kGenerous;
  std::set<std::string> ids(selection.segments.begin(), selection.segments.end());
  if (selection.mode == ChunkSelection::Mode::kSamples) {
    ids.clear();
    for (const auto& [id, values] : selection.samples) ids.insert(id);
  }
  std::vector<SegmentChunks> out;
  for (const std::string& id : ids) {
    const auto it = segments_.find(id);
    if (it == segments_.end()) continue;
    SegmentChunks found;
    found.segment_id = id;
    found.schema = it->second.schema;
    std::vector<EntityPath> entities;
    for (size_t i = 0; i < it->second.chunks.size(); ++i) {
      const Chunk& chunk = *it->second.chunks[i];
      bool wanted_entity = !selection.entities;
      for (size_t e = 0; selection.entities && e < selection.entities->size(); ++e) {
        if ((*selection.entities)[e] != chunk.entity()) continue;
        wanted_entity = selection.components.empty() || HasOneOf(chunk, selection.components[e]);
      }
      if (!wanted_entity && !is_generous) continue;
      if (!is_generous && !IsSelected(selection, id, it->second, chunk)) continue;
      ChunkInfo info;
      info.id = chunk.id();
      const auto known = std::find(entities.begin(), entities.end(), chunk.entity());
      info.entity = static_cast<uint32_t>(known - entities.begin());
      if (known == entities.end()) entities.push_back(chunk.entity());
      info.is_static = chunk.is_static();
      if (const int timeline = chunk.schema().TimelineIndex(selection.timeline); timeline >= 0 && chunk.num_rows() > 0) {
        info.has_timeline = true;
        const Range range = RangeOf(chunk, timeline);
        info.start = range.start;
        info.end = range.end;
      }
      info.num_rows = chunk.num_rows();
      if (answers_ == Answers::kRemote) {
        info.num_rows = -1;
        info.end = kMaxTime;
      }
      info.byte_size = chunk.byte_size();
      info.locator = i;
      found.chunks.push_back(info);
    }
    found.entities = std::make_shared<const std::vector<EntityPath>>(std::move(entities));
    out.push_back(std::move(found));
  }
  return out;
}

std::optional<std::vector<ChunkComponent>> MemoryChunkSource::ComponentsOf(const SegmentChunks& segment, uint32_t chunk) {
  const ChunkPtr& found = segments_.at(segment.segment_id).chunks[segment.chunks[chunk].locator];
  // As from a source that knows nothing, of some chunks.
  const bool is_generous = answers_ == Answers::kGenerous;
  if (answers_ == Answers::kRemote) return std::nullopt;
  if (is_generous && segment.chunks[chunk].locator % 4 == 0) return std::nullopt;
  std::vector<ChunkComponent> out;
  for (size_t i = 0; i < found->schema().columns().size(); ++i) {
    const auto& cells = *found->column(static_cast<int>(i));
    const int64_t rows = cells.length() - cells.null_count();
    // Nor need it know how many.
    if (rows > 0) out.push_back({found->schema().columns()[i].descriptor.component, is_generous && i % 2 == 1 ? -1 : rows});
  }
  return out;
}

arrow::Result<std::vector<FetchedChunk>> MemoryChunkSource::FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                                        std::span<const ComponentList> values) {
  std::vector<FetchedChunk> out;
  for (uint32_t i = 0; i < chunks.size(); ++i) {
    if (segment.state != nullptr && !static_cast<const std::set<uint32_t>*>(segment.state.get())->contains(chunks[i])) {
      return arrow::Status::Invalid("a chunk that was not to be fetched ahead");
    }
    ChunkPtr chunk = segments_.at(segment.segment_id).chunks[segment.chunks[chunks[i]].locator];
    if (!values.empty() && values[i] != nullptr) {
      ARROW_ASSIGN_OR_RAISE(chunk, KeepComponents(*chunk, *values[i]));
    }
    out.push_back({std::move(chunk), i});
  }
  return out;
}

arrow::Status MemoryChunkSource::FetchAhead(std::span<SegmentChunks> segments, const ChunksWanted& wanted) {
  if (answers_ != Answers::kRemote) return arrow::Status::OK();
  for (SegmentChunks& segment : segments) {
    ARROW_ASSIGN_OR_RAISE(const auto chunks, wanted(segment));
    segment.state = std::make_shared<const std::set<uint32_t>>(chunks.begin(), chunks.end());
    segment.is_fetched = true;
    ++num_ahead_;
  }
  return arrow::Status::OK();
}

arrow::Result<SegmentBundle> MemoryChunkSource::FetchBundle(std::span<const SegmentChunks> segments,
                                                            std::span<const std::vector<uint32_t>> chunks) {
  SegmentBundle out;
  if (answers_ != Answers::kExact) return out;
  const auto chunk_of = [&](size_t segment, size_t lane) {
    return segments_.at(segments[segment].segment_id).chunks[segments[segment].chunks[chunks[segment][lane]].locator];
  };
  const size_t num_lanes = chunks[0].size();
  std::vector<int64_t> num_rows;  // per segment
  for (size_t i = 0; i < segments.size() && chunks[i].size() == num_lanes; ++i) {
    int64_t rows = -1;
    bool fits = true;
    for (size_t lane = 0; lane < num_lanes; ++lane) {
      const ChunkPtr chunk = chunk_of(i, lane);
      fits &= HaveOneSchema(chunk->schema(), chunk_of(0, lane)->schema());
      if (chunk->is_static()) {
        fits &= chunk->num_rows() == 1;
      } else {
        fits &= rows < 0 || rows == chunk->num_rows();
        rows = chunk->num_rows();
      }
    }
    if (!fits || rows <= 0) break;
    num_rows.push_back(rows);
  }
  if (num_rows.empty()) return out;

  struct Bundle {
    std::vector<JoinedRows> lanes;
    std::vector<std::vector<uint8_t>> is_strict;
  };
  const auto bundle = std::make_shared<Bundle>();
  out.num_segments = num_rows.size();
  out.first_row = num_rows[0];
  out.first_segment = 1;
  std::vector<TextRun> ids = {{"nobody", num_rows[0]}};
  for (size_t i = 0; i < num_rows.size(); ++i) {
    out.row_ends.push_back((i == 0 ? out.first_row : out.row_ends.back()) + num_rows[i]);
    ids.push_back({segments[i].segment_id, num_rows[i]});
  }
  ARROW_ASSIGN_OR_RAISE(out.segment_ids, RepeatTexts(ids));
  for (size_t lane = 0; lane < num_lanes; ++lane) {
    std::vector<ChunkPtr> members = {chunk_of(0, lane)};
    for (size_t i = 0; i < num_rows.size(); ++i) members.push_back(chunk_of(i, lane));
    JoinedRows rows;
    rows.schema = members[0]->schema_ptr();
    for (const ChunkPtr& member : members) rows.num_rows += member->num_rows();
    std::vector<uint8_t> is_strict;
    for (int t = 0; t < static_cast<int>(rows.schema->timelines().size()); ++t) {
      std::string times;
      bool all_strict = true;
      for (const ChunkPtr& member : members) {
        times.append(reinterpret_cast<const char*>(member->times(t)), static_cast<size_t>(member->num_rows()) * sizeof(int64_t));
        all_strict &= AscendStrictly(*member, t);
      }
      rows.times.push_back(arrow::Buffer::FromString(std::move(times)));
      is_strict.push_back(all_strict);
    }
    for (int c = 0; c < static_cast<int>(rows.schema->columns().size()); ++c) {
      arrow::ArrayVector parts;
      for (const ChunkPtr& member : members) parts.push_back(member->column(c));
      ARROW_ASSIGN_OR_RAISE(auto column, arrow::Concatenate(parts));
      rows.columns.push_back(std::static_pointer_cast<arrow::ListArray>(column));
    }
    bundle->lanes.push_back(std::move(rows));
    bundle->is_strict.push_back(std::move(is_strict));
  }
  for (size_t lane = 0; lane < num_lanes; ++lane) out.lanes.push_back({&bundle->lanes[lane], bundle->is_strict[lane]});
  out.keep_alive = bundle;
  num_bundled_ += static_cast<int64_t>(out.num_segments);
  return out;
}

}  // namespace rushes
