// Which of the chunks that were found in a segment a scan has to look at.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "arrow/result.h"
#include "rushes/query/chunk_source.h"
#include "rushes/query/scan_plan.h"

namespace rushes {

// Whether a chunk may hold a value that is needed, or a clear.
bool HoldsNeeded(const ScanPlan& plan, const SegmentChunks& segment, uint32_t chunk);

// Which entities of a segment a scan looks at: decided when one is first asked for, and kept as long as segments come with the same list of
// entities, as neighbours do. Not thread safe.
class WantedEntities {
 public:
  bool IsWanted(const ScanPlan& plan, const SegmentChunks& segment, uint32_t entity);

 private:
  enum class Answer : uint8_t { kUnknown, kNo, kYes };
  std::shared_ptr<const std::vector<EntityPath>> entities_;
  std::vector<Answer> answers_;
};

// Positions of static chunks, and of those on the index, of the entities in view; without those of which rows cannot depend. Sources may
// offer more than was asked for. Invalid if a chunk names no entity.
arrow::Result<std::vector<uint32_t>> ChunksOfScan(const ScanPlan& plan, const SegmentChunks& segment, WantedEntities* wanted = nullptr);

// Whether a chunk of those may hold a row that passes the bounds of the filter, or a value that fills one.
bool MattersInBounds(const ScanPlan& plan, const ChunkInfo& info);

}  // namespace rushes
