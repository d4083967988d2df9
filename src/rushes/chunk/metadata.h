// Keys of the schema and field metadata that mark chunks and dataframes (docs/format.md, "Metadata").
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "arrow/util/key_value_metadata.h"

namespace rushes {

inline constexpr char kMetaVersion[] = "sorbet:version";
inline constexpr char kMetaChunkId[] = "rerun:id";
inline constexpr char kMetaEntityPath[] = "rerun:entity_path";
inline constexpr char kMetaKind[] = "rerun:kind";
inline constexpr char kMetaIndexName[] = "rerun:index_name";
inline constexpr char kMetaComponent[] = "rerun:component";
inline constexpr char kMetaArchetype[] = "rerun:archetype";
inline constexpr char kMetaComponentType[] = "rerun:component_type";
inline constexpr char kMetaIsStatic[] = "rerun:is_static";
inline constexpr char kMetaIsTombstone[] = "rerun:is_tombstone";
inline constexpr char kMetaIsSemanticallyEmpty[] = "rerun:is_semantically_empty";
inline constexpr char kMetaIsSorted[] = "rerun:is_sorted";

inline constexpr char kRowIdField[] = "rerun.controls.RowId";

// The value of `key`, or nullopt; `metadata` may be null.
inline std::optional<std::string> FindMetadata(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata, std::string_view key) {
  if (metadata == nullptr) return std::nullopt;
  for (int64_t i = 0; i < metadata->size(); ++i) {
    if (metadata->key(i) == key) return metadata->value(i);
  }
  return std::nullopt;
}

// Flags are set by presence, unless the value is `false` or `no` in any case.
bool MetadataFlag(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata, std::string_view key);

enum class FieldKind { kRowId, kIndex, kComponent };
// What a field of a chunk or dataset schema is; nullopt for an unknown `rerun:kind`.
std::optional<FieldKind> FieldKindOf(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata);

}  // namespace rushes
