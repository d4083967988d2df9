// The catalog: entries, registration, metadata tables.

#include <deque>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include "arrow_objects.h"
#include "bindings.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

// The outcome of tasks as they end, gathered by a thread of its own.
class TaskStream {
 public:
  TaskStream(std::shared_ptr<Connection> connection, std::vector<std::string> ids, double timeout_s) : state_(std::make_shared<State>()) {
    RunDetached([state = state_, connection = std::move(connection), ids = std::move(ids), timeout_s] {
      const arrow::Status status = connection->WaitForTasks(ids, timeout_s, [&](const TaskInfo& task) {
        std::lock_guard<std::mutex> lock(state->mutex);
        if (state->is_dropped) return arrow::Status::Cancelled("nobody waits any more");
        state->tasks.push_back(task);
        state->changed.notify_all();
        return arrow::Status::OK();
      });
      std::lock_guard<std::mutex> lock(state->mutex);
      state->status = status;
      state->is_finished = true;
      state->changed.notify_all();
    });
  }
  TaskStream(TaskStream&&) = default;
  ~TaskStream() {
    if (state_ == nullptr || IsForkedChild()) return;
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->is_dropped = true;
  }

  // (task id, succeeded, message), or nullopt after the last one.
  std::optional<std::tuple<std::string, bool, std::string>> Next() {
    CheckProcess();
    std::unique_lock<std::mutex> lock(state_->mutex, std::defer_lock);
    if (!WaitForSignalsOr(lock, state_->changed, [&] { return !state_->tasks.empty() || state_->is_finished; })) throw nb::python_error();
    lock.lock();
    if (state_->tasks.empty()) {
      const arrow::Status status = state_->status;
      lock.unlock();
      Check(status);
      return std::nullopt;
    }
    TaskInfo task = std::move(state_->tasks.front());
    state_->tasks.pop_front();
    return std::tuple(std::move(task.id), task.state != TaskState::kFailed && task.state != TaskState::kCancelled, std::move(task.message));
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<TaskInfo> tasks;
    arrow::Status status;
    bool is_finished = false;
    bool is_dropped = false;
  };
  std::shared_ptr<State> state_;
};

template <typename Call>
TableObject ScanTable(const ConnectionObject& self, Call call) {
  auto connection = self.connection.get();
  return TableObject{Check(CallBlocking([connection, call] { return call(*connection); }))};
}

}  // namespace

EntryId ToEntryId(const nb::bytes& id) {
  if (id.size() != Tuid::kNumBytes) throw nb::type_error("an entry id has 16 bytes");
  return EntryId::FromBytes(id.c_str());
}

