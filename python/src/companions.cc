// What belongs to a dataset, tasks, maintenance, uploads: more methods of Connection.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include "arrow/table.h"
#include "arrow_objects.h"
#include "bindings.h"
#include "rushes/wire/dataframe.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

nb::object ToPython(const std::optional<EntryId>& id) {
  if (!id) return nb::none();
  return FromEntryId(*id);
}

// A call without a result, on a thread of its own.
template <typename Call>
void Do(const ConnectionObject& self, Call call) {
  auto connection = self.connection.get();
  Check(CallBlocking([connection, call] { return call(*connection); }));
}
template <typename Call>
auto Ask(const ConnectionObject& self, Call call) {
  auto connection = self.connection.get();
  return Check(CallBlocking([connection, call] { return call(*connection); }));
}

}  // namespace

void BindCompanions(nb::module_& module, nb::class_<ConnectionObject>& connection) {
  nb::class_<DatasetDetails>(module, "DatasetDetails")
      .def_prop_ro("blueprint_dataset", [](const DatasetDetails& self) { return ToPython(self.blueprint_dataset); })
      .def_prop_ro("asset_dataset", [](const DatasetDetails& self) { return ToPython(self.asset_dataset); })
      .def_rw("default_blueprint_segment", &DatasetDetails::default_blueprint_segment, nb::arg().none())
      .def_rw("default_segment_table_blueprint_segment", &DatasetDetails::default_segment_table_blueprint_segment, nb::arg().none());

  nb::class_<UploadGrant::Request>(module, "UploadRequest")
      .def_ro("method", &UploadGrant::Request::method)
      .def_ro("url", &UploadGrant::Request::url)
      .def_ro("headers", &UploadGrant::Request::headers)
      .def_ro("same_origin", &UploadGrant::Request::same_origin);
  nb::class_<UploadGrant>(module, "UploadGrant")
      .def_ro("storage_url", &UploadGrant::storage_url)
      .def_ro("requests", &UploadGrant::requests)
      .def_ro("part_bytes", &UploadGrant::part_bytes)
      .def_prop_ro("upload_token", [](const UploadGrant& self) { return nb::bytes(self.upload_token.data(), self.upload_token.size()); });

  connection
      .def(
          "cancel_tasks",
          [](const ConnectionObject& self, std::vector<std::string> ids) {
            Do(self, [ids = std::move(ids)](Connection& c) { return c.CancelTasks(ids); });
          },
          nb::arg("ids"))
      .def(
          "dataset_details",
          [](const ConnectionObject& self, const nb::bytes& id) {
            return Ask(self, [id = ToEntryId(id)](Connection& c) { return c.ReadDataset(id); }).details;
          },
          nb::arg("id"))
      .def(
          "update_dataset",
          [](const ConnectionObject& self, const nb::bytes& id, const DatasetDetails& details) {
            return Ask(self, [id = ToEntryId(id), details](Connection& c) { return c.UpdateDataset(id, details); }).details;
          },
          nb::arg("id"), nb::arg("details"))
      .def(
          "assets_for_segment",
          [](const ConnectionObject& self, const nb::bytes& id, std::string segment) {
            return Ask(self, [id = ToEntryId(id), segment](Connection& c) { return c.AssetsForSegment(id, segment); });
          },
          nb::arg("id"), nb::arg("segment"))
      .def(
          "get_properties",
          [](const ConnectionObject& self, const nb::bytes& id, std::vector<std::string> segments) {
            const auto found = Ask(self, [id = ToEntryId(id), segments](Connection& c) { return c.GetProperties(id, segments); });
            nb::list out;
            for (const PropertiesOfSegment& segment : found) {
              auto table = Check(arrow::Table::FromRecordBatches({segment.row}));
              out.append(nb::make_tuple(segment.segment_id, TableObject{std::move(table)}, segment.revision));
            }
            return out;
          },
          nb::arg("id"), nb::arg("segments"))
      .def(
          "set_properties",
          [](const ConnectionObject& self, const nb::bytes& id, std::string segment, const nb::bytes& row,
             std::optional<uint64_t> expected_revision) {
            auto batch = Check(wire::DecodeIpc({row.c_str(), row.size()}, "properties"));
            return Ask(self, [id = ToEntryId(id), segment, batch, expected_revision](Connection& c) {
              return c.SetProperties(id, segment, batch, expected_revision);
            });
          },
          nb::arg("id"), nb::arg("segment"), nb::arg("row"), nb::arg("expected_revision") = nb::none())
      .def(
          "delete_properties",
          [](const ConnectionObject& self, const nb::bytes& id, std::vector<std::string> segments) {
            Do(self, [id = ToEntryId(id), segments](Connection& c) { return c.DeleteProperties(id, segments); });
          },
          nb::arg("id"), nb::arg("segments"))
      .def(
          "maintain",
          [](const ConnectionObject& self, const nb::bytes& id, bool compact, bool optimize_indexes, bool retrain_indexes,
             std::optional<int64_t> cleanup_before_ns, bool unsafe_allow_recent_cleanup) {
            const MaintenanceOptions options{compact, optimize_indexes, retrain_indexes, cleanup_before_ns, unsafe_allow_recent_cleanup};
            return Ask(self, [id = ToEntryId(id), options](Connection& c) { return c.Maintain(id, options); });
          },
          nb::arg("id"), nb::arg("compact"), nb::arg("optimize_indexes"), nb::arg("retrain_indexes"), nb::arg("cleanup_before_ns").none(),
          nb::arg("unsafe_allow_recent_cleanup"))
      .def("maintain_all", [](const ConnectionObject& self) { Do(self, [](Connection& c) { return c.MaintainAll(); }); })
      .def(
          "stage_file",
          [](const ConnectionObject& self, std::string key, std::string path) {
            return Ask(self, [key, path](Connection& c) { return c.StageFile(key, path); });
          },
          nb::arg("key"), nb::arg("path"))
      .def(
          "stage_bytes",
          [](const ConnectionObject& self, std::string key, const nb::bytes& bytes) {
            // A copy: the caller may be interrupted and let go of them.
            auto copy = std::make_shared<const std::string>(bytes.c_str(), bytes.size());
            return Ask(self, [key, copy](Connection& c) { return c.StageBytes(key, *copy); });
          },
          nb::arg("key"), nb::arg("bytes"))
      .def(
          "write_grant",
          [](const ConnectionObject& self, std::string key, std::optional<uint64_t> size) {
            return Ask(self, [key, size](Connection& c) { return c.GetWriteGrant(key, size); });
          },
          nb::arg("key"), nb::arg("size").none())
      .def(
          "part_grant",
          [](const ConnectionObject& self, const nb::bytes& token, uint32_t number) {
            return Ask(self,
                       [token = std::string(token.c_str(), token.size()), number](Connection& c) { return c.GetPartGrant(token, number); });
          },
          nb::arg("token"), nb::arg("number"))
      .def(
          "complete_upload",
          [](const ConnectionObject& self, const nb::bytes& token, std::vector<std::string> etags) {
            Do(self, [token = std::string(token.c_str(), token.size()), etags](Connection& c) { return c.CompleteUpload(token, etags); });
          },
          nb::arg("token"), nb::arg("etags"))
      .def(
          "abort_upload",
          [](const ConnectionObject& self, const nb::bytes& token) {
            Do(self, [token = std::string(token.c_str(), token.size())](Connection& c) { return c.AbortUpload(token); });
          },
          nb::arg("token"));
}

}  // namespace rushes::python
