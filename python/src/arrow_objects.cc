#include "arrow_objects.h"

#include "arrow/c/bridge.h"
#include "status.h"

namespace rushes::python {

namespace nb = nanobind;

namespace {

// Takes what was exported; `name` must outlive the capsule.
template <typename Exported>
nb::object Capsule(std::unique_ptr<Exported> exported, const char* name) {
  PyObject* capsule = PyCapsule_New(exported.get(), name, [](PyObject* object) {
    auto* pointer = static_cast<Exported*>(PyCapsule_GetPointer(object, PyCapsule_GetName(object)));
    if (pointer->release != nullptr) pointer->release(pointer);
    delete pointer;
  });
  if (capsule == nullptr) {
    exported->release(exported.get());
    throw nb::python_error();
  }
  exported.release();
  return nb::steal(capsule);
}

}  // namespace

nb::object SchemaCapsule(const arrow::Schema& schema) {
  auto exported = std::make_unique<ArrowSchema>();
  Check(arrow::ExportSchema(schema, exported.get()));
  return Capsule(std::move(exported), "arrow_schema");
}

nb::tuple BatchCapsules(const arrow::RecordBatch& batch) {
  nb::object schema = SchemaCapsule(*batch.schema());
  auto exported = std::make_unique<ArrowArray>();
  Check(arrow::ExportRecordBatch(batch, exported.get()));
  return nb::make_tuple(schema, Capsule(std::move(exported), "arrow_array"));
}

nb::object StreamCapsule(std::shared_ptr<arrow::RecordBatchReader> reader) {
  auto exported = std::make_unique<ArrowArrayStream>();
  Check(arrow::ExportRecordBatchReader(std::move(reader), exported.get()));
  return Capsule(std::move(exported), "arrow_array_stream");
}

namespace {

// By a function of pyarrow's API for C++.
template <typename T>
nb::object WrapByPyarrow(const char* function, const std::shared_ptr<T>& object) {
  using Wrap = PyObject* (*)(const std::shared_ptr<T>&);
  const nb::object functions = nb::module_::import_("pyarrow.lib").attr("__pyx_capi__");
  const nb::object capsule = functions[function];
  const auto wrap = reinterpret_cast<Wrap>(PyCapsule_GetPointer(capsule.ptr(), PyCapsule_GetName(capsule.ptr())));
  if (wrap == nullptr) throw nb::python_error();
  PyObject* const wrapped = wrap(object);
  if (wrapped == nullptr) throw nb::python_error();
  return nb::steal(wrapped);
}

}  // namespace

nb::object PyarrowSchema(const std::shared_ptr<arrow::Schema>& schema) { return WrapByPyarrow("pyarrow_wrap_schema", schema); }

nb::object PyarrowTable(const std::shared_ptr<arrow::Table>& table) { return WrapByPyarrow("pyarrow_wrap_table", table); }

void BindArrowObjects(nb::module_& module) {
  nb::class_<SchemaObject>(module, "ArrowSchema")
      .def(
          "__arrow_c_schema__", [](const SchemaObject& self) { return SchemaCapsule(*self.schema); },
          nb::sig("def __arrow_c_schema__(self) -> object"));
  nb::class_<TableObject>(module, "ArrowTable")
      .def(
          "__arrow_c_stream__",
          [](const TableObject& self, nb::object) {
            auto reader = std::make_shared<arrow::TableBatchReader>(self.table);
            return StreamCapsule(std::move(reader));
          },
          nb::arg("requested_schema") = nb::none(),
          nb::sig("def __arrow_c_stream__(self, requested_schema: object | None = None) -> object"));
}

}  // namespace rushes::python
