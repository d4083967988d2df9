// Decoded chunks kept for the next query, within a budget of bytes.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "rushes/chunk/chunk.h"
#include "rushes/chunk/mutex.h"
#include "rushes/store/times_pool.h"

namespace rushes {

// Least recently used goes first. Thread safe. Chunks handed out stay valid after they left the cache.
class ChunkCache {
 public:
  explicit ChunkCache(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}
  ChunkCache(const ChunkCache&) = delete;

  // `owner` tells the chunks of different stores apart: a number that is never reused. Sets `out` (as long as `chunks`) where a chunk is
  // there. `values`, one per chunk or empty: the components that will do, null: all; a chunk that is there whole does for any.
  void Find(uint64_t owner, std::span<const uint32_t> chunks, std::span<const ComponentList> values, std::vector<ChunkPtr>* out)
      RUSHES_EXCLUDES(mutex_);
  // `values`: the components whose values `data` has; null: all. A chunk larger than a quarter of the budget is not kept.
  void Insert(uint64_t owner, uint32_t chunk, const ComponentList& values, ChunkPtr data) RUSHES_EXCLUDES(mutex_);
  int64_t size_bytes() const RUSHES_EXCLUDES(mutex_);
  // For the times of chunks that are to be inserted.
  TimesPool& times() { return times_; }
  int64_t budget_bytes() const { return budget_bytes_; }

 private:
  struct Key {
    uint64_t owner;
    uint32_t chunk;
    std::string part;  // names of its components; empty: all
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const noexcept {
      return static_cast<size_t>((key.owner * 0x9E3779B97F4A7C15ull) ^ (key.chunk * 0xD6E8FEB86659FD93ull) ^
                                 (key.part.empty() ? 0 : std::hash<std::string>()(key.part)));
    }
  };
  static std::string PartName(const ComponentList& values);
  struct Item {
    Key key;
    ChunkPtr data;
  };
  const int64_t budget_bytes_;
  TimesPool times_;
  mutable Mutex mutex_;
  std::list<Item> items_ RUSHES_GUARDED_BY(mutex_);  // most recently used first
  std::unordered_map<Key, std::list<Item>::iterator, KeyHash> lookup_ RUSHES_GUARDED_BY(mutex_);
  int64_t size_bytes_ RUSHES_GUARDED_BY(mutex_) = 0;
};

}  // namespace rushes
