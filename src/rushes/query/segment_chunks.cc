#include "rushes/query/segment_chunks.h"

#include <algorithm>

namespace rushes {

bool HoldsNeeded(const ScanPlan& plan, const SegmentChunks& segment, uint32_t chunk) {
  const auto needs = plan.needs.find(segment.entity_of(chunk));
  if (needs == plan.needs.end()) return false;
  const auto components = plan.source->ComponentsOf(segment, chunk);
  if (!components) return true;
  const std::vector<std::string>& values = *needs->second.values;
  return std::any_of(components->begin(), components->end(), [&](const ChunkComponent& component) {
    return std::find(values.begin(), values.end(), component.name) != values.end();
  });
}

arrow::Result<std::vector<uint32_t>> ChunksOfScan(const ScanPlan& plan, const SegmentChunks& segment) {
  enum class Wanted : uint8_t { kUnknown, kNo, kYes };
  std::vector<Wanted> wanted(segment.entities->size(), Wanted::kUnknown);
  const auto is_wanted = [&](uint32_t at) {
    if (wanted[at] == Wanted::kUnknown) {
      const EntityPath& entity = (*segment.entities)[at];
      const bool yes = plan.query.contents.Matches(entity) &&
                       (!plan.entities || std::binary_search(plan.entities->begin(), plan.entities->end(), entity));
      wanted[at] = yes ? Wanted::kYes : Wanted::kNo;
    }
    return wanted[at] == Wanted::kYes;
  };
  std::vector<uint32_t> chunks;
  chunks.reserve(segment.chunks.size());
  for (uint32_t i = 0; i < segment.chunks.size(); ++i) {
    const ChunkInfo& info = segment.chunks[i];
    if (info.entity >= segment.entities->size()) return arrow::Status::Invalid("segment ", segment.segment_id, ": chunk without an entity");
    if (!info.is_static && !(plan.query.index && info.has_timeline)) continue;
    if (!is_wanted(info.entity) || (plan.only_needed_make_rows && !HoldsNeeded(plan, segment, i))) continue;
    chunks.push_back(i);
  }
  return chunks;
}

bool MattersInBounds(const ScanPlan& plan, const ChunkInfo& info) {
  if (info.is_static || plan.filter == nullptr || !plan.query.index) return true;
  const FilterBounds& bounds = plan.filter->bounds();
  return info.start <= bounds.end && (info.end >= bounds.start || plan.query.fill_latest_at);
}

}  // namespace rushes
