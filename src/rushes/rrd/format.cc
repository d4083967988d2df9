#include "rushes/rrd/format.h"

#include <cstring>

#include "arrow/status.h"

namespace rushes::rrd {
namespace {

constexpr uint8_t kProtobuf = 2;
constexpr uint8_t kMsgPack = 1;

template <typename T>
T Read(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

template <typename T>
void Append(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// The first bytes, readable.
std::string Printable(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    if (c >= 0x20 && c < 0x7f) {
      out.push_back(c);
    } else {
      constexpr char kDigits[] = "0123456789abcdef";
      out += "\\x";
      out.push_back(kDigits[(c >> 4) & 15]);
      out.push_back(kDigits[c & 15]);
    }
  }
  return out + "\"";
}

}  // namespace

std::string WriterVersion::ToString() const {
  std::string out = std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  const std::string number = std::to_string(meta & 0x3f);
  switch (meta >> 6) {
    case 1:
      return out + "-rc." + number;
    case 2:
      return out + "-alpha." + number;
    case 3:
      return out + "-alpha." + number + "+dev";
    default:
      return out;
  }
}

int32_t WriterVersion::bits() const {
  return static_cast<int32_t>(uint32_t{major} | uint32_t{minor} << 8 | uint32_t{patch} << 16 | uint32_t{meta} << 24);
}

std::string StreamHeader::Encode() const {
  std::string out(kMagic);
  for (const uint8_t byte : {version.major, version.minor, version.patch, version.meta, uint8_t{lz4}, kProtobuf, uint8_t{0}, uint8_t{0}}) {
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

arrow::Result<StreamHeader> StreamHeader::Parse(std::string_view bytes) {
  if (bytes.size() < static_cast<size_t>(kStreamHeaderSize)) {
    return arrow::Status::Invalid("expected the 12-byte header of an .rrd file, found ", bytes.size(), " bytes");
  }
  const std::string_view magic = bytes.substr(0, 4);
  if (magic == "RRF0" || magic == "RRF1") {
    return arrow::Status::Invalid("this is an old .rrd file (", magic, ") that cannot be read; files of Rerun 0.23 and later can");
  }
  if (magic != kMagic) {
    return arrow::Status::Invalid("this is not an .rrd file: expected it to start with \"RRF2\", found ", Printable(magic));
  }
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  StreamHeader header;
  header.version = {byte(4), byte(5), byte(6), byte(7)};
  if (byte(9) == kMsgPack) {
    return arrow::Status::Invalid("this is an old .rrd file of version ", header.version.ToString(),
                                  " (MsgPack) that cannot be read; files of Rerun 0.23 and later can");
  }
  if (byte(8) > 1) return arrow::Status::Invalid("unknown compression ", int{byte(8)}, " in the header (0 and 1 are known)");
  if (byte(9) != kProtobuf) return arrow::Status::Invalid("unknown serializer ", int{byte(9)}, " in the header (2 is known)");
  if (byte(10) != 0 || byte(11) != 0) return arrow::Status::Invalid("unknown options in the header (bytes 10 and 11 must be 0)");
  header.lz4 = byte(8) == 1;
  if (header.version.major == 0 && header.version < kOldestVersion) {
    return arrow::Status::Invalid("this .rrd file was written by Rerun ", header.version.ToString(),
                                  " and cannot be read; files of 0.23 and later can");
  }
  return header;
}

std::string FrameHeader::Encode() const {
  std::string out;
  Append(&out, kind);
  Append(&out, size);
  return out;
}

FrameHeader FrameHeader::Parse(const char* bytes) { return {Read<uint64_t>(bytes), Read<uint64_t>(bytes + 8)}; }

std::string Trailer::Encode() const {
  std::string out;
  Append(&out, footer_offset);
  Append(&out, footer_size);
  Append(&out, checksum);
  out += "RRF2FOOT";
  Append(&out, uint32_t{1});
  return out;
}

std::optional<Trailer> Trailer::Parse(std::string_view bytes) {
  if (bytes.size() != static_cast<size_t>(kTrailerSize) || bytes.substr(20, 8) != "RRF2FOOT" || Read<uint32_t>(bytes.data() + 28) != 1) {
    return std::nullopt;
  }
  return Trailer{Read<uint64_t>(bytes.data()), Read<uint64_t>(bytes.data() + 8), Read<uint32_t>(bytes.data() + 16)};
}

}  // namespace rushes::rrd
