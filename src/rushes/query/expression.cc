#include "rushes/query/expression.h"

#include <algorithm>

#include "arrow/array/builder_primitive.h"
#include "arrow/compute/api_scalar.h"
#include "arrow/compute/cast.h"
#include "arrow/compute/exec.h"
#include "arrow/datum.h"
#include "arrow/scalar.h"
#include "arrow/type.h"
#include "rushes/query/nearest.h"
#include "rushes/query/query.h"

namespace rushes {
namespace {

namespace cp = arrow::compute;

// Integer value of a literal on an index of nanoseconds or numbers.
std::optional<int64_t> IndexValue(const arrow::Scalar& scalar) {
  if (!scalar.is_valid) return std::nullopt;
  switch (scalar.type->id()) {
    case arrow::Type::INT8:
      return static_cast<const arrow::Int8Scalar&>(scalar).value;
    case arrow::Type::INT16:
      return static_cast<const arrow::Int16Scalar&>(scalar).value;
    case arrow::Type::INT32:
      return static_cast<const arrow::Int32Scalar&>(scalar).value;
    case arrow::Type::INT64:
      return static_cast<const arrow::Int64Scalar&>(scalar).value;
    case arrow::Type::TIMESTAMP:
      if (static_cast<const arrow::TimestampType&>(*scalar.type).unit() != arrow::TimeUnit::NANO) return std::nullopt;
      return static_cast<const arrow::TimestampScalar&>(scalar).value;
    case arrow::Type::DURATION:
      if (static_cast<const arrow::DurationType&>(*scalar.type).unit() != arrow::TimeUnit::NANO) return std::nullopt;
      return static_cast<const arrow::DurationScalar&>(scalar).value;
    default:
      return std::nullopt;
  }
}

std::optional<std::string> TextValue(const arrow::Scalar& scalar) {
  if (!scalar.is_valid || !arrow::is_base_binary_like(scalar.type->id())) return std::nullopt;
  return static_cast<const arrow::BaseBinaryScalar&>(scalar).value->ToString();
}

// Bounds of exactly these index values, of which those that are no times are left out. `points` need not be sorted.
FilterBounds BoundsOfPoints(std::vector<int64_t> points) {
  std::erase_if(points, [](int64_t point) { return point < kMinTime; });
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  FilterBounds out;
  out.start = points.empty() ? kMaxTime : points.front();
  out.end = points.empty() ? kMinTime : points.back();
  out.points = std::move(points);
  return out;
}

FilterBounds Intersect(const FilterBounds& a, const FilterBounds& b) {
  FilterBounds out;
  out.start = std::max(a.start, b.start);
  out.end = std::min(a.end, b.end);
  if (a.points || b.points) {
    std::vector<int64_t> points = a.points ? *a.points : *b.points;
    std::erase_if(points, [&](int64_t point) {
      return point < out.start || point > out.end ||
             (a.points && b.points && !std::binary_search(b.points->begin(), b.points->end(), point));
    });
    out = BoundsOfPoints(std::move(points));
  }
  out.segments = a.segments;
  if (b.segments) {
    if (!out.segments) {
      out.segments = b.segments;
    } else {
      std::erase_if(*out.segments, [&](const std::string& id) { return !b.segments->contains(id); });
    }
  }
  return out;
}

FilterBounds Hull(const FilterBounds& a, const FilterBounds& b) {
  if (a.is_empty()) return b;
  if (b.is_empty()) return a;
  FilterBounds out;
  out.start = std::min(a.start, b.start);
  out.end = std::max(a.end, b.end);
  if (a.points && b.points) {
    out.points.emplace();
    std::set_union(a.points->begin(), a.points->end(), b.points->begin(), b.points->end(), std::back_inserter(*out.points));
  }
  if (a.segments && b.segments) {
    out.segments = a.segments;
    out.segments->insert(b.segments->begin(), b.segments->end());
  }
  return out;
}

bool RefersTo(const cp::Expression& expression, const std::string& name) {
  const arrow::FieldRef* ref = expression.field_ref();
  return ref != nullptr && ref->IsName() && *ref->name() == name;
}

FilterBounds BoundsOfComparison(const std::string& function, const arrow::Scalar& value) {
  FilterBounds out;
  const auto bound = IndexValue(value);
  if (!bound) {
    if (!value.is_valid) out.end = kMinTime, out.start = kMaxTime;  // a comparison with null holds for no row
    return out;
  }
  const int64_t v = *bound;
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  if (function == "equal") {
    return BoundsOfPoints({v});
  } else if (function == "less") {
    out.end = v == kLeast ? kLeast : v - 1;
  } else if (function == "less_equal") {
    out.end = v;
  } else if (function == "greater") {
    if (v == kMaxTime) {
      out.start = kMaxTime;
      out.end = kMinTime;
    } else {
      out.start = v + 1;
    }
  } else if (function == "greater_equal") {
    out.start = std::max(v, kMinTime);
  }
  return out;
}

std::string Flipped(const std::string& function) {
  if (function == "less") return "greater";
  if (function == "less_equal") return "greater_equal";
  if (function == "greater") return "less";
  if (function == "greater_equal") return "less_equal";
  return function;
}

FilterBounds Bounds(const cp::Expression& expression, const std::optional<std::string>& index) {
  const cp::Expression::Call* call = expression.call();
  if (call == nullptr) return {};
  const std::string& function = call->function_name;
  const auto& arguments = call->arguments;
  if (function == "and_kleene" || function == "and") return Intersect(Bounds(arguments[0], index), Bounds(arguments[1], index));
  if (function == "or_kleene" || function == "or") return Hull(Bounds(arguments[0], index), Bounds(arguments[1], index));
  if (function == "is_in") {
    const auto* options = dynamic_cast<const cp::SetLookupOptions*>(call->options.get());
    if (options == nullptr || !options->value_set.is_arraylike()) return {};
    const auto values = options->value_set.make_array();
    FilterBounds out;
    if (RefersTo(arguments[0], kSegmentIdColumn)) {
      out.segments.emplace();
      for (int64_t i = 0; i < values->length(); ++i) {
        const auto scalar = values->GetScalar(i);
        const auto text = scalar.ok() ? TextValue(**scalar) : std::nullopt;
        if (!text) return {};
        out.segments->insert(*text);
      }
      return out;
    }
    if (index && RefersTo(arguments[0], *index) && values->length() > 0) {
      std::vector<int64_t> points;
      for (int64_t i = 0; i < values->length(); ++i) {
        const auto scalar = values->GetScalar(i);
        const auto value = scalar.ok() ? IndexValue(**scalar) : std::nullopt;
        if (!value) return {};
        points.push_back(*value);
      }
      return BoundsOfPoints(std::move(points));
    }
    return {};
  }
  static const std::set<std::string> kComparisons = {"equal", "less", "less_equal", "greater", "greater_equal"};
  if (!kComparisons.contains(function) || arguments.size() != 2) return {};
  const bool flipped = arguments[0].literal() != nullptr;
  const cp::Expression& column = arguments[flipped ? 1 : 0];
  const arrow::Datum* literal = arguments[flipped ? 0 : 1].literal();
  if (literal == nullptr || !literal->is_scalar()) return {};
  if (index && RefersTo(column, *index)) return BoundsOfComparison(flipped ? Flipped(function) : function, *literal->scalar());
  if (function == "equal" && RefersTo(column, kSegmentIdColumn)) {
    FilterBounds out;
    out.segments.emplace();
    if (const auto text = TextValue(*literal->scalar())) out.segments->insert(*text);
    return out;
  }
  return {};
}

// Rows of a list column that equal a list; null where the row is null.
arrow::Result<std::shared_ptr<arrow::Array>> CompareLists(const arrow::Array& column, const arrow::Scalar& value, bool negated,
                                                          bool nans_equal) {
  const auto options = arrow::EqualOptions::Defaults().nans_equal(nans_equal);
  arrow::BooleanBuilder builder;
  for (int64_t i = 0; i < column.length(); ++i) {
    if (column.IsNull(i) || !value.is_valid) {
      ARROW_RETURN_NOT_OK(builder.AppendNull());
      continue;
    }
    ARROW_ASSIGN_OR_RAISE(const auto cell, column.GetScalar(i));
    const auto& items = *static_cast<const arrow::BaseListScalar&>(*cell).value;
    const auto& wanted = *static_cast<const arrow::BaseListScalar&>(value).value;
    ARROW_RETURN_NOT_OK(builder.Append(items.Equals(wanted, options) != negated));
  }
  return builder.Finish();
}

bool IsList(const arrow::DataType& type) {
  return type.id() == arrow::Type::LIST || type.id() == arrow::Type::LARGE_LIST || type.id() == arrow::Type::FIXED_SIZE_LIST;
}

}  // namespace

arrow::Result<cp::Expression> RowFilter::Rewrite(const cp::Expression& expression, const arrow::Schema& schema, bool sql_semantics) {
  if (const arrow::FieldRef* ref = expression.field_ref(); ref != nullptr && !ref->IsName()) {
    // Positions are those of the whole dataframe, and the filter sees fewer columns: the first step becomes a name.
    ARROW_ASSIGN_OR_RAISE(const arrow::FieldPath path, ref->FindOne(schema));
    std::vector<arrow::FieldRef> steps = {arrow::FieldRef(schema.field(path[0])->name())};
    for (size_t i = 1; i < path.indices().size(); ++i) steps.emplace_back(path[i]);
    return cp::field_ref(arrow::FieldRef(std::move(steps)));
  }
  const cp::Expression::Call* call = expression.call();
  if (call == nullptr) return expression;
  if ((call->function_name == "equal" || call->function_name == "not_equal") && call->arguments.size() == 2) {
    const bool flipped = call->arguments[0].literal() != nullptr;
    const arrow::FieldRef* ref = call->arguments[flipped ? 1 : 0].field_ref();
    const arrow::Datum* literal = call->arguments[flipped ? 0 : 1].literal();
    if (ref != nullptr && literal != nullptr && literal->is_scalar()) {
      const auto path = ref->FindOneOrNone(schema);
      if (path.ok() && path->indices().size() == 1) {
        const int at = path->indices()[0];
        const auto& type = schema.field(at)->type();
        if (IsList(*type) && IsList(*literal->scalar()->type)) {
          // Compared as values of the column: a list of int64 equals one of int32 if the items do.
          std::shared_ptr<arrow::Scalar> value = literal->scalar();
          if (!value->type->Equals(*type)) {
            const cp::CastOptions options = cp::CastOptions::Safe(type);
            ARROW_ASSIGN_OR_RAISE(const auto as_column, cp::CallFunction("cast", {arrow::Datum(value)}, &options));
            value = as_column.scalar();
          }
          list_comparisons_.push_back({at, value, call->function_name == "not_equal"});
          return cp::field_ref("\x01" + std::to_string(list_comparisons_.size() - 1));
        }
      }
    }
  }
  std::vector<cp::Expression> arguments;
  for (const cp::Expression& argument : call->arguments) {
    ARROW_ASSIGN_OR_RAISE(auto rewritten, Rewrite(argument, schema, sql_semantics));
    arguments.push_back(std::move(rewritten));
  }
  std::shared_ptr<cp::FunctionOptions> options = call->options;
  if (sql_semantics && call->function_name == "is_in") {
    if (const auto* lookup = dynamic_cast<const cp::SetLookupOptions*>(options.get())) {
      options = std::make_shared<cp::SetLookupOptions>(lookup->value_set, cp::SetLookupOptions::INCONCLUSIVE);
    }
  }
  return cp::call(call->function_name, std::move(arguments), std::move(options));
}

std::set<std::string> RowFilter::NullIfNull(const cp::Expression& expression) const {
  if (const arrow::FieldRef* const ref = expression.field_ref()) {
    const auto path = ref->FindOneOrNone(*schema_);
    if (!path.ok() || path->indices().size() != 1) return {};
    const size_t at = static_cast<size_t>(path->indices()[0]);
    if (at < columns_.size()) return {columns_[at]};
    return {columns_[static_cast<size_t>(list_comparisons_[at - columns_.size()].column)]};
  }
  static const std::set<std::string> kStrict = {
      "equal",  "not_equal",    "less", "less_equal",       "greater",      "greater_equal",    "invert",
      "cast",   "struct_field", "add",  "subtract",         "multiply",     "add_checked",      "subtract_checked",
      "divide", "negate",       "abs",  "multiply_checked", "list_element", "list_value_length"};
  const cp::Expression::Call* const call = expression.call();
  if (call == nullptr || !kStrict.contains(call->function_name)) return {};
  std::set<std::string> out;
  for (const cp::Expression& argument : call->arguments) out.merge(NullIfNull(argument));
  return out;
}

std::set<std::string> RowFilter::NotNull(const cp::Expression& expression) const {
  const cp::Expression::Call* const call = expression.call();
  if (call == nullptr) return NullIfNull(expression);
  const std::string& function = call->function_name;
  const auto& arguments = call->arguments;
  if (function == "and_kleene" || function == "and") {
    auto out = NotNull(arguments[0]);
    out.merge(NotNull(arguments[1]));
    return out;
  }
  if (function == "or_kleene" || function == "or") {
    auto out = NotNull(arguments[0]);
    const auto other = NotNull(arguments[1]);
    std::erase_if(out, [&](const std::string& name) { return !other.contains(name); });
    return out;
  }
  if (function == "is_valid") return NullIfNull(arguments[0]);
  if (function == "invert") {
    const cp::Expression::Call* const inner = arguments[0].call();
    if (inner != nullptr && inner->function_name == "is_null") return NullIfNull(inner->arguments[0]);
  }
  return NullIfNull(expression);
}

bool RowFilter::IsNotNullAlone(const cp::Expression& expression) {
  const cp::Expression::Call* const call = expression.call();
  if (call == nullptr) return false;
  const auto& arguments = call->arguments;
  if (call->function_name == "and_kleene" || call->function_name == "and") {
    return IsNotNullAlone(arguments[0]) && IsNotNullAlone(arguments[1]);
  }
  return call->function_name == "is_valid" && arguments[0].field_ref() != nullptr;
}

arrow::Result<std::shared_ptr<const RowFilter>> RowFilter::Make(const cp::Expression& filter, const arrow::Schema& schema,
                                                                const std::optional<std::string>& index, bool sql_semantics) {
  std::shared_ptr<RowFilter> out(new RowFilter());
  // Which columns it names, before anything else, so that a misspelt one gets a helpful message.
  std::set<int> used;
  for (const arrow::FieldRef& ref : cp::FieldsInExpression(filter)) {
    const auto path = ref.FindOneOrNone(schema);
    if (!path.ok()) return path.status();
    if (path->empty()) {
      const std::string name = ref.IsName() ? *ref.name() : ref.ToString();
      return arrow::Status::Invalid("Column '", name, "' does not exist.", DidYouMean(name, schema.field_names()));
    }
    used.insert(path->indices()[0]);
  }
  out->sql_semantics_ = sql_semantics;
  ARROW_ASSIGN_OR_RAISE(auto rewritten, out->Rewrite(filter, schema, sql_semantics));

  std::vector<int> position(static_cast<size_t>(schema.num_fields()), -1);
  arrow::FieldVector fields;
  for (const int at : used) {
    position[static_cast<size_t>(at)] = static_cast<int>(fields.size());
    fields.push_back(schema.field(at));
    out->columns_.push_back(schema.field(at)->name());
  }
  for (size_t i = 0; i < out->list_comparisons_.size(); ++i) {
    out->list_comparisons_[i].column = position[static_cast<size_t>(out->list_comparisons_[i].column)];
    fields.push_back(arrow::field("\x01" + std::to_string(i), arrow::boolean()));
  }
  out->schema_ = arrow::schema(std::move(fields));
  ARROW_ASSIGN_OR_RAISE(out->expression_, rewritten.Bind(*out->schema_));
  if (out->expression_.type()->id() != arrow::Type::BOOL && out->expression_.type()->id() != arrow::Type::NA) {
    return arrow::Status::TypeError("a filter must be true or false, not ", out->expression_.type()->ToString(), ": ", filter.ToString());
  }
  out->bounds_ = Bounds(out->expression_, index);
  out->bounds_.not_null = out->NotNull(out->expression_);
  out->is_not_null_alone_ = out->list_comparisons_.empty() && IsNotNullAlone(out->expression_);
  return out;
}

arrow::Result<std::optional<std::vector<int32_t>>> RowFilter::Select(const arrow::RecordBatch& batch) const {
  arrow::ArrayVector columns = batch.columns();
  // Where no column has a null, nothing is to be looked at.
  const auto has_nulls = [](const std::shared_ptr<arrow::Array>& column) { return column->null_count() > 0; };
  if (is_not_null_alone_ && std::none_of(columns.begin(), columns.end(), has_nulls)) return std::optional<std::vector<int32_t>>();
  for (const ListComparison& comparison : list_comparisons_) {
    ARROW_ASSIGN_OR_RAISE(
        auto column, CompareLists(*columns[static_cast<size_t>(comparison.column)], *comparison.value, comparison.negated, sql_semantics_));
    columns.push_back(std::move(column));
  }
  const auto input = arrow::RecordBatch::Make(schema_, batch.num_rows(), std::move(columns));
  ARROW_ASSIGN_OR_RAISE(const auto result, cp::ExecuteScalarExpression(expression_, *schema_, arrow::Datum(input)));
  std::vector<int32_t> rows;
  if (result.is_scalar()) {
    const auto& scalar = *result.scalar();
    const bool pass = scalar.is_valid && scalar.type->id() == arrow::Type::BOOL && static_cast<const arrow::BooleanScalar&>(scalar).value;
    return pass ? std::optional<std::vector<int32_t>>() : std::optional(std::move(rows));
  }
  const auto array = result.make_array();
  if (array->type_id() != arrow::Type::BOOL) return std::optional(std::move(rows));
  const auto& mask = static_cast<const arrow::BooleanArray&>(*array);
  const int64_t passing = mask.true_count();
  if (passing == mask.length()) return std::optional<std::vector<int32_t>>();
  rows.reserve(static_cast<size_t>(passing));
  for (int64_t i = 0; passing > 0 && i < mask.length(); ++i) {
    if (mask.IsValid(i) && mask.Value(i)) rows.push_back(static_cast<int32_t>(i));
  }
  return std::optional(std::move(rows));
}

}  // namespace rushes
