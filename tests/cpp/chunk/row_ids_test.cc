// Row ids in runs are those that came.
#include "rushes/chunk/row_ids.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>

#include "arrow/array/array_binary.h"

namespace rushes {
namespace {

std::string BytesOf(const std::vector<RowId>& ids) {
  std::string bytes(ids.size() * RowId::kNumBytes, '\0');
  for (size_t i = 0; i < ids.size(); ++i) ids[i].ToBytes(bytes.data() + i * RowId::kNumBytes);
  return bytes;
}

void ExpectIds(const RowIds& found, const std::vector<RowId>& ids) {
  ASSERT_EQ(found.num_rows(), static_cast<int64_t>(ids.size()));
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(found[static_cast<int64_t>(i)], ids[i]) << i;
  EXPECT_EQ(found.Ascend(), std::is_sorted(ids.begin(), ids.end()));
  const auto array = std::static_pointer_cast<arrow::FixedSizeBinaryArray>(found.ToArray());
  ASSERT_TRUE(array->ValidateFull().ok());
  ASSERT_EQ(array->length(), found.num_rows());
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(RowId::FromBytes(array->GetValue(static_cast<int64_t>(i))), ids[i]) << i;
}

RowIds Build(const std::vector<std::vector<RowId>>& parts) {
  RowIdsBuilder builder(10);
  for (const auto& part : parts) {
    const std::string bytes = BytesOf(part);
    EXPECT_TRUE(builder.Append(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(part.size())).ok());
  }
  RowIds ids = builder.Finish().ValueOrDie();
  EXPECT_EQ(builder.Finish().ValueOrDie().num_rows(), 0) << "is empty afterwards";
  return ids;
}

std::vector<RowId> CountUp(RowId first, int count) {
  std::vector<RowId> ids;
  for (int i = 0; i < count; ++i) ids.push_back({first.time_ns, first.counter + static_cast<uint64_t>(i)});
  return ids;
}

TEST(RowIds, ThatCountUpTakeNoMemory) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  const auto ids = CountUp({7, 100}, 5'000), more = CountUp({9, 0}, 300);
  EXPECT_LT(Build({ids}).byte_size(), 100);
  EXPECT_LT(Build({ids, more}).byte_size(), 200);
  // The counter ends: what follows begins again, at a time of its own or not.
  const auto last = CountUp({7, kMost - 99}, 100);
  EXPECT_EQ(last.back().counter, kMost);
  ExpectIds(Build({last}), last);
  EXPECT_LT(Build({last}).byte_size(), 100);
  const auto beyond = CountUp({7, kMost - 99}, 200);
  EXPECT_EQ(beyond.back().counter, 99);
  ExpectIds(Build({beyond}), beyond);
}

TEST(RowIds, OfAnyKind) {
  std::mt19937 random(12);
  ExpectIds(Build({}), {});
  ExpectIds(Build({{}, {}}), {});
  int as_runs = 0, as_bytes = 0;
  for (int round = 0; round < 2'000; ++round) {
    std::vector<std::vector<RowId>> parts;
    std::vector<RowId> all;
    const int kind = static_cast<int>(random() % 4);
    uint64_t time = 1;
    for (size_t part = 0; part < 1 + random() % 6; ++part) {
      auto& ids = parts.emplace_back();
      const size_t runs = random() % (kind == 1 || kind == 2 ? 100 : 5);
      for (size_t run = 0; run < runs; ++run) {
        // Long runs, short ones, single ids, all of these; now and then an earlier one.
        const int length = kind == 0 ? 200 : kind == 1 ? 3 : kind == 2 ? 1 : 1 + static_cast<int>(random() % 100);
        time = random() % 20 == 0 ? random() % 4 : time + 1;
        for (const RowId& id : CountUp({time, random() % 1'000}, length)) ids.push_back(id);
      }
      all.insert(all.end(), ids.begin(), ids.end());
    }
    const RowIds found = Build(parts);
    ExpectIds(found, all);
    if (all.size() > 100) (found.byte_size() < static_cast<int64_t>(4 * all.size()) ? as_runs : as_bytes) += 1;
  }
  EXPECT_GT(as_runs, 100);
  EXPECT_GT(as_bytes, 100);
}

TEST(RowIds, KeepBytesThatTheyAreGiven) {
  const auto ids = CountUp({3, 3}, 10);
  const auto bytes = arrow::Buffer::FromString(BytesOf(ids));
  const RowIds found(bytes, 10);
  ExpectIds(found, ids);
  EXPECT_EQ(found.byte_size(), 160);
  ExpectIds(RowIds(ids[4]), {ids[4]});
  EXPECT_EQ(std::static_pointer_cast<arrow::FixedSizeBinaryArray>(found.ToArray())->raw_values(), bytes->data());
}

}  // namespace
}  // namespace rushes
