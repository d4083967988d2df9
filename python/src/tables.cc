// Tables of a catalog: entries, rows, writes.

#include <atomic>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include "arrow/c/bridge.h"
#include "arrow_objects.h"
#include "bindings.h"
#include "rushes/query/filtered_reader.h"
#include "scan.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

std::optional<nb::bytes> ToPython(const std::optional<EntryId>& id) {
  if (!id) return std::nullopt;
  return FromEntryId(*id);
}

// What an object's `__arrow_c_schema__` gives.
std::shared_ptr<arrow::Schema> ImportSchema(const nb::object& object) {
  const nb::object capsule = object.attr("__arrow_c_schema__")();
  auto* schema = static_cast<ArrowSchema*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_schema"));
  if (schema == nullptr) throw nb::python_error();
  return Check(arrow::ImportSchema(schema));
}

// What an object's `__arrow_c_stream__` gives.
std::shared_ptr<arrow::RecordBatchReader> ImportStream(const nb::object& object) {
  const nb::object capsule = object.attr("__arrow_c_stream__")();
  auto* stream = static_cast<ArrowArrayStream*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array_stream"));
  if (stream == nullptr) throw nb::python_error();
  return Check(arrow::ImportRecordBatchReader(stream));
}

// Ends with an error as soon as nobody waits for the write any more.
class StoppableReader final : public arrow::RecordBatchReader {
 public:
  explicit StoppableReader(std::shared_ptr<arrow::RecordBatchReader> reader) : reader_(std::move(reader)) {}
  std::shared_ptr<arrow::Schema> schema() const override { return reader_->schema(); }
  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    if (is_stopped_) return arrow::Status::Cancelled("interrupted; nothing was written");
    ARROW_RETURN_NOT_OK(reader_->ReadNext(batch));
    // Also instead of the end: an interrupted write must not be made.
    return is_stopped_ ? arrow::Status::Cancelled("interrupted; nothing was written") : arrow::Status::OK();
  }
  void Stop() { is_stopped_ = true; }

 private:
  const std::shared_ptr<arrow::RecordBatchReader> reader_;
  std::atomic<bool> is_stopped_ = false;
};

}  // namespace

void BindTables(nb::module_& module) {
  nb::class_<TableEntry>(module, "TableInfo")
      .def_ro("entry", &TableEntry::entry)
      .def_ro("url", &TableEntry::url)
      .def_prop_ro("blueprint_dataset", [](const TableEntry& self) { return ToPython(self.details.blueprint_dataset); })
      .def_prop_ro("default_blueprint_segment", [](const TableEntry& self) { return self.details.default_blueprint_segment; });
}

void AddTableCalls(nb::class_<ConnectionObject>& connection) {
  connection
      .def(
          "create_table",
          [](const ConnectionObject& self, std::string name, const nb::object& schema, std::optional<std::string> url) {
            return Check(CallBlocking([connection = self.connection.get(), name, schema = ImportSchema(schema), url] {
              return connection->CreateTable(name, *schema, url);
            }));
          },
          nb::arg("name"), nb::arg("schema"), nb::arg("url") = nb::none())
      .def(
          "register_table",
          [](const ConnectionObject& self, std::string name, std::string url) {
            return Check(CallBlocking([connection = self.connection.get(), name, url] { return connection->RegisterTable(name, url); }));
          },
          nb::arg("name"), nb::arg("url"))
      .def(
          "read_table",
          [](const ConnectionObject& self, const nb::bytes& id) {
            return Check(CallBlocking([connection = self.connection.get(), id = ToEntryId(id)] { return connection->ReadTableEntry(id); }));
          },
          nb::arg("id"))
      .def(
          "update_table",
          [](const ConnectionObject& self, const nb::bytes& id, std::optional<nb::bytes> blueprint_dataset,
             std::optional<std::string> default_blueprint_segment) {
            TableDetails details;
            if (blueprint_dataset) details.blueprint_dataset = ToEntryId(*blueprint_dataset);
            details.default_blueprint_segment = std::move(default_blueprint_segment);
            return Check(CallBlocking(
                [connection = self.connection.get(), id = ToEntryId(id), details] { return connection->UpdateTable(id, details); }));
          },
          nb::arg("id"), nb::arg("blueprint_dataset").none(), nb::arg("default_blueprint_segment").none())
      .def(
          "table_schema",
          [](const ConnectionObject& self, const nb::bytes& id) {
            return SchemaObject{
                Check(CallBlocking([connection = self.connection.get(), id = ToEntryId(id)] { return connection->GetTableSchema(id); }))};
          },
          nb::arg("id"))
      .def(
          "scan_table",
          [](const ConnectionObject& self, const nb::bytes& id, std::optional<std::vector<std::string>> columns,
             std::optional<nb::bytes> filter, bool sql_filter_semantics) {
            std::optional<arrow::compute::Expression> expression;
            if (filter) expression = ParseFilter(*filter);
            return ScanObject(
                [connection = self.connection.get(), id = ToEntryId(id), columns = std::move(columns), expression = std::move(expression),
                 sql_filter_semantics](const ScanObject::StopCheck&) -> arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> {
                  const OpenColumns open = [&](const auto& wanted) { return connection->ScanTable(id, wanted); };
                  if (!expression) return open(columns);
                  ARROW_ASSIGN_OR_RAISE(const auto schema, connection->GetTableSchema(id));
                  return MakeFilteredReader(schema, open, columns, expression, sql_filter_semantics);
                });
          },
          nb::arg("id"), nb::arg("columns") = nb::none(), nb::arg("filter") = nb::none(), nb::arg("sql_filter_semantics") = false)
      .def(
          "write_table",
          [](const ConnectionObject& self, const nb::bytes& id, int mode, const nb::object& rows) {
            const auto reader = std::make_shared<StoppableReader>(ImportStream(rows));
            try {
              Check(CallBlocking([connection = self.connection.get(), id = ToEntryId(id), mode, reader] {
                return connection->WriteTable(id, static_cast<TableInsertMode>(mode), reader.get());
              }));
            } catch (nb::python_error&) {
              reader->Stop();
              throw;
            }
          },
          nb::arg("id"), nb::arg("mode"), nb::arg("rows"));
}

}  // namespace rushes::python
