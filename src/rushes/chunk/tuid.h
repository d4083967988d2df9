// Time-ordered unique ids: the 128-bit ids of rows, chunks, catalog entries and tasks.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "arrow/result.h"

namespace rushes {

// 16 bytes: nanoseconds since the Unix epoch at creation, then a counter, both big-endian when stored. Ordered as the
// unsigned big-endian bytes are, which is creation order within one process. A plain value.
struct Tuid {
  uint64_t time_ns = 0;
  uint64_t counter = 0;

  static constexpr int kNumBytes = 16;

  // A new id, greater than every id this process made before. Thread safe.
  static Tuid New();
  // Reads 16 big-endian bytes.
  static Tuid FromBytes(const void* bytes) {
    Tuid id;
    std::memcpy(&id.time_ns, bytes, 8);
    std::memcpy(&id.counter, static_cast<const char*>(bytes) + 8, 8);
    id.time_ns = __builtin_bswap64(id.time_ns);
    id.counter = __builtin_bswap64(id.counter);
    return id;
  }
  // Parses 32 hex digits of either case. Invalid on anything else.
  static arrow::Result<Tuid> FromHex(std::string_view hex);

  void ToBytes(void* out) const {
    const uint64_t words[2] = {__builtin_bswap64(time_ns), __builtin_bswap64(counter)};
    std::memcpy(out, words, 16);
  }
  std::array<uint8_t, 16> bytes() const {
    std::array<uint8_t, 16> out;
    ToBytes(out.data());
    return out;
  }
  // 32 hex digits, the first half in upper and the second in lower case, as the ecosystem prints ids.
  std::string ToHex() const;
  bool is_zero() const { return time_ns == 0 && counter == 0; }

  friend auto operator<=>(const Tuid&, const Tuid&) = default;
};

// Identifies a chunk; equal ids mean equal chunks.
using ChunkId = Tuid;
// Identifies a row; later rows have greater ids.
using RowId = Tuid;
// Identifies a catalog entry (dataset or table).
using EntryId = Tuid;

}  // namespace rushes

template <>
struct std::hash<rushes::Tuid> {
  size_t operator()(const rushes::Tuid& id) const noexcept {
    return static_cast<size_t>((id.time_ns ^ (id.counter * 0x9E3779B97F4A7C15ull)) * 0xD6E8FEB86659FD93ull);
  }
};
