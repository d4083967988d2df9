#include "arrow_objects.h"

#include "arrow/c/bridge.h"
#include "status.h"

namespace rushes::python {

namespace nb = nanobind;

nb::object SchemaCapsule(const arrow::Schema& schema) {
  auto exported = std::make_unique<ArrowSchema>();
  Check(arrow::ExportSchema(schema, exported.get()));
  PyObject* capsule = PyCapsule_New(exported.get(), "arrow_schema", [](PyObject* object) {
    auto* pointer = static_cast<ArrowSchema*>(PyCapsule_GetPointer(object, "arrow_schema"));
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

nb::object StreamCapsule(std::shared_ptr<arrow::RecordBatchReader> reader) {
  auto exported = std::make_unique<ArrowArrayStream>();
  Check(arrow::ExportRecordBatchReader(std::move(reader), exported.get()));
  PyObject* capsule = PyCapsule_New(exported.get(), "arrow_array_stream", [](PyObject* object) {
    auto* pointer = static_cast<ArrowArrayStream*>(PyCapsule_GetPointer(object, "arrow_array_stream"));
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
