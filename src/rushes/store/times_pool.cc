#include "rushes/store/times_pool.h"

#include <cstring>
#include <utility>
#include <vector>

namespace rushes {
namespace {

constexpr int64_t kMinRows = 64;       // fewer are compared at once
constexpr size_t kMaxKnown = 1 << 16;  // then those that are gone are forgotten

uint64_t Mix(uint64_t a, uint64_t b) { return (a ^ b) * 0x9E3779B97F4A7C15ull + (a >> 29); }

}  // namespace

std::shared_ptr<arrow::Buffer> TimesPool::Find(const Chunk& chunk, int timeline, Place place, std::vector<Earlier>* earlier) {
  const int64_t* const times = chunk.times(timeline);
  const int64_t length = chunk.num_rows();
  uint64_t key = static_cast<uint64_t>(length);
  for (const int64_t at : {int64_t{0}, length / 3, length / 2, length - 1}) key = Mix(key, static_cast<uint64_t>(times[at]));
  Known known;
  std::shared_ptr<arrow::Buffer> candidate;
  {
    MutexLock lock(mutex_);
    const auto it = known_.find(key);
    if (it != known_.end()) {
      known = it->second;
      candidate = known.times.lock();
    }
  }
  const auto bytes = length * static_cast<int64_t>(sizeof(int64_t));
  const bool is_equal =
      candidate != nullptr && candidate->size() == bytes && std::memcmp(candidate->data(), times, static_cast<size_t>(bytes)) == 0;
  if (is_equal && known.is_shared) return candidate;
  std::shared_ptr<arrow::Buffer> out;
  if (is_equal) {
    auto copy = arrow::AllocateBuffer(bytes);
    if (!copy.ok()) return nullptr;
    std::memcpy((*copy)->mutable_data(), times, static_cast<size_t>(bytes));
    out = std::move(*copy);
    earlier->push_back({known.place, known.timeline, std::move(candidate), out});
  }
  MutexLock lock(mutex_);
  if (known_.size() >= kMaxKnown) std::erase_if(known_, [](const auto& entry) { return entry.second.times.expired(); });
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[key] = {out != nullptr ? out : chunk.time_array(timeline)->data()->buffers[1], out != nullptr, place, timeline};
  return out;
}

ChunkPtr TimesPool::Share(ChunkPtr chunk, Place place, std::vector<Earlier>* earlier) {
  const int64_t n = chunk->num_rows();
  if (n < kMinRows) return chunk;
  std::vector<std::shared_ptr<arrow::Buffer>> shared(chunk->schema().timelines().size());
  bool any = false;
  for (size_t i = 0; i < shared.size(); ++i) {
    const auto array = chunk->time_array(static_cast<int>(i));
    if (array->offset() != 0 || array->data()->buffers[1]->size() != n * static_cast<int64_t>(sizeof(int64_t))) continue;
    shared[i] = Find(*chunk, static_cast<int>(i), place, earlier);
    any |= shared[i] != nullptr;
  }
  return any ? chunk->WithTimes(shared) : chunk;
}

}  // namespace rushes
