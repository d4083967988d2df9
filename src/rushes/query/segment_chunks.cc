#include "rushes/query/segment_chunks.h"

#include <algorithm>
#include <optional>

namespace rushes {

namespace {

// `needs`: of the chunk's entity; null: nothing of it is needed.
bool HoldsOf(const ScanPlan& plan, const ScanPlan::Needs* needs, const SegmentChunks& segment, uint32_t chunk) {
  if (needs == nullptr) return false;
  const auto components = plan.source->ComponentsOf(segment, chunk);
  if (!components) return true;
  const std::vector<std::string>& values = *needs->values;
  return std::any_of(components->begin(), components->end(), [&](const ChunkComponent& component) {
    return std::find(values.begin(), values.end(), component.name) != values.end();
  });
}

const ScanPlan::Needs* NeedsOf(const ScanPlan& plan, const EntityPath& entity) {
  const auto it = plan.needs.find(entity);
  return it == plan.needs.end() ? nullptr : &it->second;
}

}  // namespace

bool HoldsNeeded(const ScanPlan& plan, const SegmentChunks& segment, uint32_t chunk) {
  return HoldsOf(plan, NeedsOf(plan, segment.entity_of(chunk)), segment, chunk);
}

bool WantedEntities::IsWanted(const ScanPlan& plan, const SegmentChunks& segment, uint32_t entity) {
  if (entities_ != segment.entities) {
    entities_ = segment.entities;
    answers_.assign(entities_->size(), Answer::kUnknown);
  }
  Answer& answer = answers_[entity];
  if (answer == Answer::kUnknown) {
    const EntityPath& path = (*entities_)[entity];
    const bool yes =
        plan.query.contents.Matches(path) && (!plan.entities || std::binary_search(plan.entities->begin(), plan.entities->end(), path));
    answer = yes ? Answer::kYes : Answer::kNo;
  }
  return answer == Answer::kYes;
}

arrow::Result<std::vector<uint32_t>> ChunksOfScan(const ScanPlan& plan, const SegmentChunks& segment, WantedEntities* wanted) {
  WantedEntities own;
  if (wanted == nullptr) wanted = &own;
  std::vector<uint32_t> chunks;
  chunks.reserve(segment.chunks.size());
  // Chunks mostly follow others of their entity.
  std::optional<uint32_t> entity;
  const ScanPlan::Needs* needs = nullptr;
  for (uint32_t i = 0; i < segment.chunks.size(); ++i) {
    const ChunkInfo& info = segment.chunks[i];
    if (info.entity >= segment.entities->size()) return arrow::Status::Invalid("segment ", segment.segment_id, ": chunk without an entity");
    if (!info.is_static && !(plan.query.index && info.has_timeline)) continue;
    if (!wanted->IsWanted(plan, segment, info.entity)) continue;
    if (plan.only_needed_make_rows) {
      if (entity != info.entity) {
        entity = info.entity;
        needs = NeedsOf(plan, segment.entity_of(i));
      }
      if (!HoldsOf(plan, needs, segment, i)) continue;
    }
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
