// A batch's rows are found again by a hash map from their key, as bytes, to the row. Files are read twice: first their key columns
// alone, to see whether they change at all. A changed column is put together from runs of neighbouring rows, each a slice of the old column
// or of the new one; columns that the batch lacks are passed on.
#include "rushes/catalog/table_merge.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "arrow/array/array_base.h"
#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/array/concatenate.h"
#include "arrow/array/data.h"
#include "arrow/array/util.h"
#include "arrow/extension_type.h"
#include "arrow/scalar.h"
#include "arrow/type_traits.h"
#include "rushes/catalog/table_schema.h"

namespace rushes {
namespace {

arrow::Status NoKeyColumn() {
  return arrow::Status::UnknownError("the table has no key column: rows are replaced by the columns whose field metadata say '",
                                     kTableIndexKey, "' = 'true'");
}

// Appends the bytes of a value to a key. False for a value that matches nothing: null, NaN.
arrow::Result<bool> AppendKey(const arrow::Array& column, int64_t row, std::string* key) {
  if (column.IsNull(row)) return false;
  const auto append_fixed = [&](const void* value, size_t size) { key->append(static_cast<const char*>(value), size); };
  const auto append_text = [&](std::string_view text) {
    const uint64_t size = text.size();
    append_fixed(&size, sizeof(size));
    key->append(text);
  };
  switch (column.type_id()) {
    case arrow::Type::BOOL:
      key->push_back(static_cast<const arrow::BooleanArray&>(column).Value(row) ? 1 : 0);
      return true;
    case arrow::Type::FLOAT: {
      const float value = static_cast<const arrow::FloatArray&>(column).Value(row) + 0.0f;  // no negative zero
      if (std::isnan(value)) return false;
      append_fixed(&value, sizeof(value));
      return true;
    }
    case arrow::Type::DOUBLE: {
      const double value = static_cast<const arrow::DoubleArray&>(column).Value(row) + 0.0;
      if (std::isnan(value)) return false;
      append_fixed(&value, sizeof(value));
      return true;
    }
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      append_text(static_cast<const arrow::BinaryArray&>(column).GetView(row));
      return true;
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      append_text(static_cast<const arrow::LargeBinaryArray&>(column).GetView(row));
      return true;
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      append_text(static_cast<const arrow::BinaryViewArray&>(column).GetView(row));
      return true;
    case arrow::Type::EXTENSION:
      return AppendKey(*static_cast<const arrow::ExtensionArray&>(column).storage(), row, key);
    default:
      break;
  }
  if (!arrow::is_fixed_width(column.type_id()) || column.type_id() == arrow::Type::DICTIONARY ||
      column.type_id() == arrow::Type::HALF_FLOAT) {
    return arrow::Status::Invalid("a column of type ", column.type()->ToString(), " cannot be a key");
  }
  const auto width = static_cast<size_t>(static_cast<const arrow::FixedWidthType&>(*column.type()).bit_width() / 8);
  const arrow::ArrayData& data = *column.data();
  append_fixed(data.buffers[1]->data() + static_cast<size_t>(data.offset + row) * width, width);
  return true;
}

// A batch's rows by key.
class KeyIndex {
 public:
  static arrow::Result<KeyIndex> Make(std::shared_ptr<arrow::RecordBatch> batch, std::vector<std::string> names) {
    KeyIndex out;
    out.batch_ = std::move(batch);
    out.names_ = std::move(names);
    ARROW_ASSIGN_OR_RAISE(const auto columns, out.Columns(*out.batch_));
    for (int64_t row = 0; row < out.batch_->num_rows(); ++row) {
      ARROW_ASSIGN_OR_RAISE(std::optional<std::string> key, Key(columns, row));
      if (!key) continue;
      if (!out.rows_.emplace(std::move(*key), row).second) {
        std::string words;
        for (size_t i = 0; i < columns.size(); ++i) {
          ARROW_ASSIGN_OR_RAISE(const auto value, columns[i]->GetScalar(row));
          words += (words.empty() ? "" : ", ") + out.names_[i] + " = " + value->ToString().substr(0, 100);
        }
        return arrow::Status::Invalid("the key (", words, ") occurs twice in one batch");
      }
    }
    return out;
  }

  const arrow::RecordBatch& batch() const { return *batch_; }
  const std::vector<std::string>& names() const { return names_; }

