// Rows as text: lines of JSON, lines of CSV. For `rushes query`; docs/command_line.md has the forms of each type.

#include <charconv>
#include <chrono>
#include <cmath>
#include <string>

#include <nanobind/nanobind.h>
#include "arrow/array.h"
#include "arrow/c/abi.h"
#include "arrow/c/bridge.h"
#include "arrow/extension_type.h"
#include "arrow/record_batch.h"
#include "arrow/util/base64.h"
#include "arrow/util/checked_cast.h"
#include "arrow/util/float16.h"
#include "arrow/util/utf8.h"
#include "bindings.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;
using arrow::Type;
using arrow::internal::checked_cast;

void AppendNumber(auto value, std::string* out) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  out->append(text, end);
}

// JSON has no words for these.
void AppendJsonNumber(double value, std::string* out) { std::isfinite(value) ? AppendNumber(value, out) : void(out->append("null")); }
void AppendJsonNumber(float value, std::string* out) { std::isfinite(value) ? AppendNumber(value, out) : void(out->append("null")); }

// Length of the valid UTF-8 sequence at the start of `text`, which is not empty; 0 if there is none.
size_t SequenceLength(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  const size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (length > text.size()) return 0;
  return arrow::util::ValidateUTF8(reinterpret_cast<const uint8_t*>(text.data()), static_cast<int64_t>(length)) ? length : 0;
}

// `text`, with a replacement character for each byte that is not UTF-8.
std::string ValidText(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    out.append(length == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(0, length));
    text.remove_prefix(std::max<size_t>(1, length));
  }
  return out;
}

bool IsValidText(std::string_view text) {
  return arrow::util::ValidateUTF8(reinterpret_cast<const uint8_t*>(text.data()), static_cast<int64_t>(text.size()));
}

void AppendJsonText(std::string_view text, std::string* out) {
  std::string repaired;
  if (!IsValidText(text)) text = repaired = ValidText(text);
  out->push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"':
      case '\\':
        out->push_back('\\');
        out->push_back(c);
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20) {
          constexpr char kDigits[] = "0123456789abcdef";
          out->append("\\u00");
          out->push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
          out->push_back(kDigits[static_cast<uint8_t>(c) & 15]);
        } else {
          out->push_back(c);
        }
    }
  }
  out->push_back('"');
}

struct Unit {
  int64_t per_second;
  int digits;
};
Unit UnitOf(arrow::TimeUnit::type unit) {
  switch (unit) {
    case arrow::TimeUnit::SECOND:
      return {1, 0};
    case arrow::TimeUnit::MILLI:
      return {1'000, 3};
    case arrow::TimeUnit::MICRO:
      return {1'000'000, 6};
    default:
      return {1'000'000'000, 9};
  }
}

void AppendPadded(int64_t value, int digits, std::string* out) {
  const std::string text = std::to_string(value);
  if (text.size() < static_cast<size_t>(digits)) out->append(static_cast<size_t>(digits) - text.size(), '0');
  out->append(text);
}

void AppendDate(int64_t days, std::string* out) {
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{days}}};
  AppendPadded(static_cast<int>(date.year()), 4, out);
  out->push_back('-');
  AppendPadded(static_cast<unsigned>(date.month()), 2, out);
  out->push_back('-');
  AppendPadded(static_cast<unsigned>(date.day()), 2, out);
}

void AppendTimeOfDay(int64_t value, Unit unit, std::string* out) {
  const int64_t seconds = value / unit.per_second;
  AppendPadded(seconds / 3600, 2, out);
  out->push_back(':');
  AppendPadded(seconds / 60 % 60, 2, out);
  out->push_back(':');
  AppendPadded(seconds % 60, 2, out);
  if (unit.digits > 0) {
    out->push_back('.');
    AppendPadded(value % unit.per_second, unit.digits, out);
  }
}

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

