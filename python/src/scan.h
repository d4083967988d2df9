// One execution of something that gives batches, for Python.
#pragma once

#include <functional>
#include <memory>

#include <nanobind/nanobind.h>
#include "arrow/compute/expression.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "blocking.h"

namespace rushes::python {

struct ScanOutcome;

// Not begun yet: `__arrow_c_stream__` or `read_table` begins it. Ctrl-C ends the wait for a batch.
class ScanObject {
 public:
  // For ScanOptions::check; null: nothing is to be checked.
  using StopCheck = std::function<arrow::Status()>;
  using Open = std::function<arrow::Result<std::shared_ptr<arrow::RecordBatchReader>>(StopCheck)>;
  enum class Reads {
    kLong,     // it may wait for others
    kPromptly  // it works all the time, and calls its check meanwhile: the main thread may do that itself
  };
  // `open` owns what it uses; it may run on any thread.
  explicit ScanObject(Open open, Reads reads = Reads::kLong);
  ScanObject(ScanObject&&) = default;
  ~ScanObject();

  nanobind::object Stream(nanobind::object requested_schema);
  // All of it, as a `pyarrow.Table`.
  nanobind::object ReadTable();
  // Raises what ended the stream, with its own class; does nothing if it ended well.
  void RaiseForStatus();

 private:
  Owned<const Open> open_;
  Reads reads_;
  std::shared_ptr<ScanOutcome> outcome_;
};

// `expression` is what pyarrow's Expression pickles to.
arrow::compute::Expression ParseFilter(const nanobind::bytes& expression);

void BindScan(nanobind::module_& module);

}  // namespace rushes::python
