#include "rushes/chunk/dataset_schema.h"

#include <algorithm>
#include <set>

#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/type.h"
#include "rushes/chunk/metadata.h"
#include "rushes/chunk/migration.h"

namespace rushes {
namespace {

std::string ColumnKey(const EntityPath& entity, std::string_view component) {
  std::string key = entity.text();
  key.push_back('\0');
  key += component;
  return key;
}

bool ColumnLess(const ComponentColumn& a, const ComponentColumn& b) {
  if (const auto order = a.entity <=> b.entity; order != 0) return order < 0;
  return a.descriptor < b.descriptor;  // an archetype that is not known comes first
}

// One value of two that must not contradict each other.
arrow::Result<std::optional<std::string>> UniteText(const std::optional<std::string>& a, const std::optional<std::string>& b,
                                                    const ComponentColumn& column, const char* what) {
  if (a && b && *a != *b) {
    return arrow::Status::Invalid("column \"", column.name(), "\" has the ", what, " \"", *a, "\" and \"", *b, "\"");
  }
  return a ? a : b;
}

arrow::Result<std::shared_ptr<arrow::Field>> UniteFields(const std::shared_ptr<arrow::Field>& a, const std::shared_ptr<arrow::Field>& b) {
  ARROW_ASSIGN_OR_RAISE(auto type, UniteTypes(a->type(), b->type()));
  return a->WithType(std::move(type))->WithNullable(a->nullable() || b->nullable());
}

arrow::Status NotUnited(const arrow::DataType& a, const arrow::DataType& b) {
  return arrow::Status::Invalid("type ", a.ToString(), " and type ", b.ToString(), " cannot be shown as one column");
}

// True if a cell of `column` holds an instance.
bool HasInstance(const arrow::ListArray& column) {
  if (column.length() == 0 || column.value_offset(column.length()) == column.value_offset(0)) return false;
  for (int64_t i = 0; i < column.length(); ++i) {
    if (column.IsValid(i) && column.value_length(i) > 0) return true;
  }
  return false;
}

arrow::Status BadField(const arrow::Field& field, const char* why) {
  return arrow::Status::Invalid("field \"", field.name(), "\" of a dataset schema ", why);
}

}  // namespace

const Timeline* DatasetSchema::FindTimeline(std::string_view name) const {
  for (const Timeline& timeline : timelines_) {
    if (timeline.name == name) return &timeline;
  }
  return nullptr;
}

int DatasetSchema::ColumnIndex(const EntityPath& entity, std::string_view component) const {
  const auto it = index_.find(ColumnKey(entity, component));
  return it == index_.end() ? -1 : it->second;
}

const ComponentColumn* DatasetSchema::FindColumn(const EntityPath& entity, std::string_view component) const {
  const int index = ColumnIndex(entity, component);
  return index < 0 ? nullptr : &columns_[static_cast<size_t>(index)];
}

arrow::Status DatasetSchema::AddTimeline(const Timeline& timeline) {
  if (const Timeline* known = FindTimeline(timeline.name)) {
    if (known->type != timeline.type) {
      return arrow::Status::Invalid("timeline \"", timeline.name, "\" is a ", ToString(known->type), " and a ", ToString(timeline.type));
    }
    return arrow::Status::OK();
  }
  const auto place = std::lower_bound(timelines_.begin(), timelines_.end(), timeline,
                                      [](const Timeline& a, const Timeline& b) { return a.name < b.name; });
  timelines_.insert(place, timeline);
  return arrow::Status::OK();
}

arrow::Status DatasetSchema::AddColumn(ComponentColumn column) {
  const auto [it, added] = index_.emplace(ColumnKey(column.entity, column.descriptor.component), static_cast<int>(columns_.size()));
  if (added) {
    columns_.push_back(std::move(column));
    return arrow::Status::OK();
  }
  ComponentColumn& known = columns_[static_cast<size_t>(it->second)];
  ARROW_ASSIGN_OR_RAISE(auto archetype, UniteText(known.descriptor.archetype, column.descriptor.archetype, column, "archetype"));
  ARROW_ASSIGN_OR_RAISE(auto component_type,
                        UniteText(known.descriptor.component_type, column.descriptor.component_type, column, "component type"));
  auto type = UniteTypes(known.type, column.type);
  if (!type.ok()) return type.status().WithMessage("column \"", column.name(), "\": ", type.status().message());
  known.descriptor.archetype = std::move(archetype);
  known.descriptor.component_type = std::move(component_type);
  known.type = *std::move(type);
  known.is_static |= column.is_static;
  known.is_semantically_empty |= column.is_semantically_empty;
  return arrow::Status::OK();
}

void DatasetSchema::Finish() {
  std::stable_sort(columns_.begin(), columns_.end(), ColumnLess);
  Reindex();
}

void DatasetSchema::Reindex() {
  index_.clear();
  for (size_t i = 0; i < columns_.size(); ++i) {
    index_.emplace(ColumnKey(columns_[i].entity, columns_[i].descriptor.component), static_cast<int>(i));
  }
}

arrow::Status DatasetSchema::Merge(const DatasetSchema& other) {
  DatasetSchema merged = *this;
  for (const Timeline& timeline : other.timelines_) ARROW_RETURN_NOT_OK(merged.AddTimeline(timeline));
  for (const ComponentColumn& column : other.columns_) ARROW_RETURN_NOT_OK(merged.AddColumn(column));
  *this = std::move(merged);
  return arrow::Status::OK();
}

std::shared_ptr<arrow::Schema> DatasetSchema::ToArrow() const {
  arrow::FieldVector fields;
  if (!empty()) {
    fields.push_back(arrow::field(kRowIdField, arrow::fixed_size_binary(RowId::kNumBytes), /*nullable=*/false,
                                  arrow::key_value_metadata({{"ARROW:extension:metadata", "{\"namespace\":\"row\"}"},
                                                             {"ARROW:extension:name", "rerun.datatypes.TUID"},
                                                             {kMetaKind, "control"}})));
    for (const Timeline& timeline : timelines_) fields.push_back(IndexField(timeline));
    for (const ComponentColumn& column : columns_) fields.push_back(ComponentField(column));
  }
  return arrow::schema(std::move(fields), ArrowMetadata());
}

std::shared_ptr<const arrow::KeyValueMetadata> DatasetSchema::ArrowMetadata() {
  return arrow::key_value_metadata({{kMetaVersion, kSorbetVersion}});
}

arrow::Result<DatasetSchema> DatasetSchema::FromArrow(const arrow::Schema& schema) {
  DatasetSchema out;
  for (const auto& field : schema.fields()) {
    const auto kind = FieldKindOf(field->metadata());
    if (!kind) return BadField(*field, "has an unknown kind");
    switch (*kind) {
      case FieldKind::kRowId:
        break;
      case FieldKind::kIndex: {
        Timeline timeline;
        timeline.name = FindMetadata(field->metadata(), kMetaIndexName).value_or(field->name());
        auto type = TimeTypeFromArrow(*field->type());
        if (!type.ok()) return BadField(*field, type.status().message().c_str());
        timeline.type = *type;
        ARROW_RETURN_NOT_OK(out.AddTimeline(timeline));
        break;
      }
      case FieldKind::kComponent: {
        const auto& metadata = field->metadata();
        const auto entity = FindMetadata(metadata, kMetaEntityPath);
        const auto component = FindMetadata(metadata, kMetaComponent);
        if (!entity || !component || component->empty()) return BadField(*field, "names no entity and component");
        ComponentColumn column;
        column.entity = EntityPath::Parse(*entity);
        column.descriptor = {FindMetadata(metadata, kMetaArchetype), *component, FindMetadata(metadata, kMetaComponentType)};
        if (field->type()->id() != arrow::Type::LIST) return BadField(*field, "is not a list");
        column.type = arrow::list(arrow::field("item", field->type()->field(0)->type(), true));
        column.is_static = MetadataFlag(metadata, kMetaIsStatic);
        column.is_semantically_empty = MetadataFlag(metadata, kMetaIsSemanticallyEmpty);
        ARROW_RETURN_NOT_OK(out.AddColumn(std::move(column)));
        break;
      }
    }
  }
  out.Reindex();
  return out;
}

arrow::Result<DatasetSchema> DatasetSchema::FromChunks(const std::vector<ChunkPtr>& chunks) {
  DatasetSchema out;
  std::set<std::string> with_instances;
  for (const ChunkPtr& chunk : chunks) {
    const ChunkSchema& schema = chunk->schema();
    for (const Timeline& timeline : schema.timelines()) ARROW_RETURN_NOT_OK(out.AddTimeline(timeline));
    for (size_t i = 0; i < schema.columns().size(); ++i) {
      const ChunkColumn& source = schema.columns()[i];
      ComponentColumn column{schema.entity(), source.descriptor, source.type, chunk->is_static(), false};
      if (HasInstance(*chunk->column(static_cast<int>(i)))) {
        with_instances.insert(ColumnKey(column.entity, column.descriptor.component));
      }
      ARROW_RETURN_NOT_OK(out.AddColumn(std::move(column)));
    }
  }
  for (ComponentColumn& column : out.columns_) {
    column.is_semantically_empty = !with_instances.contains(ColumnKey(column.entity, column.descriptor.component));
  }
  out.Finish();
  return out;
}

std::shared_ptr<arrow::Field> IndexField(const Timeline& timeline) {
  return arrow::field(timeline.name, ArrowType(timeline.type), true,
                      arrow::key_value_metadata({{kMetaIndexName, timeline.name}, {kMetaKind, "index"}}));
}

std::shared_ptr<arrow::Field> ComponentField(const ComponentColumn& column) {
  auto metadata = arrow::key_value_metadata(std::vector<std::string>{}, std::vector<std::string>{});
  if (column.descriptor.archetype) metadata->Append(kMetaArchetype, *column.descriptor.archetype);
  metadata->Append(kMetaComponent, column.descriptor.component);
  if (column.descriptor.component_type) metadata->Append(kMetaComponentType, *column.descriptor.component_type);
  metadata->Append(kMetaEntityPath, column.entity.text());
  if (column.is_semantically_empty) metadata->Append(kMetaIsSemanticallyEmpty, "true");
  if (column.is_static) metadata->Append(kMetaIsStatic, "true");
  if (column.is_tombstone()) metadata->Append(kMetaIsTombstone, "true");
  metadata->Append(kMetaKind, "data");
  return arrow::field(column.name(), column.type, true, std::move(metadata));
}

arrow::Result<std::shared_ptr<arrow::DataType>> UniteTypes(const std::shared_ptr<arrow::DataType>& a,
                                                           const std::shared_ptr<arrow::DataType>& b) {
  if (a->id() == arrow::Type::NA) return b;
  if (b->id() == arrow::Type::NA) return a;
  if (a->id() == b->id()) {
    switch (a->id()) {
      case arrow::Type::LIST: {
        ARROW_ASSIGN_OR_RAISE(auto item, UniteFields(a->field(0), b->field(0)));
        return arrow::list(std::move(item));
      }
      case arrow::Type::LARGE_LIST: {
        ARROW_ASSIGN_OR_RAISE(auto item, UniteFields(a->field(0), b->field(0)));
        return arrow::large_list(std::move(item));
      }
      case arrow::Type::STRUCT: {
        arrow::FieldVector fields;
        for (const auto& field : a->fields()) {
          const auto other = static_cast<const arrow::StructType&>(*b).GetFieldByName(field->name());
          if (other == nullptr) {
            fields.push_back(field->WithNullable(true));
          } else {
            ARROW_ASSIGN_OR_RAISE(auto united, UniteFields(field, other));
            fields.push_back(std::move(united));
          }
        }
        for (const auto& field : b->fields()) {
          if (static_cast<const arrow::StructType&>(*a).GetFieldByName(field->name()) == nullptr) {
            fields.push_back(field->WithNullable(true));
          }
        }
        return arrow::struct_(std::move(fields));
      }
      default:
        break;
    }
  }
  if (!a->Equals(*b)) return NotUnited(*a, *b);
  return a;
}

arrow::Result<std::shared_ptr<arrow::Array>> AdaptArray(const std::shared_ptr<arrow::Array>& array,
                                                        const std::shared_ptr<arrow::DataType>& type) {
  if (array->type().get() == type.get() || array->type()->Equals(*type, /*check_metadata=*/true)) return array;
  if (array->type_id() == arrow::Type::NA) return arrow::MakeArrayOfNull(type, array->length());
  if (array->type_id() != type->id()) return NotUnited(*array->type(), *type);
  auto data = array->data()->Copy();
  data->type = type;
  switch (type->id()) {
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST: {
      ARROW_ASSIGN_OR_RAISE(auto items, AdaptArray(arrow::MakeArray(data->child_data[0]), type->field(0)->type()));
      data->child_data[0] = items->data();
      return arrow::MakeArray(data);
    }
    case arrow::Type::STRUCT: {
      const auto& source = static_cast<const arrow::StructType&>(*array->type());
      for (const auto& field : source.fields()) {
        // Widening adds fields; what has no place in the column would be lost.
        if (static_cast<const arrow::StructType&>(*type).GetFieldIndex(field->name()) < 0) return NotUnited(source, *type);
      }
      const int64_t child_length = data->offset + data->length;
      data->child_data.clear();
      for (const auto& field : type->fields()) {
        const int at = source.GetFieldIndex(field->name());
        if (at < 0) {
          ARROW_ASSIGN_OR_RAISE(auto nulls, arrow::MakeArrayOfNull(field->type(), child_length));
          data->child_data.push_back(nulls->data());
        } else {
          ARROW_ASSIGN_OR_RAISE(auto child,
                                AdaptArray(arrow::MakeArray(array->data()->child_data[static_cast<size_t>(at)]), field->type()));
          data->child_data.push_back(child->data());
        }
      }
      return arrow::MakeArray(data);
    }
    default:
      // Same type, differing only in names or nullability of nested fields.
      if (!array->type()->Equals(*type)) return NotUnited(*array->type(), *type);
      return arrow::MakeArray(data);
  }
}

}  // namespace rushes
