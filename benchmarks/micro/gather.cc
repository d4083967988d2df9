// From the places of cells to a column: slices, copies of single rows, repeated values; numbers, text and images.
#include <numeric>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "arrow/util/byte_size.h"
#include "bandwidth.h"
#include "rushes/query/gather.h"
#include "sample_chunks.h"

namespace rushes::benchmarks {
namespace {

constexpr int64_t kBlobBytes = 30'000;
constexpr uint32_t kSlots = 8;

enum class Pattern {
  kSlice,   // neighbouring rows of one chunk
  kChunks,  // whole chunks one after another
  kFilled,  // each row repeated forty times, as in a fill of signals that take turns
  kSparse,  // every other row null
  kRandom,  // any row of any chunk
};

CellRuns MakeCells(Pattern pattern, int64_t cells, int64_t chunk_rows, std::mt19937_64& random) {
  std::vector<CellRef> out(static_cast<size_t>(cells));
  const int64_t all = chunk_rows * kSlots;
  for (int64_t i = 0; i < cells; ++i) {
    int64_t row = i % all;
    if (pattern == Pattern::kSlice) row = i % chunk_rows;
    if (pattern == Pattern::kFilled) row = i / 40 % all;
    if (pattern == Pattern::kRandom) row = static_cast<int64_t>(random() % static_cast<uint64_t>(all));
    const bool is_null = pattern == Pattern::kSparse && i % 2 == 1;
    out[static_cast<size_t>(i)] = is_null ? kNullCell : MakeCell(static_cast<uint32_t>(row / chunk_rows), row % chunk_rows);
  }
  CellRuns runs;
  runs.Add(out);
  return runs;
}

void BM_Gather(benchmark::State& state, Content content, Pattern pattern) {
  std::mt19937_64 random(1);
  const int64_t cells = state.range(0);
  const int64_t chunk_rows = pattern == Pattern::kSlice ? cells : std::max<int64_t>(1, cells / kSlots);
  std::vector<int64_t> times(static_cast<size_t>(chunk_rows));
  std::iota(times.begin(), times.end(), int64_t{0});
  std::vector<std::shared_ptr<arrow::ListArray>> columns;
  for (uint32_t slot = 0; slot < (pattern == Pattern::kSlice ? 1 : kSlots); ++slot) {
    columns.push_back(MakeSampleChunk("/s", SampleTimelines(1), times, content, kBlobBytes, random).ValueOrDie()->column(0));
  }
  const auto places = MakeCells(pattern, cells, chunk_rows, random);
  const auto type = columns[0]->type();
  const auto column_of = [&](uint32_t slot) -> const std::shared_ptr<arrow::ListArray>& { return columns[slot]; };
  int64_t bytes = 0;
  const MemoryShare share;
  for (auto _ : state) {
    auto array = GatherCells(type, {places, 0, cells}, column_of);
    if (!array.ok()) return state.SkipWithError(array.status().ToString().c_str());
    bytes = arrow::util::ReferencedBufferSize(**array).ValueOrDie();
    benchmark::DoNotOptimize(array);
  }
  // A slice only looks at one place. Everything else reads the places and each value, and writes the output.
  const int64_t copied = pattern == Pattern::kSlice ? 0 : bytes;
  share.Report(state, static_cast<int64_t>(places.runs().size_bytes()) + copied, copied);
  state.SetItemsProcessed(state.iterations() * cells);
}

constexpr int64_t kCells = 65'536;
BENCHMARK_CAPTURE(BM_Gather, numbers_slice, Content::kScalars, Pattern::kSlice)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, numbers_chunks, Content::kScalars, Pattern::kChunks)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, numbers_filled, Content::kScalars, Pattern::kFilled)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, numbers_sparse, Content::kScalars, Pattern::kSparse)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, numbers_random, Content::kScalars, Pattern::kRandom)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, text_chunks, Content::kText, Pattern::kChunks)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, text_filled, Content::kText, Pattern::kFilled)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, text_random, Content::kText, Pattern::kRandom)->Arg(kCells)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, images_chunks, Content::kImages, Pattern::kChunks)->Arg(800)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Gather, images_random, Content::kImages, Pattern::kRandom)->Arg(800)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace rushes::benchmarks
