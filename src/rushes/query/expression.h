// Filters of a scan: what they allow to skip, and their exact evaluation.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "arrow/array.h"
#include "arrow/compute/expression.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type_fwd.h"
#include "rushes/chunk/timeline.h"

namespace rushes {

// What every row that passes a filter satisfies: a superset of the filter, used to fetch less.
struct FilterBounds {
  int64_t start = kMinTime;  // of the index
  int64_t end = kMaxTime;
  std::optional<std::vector<int64_t>> points;     // of the index: no other values pass; ascending, within start and end. nullopt: any
  std::optional<std::set<std::string>> segments;  // nullopt: any
  std::set<std::string> not_null;                 // columns that are not null
  bool is_empty() const { return start > end || (segments && segments->empty()); }
};

// A filter made ready for the rows of one scan. Immutable, thread safe.
class RowFilter {
 public:
  // `schema`: all columns of the dataframe. Invalid for unknown columns, TypeError or Invalid for what does not compare.
  // `sql_semantics`: `is_in` gives null for null and a list with NaN equals itself, as SQL has it.
  static arrow::Result<std::shared_ptr<const RowFilter>> Make(const arrow::compute::Expression& filter, const arrow::Schema& schema,
                                                              const std::optional<std::string>& index, bool sql_semantics);

  // Names of the columns it reads, in schema order.
  const std::vector<std::string>& columns() const { return columns_; }
  const FilterBounds& bounds() const { return bounds_; }

  // Which rows pass: nullopt for all of them, else their positions, ascending. `batch` has exactly columns(), in that order.
  arrow::Result<std::optional<std::vector<int32_t>>> Select(const arrow::RecordBatch& batch) const;

 private:
  // `column == value` (or !=) of a list column, which Arrow has no kernel for; it becomes a boolean column of its own.
  struct ListComparison {
    int column;
    std::shared_ptr<arrow::Scalar> value;
    bool negated;
  };
  RowFilter() : expression_(arrow::compute::literal(true)) {}
  // Columns that are not null where the rewritten expression is true.
  std::set<std::string> NotNull(const arrow::compute::Expression& expression) const;
  // Whether the rewritten expression says no more than that some columns are not null.
  static bool IsNotNullAlone(const arrow::compute::Expression& expression);
  // Columns of which any that is null makes it null.
  std::set<std::string> NullIfNull(const arrow::compute::Expression& expression) const;
  arrow::Result<arrow::compute::Expression> Rewrite(const arrow::compute::Expression& expression, const arrow::Schema& schema,
                                                    bool sql_semantics);

  std::vector<std::string> columns_;
  std::vector<ListComparison> list_comparisons_;
  bool sql_semantics_ = false;
  bool is_not_null_alone_ = false;
  std::shared_ptr<arrow::Schema> schema_;  // of columns_ and the comparisons
  arrow::compute::Expression expression_;  // bound to schema_
  FilterBounds bounds_;
};

}  // namespace rushes
