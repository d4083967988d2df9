#include "rushes/store/chunk_cache.h"

#include <utility>

namespace rushes {

std::string ChunkCache::PartName(const ComponentList& values) {
  if (values == nullptr) return "";
  std::string name = "part";
  for (const std::string& component : *values) name.append(1, '\0').append(component);
  return name;
}

// Where the store has the item; null if it has no place for it and none is to be made.
ChunkCache::Item** ChunkCache::Place(Store* store, uint32_t chunk, const std::string& part, bool add) {
  if (!part.empty()) {
    const std::pair<uint32_t, std::string> key(chunk, part);
    if (add) return &store->parts[key];
    const auto it = store->parts.find(key);
    return it == store->parts.end() ? nullptr : &it->second;
  }
  std::vector<Item*>& items = chunk & kGroup ? store->groups : store->chunks;
  const size_t at = chunk & ~kGroup;
  if (at >= items.size()) {
    if (!add) return nullptr;
    items.resize(at + 1, nullptr);
  }
  return &items[at];
}

void ChunkCache::Find(uint64_t owner, std::span<const uint32_t> chunks, std::span<const ComponentList> values, std::vector<ChunkPtr>* out) {
  MutexLock lock(mutex_);
  const auto store = stores_.find(owner);
  if (store == stores_.end()) return;
  for (size_t i = 0; i < chunks.size(); ++i) {
    Item* const* place = Place(&store->second, chunks[i], "", /*add=*/false);
    if ((place == nullptr || *place == nullptr) && i < values.size() && values[i] != nullptr) {
      place = Place(&store->second, chunks[i], PartName(values[i]), /*add=*/false);
    }
    if (place == nullptr || *place == nullptr) continue;
    (*place)->was_used = true;
    (*out)[i] = (*place)->data;
  }
}

void ChunkCache::Insert(uint64_t owner, uint32_t chunk, const ComponentList& values, ChunkPtr data) {
  const int64_t size = data->byte_size();
  if (size > budget_bytes_ / 4) return;
  std::list<Item> evicted;  // freed after the lock
  std::string part = PartName(values);
  MutexLock lock(mutex_);
  Store& store = stores_[owner];
  Item** const place = Place(&store, chunk, part, /*add=*/true);
  if (*place != nullptr) return;
  items_.push_front({owner, chunk, std::move(part), std::move(data)});
  *place = &items_.front();
  ++store.num_items;
  size_bytes_ += size;
  Evict(&evicted);
}

// Used ones get another round.
void ChunkCache::Evict(std::list<Item>* evicted) {
  while (size_bytes_ > budget_bytes_) {
    const auto last = std::prev(items_.end());
    if (last->was_used) {
      last->was_used = false;
      items_.splice(items_.begin(), items_, last);
      continue;
    }
    size_bytes_ -= last->data->byte_size();
    const auto store = stores_.find(last->owner);
    if (last->part.empty()) {
      *Place(&store->second, last->chunk, "", /*add=*/false) = nullptr;
    } else {
      store->second.parts.erase({last->chunk, last->part});
    }
    if (--store->second.num_items == 0) stores_.erase(store);
    evicted->splice(evicted->begin(), items_, last);
  }
}

int64_t ChunkCache::size_bytes() const {
  MutexLock lock(mutex_);
  return size_bytes_;
}

}  // namespace rushes
