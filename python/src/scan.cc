#include "scan.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "arrow/buffer.h"
#include "arrow/table.h"
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

// How far a scan's own thread may be ahead of the main thread: by as many batches as that took already, within these. What took little
// time to make is small or made of memory that is there anyway.
constexpr size_t kMaxBatchesAhead = 32;
constexpr std::chrono::microseconds kMaxWorkAhead{4000};
// The main thread is woken before it may have all of these only if it has waited so long: to wake a thread costs more than most batches do.
constexpr std::chrono::microseconds kPatience{1000};
// How often whoever waits looks for batches that it was not woken for.
constexpr std::chrono::milliseconds kLook{5};

// Reads on behalf of whoever holds the C stream: pyarrow without the interpreter lock, or an engine's own thread. On the main thread
// it looks for signals while it waits.
class InterruptibleReader final : public arrow::RecordBatchReader {
 public:
  InterruptibleReader(std::shared_ptr<arrow::RecordBatchReader> reader, std::shared_ptr<ScanOutcome> outcome)
      : schema_(reader->schema()), outcome_(std::move(outcome)) {
    ahead_ = std::make_shared<Ahead>();
    ahead_->reader = std::move(reader);
  }
  ~InterruptibleReader() override {
    // In a forked child the threads that a scan joins do not exist.
    if (IsForkedChild()) {
      new std::shared_ptr<Ahead>(std::move(ahead_));
      return;
    }
    std::shared_ptr<arrow::RecordBatchReader> reader;  // ended here, unless it is being read
    std::deque<Batch> batches;
    std::lock_guard<std::mutex> lock(ahead_->mutex);
    ahead_->is_closed = true;
    if (!ahead_->is_reading) std::swap(reader, ahead_->reader);
    std::swap(batches, ahead_->batches);
    ahead_->changed.notify_all();
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
  using Clock = std::chrono::steady_clock;
  struct Batch {
    std::shared_ptr<arrow::RecordBatch> batch;
    Clock::duration work;  // how long it took to make
  };
  // A thread of the scan's own reads, a little ahead, while the main thread looks for signals.
  struct Ahead {
    std::mutex mutex;
    std::condition_variable changed;
    std::shared_ptr<arrow::RecordBatchReader> reader;
    bool has_thread = false;
    bool is_reading = false;
    bool is_closed = false;
    std::optional<Clock::time_point> waits_since;  // the main thread does
    size_t num_taken = 0;
    std::deque<Batch> batches;
    Clock::duration work{0};          // of these
    std::optional<size_t> resume_at;  // the thread waits until so few are left
    bool is_finished = false;         // nothing follows them but `status`
    arrow::Status status;

    bool has_answer() const { return !batches.empty() || is_finished; }
    bool MayRead() const {
      if (is_finished) return false;
      if (batches.empty() && waits_since) return true;
      return batches.size() < std::min(num_taken, kMaxBatchesAhead) && work < kMaxWorkAhead;
    }
    // Whether the main thread should be woken.
    bool ShouldWake() const {
      if (!waits_since) return false;
      return is_finished || !MayRead() || Clock::now() - *waits_since >= kPatience;
    }
  };

  static void Serve(Ahead* ahead) {
    std::unique_lock<std::mutex> lock(ahead->mutex);
    while (true) {
      if (!ahead->MayRead()) ahead->resume_at = ahead->batches.size() / 2;
      ahead->changed.wait(lock, [&] { return ahead->is_closed || ahead->MayRead(); });
      ahead->resume_at.reset();
      if (ahead->is_closed) return;
      ahead->is_reading = true;
      lock.unlock();
      const Clock::time_point begin = Clock::now();
      std::shared_ptr<arrow::RecordBatch> next;
      arrow::Status status = ahead->reader->ReadNext(&next);
      const Clock::duration work = Clock::now() - begin;
      lock.lock();
      ahead->is_reading = false;
      if (ahead->is_closed) return;
      ahead->is_finished = !status.ok() || next == nullptr;
      ahead->status = std::move(status);
      if (next != nullptr) {
        ahead->batches.push_back({std::move(next), work});
        ahead->work += work;
      }
      if (ahead->ShouldWake()) ahead->changed.notify_all();
    }
  }

  arrow::Status Read(std::shared_ptr<arrow::RecordBatch>* batch) {
    if (is_interrupted_) return arrow::Status::Cancelled("interrupted");
    if (!OnMainThread() || Py_IsInitialized() == 0) return ReadHere(batch);
    std::unique_lock<std::mutex> lock(ahead_->mutex);
    if (!ahead_->has_answer() && !Await(&lock)) {
      is_interrupted_ = true;
      return arrow::Status::Cancelled("interrupted");
    }
    const arrow::Status status = Take(batch);
    if (ahead_->resume_at && ahead_->batches.size() <= *ahead_->resume_at && ahead_->MayRead()) ahead_->changed.notify_all();
    return status;
  }

  // Without a thread of its own, or after one that was begun by the main thread.
  arrow::Status ReadHere(std::shared_ptr<arrow::RecordBatch>* batch) {
    std::unique_lock<std::mutex> lock(ahead_->mutex);
    if (!ahead_->has_thread) {
      lock.unlock();
      return ahead_->reader->ReadNext(batch);
    }
    ahead_->waits_since = Clock::now();
    ahead_->changed.notify_all();
    while (!ahead_->changed.wait_for(lock, kLook, [this] { return ahead_->has_answer(); })) {
    }
    ahead_->waits_since.reset();
    return Take(batch);
  }

  // The next batch; without one, null and how the scan ended.
  arrow::Status Take(std::shared_ptr<arrow::RecordBatch>* batch) {
    batch->reset();
    if (ahead_->batches.empty()) return ahead_->status;
    *batch = std::move(ahead_->batches.front().batch);
    ahead_->work -= ahead_->batches.front().work;
    ahead_->batches.pop_front();
    ++ahead_->num_taken;
    return arrow::Status::OK();
  }

  // Waits for a batch, or the end; false: a signal handler raised.
  bool Await(std::unique_lock<std::mutex>* lock) {
    ahead_->waits_since = Clock::now();
    if (ahead_->has_thread) {
      ahead_->changed.notify_all();
    } else {
      ahead_->has_thread = true;
      RunDetached([ahead = ahead_] { Serve(ahead.get()); });
    }
    lock->unlock();
    const PyGILState_STATE gil = PyGILState_Ensure();
    const bool is_done = WaitForSignalsOr(
        *lock, ahead_->changed, [this] { return ahead_->has_answer(); }, kLook);
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
    lock->lock();
    ahead_->waits_since.reset();
    return is_done;
  }

  const std::shared_ptr<arrow::Schema> schema_;
  const std::shared_ptr<ScanOutcome> outcome_;
  std::shared_ptr<Ahead> ahead_;
  bool is_interrupted_ = false;
};

}  // namespace

