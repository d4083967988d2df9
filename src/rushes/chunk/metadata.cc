#include "rushes/chunk/metadata.h"

#include <strings.h>

namespace rushes {

bool MetadataFlag(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata, std::string_view key) {
  const auto value = FindMetadata(metadata, key);
  return value.has_value() && strcasecmp(value->c_str(), "false") != 0 && strcasecmp(value->c_str(), "no") != 0;
}

std::optional<FieldKind> FieldKindOf(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata) {
  const auto kind = FindMetadata(metadata, kMetaKind);
  if (!kind || *kind == "data" || *kind == "component") return FieldKind::kComponent;
  if (*kind == "control" || *kind == "row_id") return FieldKind::kRowId;
  if (*kind == "index" || *kind == "time") return FieldKind::kIndex;
  return std::nullopt;
}

}  // namespace rushes
