// From the bytes of a recording to a chunk: LZ4, then Arrow IPC with all checks.
#include <numeric>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>

#include "bandwidth.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/rrd/messages.h"
#include "sample_chunks.h"

namespace rushes::benchmarks {
namespace {

constexpr int64_t kBlobBytes = 30'000;

std::shared_ptr<arrow::Buffer> Payload(Content content, int64_t rows) {
  std::mt19937_64 random(1);
  std::vector<int64_t> times(static_cast<size_t>(rows));
  std::iota(times.begin(), times.end(), int64_t{0});
  const auto chunk = MakeSampleChunk("/signals/s0", SampleTimelines(1), times, content, kBlobBytes, random).ValueOrDie();
  return EncodeChunk(*chunk).ValueOrDie();
}

// Decoders keep schemas: all but the first chunk of a shape find theirs, as in a recording.
void BM_DecodePlain(benchmark::State& state, Content content) {
  const auto payload = Payload(content, state.range(0));
  ChunkDecoder decoder;
  const MemoryShare share;
  for (auto _ : state) {
    auto chunk = decoder.Decode(payload);
    if (!chunk.ok()) return state.SkipWithError(chunk.status().ToString().c_str());
    benchmark::DoNotOptimize(chunk);
  }
  // The chunk refers to the payload: pixels are not looked at.
  const int64_t unread = content == Content::kImages ? state.range(0) * kBlobBytes : 0;
  share.Report(state, payload->size() - unread, 0);
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_DecodeLz4(benchmark::State& state, Content content) {
  const auto payload = Payload(content, state.range(0));
  const auto packed = rrd::CompressLz4(std::string_view(*payload)).ValueOrDie();
  ChunkDecoder decoder;
  const MemoryShare share;
  for (auto _ : state) {
    auto bytes = rrd::Decompress(std::string_view(*packed), rrd::Compression::kLz4, static_cast<uint64_t>(payload->size()));
    if (!bytes.ok()) return state.SkipWithError(bytes.status().ToString().c_str());
    auto chunk = decoder.Decode(*std::move(bytes));
    if (!chunk.ok()) return state.SkipWithError(chunk.status().ToString().c_str());
    benchmark::DoNotOptimize(chunk);
  }
  share.Report(state, packed->size(), payload->size());
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK_CAPTURE(BM_DecodePlain, scalars, Content::kScalars)->Arg(20)->Arg(1'000)->Arg(8'000)->Arg(65'536);
BENCHMARK_CAPTURE(BM_DecodePlain, text, Content::kText)->Arg(1'000);
BENCHMARK_CAPTURE(BM_DecodePlain, images, Content::kImages)->Arg(20);
BENCHMARK_CAPTURE(BM_DecodeLz4, scalars, Content::kScalars)->Arg(20)->Arg(1'000)->Arg(8'000)->Arg(65'536);
BENCHMARK_CAPTURE(BM_DecodeLz4, text, Content::kText)->Arg(1'000);
BENCHMARK_CAPTURE(BM_DecodeLz4, images, Content::kImages)->Arg(20);

}  // namespace
}  // namespace rushes::benchmarks
