// Decoded chunks kept for the next query, within a budget of bytes.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "arrow/array/array_binary.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/mutex.h"
#include "rushes/store/times_pool.h"

namespace rushes {

struct StoreBundle;
struct BundlePart;

// What was not used since it was last considered goes first. Thread safe. Chunks handed out stay valid after they left the cache.
class ChunkCache {
 public:
  // Set in the number of a group of chunks, that is kept as one (ChunkGroups).
  static constexpr uint32_t kGroup = uint32_t{1} << 31;

  explicit ChunkCache(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}
  ChunkCache(const ChunkCache&) = delete;

  // `owner` tells the chunks of different stores apart: a number that is never reused. Sets `out` (as long as `chunks`) where a chunk is
  // there. `values`, one per chunk or empty: the components that will do, null: all; a chunk that is there whole does for any.
  void Find(uint64_t owner, std::span<const uint32_t> chunks, std::span<const ComponentList> values, std::vector<ChunkPtr>* out)
      RUSHES_EXCLUDES(mutex_);
  // Whether something of that size is kept: no more than a quarter of the budget.
  bool MayKeep(int64_t byte_size) const { return byte_size <= budget_bytes_ / 4; }
  // `values`: the components whose values `data` has; null: all. Returns what was there before, else `data`, also if it is too large.
  ChunkPtr Insert(uint64_t owner, uint32_t chunk, const ComponentList& values, ChunkPtr data) RUSHES_EXCLUDES(mutex_);
  // Inserts a chunk that is there whole and of which others may have the times: returns it as it is kept, with these shared, also if it
  // is too large to be kept.
  ChunkPtr Keep(uint64_t owner, uint32_t chunk, ChunkPtr data) RUSHES_EXCLUDES(mutex_);
  // A bundle in which the store's chunks `chunks` are (store_bundle.h), and where; `num_members` is how many are left from there on.
  BundlePart FindBundle(uint64_t owner, std::span<const uint32_t> chunks) RUSHES_EXCLUDES(mutex_);
  void InsertBundle(std::shared_ptr<const StoreBundle> bundle) RUSHES_EXCLUDES(mutex_);
  // The store's recording id, repeated for at least so many rows; null: there is none so long.
  std::shared_ptr<arrow::StringArray> FindId(uint64_t owner, int64_t num_rows) RUSHES_EXCLUDES(mutex_);
  // In place of a shorter one.
  void InsertId(uint64_t owner, std::shared_ptr<arrow::StringArray> repeated) RUSHES_EXCLUDES(mutex_);
  int64_t size_bytes() const RUSHES_EXCLUDES(mutex_);
  int64_t budget_bytes() const { return budget_bytes_; }

 private:
  // A chunk, a part of one, a group, a repeated id, or a bundle.
  struct Item {
    uint64_t owner = 0;
    uint32_t chunk = 0;
    std::string part;  // names of its components; empty: all
    ChunkPtr data;
    std::shared_ptr<arrow::StringArray> repeated_id;  // then there are neither number, part nor data
    std::shared_ptr<const StoreBundle> bundle;        // then there is nothing of the above
    bool was_used = false;
    int64_t byte_size() const;
  };
  // The items of one store. A hit touches little memory: scans of many small segments consist of hits.
  struct Store {
    std::vector<Item*> chunks, groups;  // whole ones, by number
    std::map<std::pair<uint32_t, std::string>, Item*> parts;
    std::vector<std::pair<Item*, uint32_t>> bundles;  // and which member of it the store is
    Item* repeated_id = nullptr;
    size_t num_items = 0;
  };
  static std::string PartName(const ComponentList& values);
  static Item** Place(Store* store, uint32_t chunk, const std::string& part, bool add);
  BundlePart FindLocked(uint64_t owner, std::span<const uint32_t> chunks) RUSHES_REQUIRES(mutex_);
  static ChunkPtr Apply(std::span<const TimesPool::Move> moves, const ChunkPtr& chunk);
  ChunkPtr ShareTimes(const TimesPool::Place& place, std::span<const TimesPool::Move> moves) RUSHES_EXCLUDES(mutex_);
  Item* FindWhole(uint64_t owner, uint32_t chunk) RUSHES_REQUIRES(mutex_);
  void Evict(std::list<Item>* evicted) RUSHES_REQUIRES(mutex_);
  void Forget(const Item& item) RUSHES_REQUIRES(mutex_);

  const int64_t budget_bytes_;
  TimesPool times_;
  mutable Mutex mutex_;
  std::list<Item> items_ RUSHES_GUARDED_BY(mutex_);  // the one considered last first
  std::unordered_map<uint64_t, Store> stores_ RUSHES_GUARDED_BY(mutex_);
  int64_t size_bytes_ RUSHES_GUARDED_BY(mutex_) = 0;
};

}  // namespace rushes
