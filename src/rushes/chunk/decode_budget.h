// A bound on what decoding a few bytes may allocate.
#pragma once

#include <cstdint>

#include "arrow/ipc/options.h"
#include "arrow/memory_pool.h"

namespace rushes {

// Compressed buffers of an Arrow stream announce their size themselves, and Arrow allocates what is announced. While a DecodeBudget lives,
// allocations of its thread from `pool()` may add up to 64 MiB and 255 times the input (the most that LZ4 can expand); more is OutOfMemory
// "decoding <n> bytes would take more than <m> bytes". For readers with `use_threads = false`.
class DecodeBudget {
 public:
  explicit DecodeBudget(int64_t input_bytes);
  ~DecodeBudget();
  DecodeBudget(const DecodeBudget&) = delete;

  // The default pool, bounded. Lives for ever, so that buffers may. Without a budget on the calling thread nothing is bounded.
  static arrow::MemoryPool* pool();

 private:
  friend class DecodeBudgetPool;
  const int64_t input_bytes_;
  const int64_t limit_bytes_;
  int64_t used_bytes_ = 0;
  DecodeBudget* const outer_;
};

// How to read Arrow bytes from outside: within a DecodeBudget if there is one, on the calling thread, and with buffers that are aligned as
// their types want, whatever the bytes say.
arrow::ipc::IpcReadOptions DecodeOptions();

}  // namespace rushes
