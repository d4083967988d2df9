// The union of sorted lists, against a std::set: above all where it is made in several blocks, for which random stores are too small.
#include "rushes/query/merge_times.h"

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "rushes/chunk/timeline.h"

namespace rushes {
namespace {

void ExpectMerged(const std::vector<std::vector<int64_t>>& lists) {
  const std::vector<std::span<const int64_t>> runs(lists.begin(), lists.end());
  for (const int threads : {1, 0}) {
    const MergedTimes merged = MergeTimes(runs, threads).ValueOrDie();
    std::set<int64_t> wanted;
    for (const auto& list : lists) wanted.insert(list.begin(), list.end());
    ASSERT_TRUE(std::equal(wanted.begin(), wanted.end(), merged.times.begin(), merged.times.end()));
    ASSERT_EQ(merged.rows.size(), lists.size());
    for (size_t r = 0; r < lists.size(); ++r) {
      ASSERT_EQ(merged.rows[r].size(), lists[r].size());
      for (size_t i = 0; i < lists[r].size(); ++i) {
        ASSERT_EQ(merged.times[static_cast<size_t>(merged.rows[r][i])], lists[r][i]) << "run " << r << ", " << i;
      }
    }
  }
}

TEST(MergeTimes, FewTimes) {
  ExpectMerged({});
  ExpectMerged({{}, {}});
  ExpectMerged({{5}});
  ExpectMerged({{1, 2, 3}, {2}, {}, {0, 4}});
  ExpectMerged({{7}, {7}, {7}});
  ExpectMerged({{kMinTime, 0, kMaxTime}, {kMinTime + 1, kMaxTime - 1}, {kMaxTime}});
}

TEST(MergeTimes, RandomRuns) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 60; ++round) {
    // From times that nearly all coincide to some as far apart as times can be.
    const uint64_t range = uint64_t{1} << (10 + random() % 54);
    const uint64_t longest = uint64_t{1} << (random() % 15);
    std::vector<std::vector<int64_t>> lists(1 + random() % 60);
    for (auto& list : lists) {
      const uint64_t length = random() % (longest + 1);
      for (uint64_t i = 0; i < length; ++i) list.push_back(std::max(kMinTime, static_cast<int64_t>(random() % range - range / 2)));
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
    ExpectMerged(lists);
  }
}

}  // namespace
}  // namespace rushes