// Days that the calendar of the standard library knows.
constexpr int64_t kMostDays = 10'000'000;

void AppendTimestamp(int64_t value, const arrow::TimestampType& type, std::string* out) {
  const Unit unit = UnitOf(type.unit());
  const int64_t per_day = 86'400 * unit.per_second;
  const int64_t days = FloorDivide(value, per_day);
  if (days < -kMostDays || days > kMostDays) {  // no date has so many digits
    AppendNumber(value, out);
    return;
  }
  AppendDate(days, out);
  out->push_back('T');
  AppendTimeOfDay(value - days * per_day, unit, out);
  if (!type.timezone().empty()) out->push_back('Z');
}

// PT1.5S
void AppendDuration(int64_t value, Unit unit, std::string* out) {
  const bool is_negative = value < 0;
  const uint64_t size = is_negative ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  const auto per_second = static_cast<uint64_t>(unit.per_second);
  out->append(is_negative ? "-PT" : "PT");
  AppendNumber(size / per_second, out);
  if (const uint64_t rest = size % per_second; rest > 0) {
    out->push_back('.');
    AppendPadded(static_cast<int64_t>(rest), unit.digits, out);
    out->erase(out->find_last_not_of('0') + 1);
  }
  out->push_back('S');
}

// What a value of these types looks like, in JSON within quotes.
bool IsWords(const arrow::DataType& type) {
  switch (type.id()) {
    case Type::STRING:
    case Type::LARGE_STRING:
    case Type::STRING_VIEW:
    case Type::BINARY:
    case Type::LARGE_BINARY:
    case Type::BINARY_VIEW:
    case Type::FIXED_SIZE_BINARY:
    case Type::TIMESTAMP:
    case Type::DURATION:
    case Type::DATE32:
    case Type::DATE64:
    case Type::TIME32:
    case Type::TIME64:
      return true;
    default:
      return false;
  }
}

arrow::Status CheckType(const arrow::DataType& type, const std::string& column) {
  switch (type.id()) {
    case Type::RUN_END_ENCODED:
    case Type::INTERVAL_MONTHS:
    case Type::INTERVAL_DAY_TIME:
    case Type::INTERVAL_MONTH_DAY_NANO:
      return arrow::Status::NotImplemented("column '", column, "' of type ", type.ToString(), " cannot be written as text");
    case Type::DICTIONARY:
      return CheckType(*checked_cast<const arrow::DictionaryType&>(type).value_type(), column);
    case Type::EXTENSION:
      return CheckType(*checked_cast<const arrow::ExtensionType&>(type).storage_type(), column);
    default:
      for (const auto& field : type.fields()) ARROW_RETURN_NOT_OK(CheckType(*field->type(), column));
      return arrow::Status::OK();
  }
}

template <typename ArrayType>
auto ValueAt(const arrow::Array& array, int64_t row) {
  return checked_cast<const ArrayType&>(array).Value(row);
}

