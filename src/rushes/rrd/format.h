// The framing of recording files as constants and small value types. docs/format.md has the grammar.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "arrow/result.h"

namespace rushes::rrd {

inline constexpr int64_t kStreamHeaderSize = 12;
inline constexpr int64_t kFrameHeaderSize = 16;
inline constexpr int64_t kTrailerSize = 32;
// The largest payload, compressed or not.
inline constexpr uint64_t kMaxPayloadSize = uint64_t{16} << 30;
inline constexpr uint64_t kMaxLz4Ratio = 255;
inline constexpr uint32_t kFooterChecksumSeed = 7850921;
inline constexpr std::string_view kMagic = "RRF2";

// The version of the writer.
struct WriterVersion {
  uint8_t major = 0;
  uint8_t minor = 0;
  uint8_t patch = 0;
  uint8_t meta = 0;  // release candidates and the like; not compared

  // "0.41.0", "0.37.0-alpha.1".
  std::string ToString() const;
  int32_t bits() const;  // as StoreInfo has it
  friend std::strong_ordering operator<=>(const WriterVersion& a, const WriterVersion& b) {
    return std::array{a.major, a.minor, a.patch} <=> std::array{b.major, b.minor, b.patch};
  }
  friend bool operator==(const WriterVersion& a, const WriterVersion& b) { return (a <=> b) == 0; }
};
inline constexpr WriterVersion kOldestVersion{0, 23, 0, 0};
// The version whose conventions our files follow.
inline constexpr WriterVersion kOurVersion{0, 41, 0, 0};

// The start of a stream. A file is one stream, or several one after another.
struct StreamHeader {
  WriterVersion version;
  bool lz4 = true;  // advisory

  std::string Encode() const;
  // Invalid says what the 12 bytes are instead, without naming the file: another format, a version before 0.23, unknown options.
  static arrow::Result<StreamHeader> Parse(std::string_view bytes);
};

enum class FrameKind : uint64_t { kEnd = 0, kSetStoreInfo = 1, kArrowMessage = 2, kBlueprintActivation = 3 };

// What precedes each message.
struct FrameHeader {
  uint64_t kind = 0;  // FrameKind, or something unknown
  uint64_t size = 0;  // of the payload

  bool is_known() const { return kind <= 3; }
  std::string Encode() const;
  static FrameHeader Parse(const char* bytes);  // kFrameHeaderSize bytes
};

// The last 32 bytes of a stream with a footer.
struct Trailer {
  uint64_t footer_offset = 0;  // from the start of the stream
  uint64_t footer_size = 0;
  uint32_t checksum = 0;  // of the footer

  std::string Encode() const;
  // nullopt: these 32 bytes are no trailer.
  static std::optional<Trailer> Parse(std::string_view bytes);
};

}  // namespace rushes::rrd
