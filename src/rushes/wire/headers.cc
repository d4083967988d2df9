#include "rushes/wire/headers.h"

#include "arrow/status.h"

namespace rushes::wire {
namespace {

constexpr char kUpper[] = "0123456789ABCDEF";
constexpr char kLower[] = "0123456789abcdef";

void AppendHex(uint64_t value, const char* digits, std::string* out) {
  for (int shift = 60; shift >= 0; shift -= 4) out->push_back(digits[(value >> shift) & 15]);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string TuidToText(const Tuid& id) {
  std::string out;
  out.reserve(32);
  AppendHex(id.time_ns, kUpper, &out);
  AppendHex(id.counter, kLower, &out);
  return out;
}

arrow::Result<Tuid> TuidFromText(std::string_view text) {
  Tuid id;
  bool good = text.size() == 32;
  for (size_t i = 0; good && i < 32; ++i) {
    const int digit = HexDigit(text[i]);
    good = digit >= 0;
    uint64_t& word = i < 16 ? id.time_ns : id.counter;
    word = (word << 4) | static_cast<uint64_t>(digit & 15);
  }
  if (!good) return arrow::Status::Invalid("'", text.substr(0, 100), "' is not an id: 32 hex digits are expected");
  return id;
}

arrow::Result<std::string> PercentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    const int high = text.size() - i > 2 ? HexDigit(text[i + 1]) : -1;
    const int low = text.size() - i > 2 ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return arrow::Status::Invalid("broken percent escape in '", text.substr(0, 200), "'");
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return out;
}

std::string PercentEncode(std::string_view text, std::string_view keep) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
                       c == '~' || keep.find(c) != std::string_view::npos;
    if (plain) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back(kUpper[byte >> 4]);
      out.push_back(kUpper[byte & 15]);
    }
  }
  return out;
}

}  // namespace rushes::wire
