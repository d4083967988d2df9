#include "rushes/store/chunk_cache.h"

#include <algorithm>
#include <utility>

#include "arrow/util/byte_size.h"

#include "rushes/store/store_bundle.h"

namespace rushes {

int64_t ChunkCache::Item::byte_size() const {
  if (bundle != nullptr) return bundle->byte_size;
  return repeated_id != nullptr ? arrow::util::TotalBufferSize(*repeated_id) : data->byte_size();
}

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

ChunkPtr ChunkCache::Insert(uint64_t owner, uint32_t chunk, const ComponentList& values, ChunkPtr data) {
  const int64_t size = data->byte_size();
  if (!MayKeep(size)) return data;
  std::list<Item> evicted;  // freed after the lock
  std::string part = PartName(values);
  MutexLock lock(mutex_);
  Store& store = stores_[owner];
  Item** const place = Place(&store, chunk, part, /*add=*/true);
  if (*place != nullptr) return (*place)->data;
  items_.emplace_front();
  Item& item = items_.front();
  item.owner = owner;
  item.chunk = chunk;
  item.part = std::move(part);
  item.data = data;
  *place = &item;
  ++store.num_items;
  size_bytes_ += size;
  Evict(&evicted);
  return data;
}

ChunkPtr ChunkCache::Keep(uint64_t owner, uint32_t chunk, ChunkPtr data) {
  // Inserted before others are told of its times: whoever finds them equal finds the chunk here.
  if (ChunkPtr kept = Insert(owner, chunk, nullptr, data); kept != data) return kept;  // somebody else was faster
  const TimesPool::Place place{owner, chunk};
  std::vector<TimesPool::Earlier> earlier;
  const std::vector<TimesPool::Move> moves = times_.Share(*data, place, &earlier);
  for (const TimesPool::Earlier& other : earlier) ShareTimes(other.place, std::span(&other.move, 1));
  const ChunkPtr moved = ShareTimes(place, moves);
  return moved != nullptr ? moved : Apply(moves, data);
}

// The chunk with those times moved that still lie where they did.
ChunkPtr ChunkCache::Apply(std::span<const TimesPool::Move> moves, const ChunkPtr& chunk) {
  std::vector<std::shared_ptr<arrow::Buffer>> times(chunk->schema().timelines().size());
  bool any = false;
  for (const TimesPool::Move& move : moves) {
    if (chunk->time_array(move.timeline)->data()->buffers[1] != move.from) continue;
    times[static_cast<size_t>(move.timeline)] = move.to;
    any = true;
  }
  return any ? chunk->WithTimes(times) : chunk;
}

ChunkCache::Item* ChunkCache::FindWhole(uint64_t owner, uint32_t chunk) {
  const auto store = stores_.find(owner);
  if (store == stores_.end()) return nullptr;
  Item* const* const place = Place(&store->second, chunk, "", /*add=*/false);
  return place == nullptr ? nullptr : *place;
}

// Moves times of a chunk that is kept; null: it is not here (any more).
ChunkPtr ChunkCache::ShareTimes(const TimesPool::Place& place, std::span<const TimesPool::Move> moves) {
  while (true) {
    ChunkPtr before;
    {
      MutexLock lock(mutex_);
      const Item* const item = FindWhole(place.owner, place.chunk);
      if (item == nullptr) return nullptr;
      before = item->data;
    }
    ChunkPtr after = Apply(moves, before);
    if (after == before) return before;
    std::list<Item> evicted;  // freed after the lock
    MutexLock lock(mutex_);
    Item* const item = FindWhole(place.owner, place.chunk);
    if (item == nullptr) return nullptr;
    if (item->data != before) continue;  // others of its times were moved meanwhile
    size_bytes_ += after->byte_size() - before->byte_size();
    item->data = after;
    Evict(&evicted);
    return after;
  }
}

std::shared_ptr<arrow::StringArray> ChunkCache::FindId(uint64_t owner, int64_t num_rows) {
  MutexLock lock(mutex_);
  const auto store = stores_.find(owner);
  if (store == stores_.end() || store->second.repeated_id == nullptr) return nullptr;
  Item& item = *store->second.repeated_id;
  if (item.repeated_id->length() < num_rows) return nullptr;
  item.was_used = true;
  return item.repeated_id;
}

void ChunkCache::InsertId(uint64_t owner, std::shared_ptr<arrow::StringArray> repeated) {
  const int64_t size = arrow::util::TotalBufferSize(*repeated);
  if (!MayKeep(size)) return;
  std::list<Item> evicted;  // freed after the lock
  MutexLock lock(mutex_);
  Store& store = stores_[owner];
  if (store.repeated_id == nullptr) {
    items_.emplace_front();
    store.repeated_id = &items_.front();
    store.repeated_id->owner = owner;
    ++store.num_items;
  } else if (store.repeated_id->repeated_id->length() >= repeated->length()) {
    return;
  } else {
    size_bytes_ -= store.repeated_id->byte_size();
  }
  store.repeated_id->repeated_id = std::move(repeated);
  size_bytes_ += size;
  Evict(&evicted);
}

BundlePart ChunkCache::FindLocked(uint64_t owner, std::span<const uint32_t> chunks) {
  BundlePart best;
  const auto store = stores_.find(owner);
  if (store == stores_.end()) return best;
  for (const auto& [item, member] : store->second.bundles) {
    const size_t left = item->bundle->members.size() - member;
    if (left <= best.num_members || !std::ranges::equal(item->bundle->ChunksOf(member), chunks)) continue;
    best = {item->bundle, member, left};
    item->was_used = true;
  }
  return best;
}

BundlePart ChunkCache::FindBundle(uint64_t owner, std::span<const uint32_t> chunks) {
  MutexLock lock(mutex_);
  return FindLocked(owner, chunks);
}

void ChunkCache::InsertBundle(std::shared_ptr<const StoreBundle> bundle) {
  if (!MayKeep(bundle->byte_size)) return;
  std::list<Item> evicted;  // freed after the lock
  MutexLock lock(mutex_);
  // Somebody else may have been faster.
  if (FindLocked(bundle->members[0].owner, bundle->ChunksOf(0)).num_members >= bundle->members.size()) return;
  items_.emplace_front();
  Item& item = items_.front();
  item.bundle = std::move(bundle);
  for (uint32_t member = 0; member < item.bundle->members.size(); ++member) {
    Store& store = stores_[item.bundle->members[member].owner];
    store.bundles.emplace_back(&item, member);
    ++store.num_items;
  }
  size_bytes_ += item.byte_size();
  Evict(&evicted);
}

// Takes the item out of its stores.
void ChunkCache::Forget(const Item& item) {
  const auto leave = [&](auto store) RUSHES_REQUIRES(mutex_) {
    if (--store->second.num_items == 0) stores_.erase(store);
  };
  if (item.bundle != nullptr) {
    for (const StoreBundle::Member& member : item.bundle->members) {
      const auto store = stores_.find(member.owner);
      std::erase_if(store->second.bundles, [&](const auto& known) { return known.first == &item; });
      leave(store);
    }
    return;
  }
  const auto store = stores_.find(item.owner);
  if (item.repeated_id != nullptr) {
    store->second.repeated_id = nullptr;
  } else if (item.part.empty()) {
    *Place(&store->second, item.chunk, "", /*add=*/false) = nullptr;
  } else {
    store->second.parts.erase({item.chunk, item.part});
  }
  leave(store);
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
    size_bytes_ -= last->byte_size();
    Forget(*last);
    evicted->splice(evicted->begin(), items_, last);
  }
}

int64_t ChunkCache::size_bytes() const {
  MutexLock lock(mutex_);
  return size_bytes_;
}

}  // namespace rushes
