#include "rushes/store/chunk_cache.h"

#include <utility>

namespace rushes {

std::string ChunkCache::PartName(const ComponentList& values) {
  if (values == nullptr) return "";
  std::string name = "part";
  for (const std::string& component : *values) name.append(1, '\0').append(component);
  return name;
}

void ChunkCache::Find(uint64_t owner, std::span<const uint32_t> chunks, std::span<const ComponentList> values, std::vector<ChunkPtr>* out) {
  MutexLock lock(mutex_);
  for (size_t i = 0; i < chunks.size(); ++i) {
    auto it = lookup_.find(Key{owner, chunks[i], ""});
    if (it == lookup_.end() && i < values.size() && values[i] != nullptr) it = lookup_.find(Key{owner, chunks[i], PartName(values[i])});
    if (it == lookup_.end()) continue;
    items_.splice(items_.begin(), items_, it->second);
    (*out)[i] = it->second->data;
  }
}

void ChunkCache::Insert(uint64_t owner, uint32_t chunk, const ComponentList& values, ChunkPtr data) {
  const int64_t size = data->byte_size();
  if (size > budget_bytes_ / 4) return;
  std::list<Item> evicted;  // freed after the lock
  MutexLock lock(mutex_);
  Key key{owner, chunk, PartName(values)};
  if (lookup_.contains(key)) return;
  items_.push_front({key, std::move(data)});
  lookup_.emplace(std::move(key), items_.begin());
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
