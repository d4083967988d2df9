#include "rushes/catalog/property_columns.h"

#include <algorithm>
#include <map>

#include "arrow/array/concatenate.h"
#include "arrow/array/data.h"
#include "arrow/array/util.h"
#include "arrow/util/key_value_metadata.h"

namespace rushes {
namespace {

// The short name of an archetype, as component names use it.
std::string_view ShortName(std::string_view archetype) {
  for (const std::string_view prefix : {"rerun.archetypes.", "rerun.blueprint.archetypes.", "rerun."}) {
    if (archetype.starts_with(prefix)) return archetype.substr(prefix.size());
  }
  return archetype;
}

// Items of fixed-size lists are declared nullable in property columns; nothing else changes.
std::shared_ptr<arrow::DataType> NullableListItems(const std::shared_ptr<arrow::DataType>& type) {
  if (type->id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(*type);
    return arrow::fixed_size_list(list.value_field()->WithType(NullableListItems(list.value_type()))->WithNullable(true), list.list_size());
  }
  if (type->id() == arrow::Type::LIST) {
    const auto& list = static_cast<const arrow::ListType&>(*type);
    return arrow::list(list.value_field()->WithType(NullableListItems(list.value_type())));
  }
  return type;
}

// The same data under another type of the same layout.
std::shared_ptr<arrow::ArrayData> Relabel(const std::shared_ptr<arrow::ArrayData>& data, const std::shared_ptr<arrow::DataType>& type) {
  auto out = data->Copy();
  out->type = type;
  for (size_t i = 0; i < out->child_data.size() && i < static_cast<size_t>(type->num_fields()); ++i) {
    if (!out->child_data[i]->type->Equals(*type->field(static_cast<int>(i))->type())) {
      out->child_data[i] = Relabel(out->child_data[i], type->field(static_cast<int>(i))->type());
    }
  }
  return out;
}

}  // namespace

std::string PropertyColumnName(const EntityPath& entity, const ComponentDescriptor& descriptor) {
  std::string path = entity.text();
  constexpr std::string_view kRoot = "/__properties";
  if (path.starts_with(kRoot)) path.erase(0, kRoot.size());
  path.erase(0, path.find_first_not_of('/'));
  std::string name = "property";
  const auto add = [&name](std::string_view part) {
    if (part.empty()) return;
    name += ':';
    name += part;
  };
  add(path);
  std::string_view field = descriptor.component;
  if (descriptor.archetype) {
    const std::string_view archetype = ShortName(*descriptor.archetype);
    if (field.starts_with(archetype) && field.substr(archetype.size()).starts_with(":")) field.remove_prefix(archetype.size() + 1);
    add(archetype);
  }
  add(field);
  for (char& c : name) {
    if (std::string_view(", -.\\").find(c) != std::string_view::npos) c = '_';
  }
  return name;
}

arrow::Result<std::vector<PropertyColumn>> MakePropertyColumns(const std::vector<ChunkPtr>& chunks) {
  struct Found {
    const Chunk* chunk;
    int column;
    int64_t row;
  };
  std::map<std::string, Found> found;
  for (const ChunkPtr& chunk : chunks) {
    if (!chunk->is_static() || !chunk->entity().IsProperty()) continue;
    for (size_t c = 0; c < chunk->schema().columns().size(); ++c) {
      const auto& cells = chunk->column(static_cast<int>(c));
      int64_t row = chunk->num_rows() - 1;  // row ids never descend: the last one that holds a value counts
      while (row >= 0 && cells->IsNull(row)) --row;
      if (row < 0) continue;
      const std::string name = PropertyColumnName(chunk->entity(), chunk->schema().columns()[c].descriptor);
      const auto [it, is_new] = found.try_emplace(name, Found{chunk.get(), static_cast<int>(c), row});
      if (!is_new && it->second.chunk->row_id(it->second.row) < chunk->row_id(row)) {
        it->second = Found{chunk.get(), static_cast<int>(c), row};
      }
    }
  }
  std::vector<PropertyColumn> columns;
  for (const auto& [name, place] : found) {
    const ChunkColumn& column = place.chunk->schema().columns()[place.column];
    const auto type = NullableListItems(column.type);
    std::vector<std::string> keys = {"rerun:kind", "rerun:component", "rerun:entity_path"};
    std::vector<std::string> values = {"data", column.descriptor.component, place.chunk->entity().text()};
    if (column.descriptor.archetype) {
      keys.push_back("rerun:archetype");
      values.push_back(*column.descriptor.archetype);
    }
    if (column.descriptor.component_type) {
      keys.push_back("rerun:component_type");
      values.push_back(*column.descriptor.component_type);
    }
    // Concatenation copies the one cell, so that the chunk's buffers are not kept.
    const auto cell = arrow::MakeArray(Relabel(place.chunk->column(place.column)->Slice(place.row, 1)->data(), type));
    ARROW_ASSIGN_OR_RAISE(auto copy, arrow::Concatenate({cell}));
    columns.push_back({arrow::field(name, type, true, arrow::key_value_metadata(std::move(keys), std::move(values))), std::move(copy)});
  }
  return columns;
}

}  // namespace rushes
