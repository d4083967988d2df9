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
  const auto bytes = length * static_cast<int64_t>(sizeof(int64_t));
  const std::shared_ptr<arrow::Buffer> own = chunk.time_array(timeline)->data()->buffers[1];
  std::shared_ptr<arrow::Buffer> copy;
  while (true) {
    Known seen;
    {
      MutexLock lock(mutex_);
      if (const auto it = known_.find(key); it != known_.end()) seen = it->second;
    }
    const std::shared_ptr<arrow::Buffer> candidate = seen.times.lock();
    const bool is_equal =
        candidate != nullptr && candidate->size() == bytes && std::memcmp(candidate->data(), times, static_cast<size_t>(bytes)) == 0;
    if (is_equal && seen.is_shared) return candidate;
    if (is_equal && copy == nullptr) {
      auto made = arrow::AllocateBuffer(bytes);
      if (!made.ok()) return nullptr;
      std::memcpy((*made)->mutable_data(), times, static_cast<size_t>(bytes));
      copy = std::move(*made);
    }
    MutexLock lock(mutex_);
    if (known_.size() >= kMaxKnown) std::erase_if(known_, [](const auto& entry) { return entry.second.times.expired(); });
    if (known_.size() >= kMaxKnown) known_.clear();
    Known& known = known_[key];
    // Another thread was faster: what it left is looked at in turn.
    if (known.number != seen.number) continue;
    known = {is_equal ? copy : own, is_equal, place, timeline, ++last_number_};
    if (is_equal) earlier->push_back({seen.place, {seen.timeline, candidate, copy}});
    return is_equal ? copy : nullptr;
  }
}

std::vector<TimesPool::Move> TimesPool::Share(const Chunk& chunk, Place place, std::vector<Earlier>* earlier) {
  std::vector<Move> moves;
  const int64_t n = chunk.num_rows();
  if (n < kMinRows) return moves;
  for (int i = 0; i < static_cast<int>(chunk.schema().timelines().size()); ++i) {
    const auto array = chunk.time_array(i);
    const std::shared_ptr<arrow::Buffer>& own = array->data()->buffers[1];
    if (array->offset() != 0 || own->size() != n * static_cast<int64_t>(sizeof(int64_t))) continue;
    if (auto shared = Find(chunk, i, place, earlier)) moves.push_back({i, own, std::move(shared)});
  }
  return moves;
}

}  // namespace rushes
