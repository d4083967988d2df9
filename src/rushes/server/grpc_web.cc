#include "rushes/server/grpc_web.h"

#include <algorithm>
#include <cctype>

namespace rushes::grpc_web {
namespace {

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

bool IsBinaryKey(std::string_view key) { return key.ends_with("-bin"); }

}  // namespace

std::optional<Encoding> EncodingOf(std::string_view content_type) {
  std::string type(Trimmed(content_type.substr(0, content_type.find(';'))));
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (type == "application/grpc-web" || type == "application/grpc-web+proto") return Encoding::kBinary;
  if (type == "application/grpc-web-text" || type == "application/grpc-web-text+proto") return Encoding::kText;
  return std::nullopt;
}

Encoding AnswerEncoding(std::string_view accept, Encoding request) {
  for (;;) {
    const size_t comma = accept.find(',');
    if (const auto encoding = EncodingOf(accept.substr(0, comma))) return *encoding;
    if (comma == std::string_view::npos) return request;
    accept.remove_prefix(comma + 1);
  }
}

const char* ContentType(Encoding encoding) {
  return encoding == Encoding::kText ? "application/grpc-web-text+proto" : "application/grpc-web+proto";
}

arrow::Result<std::string> Base64Decode(std::string_view text) {
  std::string out;
  out.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int have = 0;         // bits that are not written yet
  int in_group = 0;     // digits of the group of four
  bool padded = false;  // within the padding of a piece
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '=') {
      if (in_group < 2) return arrow::Status::Invalid("base64 has padding at byte ", i, " without anything to pad");
      padded = true;
      in_group = (in_group + 1) % 4;
      if (in_group == 0) {
        padded = false;  // what follows is a piece encoded for itself
        have = 0;
      }
      continue;
    }
    const int digit = Base64Digit(text[i]);
    if (digit < 0 || padded) {
      return arrow::Status::Invalid("base64 has the byte ", static_cast<int>(static_cast<unsigned char>(text[i])), " at ", i,
                                    padded ? " within padding" : "");
    }
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    have += 6;
    in_group = (in_group + 1) % 4;
    if (have >= 8) {
      have -= 8;
      out.push_back(static_cast<char>(bits >> have));
    }
    if (in_group == 0) have = 0;
  }
  if (in_group == 1) return arrow::Status::Invalid("base64 ends within a byte");
  return out;
}

std::string Base64Encode(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = (bits << 8) | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    const size_t have = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 4; ++j) out.push_back(j <= have ? kDigits[(bits >> (18 - 6 * j)) & 63] : '=');
  }
  return out;
}

arrow::Result<std::vector<std::string_view>> SplitFrames(std::string_view body) {
  std::vector<std::string_view> messages;
  size_t at = 0;
  while (at < body.size()) {
    const size_t number = messages.size() + 1;
    if (body.size() - at < 5) return arrow::Status::Invalid("gRPC-Web frame ", number, " at byte ", at, " is cut within its head");
    const uint8_t flag = static_cast<uint8_t>(body[at]);
    uint32_t length = 0;
    for (size_t i = 1; i < 5; ++i) length = (length << 8) | static_cast<unsigned char>(body[at + i]);
    if (flag == 1)
      return arrow::Status::NotImplemented("gRPC-Web frame ", number, " at byte ", at, " is compressed, which is not supported");
    if (flag != kMessageFlag) {
      return arrow::Status::Invalid("gRPC-Web frame ", number, " at byte ", at, " has the flag ", static_cast<int>(flag),
                                    "; requests have messages alone, with the flag 0");
    }
    if (body.size() - at - 5 < length) {
      return arrow::Status::Invalid("gRPC-Web frame ", number, " at byte ", at, " announces ", length, " bytes, ", body.size() - at - 5,
                                    " are left");
    }
    messages.push_back(body.substr(at + 5, length));
    at += 5 + size_t{length};
  }
  return messages;
}

std::string FrameHead(uint8_t flag, size_t length) {
  return {static_cast<char>(flag), static_cast<char>(length >> 24), static_cast<char>(length >> 16), static_cast<char>(length >> 8),
          static_cast<char>(length)};
}

std::string TrailersFrame(const Trailers& trailers) {
  std::string lines = "grpc-status:" + std::to_string(trailers.code) + "\r\n";
  if (!trailers.message.empty()) lines += "grpc-message:" + PercentEncodeMessage(trailers.message) + "\r\n";
  if (!trailers.details.empty()) lines += "grpc-status-details-bin:" + Base64Encode(trailers.details) + "\r\n";
  for (const auto& [key, value] : trailers.metadata) {
    if (key.starts_with("grpc-") || key.starts_with(":")) continue;
    lines += key + ":" + (IsBinaryKey(key) ? Base64Encode(value) : value) + "\r\n";
  }
  return FrameHead(kTrailersFlag, lines.size()) + lines;
}

std::string PercentEncodeMessage(std::string_view message) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : message) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (u < 0x20 || u > 0x7E || c == '%') {
      out += {'%', kHex[u >> 4], kHex[u & 15]};
    } else {
      out.push_back(c);
    }
  }
  return out;
}

arrow::Result<std::chrono::nanoseconds> ParseTimeout(std::string_view text) {
  static const std::map<char, int64_t> kNanoseconds = {{'H', 3'600'000'000'000}, {'M', 60'000'000'000}, {'S', 1'000'000'000},
                                                       {'m', 1'000'000},         {'u', 1'000},          {'n', 1}};
  const auto unit = text.empty() ? kNanoseconds.end() : kNanoseconds.find(text.back());
  const std::string_view digits = text.substr(0, text.empty() ? 0 : text.size() - 1);
  const bool good = unit != kNanoseconds.end() && !digits.empty() && digits.size() <= 8 &&
                    std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!good) return arrow::Status::Invalid("grpc-timeout is at most 8 digits and one of H, M, S, m, u, n; got '", text, "'");
  // A year is as good as for ever, and fits.
  constexpr int64_t kMax = int64_t{365} * 24 * 3600 * 1'000'000'000;
  const int64_t count = std::stoll(std::string(digits));
  return std::chrono::nanoseconds(count > kMax / unit->second ? kMax : count * unit->second);
}

bool IsMetadataKey(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

bool IsMetadataValue(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
}

bool IsMethodPath(std::string_view path) {
  if (path.size() > 512 || !path.starts_with('/')) return false;
  const size_t slash = path.find('/', 1);
  if (slash == std::string_view::npos || slash == 1 || slash + 1 == path.size()) return false;
  path.remove_prefix(1);
  return std::count(path.begin(), path.end(), '/') == 1 && std::all_of(path.begin(), path.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '/';
         });
}

}  // namespace rushes::grpc_web
