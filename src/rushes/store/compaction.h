// Writes a recording anew with fewer, larger chunks.
#pragma once

#include <cstdint>
#include <functional>

#include "arrow/status.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/recording.h"

namespace rushes {

struct CompactionOptions {
  int64_t target_bytes = 1 << 20;  // of a chunk, decoded; chunks of half of it or more are left as they are
  int64_t target_rows = 1 << 16;
  int64_t memory_bytes = 64 << 20;     // of decoded chunks that wait for others
  std::function<bool()> is_cancelled;  // asked now and then
};

// How many chunks there would be at best; judged from the index alone.
size_t EstimateCompacted(const SegmentIndex& index, const CompactionOptions& options);

// Writes all chunks of `store` to `writer`, as a store of the same id. Temporal chunks of one entity that follow one another, have the same
// timelines and components, and ascend in time and row ids without overlap become one with all their rows; others stay as they are, id
// included. So every query has the same answer. IOError: the recording cannot be read, or Cancelled: it was given up.
arrow::Status Compact(const RecordingStore& store, rrd::Writer* writer, const CompactionOptions& options);

}  // namespace rushes
