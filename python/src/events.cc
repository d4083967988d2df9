// What happens in a catalog: a method of Connection.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include "bindings.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

// How often a wait looks for Ctrl-C.
constexpr double kWaitS = 0.1;

struct EventStreamObject {
  Owned<EventStream> stream;
};

// (created, id of the entry), or nullopt when the stream is closed.
std::optional<std::tuple<bool, nb::bytes>> NextEvent(const EventStreamObject& self) {
  const auto stream = self.stream.get();
  for (;;) {
    // Not in a helper thread: a wait that Ctrl-C ends must not take an event with it.
    auto next = [&] {
      nb::gil_scoped_release released;
      return stream->Next(kWaitS);
    }();
    const std::optional<CatalogEvent> event = Check(std::move(next));
    if (event) return std::tuple(event->created, FromEntryId(event->id));
    if (stream->is_closed()) return std::nullopt;
    if (OnMainThread() && PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

}  // namespace

void BindEvents(nb::module_& module, nb::class_<ConnectionObject>& connection) {
  nb::class_<EventStreamObject>(module, "EventStream").def("next", &NextEvent).def("close", [](const EventStreamObject& self) {
    const auto stream = self.stream.get();
    nb::gil_scoped_release released;
    stream->Close();
  });

  connection.def("watch_events", [](const ConnectionObject& self) {
    auto connection = self.connection.get();
    return EventStreamObject{Owned<EventStream>(Check(CallBlocking([connection] { return connection->WatchEvents(); })))};
  });
}

}  // namespace rushes::python
