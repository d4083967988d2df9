#include "rushes/store/chunk_groups.h"

#include <algorithm>

namespace rushes {
namespace {

class Grouper {
 public:
  explicit Grouper(const SegmentIndex& index) : index_(index), num_timelines_(static_cast<int>(index.timelines().size())) {}

  // Which components each chunk has, as a number that chunks of one entity share if they have the same.
  std::vector<uint64_t> HashComponents() const {
    std::vector<uint64_t> hashes(index_.num_chunks(), 0);
    for (const SegmentIndex::Column& column : index_.columns()) {
      for (const SegmentIndex::ColumnEntry& entry : index_.Entries(column)) {
        hashes[entry.chunk] = (hashes[entry.chunk] ^ (column.component + 1)) * 0x9E3779B97F4A7C15ull;
      }
    }
    return hashes;
  }

  bool IsSmall(uint32_t chunk) const {
    const int64_t rows = index_.num_rows(chunk);
    return !index_.is_static(chunk) && rows > 0 && rows <= ChunkGroups::kMaxMemberRows &&
           index_.place(chunk).size_uncompressed <= ChunkGroups::kMaxMemberBytes;
  }

  bool Follows(uint32_t chunk, uint32_t before) const {
    for (int timeline = 0; timeline < num_timelines_; ++timeline) {
      const auto span = index_.Span(chunk, timeline), last = index_.Span(before, timeline);
      if (span.has_value() != last.has_value() || (span && span->start < last->end)) return false;
    }
    return true;
  }

 private:
  const SegmentIndex& index_;
  const int num_timelines_;
};

}  // namespace

ChunkGroups::ChunkGroups(const SegmentIndex& index) {
  const Grouper grouper(index);
  std::vector<uint64_t> components;
  for (uint32_t entity = 0; entity < index.entities().size(); ++entity) {
    std::vector<uint32_t> group;
    Summary summary;
    const auto close = [&] {
      if (group.size() > 1) {
        if (group_of_.empty()) group_of_.assign(index.num_chunks(), kNone);
        for (const uint32_t chunk : group) group_of_[chunk] = static_cast<uint32_t>(size());
        members_.insert(members_.end(), group.begin(), group.end());
        begin_.push_back(static_cast<uint32_t>(members_.size()));
        summaries_.push_back(summary);
      }
      group.clear();
      summary = Summary();
    };
    for (const uint32_t chunk : index.ChunksOf(entity)) {
      if (!grouper.IsSmall(chunk)) {
        close();
        continue;
      }
      if (components.empty()) components = grouper.HashComponents();
      const uint64_t size = index.place(chunk).size_uncompressed;
      if (!group.empty() && (summary.num_rows + index.num_rows(chunk) > kMaxRows || summary.size_uncompressed + size > kMaxBytes ||
                             components[chunk] != components[group.back()] || !grouper.Follows(chunk, group.back()))) {
        close();
      }
      group.push_back(chunk);
      summary.num_rows += index.num_rows(chunk);
      summary.size_uncompressed += size;
      summary.max_member_bytes = std::max(summary.max_member_bytes, size);
    }
    close();
  }
  is_dissolved_ = std::make_unique<std::atomic<bool>[]>(size());
  if (size() == 0) return;
  for (uint32_t chunk = 0; chunk < index.num_chunks(); ++chunk) {
    if (group_of_[chunk] == kNone) alone_.push_back(chunk);
  }
  // Each begins where the one before has ended.
  for (int timeline = 0; timeline < static_cast<int>(index.timelines().size()); ++timeline) {
    for (uint32_t group = 0; group < size(); ++group) {
      const auto members = Members(group);
      auto span = index.Span(members.front(), timeline);
      if (span) span->end = index.Span(members.back(), timeline)->end;
      spans_.push_back(span);
    }
  }
}

}  // namespace rushes
