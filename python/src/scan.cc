#include "scan.h"

#include <string>
#include <utility>

#include "arrow/buffer.h"
#include "arrow_objects.h"
#include "status.h"

namespace rushes::python {

namespace nb = nanobind;

// What a scan's stream and its Python object share: how it ended.
struct ScanOutcome {
  std::mutex mutex;
  arrow::Status status;
  PyObject* raised = nullptr;  // by a signal handler during a wait; owned
};

namespace {

// Reads on behalf of whoever holds the C stream: pyarrow without the interpreter lock, or an engine's own thread. On the main thread
// it looks for signals while it waits.
class InterruptibleReader final : public arrow::RecordBatchReader {
 public:
  InterruptibleReader(std::shared_ptr<arrow::RecordBatchReader> reader, std::shared_ptr<ScanOutcome> outcome)
      : schema_(reader->schema()), outcome_(std::move(outcome)) {
    call_ = std::make_shared<Call>();
    call_->reader = std::move(reader);
  }
  ~InterruptibleReader() override {
    // In a forked child the threads that a scan joins do not exist.
    if (IsForkedChild()) {
      new std::shared_ptr<Call>(std::move(call_));
      return;
    }
    std::shared_ptr<arrow::RecordBatchReader> reader;  // ended here, unless a call still runs
    std::lock_guard<std::mutex> lock(call_->mutex);
    call_->is_closed = true;
    if (!call_->is_running) std::swap(reader, call_->reader);
    call_->changed.notify_all();
  }

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    arrow::Status status = IsForkedChild() ? arrow::Status::Cancelled("the scan was started before fork()") : Read(batch);
    if (!status.ok()) {
      std::lock_guard<std::mutex> lock(outcome_->mutex);
      if (outcome_->status.ok()) outcome_->status = status;
    }
    return status;
  }

 private:
  // A thread of the scan's own reads while the main thread looks for signals.
  struct Call {
    std::mutex mutex;
    std::condition_variable changed;
    std::shared_ptr<arrow::RecordBatchReader> reader;
    bool has_thread = false;
    bool is_running = false;
    bool is_closed = false;
    arrow::Status status;
    std::shared_ptr<arrow::RecordBatch> batch;
  };

  static void Serve(Call* call) {
    std::unique_lock<std::mutex> lock(call->mutex);
    while (true) {
      call->changed.wait(lock, [&] { return call->is_running || call->is_closed; });
      if (!call->is_running) return;
      lock.unlock();
      std::shared_ptr<arrow::RecordBatch> next;
      const arrow::Status status = call->reader->ReadNext(&next);
      lock.lock();
      call->status = status;
      call->batch = std::move(next);
      call->is_running = false;
      call->changed.notify_all();
    }
  }

  arrow::Status Read(std::shared_ptr<arrow::RecordBatch>* batch) {
    if (is_interrupted_) return arrow::Status::Cancelled("interrupted");
    if (!OnMainThread() || Py_IsInitialized() == 0) return call_->reader->ReadNext(batch);
    {
      std::lock_guard<std::mutex> lock(call_->mutex);
      call_->is_running = true;
      call_->changed.notify_all();
    }
    if (!call_->has_thread) {
      call_->has_thread = true;
      RunDetached([call = call_] { Serve(call.get()); });
    }
    std::unique_lock<std::mutex> lock(call_->mutex, std::defer_lock);
    const PyGILState_STATE gil = PyGILState_Ensure();
    const bool is_done = WaitForSignalsOr(lock, call_->changed, [&] { return !call_->is_running; });
    if (!is_done) {
      PyObject *type, *value, *trace;
      PyErr_Fetch(&type, &value, &trace);
      PyErr_NormalizeException(&type, &value, &trace);
      if (trace != nullptr) PyException_SetTraceback(value, trace);
      {
        std::lock_guard<std::mutex> outcome_lock(outcome_->mutex);
        std::swap(outcome_->raised, value);
      }
      Py_XDECREF(type);
      Py_XDECREF(value);
      Py_XDECREF(trace);
    }
    PyGILState_Release(gil);
    if (!is_done) {
      is_interrupted_ = true;
      return arrow::Status::Cancelled("interrupted");
    }
    *batch = std::move(call_->batch);
    return call_->status;
  }

  const std::shared_ptr<arrow::Schema> schema_;
  const std::shared_ptr<ScanOutcome> outcome_;
  std::shared_ptr<Call> call_;
  bool is_interrupted_ = false;
};

}  // namespace

ScanObject::ScanObject(Open open) : open_(std::make_shared<const Open>(std::move(open))), outcome_(std::make_shared<ScanOutcome>()) {}

ScanObject::~ScanObject() {
  if (outcome_ != nullptr && !IsForkedChild()) Py_CLEAR(outcome_->raised);
}

nb::object ScanObject::Stream(nb::object) {
  auto reader = Check(CallBlocking([open = open_.get()] { return (*open)(); }));
  return StreamCapsule(std::make_shared<InterruptibleReader>(std::move(reader), outcome_));
}

void ScanObject::RaiseForStatus() {
  CheckProcess();
  PyObject* raised = nullptr;
  arrow::Status status;
  {
    std::lock_guard<std::mutex> lock(outcome_->mutex);
    std::swap(raised, outcome_->raised);
    status = outcome_->status;
  }
  if (raised != nullptr) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised)), raised);
    Py_DECREF(raised);
    throw nb::python_error();
  }
  Check(status);
}

// `expression` is what pyarrow's Expression pickles to.
arrow::compute::Expression ParseFilter(const nb::bytes& expression) {
  auto buffer = arrow::Buffer::FromString(std::string(expression.c_str(), expression.size()));
  return Check(arrow::compute::Deserialize(std::move(buffer)));
}

void BindScan(nb::module_& module) {
  nb::class_<ScanObject>(module, "Scan")
      .def("__arrow_c_stream__", &ScanObject::Stream, nb::arg("requested_schema") = nb::none(),
           nb::sig("def __arrow_c_stream__(self, requested_schema: object | None = None) -> object"))
      .def("raise_for_status", &ScanObject::RaiseForStatus);
}

}  // namespace rushes::python