nb::bytes FromEntryId(const EntryId& id) {
  const auto bytes = id.bytes();
  return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void BindConnection(nb::module_& module) {
  nb::class_<EntryDetails>(module, "EntryDetails")
      .def_prop_ro("id", [](const EntryDetails& self) { return FromEntryId(self.id); })
      .def_ro("name", &EntryDetails::name)
      .def_prop_ro("kind", [](const EntryDetails& self) { return static_cast<int>(self.kind); })
      .def_ro("created_at_ns", &EntryDetails::created_at_ns)
      .def_ro("updated_at_ns", &EntryDetails::updated_at_ns);

  nb::class_<RegisteredSource>(module, "RegisteredSource")
      .def_ro("segment_id", &RegisteredSource::segment_id)
      .def_ro("layer", &RegisteredSource::layer)
      .def_ro("url", &RegisteredSource::url)
      .def_ro("task_id", &RegisteredSource::task_id);

  nb::class_<TaskStream>(module, "TaskStream").def("next", &TaskStream::Next);

  nb::class_<ConnectionObject> connection(module, "Connection");
  AddTableCalls(connection);
  connection
      .def_static(
          "open",
          [](std::string address, std::string token, double timeout_s) {
            return ConnectionObject{
                Owned<Connection>(Check(CallBlocking([address, token, timeout_s] { return Connect(address, token, timeout_s); })))};
          },
          nb::arg("address"), nb::arg("token") = "", nb::arg("timeout_s") = 10.0)
      .def_static(
          "open_recordings",
          [](std::vector<std::string> paths, std::string name, int64_t cache_bytes) {
            return ConnectionObject{
                Owned<Connection>(Check(CallBlocking([paths, name, cache_bytes] { return OpenRecordings(paths, name, cache_bytes); })))};
          },
          nb::arg("paths"), nb::arg("name"), nb::arg("cache_bytes"))
      .def("url", [](const ConnectionObject& self) { return self.connection.get()->url(); })
      .def("is_local", [](const ConnectionObject& self) { return self.connection.get()->is_local(); })
      .def(
          "measure_link",
          [](const ConnectionObject& self, uint64_t num_bytes, uint32_t num_pings) {
            auto connection = self.connection.get();
            const LinkSpeed speed =
                Check(CallBlocking([connection, num_bytes, num_pings] { return connection->MeasureLink(num_bytes, num_pings); }));
            return std::tuple(speed.round_trip_s, speed.bytes_per_s);
          },
          nb::arg("num_bytes"), nb::arg("num_pings"))
      .def(
          "find_entries",
          [](const ConnectionObject& self, std::optional<nb::bytes> id, std::optional<std::string> name, std::optional<int> kind) {
            EntryFilter filter;
            if (id) filter.id = ToEntryId(*id);
            filter.name = std::move(name);
            if (kind) filter.kind = static_cast<EntryKind>(*kind);
            auto connection = self.connection.get();
            return Check(CallBlocking([connection, filter] { return connection->FindEntries(filter); }));
          },
          nb::arg("id") = nb::none(), nb::arg("name") = nb::none(), nb::arg("kind") = nb::none())
      .def(
          "create_dataset",
          [](const ConnectionObject& self, std::string name) {
            auto connection = self.connection.get();
            return Check(CallBlocking([connection, name] { return connection->CreateDataset(name); })).entry;
          },
          nb::arg("name"))
      .def(
          "read_dataset",
          [](const ConnectionObject& self, const nb::bytes& id) {
            auto connection = self.connection.get();
            return Check(CallBlocking([connection, id = ToEntryId(id)] { return connection->ReadDataset(id); })).entry;
          },
          nb::arg("id"))
      .def(
          "rename_entry",
          [](const ConnectionObject& self, const nb::bytes& id, std::string name) {
            auto connection = self.connection.get();
            return Check(CallBlocking([connection, id = ToEntryId(id), name] { return connection->RenameEntry(id, name); }));
          },
          nb::arg("id"), nb::arg("name"))
      .def(
          "delete_entry",
          [](const ConnectionObject& self, const nb::bytes& id) {
            auto connection = self.connection.get();
            Check(CallBlocking([connection, id = ToEntryId(id)] { return connection->DeleteEntry(id); }));
          },
          nb::arg("id"))
      .def(
          "register",
          [](const ConnectionObject& self, const nb::bytes& dataset, const std::vector<std::tuple<std::string, std::string, bool>>& sources,
             int on_duplicate) {
            std::vector<DataSource> wanted;
            for (const auto& [url, layer, is_prefix] : sources) wanted.push_back({url, layer, is_prefix});
            auto connection = self.connection.get();
            return Check(CallBlocking([connection, id = ToEntryId(dataset), wanted = std::move(wanted), on_duplicate] {
              return connection->Register(id, wanted, static_cast<IfDuplicate>(on_duplicate));
            }));
          },
          nb::arg("dataset"), nb::arg("sources"), nb::arg("on_duplicate"))
      .def(
          "unregister",
          [](const ConnectionObject& self, const nb::bytes& dataset, std::vector<std::string> segments, std::vector<std::string> layers,
             bool force) {
            return ScanTable(self, [id = ToEntryId(dataset), segments, layers, force](Connection& connection) {
              return connection.Unregister(id, segments, layers, force);
            });
          },
          nb::arg("dataset"), nb::arg("segments"), nb::arg("layers"), nb::arg("force"))
      .def(
          "wait_for_tasks",
          [](const ConnectionObject& self, std::vector<std::string> ids, double timeout_s) {
            MarkUsed();
            return TaskStream(self.connection.get(), std::move(ids), timeout_s);
          },
          nb::arg("ids"), nb::arg("timeout_s"))
      .def(
          "dataset_schema",
          [](const ConnectionObject& self, const nb::bytes& id) {
            auto connection = self.connection.get();
            return SchemaObject{Check(CallBlocking([connection, id = ToEntryId(id)] { return connection->GetDatasetSchema(id); }))};
          },
          nb::arg("id"))
      .def(
          "segment_schema",
          [](const ConnectionObject& self, const nb::bytes& id, std::vector<std::string> segments, std::vector<std::string> layers) {
            auto connection = self.connection.get();
            return SchemaObject{Check(CallBlocking(
                [connection, id = ToEntryId(id), segments, layers] { return connection->GetSegmentSchema(id, segments, layers); }))};
          },
          nb::arg("id"), nb::arg("segments"), nb::arg("layers"))
      .def(
          "segment_table",
          [](const ConnectionObject& self, const nb::bytes& id) {
            return ScanTable(self, [id = ToEntryId(id)](Connection& connection) { return connection.ScanSegmentTable(id); });
          },
          nb::arg("id"))
      .def(
          "manifest",
          [](const ConnectionObject& self, const nb::bytes& id) {
            return ScanTable(self, [id = ToEntryId(id)](Connection& connection) { return connection.ScanManifest(id); });
          },
          nb::arg("id"))
      .def(
          "open_dataset",
          [](const ConnectionObject& self, const nb::bytes& id) {
            auto connection = self.connection.get();
            return SourceObject{
                Owned<ChunkSource>(Check(CallBlocking([connection, id = ToEntryId(id)] { return connection->OpenDataset(id); })))};
          },
          nb::arg("id"));
  BindCompanions(module, connection);
  BindEvents(module, connection);
  BindSegmentStore(module, connection);
}

}  // namespace rushes::python
