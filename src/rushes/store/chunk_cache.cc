#include "rushes/store/chunk_cache.h"

#include <utility>

namespace rushes {

ChunkPtr ChunkCache::Find(uint64_t owner, uint32_t chunk) {
  MutexLock lock(mutex_);
  const auto it = lookup_.find(Key{owner, chunk});
  if (it == lookup_.end()) return nullptr;
  items_.splice(items_.begin(), items_, it->second);
  return it->second->data;
}

void ChunkCache::Insert(uint64_t owner, uint32_t chunk, ChunkPtr data) {
  const int64_t size = data->byte_size();
  if (size > budget_bytes_ / 4) return;
  std::list<Item> evicted;  // freed after the lock
  MutexLock lock(mutex_);
  const Key key{owner, chunk};
  if (lookup_.contains(key)) return;
  items_.push_front({key, std::move(data)});
  lookup_.emplace(key, items_.begin());
  size_bytes_ += size;
  while (size_bytes_ > budget_bytes_) {
    size_bytes_ -= items_.back().data->byte_size();
    lookup_.erase(items_.back().key);
    evicted.splice(evicted.begin(), items_, std::prev(items_.end()));
  }
}

int64_t ChunkCache::size_bytes() const {
  MutexLock lock(mutex_);
  return size_bytes_;
}

}  // namespace rushes
