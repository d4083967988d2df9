// Which small chunks of a store are read and kept as one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "rushes/rrd/segment_index.h"

namespace rushes {

// Groups of small temporal chunks that follow each other: of one entity, with the same timelines and components, each beginning where the
// one before has ended, on every timeline. Decided by the index alone; whether their values can be joined is seen when they are read
// (ChunkJoiner). A group has 2 members at least, and at most kMaxRows rows and kMaxBytes bytes of payload. Thread safe.
class ChunkGroups {
 public:
  static constexpr int64_t kMaxRows = 10'240;
  static constexpr uint64_t kMaxBytes = uint64_t{2} << 20;
  static constexpr int64_t kMaxMemberRows = 4096;
  static constexpr uint64_t kMaxMemberBytes = uint64_t{512} << 10;
  // To join larger ones costs more than to decode each: that is worth it only where the result is kept for the next scan.
  static constexpr uint64_t kCheapMemberBytes = uint64_t{80} << 10;

  explicit ChunkGroups(const SegmentIndex& index);

  size_t size() const { return begin_.size() - 1; }
  // Positions in the index, in file order.
  std::span<const uint32_t> Members(uint32_t group) const {
    return std::span<const uint32_t>(members_).subspan(begin_[group], begin_[group + 1] - begin_[group]);
  }
  // Chunks that are in no group.
  std::span<const uint32_t> alone() const { return alone_; }

  // What is said of the members together.
  struct Summary {
    int64_t num_rows = 0;
    uint64_t size_uncompressed = 0;
    uint64_t max_member_bytes = 0;  // of the largest one, uncompressed
  };
  const Summary& summary(uint32_t group) const { return summaries_[group]; }
  // The least and greatest time on a timeline (position in the index's timelines()); nullopt if they have none.
  std::optional<TimeSpan> Span(uint32_t group, int timeline) const { return spans_[static_cast<size_t>(timeline) * size() + group]; }
  // The group of a chunk, or kNone; also after the group was dissolved.
  uint32_t GroupOf(uint32_t chunk) const { return group_of_.empty() ? kNone : group_of_[chunk]; }
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  // Its members turned out not to fit: they are read one by one from now on.
  void Dissolve(uint32_t group) const { is_dissolved_[group].store(true, std::memory_order_relaxed); }
  bool IsDissolved(uint32_t group) const { return is_dissolved_[group].load(std::memory_order_relaxed); }

 private:
  std::vector<uint32_t> group_of_;  // per chunk; empty: there is no group
  std::vector<uint32_t> alone_;
  std::vector<uint32_t> members_;
  std::vector<uint32_t> begin_ = {0};           // per group in `members_`, one more at the end
  std::vector<Summary> summaries_;              // per group
  std::vector<std::optional<TimeSpan>> spans_;  // [timeline][group]
  std::unique_ptr<std::atomic<bool>[]> is_dissolved_;
};

}  // namespace rushes
