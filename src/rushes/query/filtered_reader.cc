#include "rushes/query/filtered_reader.h"

#include <algorithm>
#include <utility>

#include "arrow/array/array_primitive.h"
#include "arrow/compute/api_vector.h"
#include "arrow/compute/exec.h"
#include "rushes/query/expression.h"

namespace rushes {
namespace {

arrow::Result<std::shared_ptr<arrow::Schema>> SelectFields(const arrow::Schema& schema, const std::vector<std::string>& names) {
  arrow::FieldVector fields;
  for (const std::string& name : names) {
    auto field = schema.GetFieldByName(name);
    if (field == nullptr) return arrow::Status::KeyError("Column '", name, "' does not exist in the table");
    fields.push_back(std::move(field));
  }
  return arrow::schema(std::move(fields), schema.metadata());
}

class FilteredReader final : public arrow::RecordBatchReader {
 public:
  FilteredReader(std::shared_ptr<arrow::RecordBatchReader> input, std::shared_ptr<arrow::Schema> schema,
                 std::shared_ptr<const RowFilter> filter)
      : input_(std::move(input)), schema_(std::move(schema)), filter_(std::move(filter)) {
    for (const auto& field : schema_->fields()) output_.push_back(input_->schema()->GetFieldIndex(field->name()));
    for (const std::string& name : filter_->columns()) filtered_on_.push_back(input_->schema()->GetFieldIndex(name));
  }

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* out) override {
    for (;;) {
      std::shared_ptr<arrow::RecordBatch> batch;
      ARROW_RETURN_NOT_OK(input_->ReadNext(&batch));
      if (batch == nullptr) {
        *out = nullptr;
        return arrow::Status::OK();
      }
      ARROW_ASSIGN_OR_RAISE(const auto judged, batch->SelectColumns(filtered_on_));
      ARROW_ASSIGN_OR_RAISE(const auto rows, filter_->Select(*judged));
      if (rows && rows->empty()) continue;
      arrow::ArrayVector columns;
      for (const int position : output_) columns.push_back(batch->column(position));
      int64_t num_rows = batch->num_rows();
      if (rows) {
        num_rows = static_cast<int64_t>(rows->size());
        const auto indices = std::make_shared<arrow::Int32Array>(num_rows, arrow::Buffer::Wrap(*rows));
        for (auto& column : columns) {
          ARROW_ASSIGN_OR_RAISE(const arrow::Datum taken, arrow::compute::CallFunction("take", {column, indices}));
          column = taken.make_array();
        }
      }
      *out = arrow::RecordBatch::Make(schema_, num_rows, std::move(columns));
      return arrow::Status::OK();
    }
  }

 private:
  const std::shared_ptr<arrow::RecordBatchReader> input_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::shared_ptr<const RowFilter> filter_;
  std::vector<int> output_, filtered_on_;
};

}  // namespace

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> MakeFilteredReader(const std::shared_ptr<arrow::Schema>& schema,
                                                                            const OpenColumns& open,
                                                                            const std::optional<std::vector<std::string>>& columns,
                                                                            const std::optional<arrow::compute::Expression>& filter,
                                                                            bool sql_semantics) {
  auto wanted = schema;
  if (columns) {
    ARROW_ASSIGN_OR_RAISE(wanted, SelectFields(*schema, *columns));
  }
  if (!filter) return open(columns);
  ARROW_ASSIGN_OR_RAISE(const auto row_filter, RowFilter::Make(*filter, *schema, std::nullopt, sql_semantics));
  std::optional<std::vector<std::string>> opened = columns;
  if (opened) {
    for (const std::string& name : row_filter->columns()) {
      if (std::find(opened->begin(), opened->end(), name) == opened->end()) opened->push_back(name);
    }
  }
  ARROW_ASSIGN_OR_RAISE(auto input, open(opened));
  return std::make_shared<FilteredReader>(std::move(input), std::move(wanted), row_filter);
}

}  // namespace rushes
