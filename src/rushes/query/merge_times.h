// The union of sorted lists of index values.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/result.h"
#include "arrow/stl_allocator.h"

namespace rushes {

// Times of many rows. From Arrow's pool, which keeps what is given back; malloc returns so large pieces to the system, and gets them anew
// for the next scan, a page fault each.
using TimeVector = std::vector<int64_t, arrow::stl::allocator<int64_t>>;

// What several runs have together: the distinct times, and for each run which of them its own are.
struct MergedTimes {
  TimeVector times;
  std::vector<std::span<const int32_t>> rows;  // per run: positions in `times`, one for each of its times
  std::shared_ptr<arrow::Buffer> storage;      // of `rows`
};

// Each run ascends strictly. Long ones are cut into blocks that fit the cache and that up to `max_threads` threads share.
arrow::Result<MergedTimes> MergeTimes(const std::vector<std::span<const int64_t>>& runs, int max_threads);

}  // namespace rushes
