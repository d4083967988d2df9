// Where the events of a stream wait.
#pragma once

#include <deque>
#include <optional>

#include "arrow/result.h"
#include "rushes/chunk/catalog_types.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

// Events that have come and have not been taken. Beyond kMaxEvents the oldest are lost. Thread safe.
class EventQueue {
 public:
  static constexpr size_t kMaxEvents = 1024;

  void Push(const CatalogEvent& event);
  // No event comes after this one; the first call counts.
  void End(arrow::Status status);
  // What ended the stream, if something does within `timeout_s` seconds; else OK. Takes no event.
  arrow::Status WaitForEnd(double timeout_s);
  // As EventStream (event_stream.h).
  arrow::Result<std::optional<CatalogEvent>> Next(double timeout_s);
  void Close();
  bool is_closed() const;

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<CatalogEvent> events_ RUSHES_GUARDED_BY(mutex_);
  std::optional<arrow::Status> end_ RUSHES_GUARDED_BY(mutex_);
  bool is_closed_ RUSHES_GUARDED_BY(mutex_) = false;
};

}  // namespace rushes