// A value that is no list, struct or the like, not quoted. False for a nested one.
bool AppendPlain(const arrow::Array& array, int64_t row, bool is_json, std::string* out) {
  switch (array.type_id()) {
    case Type::BOOL:
      out->append(ValueAt<arrow::BooleanArray>(array, row) ? "true" : "false");
      return true;
    case Type::INT8:
      AppendNumber(static_cast<int>(ValueAt<arrow::Int8Array>(array, row)), out);
      return true;
    case Type::UINT8:
      AppendNumber(static_cast<int>(ValueAt<arrow::UInt8Array>(array, row)), out);
      return true;
    case Type::INT16:
      AppendNumber(ValueAt<arrow::Int16Array>(array, row), out);
      return true;
    case Type::UINT16:
      AppendNumber(ValueAt<arrow::UInt16Array>(array, row), out);
      return true;
    case Type::INT32:
      AppendNumber(ValueAt<arrow::Int32Array>(array, row), out);
      return true;
    case Type::UINT32:
      AppendNumber(ValueAt<arrow::UInt32Array>(array, row), out);
      return true;
    case Type::INT64:
      AppendNumber(ValueAt<arrow::Int64Array>(array, row), out);
      return true;
    case Type::UINT64:
      AppendNumber(ValueAt<arrow::UInt64Array>(array, row), out);
      return true;
    case Type::HALF_FLOAT: {
      const float value = arrow::util::Float16::FromBits(ValueAt<arrow::HalfFloatArray>(array, row)).ToFloat();
      is_json ? AppendJsonNumber(value, out) : AppendNumber(value, out);
      return true;
    }
    case Type::FLOAT: {
      const float value = ValueAt<arrow::FloatArray>(array, row);
      is_json ? AppendJsonNumber(value, out) : AppendNumber(value, out);
      return true;
    }
    case Type::DOUBLE: {
      const double value = ValueAt<arrow::DoubleArray>(array, row);
      is_json ? AppendJsonNumber(value, out) : AppendNumber(value, out);
      return true;
    }
    case Type::DECIMAL32:
      out->append(checked_cast<const arrow::Decimal32Array&>(array).FormatValue(row));
      return true;
    case Type::DECIMAL64:
      out->append(checked_cast<const arrow::Decimal64Array&>(array).FormatValue(row));
      return true;
    case Type::DECIMAL128:
      out->append(checked_cast<const arrow::Decimal128Array&>(array).FormatValue(row));
      return true;
    case Type::DECIMAL256:
      out->append(checked_cast<const arrow::Decimal256Array&>(array).FormatValue(row));
      return true;
    case Type::BINARY:
      out->append(arrow::util::base64_encode(checked_cast<const arrow::BinaryArray&>(array).GetView(row)));
      return true;
    case Type::LARGE_BINARY:
      out->append(arrow::util::base64_encode(checked_cast<const arrow::LargeBinaryArray&>(array).GetView(row)));
      return true;
    case Type::BINARY_VIEW:
      out->append(arrow::util::base64_encode(checked_cast<const arrow::BinaryViewArray&>(array).GetView(row)));
      return true;
    case Type::FIXED_SIZE_BINARY:
      out->append(arrow::util::base64_encode(checked_cast<const arrow::FixedSizeBinaryArray&>(array).GetView(row)));
      return true;
    case Type::TIMESTAMP:
      AppendTimestamp(ValueAt<arrow::TimestampArray>(array, row), checked_cast<const arrow::TimestampType&>(*array.type()), out);
      return true;
    case Type::DURATION:
      AppendDuration(ValueAt<arrow::DurationArray>(array, row), UnitOf(checked_cast<const arrow::DurationType&>(*array.type()).unit()),
                     out);
      return true;
    case Type::DATE32: {
      const int64_t days = ValueAt<arrow::Date32Array>(array, row);
      std::abs(days) > kMostDays ? AppendNumber(days, out) : AppendDate(days, out);
      return true;
    }
    case Type::DATE64: {
      const int64_t days = FloorDivide(ValueAt<arrow::Date64Array>(array, row), 86'400'000);
      std::abs(days) > kMostDays ? AppendNumber(days, out) : AppendDate(days, out);
      return true;
    }
    case Type::TIME32:
      AppendTimeOfDay(ValueAt<arrow::Time32Array>(array, row), UnitOf(checked_cast<const arrow::Time32Type&>(*array.type()).unit()), out);
      return true;
    case Type::TIME64:
      AppendTimeOfDay(ValueAt<arrow::Time64Array>(array, row), UnitOf(checked_cast<const arrow::Time64Type&>(*array.type()).unit()), out);
      return true;
    default:
      return false;
  }
}

