// The steps are those of docs/format.md, "Migrations": each brings a batch from one version to the next.

#include "rushes/chunk/migration.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/array.h"
#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/util/bit_util.h"
#include "rushes/chunk/metadata.h"
#include "rushes/chunk/tuid.h"

namespace rushes {
namespace {

using Version = std::array<int, 3>;
using Metadata = std::map<std::string, std::string>;

constexpr Version kCurrent = {0, 1, 4};
constexpr Version kOldest = {0, 0, 1};

constexpr char kIsIndicator[] = "rerun:is_indicator";

// Reads `major.minor.patch`; what follows a `-` or `+` is ignored.
std::optional<Version> ParseVersion(std::string_view text) {
  Version version{};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (int i = 0; i < 3; ++i) {
    const auto [next, error] = std::from_chars(at, end, version[static_cast<size_t>(i)]);
    if (error != std::errc() || version[static_cast<size_t>(i)] < 0) return std::nullopt;
    at = next;
    if (i < 2) {
      if (at == end || *at != '.') return std::nullopt;
      ++at;
    }
  }
  if (at != end && *at != '-' && *at != '+') return std::nullopt;
  return version;
}

// The version of a batch or schema, or nullopt if it cannot be read, which means: take it as it is.
std::optional<Version> VersionOf(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata) {
  if (const auto text = FindMetadata(metadata, kMetaVersion)) return ParseVersion(*text);
  bool has_dot_key = false, has_version = false;
  if (metadata != nullptr) {
    for (const std::string& key : metadata->keys()) {
      has_dot_key |= key.starts_with("rerun.");
      has_version |= key == "rerun:version";
    }
  }
  return !has_dot_key && has_version ? Version{0, 0, 2} : kOldest;
}

bool NeedsSteps(const arrow::Schema& schema) {
  const auto version = VersionOf(schema.metadata());
  return version && *version >= kOldest && *version < kCurrent;
}

Metadata ToMap(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata) {
  Metadata out;
  if (metadata != nullptr) {
    for (int64_t i = 0; i < metadata->size(); ++i) out[metadata->key(i)] = metadata->value(i);
  }
  return out;
}

std::shared_ptr<const arrow::KeyValueMetadata> FromMap(const Metadata& metadata) {
  std::vector<std::string> keys, values;
  for (const auto& [key, value] : metadata) {
    keys.push_back(key);
    values.push_back(value);
  }
  return arrow::key_value_metadata(std::move(keys), std::move(values));
}

std::optional<std::string> Get(const Metadata& metadata, const std::string& key) {
  const auto it = metadata.find(key);
  return it == metadata.end() ? std::nullopt : std::optional(it->second);
}

void RenameKey(Metadata* metadata, const std::string& from, const std::string& to) {
  if (auto node = metadata->extract(from)) {
    node.key() = to;
    metadata->insert_or_assign(to, node.mapped());
  }
}

// Replaces every `from` in `text`.
std::string ReplaceAll(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
  return text;
}

// A column on its way through the steps; `array` is null when a schema alone is migrated.
struct Column {
  std::string name;
  std::shared_ptr<arrow::DataType> type;
  bool nullable = true;
  Metadata metadata;
  std::shared_ptr<arrow::Array> array;
};

struct Table {
  Metadata metadata;
  std::vector<Column> columns;
  int64_t num_rows = 0;
};

// --- 0.0.1 -> 0.0.2

arrow::Status ConvertStructRowIds(Column* column) {
  const auto& type = *column->type;
  if (type.id() != arrow::Type::STRUCT || type.num_fields() != 2 || type.field(0)->type()->id() != arrow::Type::UINT64 ||
      type.field(1)->type()->id() != arrow::Type::UINT64) {
    return arrow::Status::OK();
  }
  column->type = arrow::fixed_size_binary(Tuid::kNumBytes);
  column->nullable = false;
  if (column->array == nullptr) return arrow::Status::OK();
  const auto& ids = static_cast<const arrow::StructArray&>(*column->array);
  const auto nanos = std::static_pointer_cast<arrow::UInt64Array>(ids.field(0));
  const auto counters = std::static_pointer_cast<arrow::UInt64Array>(ids.field(1));
  arrow::FixedSizeBinaryBuilder builder(column->type);
  for (int64_t i = 0; i < ids.length(); ++i) {
    ARROW_RETURN_NOT_OK(builder.Append(Tuid{nanos->Value(i), counters->Value(i)}.bytes().data()));
  }
  return builder.Finish().Value(&column->array);
}

void RenameArchetypes(Metadata* metadata) {
  struct Rename {
    const char* archetype;
    const char* to;
    std::vector<std::pair<const char*, const char*>> fields;
  };
  static const std::vector<Rename> kRenames = {
      {"rerun.archetypes.Scalar", "rerun.archetypes.Scalars", {{"scalar", "scalars"}}},
      {"rerun.archetypes.SeriesLine", "rerun.archetypes.SeriesLines", {{"color", "colors"}, {"width", "widths"}, {"name", "names"}}},
      {"rerun.archetypes.SeriesPoint",
       "rerun.archetypes.SeriesPoints",
       {{"color", "colors"}, {"marker", "markers"}, {"name", "names"}, {"marker_size", "marker_sizes"}}},
  };
  const auto archetype = metadata->find("rerun.archetype");
  if (archetype == metadata->end()) return;
  for (const Rename& rename : kRenames) {
    if (archetype->second != rename.archetype) continue;
    archetype->second = rename.to;
    const auto field = metadata->find("rerun.archetype_field");
    if (field == metadata->end()) return;
    for (const auto& [from, to] : rename.fields) {
      if (field->second == from) {
        field->second = to;
        return;
      }
    }
    return;
  }
}

arrow::Status ToStructuredColumns(Table* table) {
  const auto rank = [](const Column& column) {
    const auto kind = Get(column.metadata, "rerun.kind");
    return kind == "control" || kind == "row_id" ? 0 : kind == "index" || kind == "time" ? 1 : 2;
  };
  std::stable_sort(table->columns.begin(), table->columns.end(), [&](const Column& a, const Column& b) { return rank(a) < rank(b); });
  for (Column& column : table->columns) {
    if (column.name == kRowIdField || Get(column.metadata, "ARROW:extension:name") == "rerun.datatypes.TUID") {
      ARROW_RETURN_NOT_OK(ConvertStructRowIds(&column));
    }
    RenameArchetypes(&column.metadata);
  }
  return arrow::Status::OK();
}

// --- 0.0.2 -> 0.1.0

std::string TrimArchetype(std::string_view name) {
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!name.empty() && is_space(name.front())) name.remove_prefix(1);
  while (!name.empty() && is_space(name.back())) name.remove_suffix(1);
  for (const std::string_view prefix : {"rerun.archetypes.", "rerun.blueprint.archetypes."}) {
    while (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  return std::string(name);
}

void SetDescriptor(Column* column, std::optional<std::string> archetype, std::string component, std::optional<std::string> type) {
  if (archetype) column->metadata[kMetaArchetype] = *archetype;
  column->metadata[kMetaComponent] = std::move(component);
  if (type) column->metadata[kMetaComponentType] = *type;
}

// The component used to be named by its type, with the archetype and its field beside it.
void ToComponentIdentifier(Column* column) {
  static const char* const kKeys[] = {"index_name",   "entity_path",           "kind",     "is_static", "is_indicator",
                                      "is_tombstone", "is_semantically_empty", "is_sorted"};
  for (const char* key : kKeys) RenameKey(&column->metadata, std::string("rerun.") + key, std::string("rerun:") + key);
  const auto archetype = Get(column->metadata, "rerun.archetype");
  const auto field = Get(column->metadata, "rerun.archetype_field");
  const auto component = Get(column->metadata, "rerun.component");
  if (column->name.ends_with("Indicator")) {
    column->metadata[kMetaComponent] = component                            ? *component
                                       : column->name.starts_with("rerun.") ? column->name
                                                                            : "rerun.components." + column->name;
    column->metadata.erase("rerun.component");
  } else if (component) {
    column->metadata.erase("rerun.component");
    if (!archetype && !field) {
      SetDescriptor(column, {}, *component, {});
    } else if (!archetype) {
      SetDescriptor(column, {}, *field, component);
    } else if (component->ends_with("Indicator")) {
      SetDescriptor(column, {}, *component, {});
    } else if (field) {
      SetDescriptor(column, archetype, TrimArchetype(*archetype) + ":" + *field, component);
    } else {
      SetDescriptor(column, archetype, *component, component);
    }
  } else {
    return;
  }
  column->metadata.erase("rerun.archetype");
  column->metadata.erase("rerun.archetype_field");
}

void ToColonKeys(Table* table) {
  const auto has_dot_key = [](const Metadata& metadata) {
    const auto it = metadata.lower_bound("rerun.");
    return it != metadata.end() && it->first.starts_with("rerun.");
  };
  bool old = has_dot_key(table->metadata);
  for (const Column& column : table->columns) old |= has_dot_key(column.metadata);
  if (old) {
    for (Column& column : table->columns) ToComponentIdentifier(&column);
    Metadata renamed;
    for (const auto& [key, value] : table->metadata) {
      if (key != "rerun.version") renamed[ReplaceAll(key, "rerun.", "rerun:")] = value;
    }
    table->metadata = std::move(renamed);
  }
  const auto move_entity = [](Metadata* metadata) {
    const auto it = metadata->find(kMetaEntityPath);
    if (it != metadata->end() && it->second == "/__properties/recording") it->second = "/__properties";
  };
  move_entity(&table->metadata);
  for (Column& column : table->columns) {
    move_entity(&column.metadata);
    column.name = ReplaceAll(column.name, "RecordingProperties", "RecordingInfo");
    column.name = ReplaceAll(column.name, "property:recording:RecordingInfo:", "property:RecordingInfo:");
    for (auto& [key, value] : column.metadata) value = ReplaceAll(value, "RecordingProperties", "RecordingInfo");
  }
}

// --- 0.1.0 -> 0.1.1

void DropIndicators(Table* table) {
  std::erase_if(table->columns, [](const Column& column) {
    if (const auto flag = Get(column.metadata, kIsIndicator)) return *flag == "true";
    const auto component = Get(column.metadata, kMetaComponent);
    return component && component->starts_with("rerun.components.") && component->ends_with("Indicator");
  });
}

// --- 0.1.1 -> 0.1.2 and 0.1.2 -> 0.1.3

void RenameTransformComponents(Table* table) {
  static const std::map<std::string, std::string> kTypes = {
      {"rerun.components.PoseTranslation3D", "rerun.components.Translation3D"},
      {"rerun.components.PoseRotationAxisAngle", "rerun.components.RotationAxisAngle"},
      {"rerun.components.PoseRotationQuat", "rerun.components.RotationQuat"},
      {"rerun.components.PoseScale3D", "rerun.components.Scale3D"},
      {"rerun.components.PoseTransformMat3x3", "rerun.components.TransformMat3x3"},
  };
  for (Column& column : table->columns) {
    if (const auto type = column.metadata.find(kMetaComponentType); type != column.metadata.end()) {
      if (const auto renamed = kTypes.find(type->second); renamed != kTypes.end()) type->second = renamed->second;
    }
    const auto component = column.metadata.find(kMetaComponent);
    if (component == column.metadata.end()) continue;
    const std::string before = component->second;
    if (before == "Transform3D:axis_length") {
      component->second = "TransformAxes3D:axis_length";
      column.metadata[kMetaArchetype] = "rerun.archetypes.TransformAxes3D";
    } else if (before == "CoordinateFrame:frame_id") {
      component->second = "CoordinateFrame:frame";
    }
    column.name = ReplaceAll(column.name, before, component->second);
  }
}

void RenameVisible(Table* table) {
  for (Column& column : table->columns) {
    const auto type = column.metadata.find(kMetaComponentType);
    if (type != column.metadata.end() && type->second == "rerun.components.SeriesVisible") type->second = "rerun.components.Visible";
  }
}

// --- 0.1.3 -> 0.1.4

arrow::Status ConvertCellKinds(Table* table) {
  static const auto kItem = arrow::struct_({arrow::field("component", arrow::utf8()), arrow::field("component_type_name", arrow::utf8())});
  for (Column& column : table->columns) {
    if (Get(column.metadata, kMetaComponentType) != "rerun.blueprint.components.TableCellKind") continue;
    if (column.type->id() != arrow::Type::LIST || column.type->field(0)->type()->id() != arrow::Type::UINT8) continue;
    column.type = arrow::list(arrow::field("item", kItem));
    if (column.array != nullptr) {
      const auto data = column.array->data()->Copy();
      const arrow::UInt8Array kinds(data->child_data[0]);
      arrow::StringBuilder names;
      for (int64_t i = 0; i < kinds.length(); ++i) {
        const char* name = nullptr;
        switch (kinds.IsNull(i) ? 0 : kinds.Value(i)) {
          case 2:
            name = "rerun.components.Url";
            break;
          case 3:
            name = "rerun.components.Thumbnail";
            break;
          case 4:
            name = "rerun.components.Flag";
            break;
          case 6:
            name = "rerun.components.EntryKind";
            break;
          default:
            break;
        }
        ARROW_RETURN_NOT_OK(name == nullptr ? names.AppendNull() : names.Append(name));
      }
      ARROW_ASSIGN_OR_RAISE(auto name_array, names.Finish());
      ARROW_ASSIGN_OR_RAISE(auto components, arrow::MakeArrayOfNull(arrow::utf8(), kinds.length()));
      std::shared_ptr<arrow::Buffer> validity;
      if (kinds.null_count() > 0) {
        ARROW_ASSIGN_OR_RAISE(auto bits, arrow::AllocateEmptyBitmap(kinds.length()));
        for (int64_t i = 0; i < kinds.length(); ++i) arrow::bit_util::SetBitTo(bits->mutable_data(), i, kinds.IsValid(i));
        validity = std::move(bits);
      }
      const auto items = std::make_shared<arrow::StructArray>(kItem, kinds.length(), arrow::ArrayVector{components, name_array}, validity);
      data->type = column.type;
      data->child_data = {items->data()};
      column.array = arrow::MakeArray(data);
    }
    column.name = ReplaceAll(column.name, "TableColumn:cell_kind", "TableColumn:column_type");
    column.metadata[kMetaComponent] = "TableColumn:column_type";
    column.metadata[kMetaComponentType] = "rerun.blueprint.components.ColumnType";
  }
  return arrow::Status::OK();
}

arrow::Status RunSteps(Table* table, Version from) {
  if (from < Version{0, 0, 2}) ARROW_RETURN_NOT_OK(ToStructuredColumns(table));
  if (from < Version{0, 1, 0}) ToColonKeys(table);
  if (from < Version{0, 1, 1}) DropIndicators(table);
  if (from < Version{0, 1, 2}) RenameTransformComponents(table);
  if (from < Version{0, 1, 3}) RenameVisible(table);
  if (from < Version{0, 1, 4}) ARROW_RETURN_NOT_OK(ConvertCellKinds(table));
  table->metadata[kMetaVersion] = kSorbetVersion;
  return arrow::Status::OK();
}

bool IsComponent(const Metadata& metadata) {
  const auto kind = Get(metadata, kMetaKind);
  return !kind || *kind == "data" || *kind == "component";
}

// Shows each value as a list of one; null stays null.
arrow::Status WrapInList(Column* column) {
  if (column->type->id() == arrow::Type::LIST) return arrow::Status::OK();
  const auto item = column->type;
  column->type = arrow::list(arrow::field("item", item));
  if (column->array == nullptr) return arrow::Status::OK();
  const auto& values = column->array;
  arrow::TypedBufferBuilder<int32_t> offsets;
  ARROW_RETURN_NOT_OK(offsets.Append(0));
  std::shared_ptr<arrow::Buffer> validity;
  if (values->null_count() > 0) {
    ARROW_ASSIGN_OR_RAISE(validity, arrow::AllocateEmptyBitmap(values->length()));
  }
  for (int64_t i = 0; i < values->length(); ++i) {
    ARROW_RETURN_NOT_OK(offsets.Append(static_cast<int32_t>(i + 1)));
    if (validity != nullptr) arrow::bit_util::SetBitTo(validity->mutable_data(), i, values->IsValid(i));
  }
  ARROW_ASSIGN_OR_RAISE(auto offset_buffer, offsets.Finish());
  column->array = std::make_shared<arrow::ListArray>(column->type, values->length(), offset_buffer, values, validity);
  return arrow::Status::OK();
}

arrow::Result<Table> ToTable(const arrow::Schema& schema, const arrow::RecordBatch* batch) {
  Table table;
  table.metadata = ToMap(schema.metadata());
  table.num_rows = batch == nullptr ? 0 : batch->num_rows();
  for (int i = 0; i < schema.num_fields(); ++i) {
    const auto& field = schema.field(i);
    table.columns.push_back(
        Column{field->name(), field->type(), field->nullable(), ToMap(field->metadata()), batch == nullptr ? nullptr : batch->column(i)});
  }
  if (NeedsSteps(schema)) {
    // A reader that does not migrate would have to guess; anything else is taken as it is.
    ARROW_RETURN_NOT_OK(RunSteps(&table, *VersionOf(schema.metadata())));
  }
  return table;
}

std::shared_ptr<arrow::Schema> SchemaOf(const Table& table) {
  arrow::FieldVector fields;
  for (const Column& column : table.columns) {
    fields.push_back(arrow::field(column.name, column.type, column.nullable, FromMap(column.metadata)));
  }
  return arrow::schema(std::move(fields), FromMap(table.metadata));
}

}  // namespace

bool IsCurrentSchema(const arrow::Schema& schema) {
  if (NeedsSteps(schema)) return false;
  return std::all_of(schema.fields().begin(), schema.fields().end(), [](const std::shared_ptr<arrow::Field>& field) {
    return field->type()->id() == arrow::Type::LIST || FieldKindOf(field->metadata()) != FieldKind::kComponent;
  });
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> MigrateBatch(const std::shared_ptr<arrow::RecordBatch>& batch) {
  ARROW_ASSIGN_OR_RAISE(Table table, ToTable(*batch->schema(), batch.get()));
  arrow::ArrayVector arrays;
  for (Column& column : table.columns) {
    if (IsComponent(column.metadata)) {
      ARROW_RETURN_NOT_OK(WrapInList(&column));
      if (const auto component = Get(column.metadata, kMetaComponent); component && !component->empty()) {
        column.name = *component;
      } else {
        column.metadata[kMetaComponent] = column.name;
      }
      column.metadata[kMetaKind] = "data";
    }
    arrays.push_back(column.array);
  }
  return arrow::RecordBatch::Make(SchemaOf(table), table.num_rows, std::move(arrays));
}

arrow::Result<std::shared_ptr<arrow::Schema>> MigrateSchema(const std::shared_ptr<arrow::Schema>& schema) {
  if (!NeedsSteps(*schema)) return schema;
  ARROW_ASSIGN_OR_RAISE(const Table table, ToTable(*schema, nullptr));
  return SchemaOf(table);
}

}  // namespace rushes
