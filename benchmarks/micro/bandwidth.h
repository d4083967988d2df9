// What the memory of this machine gives one thread, measured in the same run as the benchmarks that are compared with it.
#pragma once

#include <benchmark/benchmark.h>

namespace rushes::benchmarks {

// Bytes per second of one thread that reads two arrays much larger than the caches and writes a third (the triad of STREAM), counted as
// the program asks for them: 24 bytes an element. Measured once, at the first call.
double TriadBandwidth();
// The same of a large memcpy: 2 bytes for each byte copied.
double CopyBandwidth();

// Compares the loop of a benchmark with the triad. Made before the loop; times are those of the thread's CPU.
class MemoryShare {
 public:
  MemoryShare();
  // After the loop: the bytes that one iteration must read and write, reported a second and as `of_memory`, a share of the triad's rate.
  void Report(benchmark::State& state, int64_t bytes_read, int64_t bytes_written) const;

 private:
  double start_s_;
};

}  // namespace rushes::benchmarks
