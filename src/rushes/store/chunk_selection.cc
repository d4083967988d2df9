#include "rushes/store/chunk_selection.h"

#include <algorithm>
#include <unordered_set>

// Latest-at from spans alone. Let each chunk i of a component have values at its first and last time, s(i) and e(i). At a time v, some
// value lies at L(v), the greatest of all s and e that are <= v. A chunk that starts after v, or ends before L(v), cannot hold the
// latest value; every other chunk may. L never falls as v grows, so for many times it is enough to ask, per chunk, at the first time
// that is not before its start.

namespace rushes {
namespace {

class Selector {
 public:
  Selector(const SegmentIndex& index, const SegmentSelection& selection)
      : index_(index), selection_(selection), timeline_(index.TimelineIndex(selection.timeline)), chosen_(index.num_chunks(), false) {}

  std::vector<uint32_t> Select() {
    if (selection_.entities) {
      for (const EntityPath& path : *selection_.entities) {
        if (const int entity = index_.EntityIndex(path); entity >= 0) SelectEntity(static_cast<uint32_t>(entity));
      }
    } else {
      for (uint32_t entity = 0; entity < index_.entities().size(); ++entity) SelectEntity(entity);
    }
    std::vector<uint32_t> chunks;
    for (uint32_t chunk = 0; chunk < chosen_.size(); ++chunk) {
      if (chosen_[chunk]) chunks.push_back(chunk);
    }
    return chunks;
  }

 private:
  using Mode = SegmentSelection::Mode;

  void SelectEntity(uint32_t entity) {
    if (selection_.mode == Mode::kAll || IsUnbounded()) {
      for (const uint32_t chunk : index_.ChunksOf(entity)) chosen_[chunk] = true;
      return;
    }
    SelectStatic(entity);
    if (selection_.mode == Mode::kStatic || timeline_ < 0) return;
    if (selection_.mode == Mode::kRange) {
      SelectTemporal(entity, [&](const TimeSpan& span) { return span.Overlaps(selection_.start, selection_.end); });
      if (selection_.latest_at) SelectLatest(entity, {&selection_.start, 1});
    } else if (selection_.latest_at) {
      SelectLatest(entity, selection_.samples);
    } else {
      SelectTemporal(entity, [&](const TimeSpan& span) { return HasSampleIn(span); });
    }
  }

  bool IsUnbounded() const {
    return selection_.mode == Mode::kRange && selection_.start <= kMinTime && selection_.end == kMaxTime && !selection_.latest_at;
  }

  bool HasSampleIn(const TimeSpan& span) const {
    const auto& samples = selection_.samples;
    const auto it = std::lower_bound(samples.begin(), samples.end(), span.start);
    return it != samples.end() && *it <= span.end;
  }

  // Per component the static chunk with the greatest row id, and those whose row ids are not known.
  void SelectStatic(uint32_t entity) {
    for (const auto& column : index_.ColumnsOf(entity)) {
      if (!column.has_static) continue;
      const SegmentIndex::ColumnEntry* winner = nullptr;
      for (const auto& entry : index_.Entries(column)) {
        if (!index_.is_static(entry.chunk)) continue;
        if (entry.last_row_id.is_zero()) {
          chosen_[entry.chunk] = true;
        } else if (winner == nullptr || entry.last_row_id > winner->last_row_id) {
          winner = &entry;
        }
      }
      if (winner != nullptr) chosen_[winner->chunk] = true;
    }
  }

  template <typename Wanted>
  void SelectTemporal(uint32_t entity, Wanted wanted) {
    for (const uint32_t chunk : index_.ChunksOf(entity)) {
      if (index_.is_static(chunk) || index_.is_shadowed(chunk)) continue;
      const auto span = index_.Span(chunk, timeline_);
      if (span && wanted(*span)) chosen_[chunk] = true;
    }
  }

  void SelectLatest(uint32_t entity, std::span<const int64_t> samples) {
    for (const auto& column : index_.ColumnsOf(entity)) {
      if (column.has_static) continue;
      ends_.clear();
      for (const auto& entry : index_.Entries(column)) {
        if (const auto span = index_.EntrySpan(entry, timeline_)) {
          ends_.push_back(span->start);
          ends_.push_back(span->end);
        }
      }
      std::sort(ends_.begin(), ends_.end());
      for (const auto& entry : index_.Entries(column)) {
        const auto span = index_.EntrySpan(entry, timeline_);
        if (!span) continue;
        const auto sample = std::lower_bound(samples.begin(), samples.end(), span->start);
        if (sample == samples.end()) continue;
        const int64_t latest = *std::prev(std::upper_bound(ends_.begin(), ends_.end(), *sample));
        if (span->end >= latest) chosen_[entry.chunk] = true;
      }
    }
  }

  const SegmentIndex& index_;
  const SegmentSelection& selection_;
  const int timeline_;
  std::vector<bool> chosen_;
  std::vector<int64_t> ends_;
};

}  // namespace

std::vector<SelectedChunk> SelectChunks(std::span<const SegmentIndex* const> layers, const SegmentSelection& selection) {
  std::vector<SelectedChunk> chunks;
  if (selection.mode == SegmentSelection::Mode::kSamples && selection.samples.empty()) return chunks;
  std::unordered_set<ChunkId> seen;
  for (uint32_t layer = 0; layer < layers.size(); ++layer) {
    for (const uint32_t chunk : Selector(*layers[layer], selection).Select()) {
      if (layers.size() > 1 && !seen.insert(layers[layer]->id(chunk)).second) continue;
      chunks.push_back({layer, chunk});
    }
  }
  return chunks;
}

}  // namespace rushes
