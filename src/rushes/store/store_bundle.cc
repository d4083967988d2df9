#include "rushes/store/store_bundle.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "arrow/buffer.h"
#include "arrow/util/byte_size.h"
#include "rushes/chunk/repeat_texts.h"

namespace rushes {
namespace {

constexpr int64_t kTimeBytes = sizeof(int64_t);

bool AscendStrictly(const int64_t* times, const std::vector<StoreBundle::Member>& members) {
  int64_t row = 0;
  for (const StoreBundle::Member& member : members) {
    for (++row; row < member.row_end; ++row) {
      if (times[row - 1] >= times[row]) return false;
    }
    row = member.row_end;
  }
  return true;
}

// Lanes were mostly logged together: then their times are kept once.
void ShareTimes(std::vector<StoreBundle::Lane>* lanes) {
  std::vector<std::shared_ptr<arrow::Buffer>> known;
  for (StoreBundle::Lane& lane : *lanes) {
    for (auto& times : lane.rows.times) {
      const auto same = std::find_if(known.begin(), known.end(), [&](const auto& other) { return other->Equals(*times); });
      if (same == known.end()) {
        known.push_back(times);
      } else {
        times = *same;
      }
    }
  }
}

arrow::Result<std::shared_ptr<arrow::StringArray>> RepeatIds(std::span<const StoreRequest> requests,
                                                             const std::vector<StoreBundle::Member>& members) {
  std::vector<TextRun> runs;
  runs.reserve(members.size());
  int64_t row = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    runs.push_back({requests[i].store->id().recording_id, members[i].row_end - row});
    row = members[i].row_end;
  }
  return RepeatTexts(runs);
}

int64_t BytesOf(const StoreBundle& bundle) {
  int64_t bytes = static_cast<int64_t>(bundle.members.size() * sizeof(StoreBundle::Member) + bundle.chunks.size() * sizeof(uint32_t));
  constexpr int64_t kSliceBytes = 512;  // with its children, about
  std::set<const arrow::Buffer*> seen;
  for (const StoreBundle::Lane& lane : bundle.lanes) {
    for (const auto& times : lane.rows.times) {
      if (seen.insert(times.get()).second) bytes += times->size();
    }
    for (const auto& column : lane.rows.columns) {
      bytes += arrow::util::TotalBufferSize(*column) + static_cast<int64_t>(StoreBundle::kMaxAttached) * kSliceBytes;
    }
  }
  return bytes + arrow::util::TotalBufferSize(*bundle.recording_ids);
}

// Null: the first store does not go together with itself.
arrow::Result<StoreBundlePtr> MakeBundle(std::span<const StoreRequest> requests) {
  auto bundle = std::make_shared<StoreBundle>();
  const size_t num_lanes = requests[0].chunks.size();
  const SegmentIndex& first = *requests[0].store->index();
  std::vector<bool> is_static(num_lanes);
  std::vector<MessageJoiner> joiners;
  joiners.reserve(num_lanes);
  for (size_t lane = 0; lane < num_lanes; ++lane) {
    is_static[lane] = first.is_static(requests[0].chunks[lane]);
    // As the index says, which may be wrong.
    int64_t rows = 0;
    for (const StoreRequest& request : requests) {
      if (lane < request.chunks.size()) rows += std::clamp<int64_t>(request.store->index()->num_rows(request.chunks[lane]), 0, 1 << 16);
    }
    joiners.emplace_back(rows, ChunkJoiner::Into::kRows);
  }
  for (const StoreRequest& request : requests) {
    if (request.chunks.size() != num_lanes) break;
    const auto fits = request.store->JoinChunks(request.chunks, joiners);
    if (!fits.ok() || !*fits) break;
    const int64_t begin = bundle->members.empty() ? 0 : bundle->members.back().row_end;
    int64_t end = -1;
    bool is_even = true;
    for (size_t lane = 0; lane < num_lanes; ++lane) {
      if (is_static[lane]) {
        is_even &= joiners[lane].num_rows() == static_cast<int64_t>(bundle->members.size()) + 1;
      } else {
        if (end < 0) end = joiners[lane].num_rows();
        is_even &= joiners[lane].num_rows() == end;
      }
    }
    if (!is_even || end <= begin) break;
    bundle->members.push_back({request.store->cache_owner(), end});
    bundle->chunks.insert(bundle->chunks.end(), request.chunks.begin(), request.chunks.end());
  }
  if (bundle->members.empty()) return nullptr;
  for (size_t lane = 0; lane < num_lanes; ++lane) {
    const int64_t rows = is_static[lane] ? static_cast<int64_t>(bundle->members.size()) : bundle->members.back().row_end;
    ARROW_ASSIGN_OR_RAISE(auto joined, joiners[lane].FinishRows(rows));
    if (joined.schema->is_static() != is_static[lane]) return nullptr;
    bundle->lanes.push_back({std::move(joined), {}});
  }
  ShareTimes(&bundle->lanes);
  for (StoreBundle::Lane& lane : bundle->lanes) {
    for (size_t t = 0; t < lane.rows.times.size(); ++t) {
      lane.is_strict.push_back(AscendStrictly(lane.rows.times_of(static_cast<int>(t)), bundle->members));
    }
  }
  ARROW_ASSIGN_OR_RAISE(bundle->recording_ids, RepeatIds(requests, bundle->members));
  bundle->byte_size = BytesOf(*bundle);
  return bundle;
}

}  // namespace

void StoreBundle::Attach(std::shared_ptr<const void> made) const {
  MutexLock lock(mutex);
  if (attached.size() >= kMaxAttached) attached.erase(attached.begin());
  attached.push_back(std::move(made));
}

arrow::Result<BundlePart> ReadBundle(std::span<const StoreRequest> requests, ChunkCache* cache) {
  if (requests.empty() || requests[0].chunks.empty()) return BundlePart{};
  BundlePart part;
  if (cache != nullptr) part = cache->FindBundle(requests[0].store->cache_owner(), requests[0].chunks);
  if (part.bundle == nullptr) {
    ARROW_ASSIGN_OR_RAISE(part.bundle, MakeBundle(requests));
    if (part.bundle == nullptr) return BundlePart{};
    if (cache != nullptr) cache->InsertBundle(part.bundle);
  }
  const StoreBundle& bundle = *part.bundle;
  const size_t most = std::min(requests.size(), bundle.members.size() - part.first_member);
  for (part.num_members = 1; part.num_members < most; ++part.num_members) {
    const size_t member = part.first_member + part.num_members;
    const StoreRequest& request = requests[part.num_members];
    if (bundle.members[member].owner != request.store->cache_owner() || !std::ranges::equal(bundle.ChunksOf(member), request.chunks)) break;
  }
  return part;
}

}  // namespace rushes
