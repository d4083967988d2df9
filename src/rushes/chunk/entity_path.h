// Entity paths: where in the recording's tree a chunk was logged.
#pragma once

#include <compare>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/result.h"

namespace rushes {

// An immutable list of parts; the root has none. Cheap to copy (shared parts). Thread safe as any value.
//
// Text form: a leading `/`, parts joined by `/`. Letters, digits, `_`, `-` and `.` stand for themselves, other ASCII
// punctuation and the space get a backslash, controls and other code points are written `\u{HEX}`.
// Order: part by part; a part that starts with `__` comes after all others; otherwise natural order (`img2` before `img10`),
// case ignored first. docs/query.md, "Names".
class EntityPath {
 public:
  // The root, "/".
  EntityPath();

  // Reads the text form forgivingly: the leading slash is optional, repeated and trailing slashes are ignored, needless and
  // missing escapes are tolerated. Never fails.
  static EntityPath Parse(std::string_view text);
  // As Parse, but Invalid for text that is not a path at all: empty, or a malformed escape.
  static arrow::Result<EntityPath> ParseStrict(std::string_view text);
  static EntityPath FromParts(std::vector<std::string> parts);

  // Unescaped parts.
  const std::vector<std::string>& parts() const { return data_->parts; }
  // The canonical text form.
  const std::string& text() const { return data_->text; }
  bool is_root() const { return data_->parts.empty(); }

  // True for the path itself and everything below it.
  bool StartsWith(const EntityPath& prefix) const;
  EntityPath Parent() const;  // of the root: the root
  // At or below `/__properties`.
  bool IsProperty() const { return data_->is_property; }
  size_t hash() const { return data_->hash; }

  friend bool operator==(const EntityPath& a, const EntityPath& b) {
    return a.data_ == b.data_ || (a.hash() == b.hash() && a.text() == b.text());
  }
  friend std::strong_ordering operator<=>(const EntityPath& a, const EntityPath& b);

 private:
  struct Data {
    std::vector<std::string> parts;
    std::string text;
    // Asked for every chunk of a scan.
    bool is_property = false;
    size_t hash = 0;
  };
  static std::shared_ptr<const Data> MakeData(std::vector<std::string> parts);
  explicit EntityPath(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  std::shared_ptr<const Data> data_;
};

}  // namespace rushes

template <>
struct std::hash<rushes::EntityPath> {
  size_t operator()(const rushes::EntityPath& path) const noexcept { return path.hash(); }
};