// Text of a text column; false for other columns.
bool TextAt(const arrow::Array& array, int64_t row, std::string_view* text) {
  switch (array.type_id()) {
    case Type::STRING:
      *text = checked_cast<const arrow::StringArray&>(array).GetView(row);
      return true;
    case Type::LARGE_STRING:
      *text = checked_cast<const arrow::LargeStringArray&>(array).GetView(row);
      return true;
    case Type::STRING_VIEW:
      *text = checked_cast<const arrow::StringViewArray&>(array).GetView(row);
      return true;
    default:
      return false;
  }
}

void AppendJson(const arrow::Array& array, int64_t row, std::string* out);

void AppendItems(const arrow::Array& values, int64_t begin, int64_t end, std::string* out) {
  out->push_back('[');
  for (int64_t i = begin; i < end; ++i) {
    if (i > begin) out->push_back(',');
    AppendJson(values, i, out);
  }
  out->push_back(']');
}

template <typename ListType>
void AppendList(const arrow::Array& array, int64_t row, std::string* out) {
  const auto& list = checked_cast<const ListType&>(array);
  const int64_t begin = list.value_offset(row);
  AppendItems(*list.values(), begin, begin + list.value_length(row), out);
}

void AppendJson(const arrow::Array& array, int64_t row, std::string* out) {
  switch (array.type_id()) {
    case Type::DENSE_UNION: {
      const auto& uni = checked_cast<const arrow::DenseUnionArray&>(array);
      return AppendJson(*uni.field(uni.child_id(row)), uni.value_offset(row), out);
    }
    case Type::SPARSE_UNION: {
      const auto& uni = checked_cast<const arrow::SparseUnionArray&>(array);
      return AppendJson(*uni.field(uni.child_id(row)), row, out);
    }
    case Type::EXTENSION:
      return AppendJson(*checked_cast<const arrow::ExtensionArray&>(array).storage(), row, out);
    default:
      break;
  }
  if (array.IsNull(row)) {
    out->append("null");
    return;
  }
  std::string_view text;
  if (TextAt(array, row, &text)) return AppendJsonText(text, out);
  switch (array.type_id()) {
    case Type::LIST:
    case Type::MAP:
      return AppendList<arrow::ListArray>(array, row, out);
    case Type::LARGE_LIST:
      return AppendList<arrow::LargeListArray>(array, row, out);
    case Type::LIST_VIEW:
      return AppendList<arrow::ListViewArray>(array, row, out);
    case Type::LARGE_LIST_VIEW:
      return AppendList<arrow::LargeListViewArray>(array, row, out);
    case Type::FIXED_SIZE_LIST:
      return AppendList<arrow::FixedSizeListArray>(array, row, out);
    case Type::STRUCT: {
      const auto& record = checked_cast<const arrow::StructArray&>(array);
      out->push_back('{');
      for (int i = 0; i < record.num_fields(); ++i) {
        if (i > 0) out->push_back(',');
        AppendJsonText(record.struct_type()->field(i)->name(), out);
        out->push_back(':');
        AppendJson(*record.field(i), row, out);
      }
      out->push_back('}');
      return;
    }
    case Type::DICTIONARY: {
      const auto& coded = checked_cast<const arrow::DictionaryArray&>(array);
      return AppendJson(*coded.dictionary(), coded.GetValueIndex(row), out);
    }
    case Type::NA:
      out->append("null");
      return;
    default:
      break;
  }
  const bool is_words = IsWords(*array.type());
  if (is_words) out->push_back('"');
  AppendPlain(array, row, /*is_json=*/true, out);
  if (is_words) out->push_back('"');
}

// Quoted where RFC 4180 wants it; an empty text too, since nothing at all stands for null.
void AppendCsvText(std::string_view text, std::string* out) {
  std::string repaired;
  if (!IsValidText(text)) text = repaired = ValidText(text);
  const bool is_plain =
      !text.empty() && text.find_first_of(",\"\r\n") == std::string_view::npos && text.front() != ' ' && text.back() != ' ';
  if (is_plain) {
    out->append(text);
    return;
  }
  out->push_back('"');
  for (const char c : text) {
    if (c == '"') out->push_back('"');
    out->push_back(c);
  }
  out->push_back('"');
}

