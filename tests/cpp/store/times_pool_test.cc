// Equal times are kept once, whoever brings them.
#include "rushes/store/times_pool.h"

#include <gtest/gtest.h>

#include <barrier>
#include <thread>
#include <vector>

#include "arrow/array/builder_primitive.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/store/chunk_cache.h"

namespace rushes {
namespace {

// 100 rows at 0, 1, 2 … and `last`.
ChunkPtr MakeChunk(uint64_t id, int64_t last) {
  ChunkBuilder builder(EntityPath::Parse("/signal"), {{"frame", TimeType::kSequence}});
  builder.AddColumn({.archetype = {}, .component = "Scalars:scalars", .component_type = {}}, arrow::float64());
  for (int64_t row = 0; row < 100; ++row) {
    arrow::DoubleBuilder numbers;
    EXPECT_TRUE(numbers.Append(static_cast<double>(row)).ok());
    EXPECT_TRUE(builder.AddRow({id, static_cast<uint64_t>(row)}, {row == 99 ? last : row}, {numbers.Finish().ValueOrDie()}).ok());
  }
  return builder.Finish({id, 0}).ValueOrDie();
}

// Chunks with equal times share them; the rest is as it was.
TEST(TimesPool, SharesEqualTimes) {
  ChunkCache cache(int64_t{1} << 20);
  const ChunkPtr first = cache.Keep(7, 1, MakeChunk(1, 99)), other = cache.Keep(7, 2, MakeChunk(2, 200)),
                 second = cache.Keep(8, 3, MakeChunk(3, 99)), third = cache.Keep(7, 4, MakeChunk(4, 99));
  EXPECT_NE(first->times(0), second->times(0));  // the first one's are part of its own bytes
  // Until there are others: from then on it is found with theirs.
  const uint32_t number = 1;
  std::vector<ChunkPtr> found(1);
  cache.Find(7, std::span(&number, 1), {}, &found);
  ASSERT_NE(found[0], nullptr);
  EXPECT_NE(found[0], first);
  EXPECT_EQ(found[0]->times(0), second->times(0));
  EXPECT_TRUE(found[0]->ToRecordBatch()->Equals(*first->ToRecordBatch()));
  int64_t bytes = 0;
  for (const ChunkPtr& chunk : {found[0], other, second, third}) bytes += chunk->byte_size();
  EXPECT_EQ(cache.size_bytes(), bytes);
  EXPECT_EQ(second->times(0), third->times(0));
  EXPECT_NE(other->times(0), third->times(0));
  for (const ChunkPtr& chunk : {first, second, third}) {
    EXPECT_EQ(chunk->times(0)[99], 99);
    EXPECT_TRUE(chunk->times_strict(0));
    EXPECT_TRUE(chunk->ToRecordBatch()->ValidateFull().ok());
  }
  EXPECT_EQ(other->times(0)[99], 200);
}

// What the cache cannot keep shares its times all the same, with whatever of them is alive.
TEST(TimesPool, SharesTimesOfWhatIsNotKept) {
  ChunkCache none(0);
  const ChunkPtr first = none.Keep(7, 1, MakeChunk(1, 99)), second = none.Keep(7, 2, MakeChunk(2, 99)),
                 third = none.Keep(7, 3, MakeChunk(3, 99));
  EXPECT_EQ(none.size_bytes(), 0);
  EXPECT_NE(first->times(0), second->times(0));  // the first one's are part of its own bytes
  EXPECT_EQ(second->times(0), third->times(0));
  EXPECT_TRUE(third->ToRecordBatch()->Equals(*MakeChunk(3, 99)->ToRecordBatch()));
}

// However threads meet: in the end all that are kept share.
TEST(TimesPool, SharesTimesThatSeveralThreadsBring) {
  constexpr int kThreads = 4, kTimelines = 3, kRounds = 300;
  const auto make = [](uint64_t id, int64_t round) {
    std::vector<Timeline> timelines;
    for (int t = 0; t < kTimelines; ++t) timelines.push_back({"t" + std::to_string(t), TimeType::kSequence});
    ChunkBuilder builder(EntityPath::Parse("/signal"), timelines);
    builder.AddColumn({.archetype = {}, .component = "Scalars:scalars", .component_type = {}}, arrow::float64());
    for (int64_t row = 0; row < 64; ++row) {
      arrow::DoubleBuilder numbers;
      EXPECT_TRUE(numbers.Append(static_cast<double>(row)).ok());
      EXPECT_TRUE(
          builder.AddRow({id, static_cast<uint64_t>(row)}, {row + round, row - round, 2 * row + round}, {numbers.Finish().ValueOrDie()})
              .ok());
    }
    return builder.Finish({id, 0}).ValueOrDie();
  };
  std::vector<std::vector<ChunkPtr>> chunks(kRounds);
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kThreads; ++i) chunks[static_cast<size_t>(round)].push_back(make(static_cast<uint64_t>(i) + 1, round));
  }
  ChunkCache cache(int64_t{1} << 30);
  std::barrier begin(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) {
        begin.arrive_and_wait();
        cache.Keep(static_cast<uint64_t>(i) + 1, static_cast<uint32_t>(round), chunks[static_cast<size_t>(round)][static_cast<size_t>(i)]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  int64_t bytes = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto number = static_cast<uint32_t>(round);
    ChunkPtr first;
    for (int i = 0; i < kThreads; ++i) {
      std::vector<ChunkPtr> found(1);
      cache.Find(static_cast<uint64_t>(i) + 1, std::span(&number, 1), {}, &found);
      ASSERT_NE(found[0], nullptr);
      bytes += found[0]->byte_size();
      EXPECT_TRUE(found[0]->ToRecordBatch()->Equals(*chunks[static_cast<size_t>(round)][static_cast<size_t>(i)]->ToRecordBatch()));
      if (first == nullptr) first = found[0];
      for (int t = 0; t < kTimelines; ++t) EXPECT_EQ(found[0]->times(t), first->times(t)) << "round " << round << ", timeline " << t;
    }
  }
  EXPECT_EQ(cache.size_bytes(), bytes);
}

}  // namespace
}  // namespace rushes
