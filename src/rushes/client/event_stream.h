// Events of a catalog on their way to whoever watches it.
#pragma once

#include <optional>

#include "arrow/result.h"
#include "rushes/chunk/catalog_types.h"

namespace rushes {

// The events of a catalog since the stream was opened, in order. Thread safe: of several threads in Next each event goes to one, and Close
// may be called while others wait.
class EventStream {
 public:
  virtual ~EventStream() = default;
  // Waits `timeout_s` seconds at most. nullopt: nothing happened in that time, or the stream is closed. The error with which the stream
  // ended, after the events before it; Cancelled: the server in this process is closed.
  virtual arrow::Result<std::optional<CatalogEvent>> Next(double timeout_s) = 0;
  // Ends the stream; events that nobody took are dropped. Waiting calls of Next return at once. Idempotent.
  virtual void Close() = 0;
  virtual bool is_closed() const = 0;
};

}  // namespace rushes
