// Equal times of different chunks, kept once.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "arrow/buffer.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

// Signals that are logged together have the same times, chunk by chunk. Where these lie in one buffer, a query sees by its address that
// they are equal. Keeps nothing alive itself. Thread safe.
class TimesPool {
 public:
  // The chunk, its times moved to buffers that it shares with other chunks of the pool. From the third chunk with the same times on, and
  // the second, all share one; the first keeps its own.
  ChunkPtr Share(ChunkPtr chunk) RUSHES_EXCLUDES(mutex_);

 private:
  struct Known {
    std::weak_ptr<arrow::Buffer> times;
    bool is_shared = false;  // a buffer of its own; else part of a chunk's, which must not be kept for its times
  };
  std::shared_ptr<arrow::Buffer> Find(const std::shared_ptr<arrow::Buffer>& own, const int64_t* times, int64_t length)
      RUSHES_EXCLUDES(mutex_);

  Mutex mutex_;
  std::unordered_map<uint64_t, Known> known_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
