// The union of sorted lists of index values.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arrow/result.h"

namespace rushes {

// What several runs have together: the distinct times, and for each run which of them its own are.
struct MergedTimes {
  std::vector<int64_t> times;
  std::vector<std::span<const int32_t>> rows;  // per run: positions in `times`, one for each of its times
  std::unique_ptr<int32_t[]> storage;          // of `rows`
};

// Each run ascends strictly. Long ones are cut into blocks that fit the cache and that up to `max_threads` threads share.
arrow::Result<MergedTimes> MergeTimes(const std::vector<std::span<const int64_t>>& runs, int max_threads);

}  // namespace rushes