void AppendCsv(const arrow::Array& array, int64_t row, std::string* scratch, std::string* out) {
  if (array.IsNull(row) || array.type_id() == Type::NA) return;
  std::string_view text;
  if (TextAt(array, row, &text)) return AppendCsvText(text, out);
  if (array.type_id() == Type::DICTIONARY) {
    const auto& coded = checked_cast<const arrow::DictionaryArray&>(array);
    return AppendCsv(*coded.dictionary(), coded.GetValueIndex(row), scratch, out);
  }
  if (array.type_id() == Type::EXTENSION) {
    return AppendCsv(*checked_cast<const arrow::ExtensionArray&>(array).storage(), row, scratch, out);
  }
  if (AppendPlain(array, row, /*is_json=*/false, out)) return;
  scratch->clear();
  AppendJson(array, row, scratch);
  if (*scratch != "null") AppendCsvText(*scratch, out);  // a union's null
}

arrow::Status AppendJsonLines(const arrow::RecordBatch& batch, std::string* out) {
  std::vector<std::string> keys;
  for (int c = 0; c < batch.num_columns(); ++c) {
    ARROW_RETURN_NOT_OK(CheckType(*batch.column(c)->type(), batch.column_name(c)));
    std::string key = c == 0 ? "{" : ",";
    AppendJsonText(batch.column_name(c), &key);
    keys.push_back(key + ":");
  }
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    for (int c = 0; c < batch.num_columns(); ++c) {
      out->append(keys[static_cast<size_t>(c)]);
      AppendJson(*batch.column(c), row, out);
    }
    out->append(keys.empty() ? "{}\n" : "}\n");
  }
  return arrow::Status::OK();
}

arrow::Status AppendCsvLines(const arrow::RecordBatch& batch, std::string* out) {
  for (int c = 0; c < batch.num_columns(); ++c) ARROW_RETURN_NOT_OK(CheckType(*batch.column(c)->type(), batch.column_name(c)));
  std::string scratch;
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    const size_t begin = out->size();
    for (int c = 0; c < batch.num_columns(); ++c) {
      if (c > 0) out->push_back(',');
      AppendCsv(*batch.column(c), row, &scratch, out);
    }
    // A line of one null would be an empty one, which readers skip.
    if (out->size() == begin) out->append("\"\"");
    out->push_back('\n');
  }
  return arrow::Status::OK();
}

// `batch` has `__arrow_c_array__`.
template <typename Append>
nb::bytes Encode(const nb::object& batch, Append append) {
  const nb::tuple capsules = nb::cast<nb::tuple>(batch.attr("__arrow_c_array__")());
  auto* const schema = static_cast<ArrowSchema*>(PyCapsule_GetPointer(nb::object(capsules[0]).ptr(), "arrow_schema"));
  auto* const array = static_cast<ArrowArray*>(PyCapsule_GetPointer(nb::object(capsules[1]).ptr(), "arrow_array"));
  if (schema == nullptr || array == nullptr) throw nb::python_error();
  const auto imported = Check(arrow::ImportRecordBatch(array, schema));
  std::string out;
  arrow::Status status;
  {
    nb::gil_scoped_release released;
    status = append(*imported, &out);
  }
  Check(status);
  return nb::bytes(out.data(), out.size());
}

}  // namespace

void BindText(nb::module_& module) {
  module.def(
      "json_lines", [](const nb::object& batch) { return Encode(batch, AppendJsonLines); }, nb::arg("batch"),
      "The rows of a record batch, one JSON object a line.");
  module.def(
      "csv_lines", [](const nb::object& batch) { return Encode(batch, AppendCsvLines); }, nb::arg("batch"),
      "The rows of a record batch as lines of CSV, without a header.");
}

}  // namespace rushes::python
