// Arrow data on its way to Python: through the C data interface, so that pyarrow's own ABI is not needed.
#pragma once

#include <memory>

#include <nanobind/nanobind.h>
#include "arrow/record_batch.h"
#include "arrow/table.h"
#include "arrow/type.h"

namespace rushes::python {

// Has `__arrow_c_schema__`.
struct SchemaObject {
  std::shared_ptr<arrow::Schema> schema;
};

// Has `__arrow_c_stream__`, any number of times.
struct TableObject {
  std::shared_ptr<arrow::Table> table;
};

nanobind::object SchemaCapsule(const arrow::Schema& schema);
// A schema and an array, as `__arrow_c_array__` gives them.
nanobind::tuple BatchCapsules(const arrow::RecordBatch& batch);
nanobind::object StreamCapsule(std::shared_ptr<arrow::RecordBatchReader> reader);

void BindArrowObjects(nanobind::module_& module);

}  // namespace rushes::python
