// rushes_micro_benchmark: the stages of a scan one by one, each beside what the machine's memory would allow.
//
// The columns `bytes_per_second` and `of_memory` count the bytes a stage must read and write, not those it happens to touch. Most data
// fit into the caches, as those of the engine's windows do: a stage may do better than memory.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <vector>

#include <benchmark/benchmark.h>

#include "arrow/compute/initialize.h"
#include "bandwidth.h"

namespace rushes::benchmarks {
namespace {

constexpr size_t kArrayBytes = size_t{64} << 20;
constexpr int kRounds = 8;

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The best of a few rounds: anything else that runs only takes away.
template <typename Round>
double BestRate(double bytes, const Round& round) {
  double best = 0;
  for (int i = 0; i < kRounds; ++i) {
    const double start = ThreadSeconds();
    round();
    best = std::max(best, bytes / (ThreadSeconds() - start));
  }
  return best;
}

void BM_Memcpy(benchmark::State& state) {
  const std::vector<char> from(kArrayBytes, 1);
  std::vector<char> to(kArrayBytes, 2);
  const MemoryShare share;
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), kArrayBytes);
    benchmark::ClobberMemory();
  }
  share.Report(state, kArrayBytes, kArrayBytes);
}
BENCHMARK(BM_Memcpy)->Unit(benchmark::kMillisecond);

}  // namespace

double TriadBandwidth() {
  static const double rate = [] {
    constexpr size_t n = kArrayBytes / sizeof(double);
    std::vector<double> a(n, 1), b(n, 2), c(n, 3);
    return BestRate(3.0 * kArrayBytes, [&] {
      for (size_t i = 0; i < n; ++i) a[i] = b[i] + 3.0 * c[i];
      benchmark::ClobberMemory();
    });
  }();
  return rate;
}

double CopyBandwidth() {
  static const double rate = [] {
    const std::vector<char> from(kArrayBytes, 1);
    std::vector<char> to(kArrayBytes, 2);
    return BestRate(2.0 * kArrayBytes, [&] {
      std::memcpy(to.data(), from.data(), kArrayBytes);
      benchmark::ClobberMemory();
    });
  }();
  return rate;
}

MemoryShare::MemoryShare() : start_s_(ThreadSeconds()) {}

void MemoryShare::Report(benchmark::State& state, int64_t bytes_read, int64_t bytes_written) const {
  const double seconds = ThreadSeconds() - start_s_;
  const double bytes = static_cast<double>(bytes_read + bytes_written) * static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  state.counters["of_memory"] = bytes / seconds / TriadBandwidth();
}

}  // namespace rushes::benchmarks

int main(int argc, char** argv) {
  const arrow::Status status = arrow::compute::Initialize();
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  char text[64];
  std::snprintf(text, sizeof(text), "%.2f", rushes::benchmarks::TriadBandwidth() / 1e9);
  benchmark::AddCustomContext("triad_gb_per_second", text);
  std::snprintf(text, sizeof(text), "%.2f", rushes::benchmarks::CopyBandwidth() / 1e9);
  benchmark::AddCustomContext("memcpy_gb_per_second", text);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