  // For each row of `batch` the row here with its key, or -1. Empty if there is none at all.
  arrow::Result<std::vector<int64_t>> Match(const arrow::RecordBatch& batch) const {
    ARROW_ASSIGN_OR_RAISE(const auto columns, Columns(batch));
    std::vector<int64_t> matches(static_cast<size_t>(batch.num_rows()), -1);
    bool found_any = false;
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
      ARROW_ASSIGN_OR_RAISE(const std::optional<std::string> key, Key(columns, row));
      if (!key) continue;
      const auto it = rows_.find(*key);
      if (it == rows_.end()) continue;
      matches[static_cast<size_t>(row)] = it->second;
      found_any = true;
    }
    if (!found_any) matches.clear();
    return matches;
  }

 private:
  arrow::Result<arrow::ArrayVector> Columns(const arrow::RecordBatch& batch) const {
    arrow::ArrayVector columns;
    for (const std::string& name : names_) {
      columns.push_back(batch.GetColumnByName(name));
      if (columns.back() == nullptr) return arrow::Status::Invalid("key column '", name, "' is missing");
    }
    return columns;
  }

  static arrow::Result<std::optional<std::string>> Key(const arrow::ArrayVector& columns, int64_t row) {
    std::string key;
    for (const auto& column : columns) {
      ARROW_ASSIGN_OR_RAISE(const bool matches, AppendKey(*column, row, &key));
      if (!matches) return std::nullopt;
    }
    return key;
  }

