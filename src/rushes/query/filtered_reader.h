// Rows and columns of batches that come from elsewhere.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrow/compute/expression.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"

namespace rushes {

// Opens a stream of the given columns (nullopt: all), in this order.
using OpenColumns = std::function<arrow::Result<std::shared_ptr<arrow::RecordBatchReader>>(const std::optional<std::vector<std::string>>&)>;

// A stream of `columns` (nullopt: all) of the rows that pass `filter`, out of one with all columns of `schema`. No more than these and
// the filter's columns are opened. `sql_semantics` and errors: as of RowFilter::Make.
arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> MakeFilteredReader(const std::shared_ptr<arrow::Schema>& schema,
                                                                            const OpenColumns& open,
                                                                            const std::optional<std::vector<std::string>>& columns,
                                                                            const std::optional<arrow::compute::Expression>& filter,
                                                                            bool sql_semantics);

}  // namespace rushes
