// Neighbouring small stores of one shape, read and kept as one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arrow/array/array_binary.h"
#include "arrow/result.h"
#include "rushes/chunk/chunk_joiner.h"
#include "rushes/chunk/mutex.h"
#include "rushes/store/recording.h"

namespace rushes {

// Chunks of several stores, joined across them: lane by lane, one chunk of each store. What thousands of short recordings cost is a file,
// some chunks and their arrays for each; as bundles they are kept as few long columns, which a scan only has to cut. Immutable but for what
// is attached; thread safe.
struct StoreBundle {
  struct Member {
    uint64_t owner = 0;   // RecordingStore::cache_owner
    int64_t row_end = 0;  // its rows in each temporal lane end here, and begin where those of the one before end
  };
  struct Lane {
    JoinedRows rows;  // static: one row per member
    // Per timeline: within each member the times ascend strictly.
    std::vector<uint8_t> is_strict;
  };
  std::vector<Member> members;
  std::vector<uint32_t> chunks;                       // [member][lane]: positions in the member's index
  std::vector<Lane> lanes;                            // with equal times in one buffer
  std::shared_ptr<arrow::StringArray> recording_ids;  // of each row
  int64_t byte_size = 0;

  // Keeps something that was made of the lanes as long as the bundle is, the oldest of several goes: slices, for which `byte_size` has
  // room.
  void Attach(std::shared_ptr<const void> made) const RUSHES_EXCLUDES(mutex);

  std::span<const uint32_t> ChunksOf(size_t member) const { return std::span(chunks).subspan(member * lanes.size(), lanes.size()); }
  int64_t row_begin(size_t member) const { return member == 0 ? 0 : members[member - 1].row_end; }

  static constexpr size_t kMaxAttached = 4;
  mutable Mutex mutex;
  mutable std::vector<std::shared_ptr<const void>> attached RUSHES_GUARDED_BY(mutex);
};
using StoreBundlePtr = std::shared_ptr<const StoreBundle>;

// What to read of a store.
struct StoreRequest {
  const RecordingStore* store = nullptr;
  std::span<const uint32_t> chunks;  // positions in its index: of any number of entities, in the same order for all stores
};

// Part of a bundle.
struct BundlePart {
  StoreBundlePtr bundle;
  size_t first_member = 0;
  size_t num_members = 0;
};

// Reads stores from the first one on, as many as can be read as one: their chunks have the same schemas, all temporal ones of a store as
// many rows, static ones a single row, and types that ChunkJoiner takes. `num_members` is 0 if the first one cannot, or cannot be read;
// why is for RecordingStore::ReadChunks to say. With a cache, bundles are taken from it and added to it.
arrow::Result<BundlePart> ReadBundle(std::span<const StoreRequest> requests, ChunkCache* cache);

}  // namespace rushes