  std::shared_ptr<arrow::RecordBatch> batch_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, int64_t> rows_;
};

// `old_values`, with the values of `new_values` where `matches` says so.
arrow::Result<std::shared_ptr<arrow::Array>> Replace(const std::shared_ptr<arrow::Array>& old_values,
                                                     const std::shared_ptr<arrow::Array>& new_values, const std::vector<int64_t>& matches) {
  arrow::ArrayVector runs;
  for (size_t begin = 0; begin < matches.size();) {
    size_t end = begin + 1;
    if (matches[begin] < 0) {
      while (end < matches.size() && matches[end] < 0) ++end;
      runs.push_back(old_values->Slice(static_cast<int64_t>(begin), static_cast<int64_t>(end - begin)));
    } else {
      while (end < matches.size() && matches[end] == matches[begin] + static_cast<int64_t>(end - begin)) ++end;
      runs.push_back(new_values->Slice(matches[begin], static_cast<int64_t>(end - begin)));
    }
    begin = end;
  }
  return runs.size() == 1 ? runs.front() : arrow::Concatenate(runs);
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReplaceRows(const arrow::RecordBatch& old_rows,
                                                               const std::shared_ptr<arrow::Schema>& schema, const KeyIndex& index,
                                                               const std::vector<int64_t>& matches) {
  arrow::ArrayVector columns = old_rows.columns();
  if (!matches.empty()) {
    for (int i = 0; i < schema->num_fields(); ++i) {
      const auto values = index.batch().GetColumnByName(schema->field(i)->name());
      if (values == nullptr) continue;
      ARROW_ASSIGN_OR_RAISE(columns[static_cast<size_t>(i)], Replace(columns[static_cast<size_t>(i)], values, matches));
    }
  }
  return arrow::RecordBatch::Make(schema, old_rows.num_rows(), std::move(columns));
}

// The rows of the batch that `used` does not hold, with all columns of the schema.
arrow::Status AddRows(const KeyIndex& index, const std::vector<bool>& used, const std::shared_ptr<arrow::Schema>& schema,
                      TableFileWriter* writer) {
  for (size_t begin = 0; begin < used.size();) {
    size_t end = begin + 1;
    while (end < used.size() && used[end] == used[begin]) ++end;
    if (!used[begin]) {
      const auto length = static_cast<int64_t>(end - begin);
      arrow::ArrayVector columns;
      for (const auto& field : schema->fields()) {
        auto column = index.batch().GetColumnByName(field->name());
        if (column != nullptr) {
          column = column->Slice(static_cast<int64_t>(begin), length);
        } else {
          ARROW_ASSIGN_OR_RAISE(column, arrow::MakeArrayOfNull(field->type(), length));
        }
        columns.push_back(std::move(column));
      }
      ARROW_RETURN_NOT_OK(writer->Write(arrow::RecordBatch::Make(schema, length, std::move(columns))));
    }
    begin = end;
  }
  return arrow::Status::OK();
}

arrow::Status ApplyBatch(const std::shared_ptr<const Table>& table, const KeyIndex& index, bool inserts, TableManifest* manifest,
                         std::vector<NewTableFile>* written) {
  const auto reading = std::make_shared<const TableManifest>(*manifest);
  std::vector<bool> used(static_cast<size_t>(index.batch().num_rows()), false);
  std::vector<bool> is_changed;
  std::shared_ptr<arrow::RecordBatch> rows;
  for (const TableFile& file : manifest->files) {
    bool found = false;
    ARROW_ASSIGN_OR_RAISE(const auto keys, table->ReadFiles(reading, {file}, index.names()));
    for (;;) {
      ARROW_RETURN_NOT_OK(keys->ReadNext(&rows));
      if (rows == nullptr) break;
      ARROW_ASSIGN_OR_RAISE(const auto matches, index.Match(*rows));
      for (const int64_t match : matches) {
        if (match >= 0) used[static_cast<size_t>(match)] = true;
      }
      found |= !matches.empty();
    }
    is_changed.push_back(found);
  }

  auto schema = manifest->schema;
  const bool adds = inserts && std::find(used.begin(), used.end(), false) != used.end();
  if (adds) {
    arrow::FieldVector fields = schema->fields();
    for (auto& field : fields) {
      if (index.batch().GetColumnByName(field->name()) == nullptr) field = field->WithNullable(true);
    }
    schema = arrow::schema(std::move(fields), schema->metadata());
  }

  std::vector<TableFile> files;
  for (size_t i = 0; i < manifest->files.size(); ++i) {
    if (!is_changed[i]) {
      files.push_back(manifest->files[i]);
      continue;
    }
    ARROW_ASSIGN_OR_RAISE(const auto reader, table->ReadFiles(reading, {manifest->files[i]}, std::nullopt));
    TableFileWriter writer(table, schema);
    for (;;) {
      ARROW_RETURN_NOT_OK(reader->ReadNext(&rows));
      if (rows == nullptr) break;
      ARROW_ASSIGN_OR_RAISE(const auto matches, index.Match(*rows));
      ARROW_ASSIGN_OR_RAISE(auto replaced, ReplaceRows(*rows, schema, index, matches));
      ARROW_RETURN_NOT_OK(writer.Write(std::move(replaced)));
    }
    const size_t begin = written->size();
    ARROW_RETURN_NOT_OK(writer.Finish(written));
    for (size_t k = begin; k < written->size(); ++k) files.push_back((*written)[k].file());
  }
  if (adds) {
    TableFileWriter writer(table, schema);
    ARROW_RETURN_NOT_OK(AddRows(index, used, schema, &writer));
    const size_t begin = written->size();
    ARROW_RETURN_NOT_OK(writer.Finish(written));
    for (size_t k = begin; k < written->size(); ++k) files.push_back((*written)[k].file());
  }
  manifest->files = std::move(files);
  manifest->schema = std::move(schema);
  return arrow::Status::OK();
}

std::vector<std::string> KeyNames(const arrow::Schema& schema) {
  std::vector<std::string> names;
  for (const int position : KeyColumns(schema)) names.push_back(schema.field(position)->name());
  return names;
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::RecordBatch>> CheckUpsert(const arrow::RecordBatch& batch,
                                                               const std::shared_ptr<arrow::Schema>& schema) {
  std::vector<std::string> keys = KeyNames(*schema);
  if (keys.empty()) return NoKeyColumn();
  arrow::FieldVector fields;
  for (const auto& field : schema->fields()) {
    if (batch.schema()->GetFieldIndex(field->name()) >= 0) fields.push_back(field);
  }
  for (const std::string& name : keys) {
    if (batch.schema()->GetFieldIndex(name) < 0) return arrow::Status::Invalid("key column '", name, "' is missing in the batch");
  }
  // Unknown columns are refused by the whole schema, whose words say what there is.
  if (static_cast<size_t>(batch.num_columns()) != fields.size()) return FitBatch(batch, schema);
  ARROW_ASSIGN_OR_RAISE(auto fitted, FitBatch(batch, arrow::schema(std::move(fields), schema->metadata())));
  ARROW_RETURN_NOT_OK(KeyIndex::Make(fitted, std::move(keys)).status());
  return fitted;
}

arrow::Status ApplyUpsert(const std::shared_ptr<const Table>& table, const TableUpsert& upsert, TableManifest* manifest,
                          std::vector<NewTableFile>* written) {
  std::vector<std::string> keys = KeyNames(*manifest->schema);
  if (keys.empty()) return NoKeyColumn();
  for (const auto& batch : upsert.batches) {
    ARROW_ASSIGN_OR_RAISE(const KeyIndex index, KeyIndex::Make(batch, keys));
    ARROW_RETURN_NOT_OK(ApplyBatch(table, index, upsert.inserts, manifest, written));
  }
  return arrow::Status::OK();
}

}  // namespace rushes
