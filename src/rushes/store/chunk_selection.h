// Which chunks of a segment a query needs, decided from their indexes alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rushes/chunk/entity_path.h"
#include "rushes/chunk/timeline.h"
#include "rushes/rrd/segment_index.h"

namespace rushes {

// What to look for in one segment. A plain value.
struct SegmentSelection {
  enum class Mode {
    kAll,      // every chunk
    kStatic,   // per component the static chunk that wins
    kRange,    // winning static chunks; temporal chunks with `timeline` that overlap [start, end]
    kSamples,  // winning static chunks; temporal chunks that hold one of `samples`
  };
  Mode mode = Mode::kAll;
  // nullopt: all. Entities the segment does not have are harmless.
  std::optional<std::vector<EntityPath>> entities;
  std::string timeline;
  int64_t start = kMinTime;
  int64_t end = kMaxTime;
  // Sorted ascending. Mode kSamples without samples selects nothing at all.
  std::vector<int64_t> samples;
  // kRange: also, per component, the chunks that may hold the last value at or before `start`. kSamples: those for each sample,
  // instead of the chunks that hold the sample.
  bool latest_at = false;
};

// A chunk of one of the layers.
struct SelectedChunk {
  uint32_t layer = 0;
  uint32_t chunk = 0;  // position in the layer's index
  friend bool operator==(const SelectedChunk&, const SelectedChunk&) = default;
};

// The chunks of the segment with these layers, by layer, then in file order; none twice, also if two layers hold the same id.
//
// Each layer is judged on its own: static data of one hides nothing in another. Where an index cannot tell (which of several static
// chunks is the latest), all candidates are selected: more than needed is allowed, less never. A range without bounds
// (kMinTime, kMaxTime, no latest_at) selects every chunk, like kAll; a bounded one leaves out chunks without the timeline and
// temporal chunks that static data hides. Cost: linear in the chunks of the entities, plus a sort per component for latest_at.
std::vector<SelectedChunk> SelectChunks(std::span<const SegmentIndex* const> layers, const SegmentSelection& selection);

}  // namespace rushes
