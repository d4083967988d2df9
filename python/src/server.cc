#include "rushes/api/server.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include "bindings.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

struct ServerObject {
  Owned<Server> server;
};

}  // namespace

void BindServer(nb::module_& module) {
  nb::class_<ServerObject>(module, "Server")
      .def_static(
          "start",
          [](std::string host, int port, std::map<std::string, std::vector<std::string>> datasets,
             std::map<std::string, std::string> tables, std::string table_directory, int64_t cache_bytes, int64_t live_history_bytes,
             std::string staging_directory, int64_t max_upload_bytes, int64_t max_staging_bytes) {
            ServerOptions options;
            options.host = std::move(host);
            options.port = port;
            options.datasets = std::move(datasets);
            options.tables = std::move(tables);
            options.table_directory = std::move(table_directory);
            options.chunk_cache_bytes = cache_bytes;
            options.live_history_bytes = live_history_bytes;
            options.staging_directory = std::move(staging_directory);
            if (max_upload_bytes >= 0) options.max_upload_bytes = max_upload_bytes;
            if (max_staging_bytes >= 0) options.max_staging_bytes = max_staging_bytes;
            return ServerObject{Owned<Server>(Check(CallBlocking([options] { return Server::Start(options); })))};
          },
          nb::arg("host"), nb::arg("port"), nb::arg("datasets"), nb::arg("tables"), nb::arg("table_directory"), nb::arg("cache_bytes"),
          nb::arg("live_history_bytes"), nb::arg("staging_directory") = "", nb::arg("max_upload_bytes") = -1,
          nb::arg("max_staging_bytes") = -1)
      .def("connect",
           [](const ServerObject& self) {
             auto server = self.server.get();
             return ConnectionObject{Owned<Connection>(Check(CallBlocking([server] { return server->Connect(); })))};
           })
      .def("host", [](const ServerObject& self) { return self.server.get()->host(); })
      .def("port", [](const ServerObject& self) { return self.server.get()->port(); })
      .def("url", [](const ServerObject& self) { return self.server.get()->url(); })
      .def("is_running", [](const ServerObject& self) { return self.server.get()->is_running(); })
      .def("shutdown",
           [](const ServerObject& self) {
             auto server = self.server.get();
             Check(CallBlocking([server] {
               server->Shutdown();
               return arrow::Status::OK();
             }));
           })
      .def("wait", [](const ServerObject& self) {
        auto server = self.server.get();
        Check(CallBlocking([server] {
          server->Wait();
          return arrow::Status::OK();
        }));
      });
}

}  // namespace rushes::python
