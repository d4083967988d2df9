// Merging the index values of chunks, and the pass over a column that finds the cell of each row, without and with filling.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "bandwidth.h"
#include "rushes/query/query.h"
#include "rushes/query/scan_plan.h"
#include "rushes/query/segment_scan_state.h"
#include "rushes/testing/memory_chunk_source.h"
#include "sample_chunks.h"

namespace rushes {

// Calls the stages of a scan one by one.
class SegmentScanProbe {
 public:
  SegmentScanProbe(const std::shared_ptr<const ScanPlan>& plan, SegmentChunks chunks)
      : num_columns_(static_cast<int>(plan->view.size())), scan_(plan, std::move(chunks), /*max_threads=*/1) {}

  // Brings all chunks of the segment into the scan.
  arrow::Status Load() {
    ARROW_RETURN_NOT_OK(scan_.Open());
    scan_.is_open_ = true;
    while (scan_.next_pending_ < scan_.pending_.size()) ARROW_RETURN_NOT_OK(scan_.LoadGroup());
    return arrow::Status::OK();
  }
  // How many rows there are.
  arrow::Result<size_t> CollectTimes() {
    SegmentScan::GroupTimes times;
    ARROW_RETURN_NOT_OK(scan_.CollectTimes(kMaxTime, &times));
    return times.size();
  }
  // The first window of rows, its cells looked up.
  arrow::Status BeginWindow() {
    ARROW_RETURN_NOT_OK(scan_.BeginGroup());
    return scan_.NextWindow();
  }
  int64_t window_rows() const { return static_cast<int64_t>(scan_.next_row_); }
  int num_columns() const { return num_columns_; }
  void FindCells(int column) {
    scan_.window_->cells[static_cast<size_t>(column)] = {};
    scan_.ComputeColumn(column, scan_.window_.get());
  }
  // Of the window's columns.
  int64_t num_runs() const {
    int64_t runs = 0;
    for (const CellRuns& cells : scan_.window_->cells) runs += static_cast<int64_t>(cells.runs().size());
    return runs;
  }

 private:
  const int num_columns_;
  SegmentScan scan_;
};

namespace benchmarks {
namespace {

constexpr int kSignals = 20;
constexpr int64_t kRows = 20'000;
constexpr int64_t kChunkRows = 1'000;

enum class Layout {
  kSame,         // all signals at the same times: runs that are equal
  kInterleaved,  // each at times of its own
};

std::vector<MemorySegment> MakeSegment(Layout layout) {
  std::mt19937_64 random(1);
  MemorySegment segment;
  segment.id = "segment";
  for (int signal = 0; signal < kSignals; ++signal) {
    std::vector<int64_t> times(kRows);
    for (int64_t i = 0; i < kRows; ++i) {
      times[static_cast<size_t>(i)] =
          layout == Layout::kSame ? i : 3 * signal + i * (700 + 17 * signal) + static_cast<int64_t>(random() % 5);
    }
    for (int64_t begin = 0; begin < kRows; begin += kChunkRows) {
      const auto part = std::span<const int64_t>(times).subspan(static_cast<size_t>(begin), kChunkRows);
      const std::string entity = "/signals/s" + std::to_string(signal);
      segment.layers["base"].push_back(MakeSampleChunk(entity, SampleTimelines(1), part, Content::kScalars, 0, random).ValueOrDie());
    }
  }
  return {std::move(segment)};
}

arrow::Result<std::unique_ptr<SegmentScanProbe>> MakeProbe(Layout layout, bool fill) {
  ARROW_ASSIGN_OR_RAISE(auto source, MemoryChunkSource::Make(MakeSegment(layout)));
  Query query;
  query.index = "frame";
  query.fill_latest_at = fill;
  ARROW_ASSIGN_OR_RAISE(const auto schema, source->GetSchema());
  ARROW_ASSIGN_OR_RAISE(const auto query_schema, MakeQuerySchema(*schema, query));
  ARROW_ASSIGN_OR_RAISE(auto plan, ScanPlan::Make(source, query, schema, query_schema, std::nullopt, std::nullopt, ScanOptions()));
  ChunkSelection selection;
  selection.segments = {"segment"};
  selection.timeline = "frame";
  ARROW_ASSIGN_OR_RAISE(auto found, source->FindChunks(selection));
  auto probe = std::make_unique<SegmentScanProbe>(std::move(plan), std::move(found.at(0)));
  ARROW_RETURN_NOT_OK(probe->Load());
  return probe;
}

void BM_MergeTimes(benchmark::State& state, Layout layout) {
  auto probe = MakeProbe(layout, false);
  if (!probe.ok()) return state.SkipWithError(probe.status().ToString().c_str());
  arrow::Result<size_t> rows = size_t{0};
  const MemoryShare share;
  for (auto _ : state) {
    rows = (*probe)->CollectTimes();
    if (!rows.ok()) return state.SkipWithError(rows.status().ToString().c_str());
    benchmark::DoNotOptimize(*rows);
  }
  share.Report(state, kSignals * kRows * 8, static_cast<int64_t>(*rows) * 8);
  state.SetItemsProcessed(state.iterations() * kSignals * kRows);
}

// Items are output cells: rows of the window times columns. What is found are runs of them, by the rows of the window that the chunks' rows
// are, which the merge has left.
void BM_FindCells(benchmark::State& state, Layout layout, bool fill) {
  auto probe = MakeProbe(layout, fill);
  if (!probe.ok()) return state.SkipWithError(probe.status().ToString().c_str());
  const arrow::Status status = (*probe)->BeginWindow();
  if (!status.ok()) return state.SkipWithError(status.ToString().c_str());
  const int64_t rows = (*probe)->window_rows();
  const MemoryShare share;
  for (auto _ : state) {
    for (int column = 0; column < (*probe)->num_columns(); ++column) (*probe)->FindCells(column);
    benchmark::ClobberMemory();
  }
  // Read: where each row of a chunk goes (4 bytes); all signals together have about as many rows as the window.
  share.Report(state, rows * 4, (*probe)->num_runs() * static_cast<int64_t>(sizeof(CellRun)));
  state.SetItemsProcessed(state.iterations() * rows * kSignals);
}

BENCHMARK_CAPTURE(BM_MergeTimes, same_times, Layout::kSame)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_MergeTimes, interleaved, Layout::kInterleaved)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_FindCells, interleaved, Layout::kInterleaved, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_FindCells, interleaved_filled, Layout::kInterleaved, true)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace benchmarks
}  // namespace rushes
