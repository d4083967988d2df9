#include "rushes/catalog/table_schema.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string>

#include "arrow/array/array_nested.h"
#include "arrow/array/data.h"
#include "arrow/array/util.h"
#include "arrow/util/key_value_metadata.h"

namespace rushes {
namespace {

constexpr char kVersionKey[] = "sorbet:version";
constexpr char kVersion[] = "0.1.4";

bool IsTrue(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text == "true";
}

// Whether values of type `from` can be taken as `to`: equal, but for what is said about fields inside.
bool FitsType(const arrow::DataType& from, const arrow::DataType& to) {
  if (from.id() != to.id()) return false;
  switch (to.id()) {
    case arrow::Type::FIXED_SIZE_LIST:
      if (static_cast<const arrow::FixedSizeListType&>(from).list_size() != static_cast<const arrow::FixedSizeListType&>(to).list_size()) {
        return false;
      }
      [[fallthrough]];
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
      return FitsType(*from.field(0)->type(), *to.field(0)->type());
    case arrow::Type::STRUCT:
      if (from.num_fields() != to.num_fields()) return false;
      for (int i = 0; i < to.num_fields(); ++i) {
        if (from.field(i)->name() != to.field(i)->name() || !FitsType(*from.field(i)->type(), *to.field(i)->type())) return false;
      }
      return true;
    default:
      return from.Equals(to);
  }
}

// Whether a value in [begin, end) is null.
bool HasNull(const arrow::Array& child, int64_t begin, int64_t end) {
  if (child.null_count() == 0) return false;
  for (int64_t i = begin; i < end; ++i) {
    if (child.IsNull(i)) return true;
  }
  return false;
}

template <typename List>
bool ListHasNullItem(const List& list) {
  for (int64_t i = 0; i < list.length(); ++i) {
    if (list.IsValid(i) && HasNull(*list.values(), list.value_offset(i), list.value_offset(i) + list.value_length(i))) return true;
  }
  return false;
}

bool StructHasNull(const arrow::StructArray& parent, const arrow::Array& child) {
  if (child.null_count() == 0) return false;
  for (int64_t i = 0; i < parent.length(); ++i) {
    if (parent.IsValid(i) && child.IsNull(i)) return true;
  }
  return false;
}

// `array` as type `to`, which FitsType allows. Invalid where a null is that may not be.
arrow::Result<std::shared_ptr<arrow::Array>> FitArray(const std::shared_ptr<arrow::Array>& array,
                                                      const std::shared_ptr<arrow::DataType>& to, const std::string& path) {
  const auto no_null = [](const std::string& inner) { return arrow::Status::Invalid("column '", inner, "' has a null, which it may not"); };
  const auto with_child = [&](int index, const std::shared_ptr<arrow::Array>& child) {
    auto data = array->data()->Copy();
    data->type = to;
    data->child_data[static_cast<size_t>(index)] = child->data();
    return arrow::MakeArray(data);
  };
  switch (to->id()) {
    case arrow::Type::LIST: {
      const auto& list = static_cast<const arrow::ListArray&>(*array);
      if (!to->field(0)->nullable() && ListHasNullItem(list)) return no_null(path + "[]");
      ARROW_ASSIGN_OR_RAISE(const auto child, FitArray(list.values(), to->field(0)->type(), path + "[]"));
      return with_child(0, child);
    }
    case arrow::Type::LARGE_LIST: {
      const auto& list = static_cast<const arrow::LargeListArray&>(*array);
      if (!to->field(0)->nullable() && ListHasNullItem(list)) return no_null(path + "[]");
      ARROW_ASSIGN_OR_RAISE(const auto child, FitArray(list.values(), to->field(0)->type(), path + "[]"));
      return with_child(0, child);
    }
    case arrow::Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListArray&>(*array);
      if (!to->field(0)->nullable() && ListHasNullItem(list)) return no_null(path + "[]");
      ARROW_ASSIGN_OR_RAISE(const auto child, FitArray(list.values(), to->field(0)->type(), path + "[]"));
      return with_child(0, child);
    }
    case arrow::Type::STRUCT: {
      const auto& parent = static_cast<const arrow::StructArray&>(*array);
      auto data = array->data()->Copy();
      data->type = to;
      for (int i = 0; i < to->num_fields(); ++i) {
        const auto& field = *to->field(i);
        const std::string inner = path + "." + field.name();
        if (!field.nullable() && StructHasNull(parent, *parent.field(i))) return no_null(inner);
        // The child as it is stored, of which the parent may be a slice.
        ARROW_ASSIGN_OR_RAISE(const auto child,
                              FitArray(arrow::MakeArray(array->data()->child_data[static_cast<size_t>(i)]), field.type(), inner));
        data->child_data[static_cast<size_t>(i)] = child->data();
      }
      return arrow::MakeArray(data);
    }
    default:
      return array;
  }
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Schema>> MakeTableSchema(const arrow::Schema& schema) {
  std::set<std::string> names;
  for (const auto& field : schema.fields()) {
    if (!names.insert(field->name()).second) return arrow::Status::Invalid("two columns of the schema are called '", field->name(), "'");
  }
  auto metadata = schema.metadata() ? schema.metadata()->Copy() : std::make_shared<arrow::KeyValueMetadata>();
  if (!metadata->Contains(kVersionKey)) ARROW_RETURN_NOT_OK(metadata->Set(kVersionKey, kVersion));
  return arrow::schema(schema.fields(), std::move(metadata));
}

std::vector<int> KeyColumns(const arrow::Schema& schema) {
  std::vector<int> found;
  for (int i = 0; i < schema.num_fields(); ++i) {
    const auto& metadata = schema.field(i)->metadata();
    if (!metadata) continue;
    const auto value = metadata->Get(kTableIndexKey);
    if (value.ok() && IsTrue(*value)) found.push_back(i);
  }
  return found;
}

bool HasSameColumns(const arrow::Schema& batch, const arrow::Schema& table) {
  if (batch.num_fields() != table.num_fields()) return false;
  return std::all_of(batch.fields().begin(), batch.fields().end(), [&](const auto& field) {
    const auto other = table.GetFieldByName(field->name());
    if (other == nullptr) return false;
    return FitsType(*field->type(), *other->type()) || (field->type()->id() == arrow::Type::NA && other->nullable());
  });
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> FitBatch(const arrow::RecordBatch& batch, const std::shared_ptr<arrow::Schema>& schema) {
  std::set<std::string> seen;
  for (const auto& field : batch.schema()->fields()) {
    if (!seen.insert(field->name()).second) return arrow::Status::Invalid("the batch has two columns called '", field->name(), "'");
    if (schema->GetFieldIndex(field->name()) < 0) {
      return arrow::Status::Invalid("the table has no column '", field->name(), "'; it has: ", [&] {
        std::string names;
        for (const auto& known : schema->fields()) names += (names.empty() ? "'" : ", '") + known->name() + "'";
        return names.empty() ? std::string("none") : names;
      }());
    }
  }
  arrow::ArrayVector columns;
  for (const auto& field : schema->fields()) {
    auto column = batch.GetColumnByName(field->name());
    // A column of nulls alone may have come without a type.
    const bool is_null = column != nullptr && column->type_id() == arrow::Type::NA && field->nullable();
    if (column == nullptr || is_null) {
      if (!field->nullable()) {
        return arrow::Status::Invalid("column '", field->name(), "' is missing in the batch and may not be null in the table");
      }
      ARROW_ASSIGN_OR_RAISE(column, arrow::MakeArrayOfNull(field->type(), batch.num_rows()));
    } else {
      if (!FitsType(*column->type(), *field->type())) {
        return arrow::Status::Invalid("column '", field->name(), "' is ", field->type()->ToString(), " in the table and ",
                                      column->type()->ToString(), " in the batch");
      }
      if (!field->nullable() && column->null_count() > 0) {
        return arrow::Status::Invalid("column '", field->name(), "' has a null, which it may not");
      }
      ARROW_ASSIGN_OR_RAISE(column, FitArray(column, field->type(), field->name()));
    }
    columns.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(schema, batch.num_rows(), std::move(columns));
}

}  // namespace rushes
