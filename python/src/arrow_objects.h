// Arrow data on its way to Python: through the C data interface, which anybody reads; tables of many batches as pyarrow's own objects.
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
// As a `pyarrow.Schema` and a `pyarrow.Table`, by pyarrow's own API for C++: the C data interface takes an array of a batch for some
// microseconds to the other side, which is more than a slice costs to make. pyarrow and this module have the same libarrow.
nanobind::object PyarrowSchema(const std::shared_ptr<arrow::Schema>& schema);
nanobind::object PyarrowTable(const std::shared_ptr<arrow::Table>& table);

void BindArrowObjects(nanobind::module_& module);

}  // namespace rushes::python
