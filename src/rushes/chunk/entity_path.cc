#include "rushes/chunk/entity_path.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "arrow/status.h"

namespace rushes {
namespace {

struct CodeRange {
  uint32_t first, last;
};
constexpr CodeRange kAlphanumeric[] = {
#include "rushes/chunk/alphanumeric.inc"
};

bool IsAsciiAlphanumeric(uint32_t c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool IsAlphanumeric(uint32_t c) {
  if (c < 0x80) return IsAsciiAlphanumeric(c);
  const auto* range = std::lower_bound(std::begin(kAlphanumeric), std::end(kAlphanumeric), c,
                                       [](const CodeRange& r, uint32_t code) { return r.last < code; });
  return range != std::end(kAlphanumeric) && range->first <= c;
}

bool IsAsciiPunctuation(uint32_t c) { return c > 0x20 && c < 0x7F && !IsAsciiAlphanumeric(c); }

// The code point at *pos, which moves past it. Malformed bytes give U+FFFD, one byte at a time.
uint32_t NextCodePoint(std::string_view text, size_t* pos) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(*pos);
  if (lead < 0x80) {
    ++*pos;
    return lead;
  }
  const int extra = lead >= 0xF0 && lead < 0xF8 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC2 ? 1 : 0;
  if (extra == 0 || lead >= 0xF8 || *pos + extra >= text.size()) {
    ++*pos;
    return 0xFFFD;
  }
  uint32_t code = lead & (0x3F >> extra);
  for (int i = 1; i <= extra; ++i) {
    if ((byte(*pos + i) & 0xC0) != 0x80) {
      ++*pos;
      return 0xFFFD;
    }
    code = (code << 6) | (byte(*pos + i) & 0x3F);
  }
  *pos += extra + 1;
  return code;
}

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (code >> 6)));
    out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else if (code < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (code >> 12)));
    out->push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | (code >> 18)));
    out->push_back(static_cast<char>(0x80 | ((code >> 12) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

void AppendEscaped(std::string_view part, std::string* out) {
  for (size_t pos = 0; pos < part.size();) {
    const uint32_t c = NextCodePoint(part, &pos);
    if (IsAlphanumeric(c) || c == '_' || c == '-' || c == '.') {
      AppendUtf8(c, out);
    } else if (c == '\n') {
      *out += "\\n";
    } else if (c == '\r') {
      *out += "\\r";
    } else if (c == '\t') {
      *out += "\\t";
    } else if (c == ' ' || IsAsciiPunctuation(c)) {
      out->push_back('\\');
      out->push_back(static_cast<char>(c));
    } else {
      char digits[16];
      snprintf(digits, sizeof digits, "\\u{%04X}", c);
      *out += digits;
    }
  }
}

// Reads `u{HEX}` at `pos` (just past the backslash): 1 to 6 hex digits naming a code point.
std::optional<uint32_t> ReadUnicodeEscape(std::string_view text, size_t pos, size_t* end) {
  if (text.substr(pos, 2) != "u{") return std::nullopt;
  uint32_t code = 0;
  size_t i = pos + 2;
  for (; i < text.size() && text[i] != '}'; ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0 || i - pos - 2 >= 6) return std::nullopt;
    code = code * 16 + static_cast<uint32_t>(digit);
  }
  if (i >= text.size() || i == pos + 2 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return std::nullopt;
  *end = i + 1;
  return code;
}

std::vector<std::string> ParseParts(std::string_view text, bool* malformed) {
  std::vector<std::string> parts;
  std::string part;
  bool any = false;
  const auto flush = [&] {
    if (any) parts.push_back(std::move(part));
    part.clear();
    any = false;
  };
  for (size_t pos = 0; pos < text.size();) {
    const char c = text[pos];
    if (c == '/') {
      flush();
      ++pos;
      continue;
    }
    any = true;
    if (c != '\\') {
      AppendUtf8(NextCodePoint(text, &pos), &part);
      continue;
    }
    ++pos;
    if (pos == text.size()) {
      part.push_back('\\');
      *malformed = true;
      break;
    }
    size_t end = 0;
    if (text[pos] == 'n' || text[pos] == 'r' || text[pos] == 't') {
      part.push_back(text[pos] == 'n' ? '\n' : text[pos] == 'r' ? '\r' : '\t');
      ++pos;
    } else if (const auto code = ReadUnicodeEscape(text, pos, &end)) {
      AppendUtf8(*code, &part);
      pos = end;
    } else {
      if (IsAsciiAlphanumeric(static_cast<uint8_t>(text[pos]))) *malformed = true;
      AppendUtf8(NextCodePoint(text, &pos), &part);
    }
  }
  flush();
  return parts;
}

// Natural order: runs of digits compare as numbers (as fractions when one starts with 0), white space is skipped.
std::strong_ordering CompareNatural(std::string_view a, std::string_view b, bool ignore_case) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  const auto fold = [&](uint32_t c) { return ignore_case && c >= 'A' && c <= 'Z' ? c + 32 : c; };
  size_t i = 0, j = 0;
  while (true) {
    while (i < a.size() && is_space(a[i])) ++i;
    while (j < b.size() && is_space(b[j])) ++j;
    if (i == a.size() || j == b.size()) {
      return i < a.size() ? std::strong_ordering::greater : j < b.size() ? std::strong_ordering::less : std::strong_ordering::equal;
    }
    if (is_digit(a[i]) && is_digit(b[j])) {
      size_t i_end = i, j_end = j;
      while (i_end < a.size() && is_digit(a[i_end])) ++i_end;
      while (j_end < b.size() && is_digit(b[j_end])) ++j_end;
      const std::string_view x = a.substr(i, i_end - i), y = b.substr(j, j_end - j);
      if (x[0] != '0' && y[0] != '0' && x.size() != y.size()) return x.size() <=> y.size();
      if (const int order = x.compare(y); order != 0) return order <=> 0;
      i = i_end;
      j = j_end;
      continue;
    }
    const uint32_t x = fold(NextCodePoint(a, &i)), y = fold(NextCodePoint(b, &j));
    if (x != y) return x <=> y;
  }
}

std::strong_ordering ComparePart(const std::string& a, const std::string& b) {
  const bool a_reserved = a.starts_with("__"), b_reserved = b.starts_with("__");
  if (a_reserved != b_reserved) return a_reserved ? std::strong_ordering::greater : std::strong_ordering::less;
  if (const auto order = CompareNatural(a, b, true); order != 0) return order;
  if (const auto order = CompareNatural(a, b, false); order != 0) return order;
  return a <=> b;
}

}  // namespace

EntityPath::EntityPath() {
  static const std::shared_ptr<const Data> kRoot = MakeData({});
  data_ = kRoot;
}

std::shared_ptr<const EntityPath::Data> EntityPath::MakeData(std::vector<std::string> parts) {
  auto data = std::make_shared<Data>();
  if (parts.empty()) data->text = "/";
  for (const std::string& part : parts) {
    data->text.push_back('/');
    AppendEscaped(part, &data->text);
  }
  data->parts = std::move(parts);
  data->is_property = !data->parts.empty() && data->parts[0] == "__properties";
  data->hash = std::hash<std::string>()(data->text);
  return data;
}

EntityPath EntityPath::FromParts(std::vector<std::string> parts) {
  return parts.empty() ? EntityPath() : EntityPath(MakeData(std::move(parts)));
}

EntityPath EntityPath::Parse(std::string_view text) {
  bool malformed = false;
  return FromParts(ParseParts(text, &malformed));
}

arrow::Result<EntityPath> EntityPath::ParseStrict(std::string_view text) {
  bool malformed = false;
  auto parts = ParseParts(text, &malformed);
  if (malformed) return arrow::Status::Invalid("entity path \"", text, "\" has a malformed escape");
  if (text.empty()) return arrow::Status::Invalid("an entity path must not be empty");
  return FromParts(std::move(parts));
}

bool EntityPath::StartsWith(const EntityPath& prefix) const {
  const auto& mine = parts();
  const auto& theirs = prefix.parts();
  return theirs.size() <= mine.size() && std::equal(theirs.begin(), theirs.end(), mine.begin());
}

EntityPath EntityPath::Parent() const {
  if (parts().size() <= 1) return EntityPath();
  return FromParts({parts().begin(), parts().end() - 1});
}

std::strong_ordering operator<=>(const EntityPath& a, const EntityPath& b) {
  if (a.data_ == b.data_) return std::strong_ordering::equal;
  const auto &x = a.parts(), &y = b.parts();
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (const auto order = ComparePart(x[i], y[i]); order != 0) return order;
  }
  return x.size() <=> y.size();
}

}  // namespace rushes
