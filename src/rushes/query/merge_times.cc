#include "rushes/query/merge_times.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "rushes/chunk/timeline.h"
#include "rushes/query/work_pool.h"

namespace rushes {
namespace {

// Times that are merged at once: with their sources, twice, they stay in the second level of the cache.
constexpr int64_t kBlockTimes = 8192;
// One in so many times is looked at to find where blocks of equal size end.
constexpr size_t kSampledEvery = 64;

// Bits of a time that are sorted by at once: that many counters stay in the first level.
constexpr int kMaxDigitBits = 11;

struct Tagged {
  int64_t time;
  uint32_t run;
};

// Puts `items`, whose times lie in [low, high], in order of time; `scratch` is as large. Returns where the result is.
//
// By digits, the last one first: merging run with run would take a comparison per run and time that is as random as the signals are.
Tagged* SortByTime(Tagged* items, Tagged* scratch, int64_t count, int64_t low, int64_t high) {
  const auto distance = [&](int64_t time) { return static_cast<uint64_t>(time) - static_cast<uint64_t>(low); };
  const int bits = std::bit_width(distance(high));
  const int max_digit = std::min(kMaxDigitBits, static_cast<int>(std::bit_width(static_cast<uint64_t>(count))));
  const int num_digits = (bits + max_digit - 1) / max_digit;
  std::array<uint32_t, size_t{1} << kMaxDigitBits> next;
  for (int d = 0; d < num_digits; ++d) {
    const int begin = bits * d / num_digits;
    const int width = bits * (d + 1) / num_digits - begin;
    const uint64_t mask = (uint64_t{1} << width) - 1;
    std::fill_n(next.begin(), mask + 1, 0);
    for (int64_t i = 0; i < count; ++i) ++next[distance(items[i].time) >> begin & mask];
    uint32_t sum = 0;
    for (uint64_t digit = 0; digit <= mask; ++digit) sum += std::exchange(next[digit], sum);
    for (int64_t i = 0; i < count; ++i) scratch[next[distance(items[i].time) >> begin & mask]++] = items[i];
    std::swap(items, scratch);
  }
  return items;
}

}  // namespace

arrow::Result<MergedTimes> MergeTimes(const std::vector<std::span<const int64_t>>& runs, int max_threads) {
  MergedTimes merged;
  int64_t total = 0;
  std::vector<int64_t> starts;  // of each run's rows in the storage
  for (const auto& run : runs) {
    starts.push_back(total);
    total += static_cast<int64_t>(run.size());
  }
  ARROW_ASSIGN_OR_RAISE(merged.storage, arrow::AllocateBuffer(total * static_cast<int64_t>(sizeof(int32_t))));
  auto* const all_rows = merged.storage->mutable_data_as<int32_t>();
  for (size_t r = 0; r < runs.size(); ++r) merged.rows.emplace_back(all_rows + starts[r], runs[r].size());

  // The first time of each block but the first one.
  std::vector<int64_t> bounds;
  const int64_t num_blocks = (total + kBlockTimes - 1) / kBlockTimes;
  if (num_blocks > 1) {
    std::vector<int64_t> samples;
    size_t next = kSampledEvery / 2;
    for (const auto& run : runs) {
      for (; next < run.size(); next += kSampledEvery) samples.push_back(run[next]);
      next -= run.size();
    }
    std::sort(samples.begin(), samples.end());
    for (int64_t b = 1; b < num_blocks; ++b) {
      bounds.push_back(samples[samples.size() * static_cast<size_t>(b) / static_cast<size_t>(num_blocks)]);
    }
    bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  }

  struct Block {
    std::vector<int64_t> begins, ends;     // per run
    int64_t length = 0;                    // with times that occur in several runs
    std::unique_ptr<arrow::Buffer> times;  // distinct
    int64_t num_times = 0;
    int64_t first_row = 0;
  };
  std::vector<Block> blocks(bounds.size() + 1);
  for (size_t b = 0; b < blocks.size(); ++b) {
    Block& block = blocks[b];
    for (size_t r = 0; r < runs.size(); ++r) {
      const int64_t begin = b == 0 ? 0 : blocks[b - 1].ends[r];
      const auto end = b < bounds.size() ? std::lower_bound(runs[r].begin() + begin, runs[r].end(), bounds[b]) : runs[r].end();
      block.begins.push_back(begin);
      block.ends.push_back(end - runs[r].begin());
      block.length += block.ends.back() - begin;
    }
  }
  const int threads = blocks.size() > 2 ? max_threads : 1;
  ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(blocks.size()), threads, [&](int b) {
    Block& block = blocks[static_cast<size_t>(b)];
    if (block.length == 0) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(const auto space, arrow::AllocateBuffer(2 * block.length * static_cast<int64_t>(sizeof(Tagged))));
    auto* const items = space->mutable_data_as<Tagged>();
    std::vector<int32_t*> to;  // per run
    int64_t at = 0, low = kMaxTime, high = kMinTime;
    for (size_t r = 0; r < runs.size(); ++r) {
      to.push_back(all_rows + starts[r] + block.begins[r]);
      if (block.begins[r] == block.ends[r]) continue;
      for (int64_t i = block.begins[r]; i < block.ends[r]; ++i)
        items[static_cast<size_t>(at++)] = {runs[r][static_cast<size_t>(i)], static_cast<uint32_t>(r)};
      low = std::min(low, runs[r][static_cast<size_t>(block.begins[r])]);
      high = std::max(high, runs[r][static_cast<size_t>(block.ends[r]) - 1]);
    }
    const Tagged* const sorted = SortByTime(items, items + block.length, block.length, low, high);
    ARROW_ASSIGN_OR_RAISE(block.times, arrow::AllocateBuffer(block.length * static_cast<int64_t>(sizeof(int64_t))));
    auto* const times = block.times->mutable_data_as<int64_t>();
    int64_t row = -1;
    for (int64_t i = 0; i < block.length; ++i) {
      row += i == 0 || sorted[i].time != sorted[i - 1].time;
      times[row] = sorted[i].time;
      *to[sorted[i].run]++ = static_cast<int32_t>(row);
    }
    block.num_times = row + 1;
    return arrow::Status::OK();
  }));
  int64_t num_times = 0;
  for (Block& block : blocks) {
    block.first_row = num_times;
    num_times += block.num_times;
  }
  merged.times.resize(static_cast<size_t>(num_times));
  ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(blocks.size()), threads, [&](int b) {
    const Block& block = blocks[static_cast<size_t>(b)];
    if (block.length == 0) return arrow::Status::OK();
    std::copy_n(block.times->data_as<int64_t>(), block.num_times, merged.times.begin() + block.first_row);
    for (size_t r = 0; r < runs.size(); ++r) {
      int32_t* const rows = all_rows + starts[r];
      for (int64_t i = block.begins[r]; i < block.ends[r]; ++i) rows[i] += static_cast<int32_t>(block.first_row);
    }
    return arrow::Status::OK();
  }));
  return merged;
}

}  // namespace rushes
