// Equal times of different chunks, kept once.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "arrow/buffer.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

// Signals that are logged together have the same times, chunk by chunk. Where these lie in one buffer, a query sees by its address that
// they are equal. Keeps nothing alive itself. Thread safe.
class TimesPool {
 public:
  // Where a chunk is kept: a store and a number (ChunkCache).
  struct Place {
    uint64_t owner = 0;
    uint32_t chunk = 0;
  };
  // A chunk that was shared before there were others with its times, and has them in a buffer of its own.
  struct Earlier {
    Place place;
    int timeline = 0;
    std::shared_ptr<arrow::Buffer> own, shared;
  };
  // The chunk, its times moved to buffers that it shares with other chunks of the pool. From the second chunk with the same times on all
  // share one; the first, of whose bytes they are a part until then, is added to `earlier` with the second.
  ChunkPtr Share(ChunkPtr chunk, Place place, std::vector<Earlier>* earlier) RUSHES_EXCLUDES(mutex_);

 private:
  struct Known {
    std::weak_ptr<arrow::Buffer> times;
    bool is_shared = false;  // a buffer of its own; else part of a chunk's, which must not be kept for its times
    Place place;             // of that chunk
    int timeline = 0;        // in it
  };
  std::shared_ptr<arrow::Buffer> Find(const Chunk& chunk, int timeline, Place place, std::vector<Earlier>* earlier) RUSHES_EXCLUDES(mutex_);

  Mutex mutex_;
  std::unordered_map<uint64_t, Known> known_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
