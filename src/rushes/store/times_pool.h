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
  // The times of a chunk on a timeline are to be had from another buffer.
  struct Move {
    int timeline = 0;
    std::shared_ptr<arrow::Buffer> from, to;
  };
  // A chunk that was here before there were others with its times, and has them in a buffer of its own.
  struct Earlier {
    Place place;
    Move move;
  };
  // Where the chunk's times lie in one buffer with those of other chunks of the pool, what is to be moved there. From the second chunk
  // with the same times on all share one; the first, of whose bytes they are a part until then, is added to `earlier` with the second.
  std::vector<Move> Share(const Chunk& chunk, Place place, std::vector<Earlier>* earlier) RUSHES_EXCLUDES(mutex_);

 private:
  struct Known {
    std::weak_ptr<arrow::Buffer> times;
    bool is_shared = false;  // a buffer of its own; else part of a chunk's, which must not be kept for its times
    Place place;             // of that chunk
    int timeline = 0;        // in it
    uint64_t number = 0;     // of each that was known; 0: none
  };
  std::shared_ptr<arrow::Buffer> Find(const Chunk& chunk, int timeline, Place place, std::vector<Earlier>* earlier) RUSHES_EXCLUDES(mutex_);

  Mutex mutex_;
  std::unordered_map<uint64_t, Known> known_ RUSHES_GUARDED_BY(mutex_);
  uint64_t last_number_ RUSHES_GUARDED_BY(mutex_) = 0;
};

}  // namespace rushes
