// Properties of recordings, as columns of the segment table and the manifest.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "arrow/array.h"
#include "arrow/result.h"
#include "arrow/type.h"
#include "rushes/chunk/chunk.h"

namespace rushes {

// One property of one layer.
struct PropertyColumn {
  std::shared_ptr<arrow::Field> field;  // `property:…`, List(T), nullable, with its metadata
  std::shared_ptr<arrow::Array> value;  // one row
};

// The name of the property column of a component logged at or below `/__properties`: `property`, the path below `/__properties`, the
// archetype's short name and the field, joined by `:`, without empty parts, with `,` space `-` `.` `\` turned into `_`.
std::string PropertyColumnName(const EntityPath& entity, const ComponentDescriptor& descriptor);

// The columns of the static values in `chunks`, sorted by name. Chunks outside `/__properties` and temporal ones are ignored; of
// several values of one component the one with the greatest row id counts.
arrow::Result<std::vector<PropertyColumn>> MakePropertyColumns(const std::vector<ChunkPtr>& chunks);

}  // namespace rushes