ScanObject::ScanObject(Open open, Reads reads)
    : open_(std::make_shared<const Open>(std::move(open))), reads_(reads), outcome_(std::make_shared<ScanOutcome>()) {}

ScanObject::~ScanObject() {
  if (outcome_ != nullptr && !IsForkedChild()) Py_CLEAR(outcome_->raised);
}

nb::object ScanObject::Stream(nb::object) {
  auto reader = Check(CallBlocking([open = open_.get()] { return (*open)(nullptr); }));
  return StreamCapsule(std::make_shared<InterruptibleReader>(std::move(reader), outcome_));
}

namespace {

// `check` ends it between batches, and within long ones.
arrow::Result<std::shared_ptr<arrow::Table>> ReadAll(const ScanObject::Open& open, const ScanObject::StopCheck& check) {
  ARROW_ASSIGN_OR_RAISE(const auto reader, open(check));
  arrow::RecordBatchVector batches;
  while (true) {
    ARROW_RETURN_NOT_OK(check());
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) return arrow::Table::FromRecordBatches(reader->schema(), batches);
    batches.push_back(std::move(batch));
  }
}

// Looks for signals, often enough for a Ctrl-C to feel immediate. Of the main thread, without the interpreter lock; does nothing on others.
class SignalCheck {
 public:
  arrow::Status operator()() {
    if (std::this_thread::get_id() != main_thread_) return arrow::Status::OK();
    constexpr std::chrono::milliseconds kInterval{50};
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kInterval) return arrow::Status::OK();
    last_ = now;
    const PyGILState_STATE gil = PyGILState_Ensure();
    if (PyErr_CheckSignals() != 0) raised_.emplace();  // takes the error
    PyGILState_Release(gil);
    return raised_ ? arrow::Status::Cancelled("interrupted") : arrow::Status::OK();
  }
  // With the interpreter lock.
  void Raise() {
    if (!raised_) return;
    nb::python_error raised = *std::move(raised_);
    raised_.reset();
    throw raised;
  }

 private:
  const std::thread::id main_thread_ = std::this_thread::get_id();
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::optional<nb::python_error> raised_;
};

}  // namespace

nb::object ScanObject::ReadTable() {
  if (reads_ == Reads::kPromptly && OnMainThread()) {
    // To have another thread read while this one looks for signals would take longer than most tables do.
    const auto signals = std::make_shared<SignalCheck>();
    auto table = CallHere([open = open_.get(), signals] { return ReadAll(*open, [signals] { return (*signals)(); }); });
    signals->Raise();
    return PyarrowTable(Check(std::move(table)));
  }
  // The main thread waits for the whole table: it need not be woken for a batch.
  const auto is_stopped = std::make_shared<std::atomic<bool>>(false);
  const auto read = [open = open_.get(), is_stopped] {
    return ReadAll(*open, [is_stopped] { return *is_stopped ? arrow::Status::Cancelled("interrupted") : arrow::Status::OK(); });
  };
  std::optional<arrow::Result<std::shared_ptr<arrow::Table>>> table;
  try {
    table = CallBlocking(read);
  } catch (...) {
    *is_stopped = true;
    throw;
  }
  return PyarrowTable(Check(std::move(*table)));
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
      .def("read_table", &ScanObject::ReadTable, nb::sig("def read_table(self) -> object"))
      .def("raise_for_status", &ScanObject::RaiseForStatus);
}

}  // namespace rushes::python
