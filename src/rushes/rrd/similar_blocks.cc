#include "rushes/rrd/similar_blocks.h"

#include <lz4.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "rushes/rrd/messages.h"

namespace rushes::rrd {
namespace {

// A sequence of a block: literals, then a copy of what was decompressed before.
struct Sequence {
  size_t literals = 0;  // their position
  size_t num_literals = 0;
  size_t distance = 0;
  size_t length = 0;
  size_t end = 0;
};

bool AddLength(std::string_view block, size_t* at, size_t* length) {
  while (*at < block.size()) {
    const auto byte = static_cast<uint8_t>(block[(*at)++]);
    *length += byte;
    if (byte < 255) return true;
  }
  return false;
}

// nullopt: there is no whole sequence with a copy, as at the end of a block.
std::optional<Sequence> ReadSequence(std::string_view block, size_t at) {
  if (at >= block.size()) return std::nullopt;
  const auto token = static_cast<uint8_t>(block[at++]);
  Sequence out;
  out.num_literals = token >> 4;
  if (out.num_literals == 15 && !AddLength(block, &at, &out.num_literals)) return std::nullopt;
  out.literals = at;
  if (block.size() - at < 2 || out.num_literals > block.size() - at - 2) return std::nullopt;
  at += out.num_literals;
  out.distance = static_cast<uint8_t>(block[at]) | size_t{static_cast<uint8_t>(block[at + 1])} << 8;
  at += 2;
  out.length = token & 15;
  if (out.length == 15 && !AddLength(block, &at, &out.length)) return std::nullopt;
  out.length += 4;
  out.end = at;
  return out;
}

}  // namespace

void SimilarBlocks::Learn(std::string_view block, std::string_view payload, size_t num_bytes) {
  // In place of what did not help for longest; each time it must be worth more.
  constexpr int kFew = 4, kMax = 1 << 20;
  last_ = 1 - last_;
  patience_ = num_learned_ == 0 ? 1 : std::min(std::max(2 * patience_, kFew), kMax);
  ++num_learned_;
  misses_ = 0;
  Learned& out = learned_[last_] = Learned{};
  block = block.substr(0, kMaxBlockBytes);
  num_bytes = std::min(num_bytes, payload.size());
  std::vector<uint8_t> is_copied(num_bytes);
  size_t at = 0, done = 0;
  while (const auto sequence = ReadSequence(block, at)) {
    const size_t copy = done + sequence->num_literals;
    if (sequence->distance == 0 || sequence->distance > copy || copy + sequence->length > num_bytes) break;
    out.free.resize(sequence->end, kFixed);
    for (size_t i = 0; i < sequence->num_literals; ++i) out.free[sequence->literals + i] = static_cast<uint32_t>(done + i);
    std::memset(is_copied.data() + copy - sequence->distance, 1, sequence->length);
    at = sequence->end;
    done = copy + sequence->length;
    out.ends.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(done)});
  }
  for (uint32_t& position : out.free) {
    if (position != kFixed && is_copied[position] != 0) position = kFixed;
  }
  out.block = block.substr(0, at);
  out.payload = payload.substr(0, done);
}

size_t SimilarBlocks::Learned::FindEnd(std::string_view other, Changes* changes) const {
  static_assert(std::endian::native == std::endian::little);
  constexpr size_t kStride = 64, kWord = sizeof(uint64_t);
  const size_t size = std::min(other.size(), block.size());
  changes->size = 0;
  for (size_t at = 0; at < size;) {
    const size_t end = std::min(at + kStride, size);
    if (std::memcmp(other.data() + at, block.data() + at, end - at) == 0) {
      at = end;
      continue;
    }
    for (; at < end; at += kWord) {
      uint64_t theirs = 0, ours = 0;
      std::memcpy(&theirs, other.data() + at, std::min(kWord, end - at));
      std::memcpy(&ours, block.data() + at, std::min(kWord, end - at));
      const uint64_t difference = theirs ^ ours;
      if (difference == 0) continue;
      const size_t first = at + static_cast<size_t>(std::countr_zero(difference)) / 8;
      const size_t last = at + kWord - 1 - static_cast<size_t>(std::countl_zero(difference)) / 8;
      for (size_t begin = first; begin <= last;) {
        if (other[begin] == block[begin]) {
          ++begin;
          continue;
        }
        if (free[begin] == kFixed || changes->size == kMaxChanges) return begin;
        // Free bytes that are neighbours here are literals of one sequence, and neighbours there, too.
        size_t behind = begin + 1;
        while (behind <= last && free[behind] != kFixed) ++behind;
        changes->items[changes->size++] = {static_cast<uint32_t>(begin), free[begin], static_cast<uint32_t>(behind - begin)};
        begin = behind;
      }
    }
  }
  return size;
}

SimilarBlocks::End SimilarBlocks::Learned::Compare(std::string_view other, Changes* changes) const {
  const size_t equal = FindEnd(other, changes);
  const auto next = std::upper_bound(ends.begin(), ends.end(), equal, [](size_t position, const End& end) { return position < end.block; });
  return next == ends.begin() ? End{0, 0} : *std::prev(next);
}

arrow::Result<SimilarBlocks::Result> SimilarBlocks::Decompress(std::string_view block, uint64_t size_uncompressed, std::string* scratch) {
  Changes changes;
  const Learned* learned = &learned_[last_];
  End common = learned->Compare(block, &changes);
  if (!learned->Suffices(common)) {
    const size_t other = 1 - last_;
    Changes other_changes;
    const End other_common = learned_[other].Compare(block, &other_changes);
    if (other_common.payload > common.payload) {
      last_ = other;
      learned = &learned_[other];
      common = other_common;
      changes = other_changes;
    }
  }
  misses_ = learned->Suffices(common) ? 0 : misses_ + 1;

  Result result;
  if (common.payload == 0 || common.payload + kPayloadLeft > size_uncompressed || common.block + kBlockLeft > block.size()) {
    ARROW_ASSIGN_OR_RAISE(result.payload, DecompressInto(block, Compression::kLz4, size_uncompressed, scratch));
    return result;
  }
  ARROW_RETURN_NOT_OK(CheckLz4Sizes(block.size(), size_uncompressed));
  if (scratch->size() < size_uncompressed) scratch->resize(size_uncompressed);
  char* const out = scratch->data();
  std::memcpy(out, learned->payload.data(), common.payload);
  result.num_common = common.payload;
  for (size_t i = 0; i < changes.size && changes.items[i].block < common.block; ++i) {
    const Change& change = changes.items[i];
    std::memcpy(out + change.payload, block.data() + change.block, change.size);
    if (i == 0) result.changes_begin = change.payload;  // literals are in the order of the payload
    result.changes_end = change.payload + change.size;
  }
  // The rest refers to what precedes it as a block does to its dictionary.
  const int written =
      LZ4_decompress_safe_usingDict(block.data() + common.block, out + common.payload, static_cast<int>(block.size() - common.block),
                                    static_cast<int>(size_uncompressed - common.payload), out, static_cast<int>(common.payload));
  if (written < 0) {
    return arrow::Status::Invalid("broken LZ4 block of ", block.size(), " bytes, ", size_uncompressed, " bytes decompressed were expected");
  }
  result.payload = std::string_view(*scratch).substr(0, common.payload + static_cast<size_t>(written));
  return result;
}

}  // namespace rushes::rrd
