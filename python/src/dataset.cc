// Reading a dataset: sources, planned queries, scans.

#include <cstring>

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include "arrow/buffer.h"
#include "arrow/compute/expression.h"
#include "arrow_objects.h"
#include "bindings.h"
#include "rushes/query/query.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

struct QueryObject {
  Owned<const PreparedQuery> query;
  std::shared_ptr<ScanStatistics> statistics = std::make_shared<ScanStatistics>();
};

// What a scan's stream and its Python object share: how it ended.
struct ScanOutcome {
  std::mutex mutex;
  arrow::Status status;
  PyObject* raised = nullptr;  // by a signal handler during a wait; owned
};

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

// One execution of a query, not begun yet.
class ScanObject {
 public:
  ScanObject(std::shared_ptr<const PreparedQuery> query, std::optional<std::vector<std::string>> columns,
             std::optional<arrow::compute::Expression> filter, ScanOptions options)
      : query_(std::move(query)),
        columns_(std::move(columns)),
        filter_(std::move(filter)),
        options_(options),
        outcome_(std::make_shared<ScanOutcome>()) {}
  ScanObject(ScanObject&&) = default;
  ~ScanObject() {
    if (outcome_ != nullptr && !IsForkedChild()) Py_CLEAR(outcome_->raised);
  }

  nb::object Stream(nb::object) {
    auto query = query_.get();
    auto reader = Check(
        CallBlocking([query, columns = columns_, filter = filter_, options = options_] { return query->Scan(columns, filter, options); }));
    return StreamCapsule(std::make_shared<InterruptibleReader>(std::move(reader), outcome_));
  }

  void RaiseForStatus() {
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

 private:
  Owned<const PreparedQuery> query_;
  std::optional<std::vector<std::string>> columns_;
  std::optional<arrow::compute::Expression> filter_;
  ScanOptions options_;
  std::shared_ptr<ScanOutcome> outcome_;
};

// `expression` is what pyarrow's Expression pickles to.
arrow::compute::Expression ParseFilter(const nb::bytes& expression) {
  auto buffer = arrow::Buffer::FromString(std::string(expression.c_str(), expression.size()));
  return Check(arrow::compute::Deserialize(std::move(buffer)));
}

std::vector<int64_t> ToInt64s(const nb::bytes& bytes) {
  std::vector<int64_t> values(bytes.size() / sizeof(int64_t));
  std::memcpy(values.data(), bytes.c_str(), values.size() * sizeof(int64_t));
  return values;
}

}  // namespace

void BindDataset(nb::module_& module) {
  module.def(
      "match_contents",
      [](const std::vector<std::vector<std::string>>& filters, const std::vector<std::string>& paths) {
        ContentView view;
        for (const auto& expressions : filters) view.Add(ContentFilter(expressions));
        std::vector<bool> matches;
        for (const std::string& path : paths) matches.push_back(view.Matches(EntityPath::Parse(path)));
        return matches;
      },
      nb::arg("filters"), nb::arg("paths"), "Which of the entity paths pass all filters.");

  nb::class_<ScanObject>(module, "Scan")
      .def("__arrow_c_stream__", &ScanObject::Stream, nb::arg("requested_schema") = nb::none(),
           nb::sig("def __arrow_c_stream__(self, requested_schema: object | None = None) -> object"))
      .def("raise_for_status", &ScanObject::RaiseForStatus);

  nb::class_<QueryObject>(module, "Query")
      .def_prop_ro("schema", [](const QueryObject& self) { return SchemaObject{self.query.get()->schema()}; })
      .def(
          "scan",
          [](const QueryObject& self, std::optional<std::vector<std::string>> columns, std::optional<nb::bytes> filter,
             bool sql_filter_semantics, std::optional<int64_t> memory_budget, std::optional<int64_t> limit) {
            ScanOptions options;
            options.statistics = self.statistics;
            if (limit) options.limit = *limit;
            options.sql_filter_semantics = sql_filter_semantics;
            if (memory_budget) options.memory_budget = *memory_budget;
            std::optional<arrow::compute::Expression> expression;
            if (filter) expression = ParseFilter(*filter);
            return ScanObject(self.query.get(), std::move(columns), std::move(expression), options);
          },
          nb::arg("columns") = nb::none(), nb::arg("filter") = nb::none(), nb::arg("sql_filter_semantics") = false,
          nb::arg("memory_budget") = nb::none(), nb::arg("limit") = nb::none())
      .def("statistics", [](const QueryObject& self) {
        const ScanStatistics& counts = *self.statistics;
        return std::map<std::string, int64_t>{{"segments", counts.segments.load()},
                                              {"chunks_found", counts.chunks_found.load()},
                                              {"chunks_fetched", counts.chunks_fetched.load()},
                                              {"chunks_in_part", counts.chunks_in_part.load()},
                                              {"bytes_fetched", counts.bytes_fetched.load()},
                                              {"rows", counts.rows.load()}};
      });

  nb::class_<SourceObject>(module, "Source")
      .def("segments",
           [](const SourceObject& self) {
             auto source = self.source.get();
             return Check(CallBlocking([source] { return source->ListSegments(); }));
           })
      .def(
          "index_ranges",
          [](const SourceObject& self, std::string timeline) {
            auto source = self.source.get();
            std::vector<std::tuple<std::string, int64_t, int64_t>> out;
            for (IndexRange& range : Check(CallBlocking([source, timeline] { return source->GetIndexRanges(timeline); }))) {
              out.emplace_back(std::move(range.segment_id), range.start, range.end);
            }
            return out;
          },
          nb::arg("timeline"))
      .def(
          "query",
          [](const SourceObject& self, std::optional<std::string> index, const std::vector<std::vector<std::string>>& contents,
             std::optional<std::vector<std::string>> segments, bool include_semantically_empty_columns, bool include_tombstone_columns,
             bool fill_latest_at, const std::optional<std::map<std::string, nb::bytes>>& using_index_values,
             std::optional<int64_t> fill_max_age, bool fill_respects_clears, bool view_decides_rows, bool include_origin_times,
             bool include_row_ids) {
            Query query;
            query.index = std::move(index);
            for (const auto& expressions : contents) query.contents.Add(ContentFilter(expressions));
            query.segments = std::move(segments);
            query.include_semantically_empty_columns = include_semantically_empty_columns;
            query.include_tombstone_columns = include_tombstone_columns;
            query.fill_latest_at = fill_latest_at;
            query.fill_max_age = fill_max_age;
            query.fill_respects_clears = fill_respects_clears;
            query.view_decides_rows = view_decides_rows;
            query.include_origin_times = include_origin_times;
            query.include_row_ids = include_row_ids;
            if (using_index_values) {
              query.using_index_values.emplace();
              for (const auto& [segment, values] : *using_index_values) (*query.using_index_values)[segment] = ToInt64s(values);
            }
            auto source = self.source.get();
            return QueryObject{Owned<const PreparedQuery>(
                Check(CallBlocking([source, query = std::move(query)] { return PreparedQuery::Make(source, query); })))};
          },
          nb::arg("index").none(), nb::arg("contents"), nb::arg("segments").none(), nb::arg("include_semantically_empty_columns"),
          nb::arg("include_tombstone_columns"), nb::arg("fill_latest_at"), nb::arg("using_index_values").none(),
          nb::arg("fill_max_age").none(), nb::arg("fill_respects_clears"), nb::arg("view_decides_rows"), nb::arg("include_origin_times"),
          nb::arg("include_row_ids"));
}

}  // namespace rushes::python
