// Which segments AlignedRows takes, and which not. That the rows are right is for random_test.cc.
#include "rushes/query/aligned_rows.h"

#include <gtest/gtest.h>

#include "rrd/test_chunks.h"
#include "rushes/query/chunk_source.h"
#include "rushes/query/scan_plan.h"
#include "rushes/testing/memory_chunk_source.h"

namespace rushes {
namespace {

const std::vector<Timeline> kFrame = {{"frame", TimeType::kSequence}};
const std::vector<Timeline> kBoth = {{"frame", TimeType::kSequence}, {"tick", TimeType::kDuration}};

struct Case {
  const char* name;
  std::vector<ChunkPtr> chunks;
  AlignedRows::Answer answer;
};

ChunkPtr Plain(uint64_t id, const char* entity, int64_t first, int64_t last = 12, const std::vector<Timeline>& timelines = kFrame) {
  const auto times = [&](int64_t time) {
    return timelines.size() == 1 ? std::vector<int64_t>{time} : std::vector<int64_t>{time, 10 * time};
  };
  return TestChunk(id, entity, timelines,
                   {{10 * id, times(first), {{1}}, {}}, {10 * id + 1, times(11), {{2}}, {}}, {10 * id + 2, times(last), {{3}}, {}}});
}

TEST(AlignedRows, TakeWhatIsAligned) {
  using Answer = AlignedRows::Answer;
  const std::vector<Case> cases = {
      {"one", {Plain(1, "/a", 10)}, Answer::kTaken},
      {"two", {Plain(1, "/a", 10), Plain(2, "/b", 10)}, Answer::kTaken},
      {"other timelines", {Plain(1, "/a", 10, 12, kBoth), Plain(2, "/b", 10)}, Answer::kTaken},
      {"static", {Plain(1, "/a", 10), TestChunk(2, "/b", {}, {{5, {}, {{4}}, {}}})}, Answer::kTaken},
      {"another start", {Plain(1, "/a", 10), Plain(2, "/b", 9)}, Answer::kNotAligned},
      {"another number",
       {Plain(1, "/a", 10), TestChunk(2, "/b", kFrame, {{50, {10}, {{1}}, {}}, {51, {12}, {{1}}, {}}})},
       Answer::kNotAligned},
      {"other times between",
       {Plain(1, "/a", 9), TestChunk(2, "/b", kFrame, {{50, {9}, {{1}}, {}}, {51, {10}, {{1}}, {}}, {52, {12}, {{1}}, {}}})},
       Answer::kNotAligned},
      {"a null", {TestChunk(1, "/a", kFrame, {{1, {10}, {{1}}, {{2}}}, {2, {11}, {{1}}, {}}}, true)}, Answer::kNotAligned},
      {"equal times", {TestChunk(1, "/a", kFrame, {{1, {10}, {{1}}, {}}, {2, {10}, {{1}}, {}}})}, Answer::kNotAligned},
      {"a column twice", {Plain(1, "/a", 10), Plain(2, "/a", 10)}, Answer::kNotAligned},
      {"only static", {TestChunk(2, "/b", {}, {{5, {}, {{4}}, {}}})}, Answer::kNotAligned},
  };
  std::vector<MemorySegment> segments;
  for (const Case& c : cases) segments.push_back({c.name, {{"base", c.chunks}}});
  const auto source = MemoryChunkSource::Make(segments).ValueOrDie();
  const auto schema = source->GetSchema().ValueOrDie();
  Query query;
  query.index = "frame";
  ScanOptions options;
  options.statistics = std::make_shared<ScanStatistics>();
  const auto plan =
      ScanPlan::Make(source, query, schema, MakeQuerySchema(*schema, query).ValueOrDie(), std::nullopt, std::nullopt, options).ValueOrDie();
  ASSERT_TRUE(AlignedRows::Serve(*plan));
  AlignedRows::Trials trials;
  AlignedRows rows(plan, &trials);
  ChunkSelection selection;
  selection.timeline = "frame";
  int64_t taken = 0;
  for (const Case& c : cases) {
    selection.segments = {c.name};
    const auto found = source->FindChunks(selection).ValueOrDie();
    EXPECT_EQ(static_cast<int>(rows.Add(found.at(0)).ValueOrDie()), static_cast<int>(c.answer)) << c.name;
    taken += c.answer == Answer::kTaken;
    EXPECT_EQ(rows.num_rows(), 3 * taken) << c.name;
  }
  const auto batch = rows.Finish().ValueOrDie();
  EXPECT_EQ(batch->num_rows(), 12);
  EXPECT_TRUE(batch->ValidateFull().ok());
  EXPECT_EQ(rows.num_rows(), 0);
}

TEST(AlignedRows, FillBatches) {
  const std::vector<MemorySegment> segments = {{"s", {{"base", {Plain(1, "/a", 10)}}}}};
  const auto source = MemoryChunkSource::Make(segments).ValueOrDie();
  const auto schema = source->GetSchema().ValueOrDie();
  Query query;
  query.index = "frame";
  ScanOptions options;
  options.max_batch_rows = 7;
  const auto plan =
      ScanPlan::Make(source, query, schema, MakeQuerySchema(*schema, query).ValueOrDie(), std::nullopt, std::nullopt, options).ValueOrDie();
  AlignedRows::Trials trials;
  AlignedRows rows(plan, &trials);
  ChunkSelection selection;
  selection.timeline = "frame";
  selection.segments = {"s"};
  const auto found = source->FindChunks(selection).ValueOrDie();
  EXPECT_EQ(rows.Add(found[0]).ValueOrDie(), AlignedRows::Answer::kTaken);
  EXPECT_EQ(rows.Add(found[0]).ValueOrDie(), AlignedRows::Answer::kTaken);
  EXPECT_EQ(rows.Add(found[0]).ValueOrDie(), AlignedRows::Answer::kFull);
  EXPECT_EQ(rows.Finish().ValueOrDie()->num_rows(), 6);
  EXPECT_EQ(rows.Add(found[0]).ValueOrDie(), AlignedRows::Answer::kTaken);
}

// A large chunk of which little is asked for is read in part, by SegmentScan.
TEST(AlignedRows, LeaveLargeChunksToBeReadInPart) {
  const std::vector<MemorySegment> segments = {{"s", {{"base", {Plain(1, "/a", 10), Plain(2, "/b", 10)}}}}};
  const auto source = MemoryChunkSource::Make(segments).ValueOrDie();
  const auto schema = source->GetSchema().ValueOrDie();
  Query query;
  query.index = "frame";
  ChunkSelection selection;
  selection.timeline = "frame";
  selection.segments = {"s"};
  const auto found = source->FindChunks(selection).ValueOrDie();
  for (const bool projects : {false, true}) {
    for (const bool is_large : {false, true}) {
      ScanOptions options;
      if (is_large) options.min_partial_bytes = 1;
      std::optional<std::vector<std::string>> columns;
      if (projects) columns = {"/a:x"};
      const auto plan =
          ScanPlan::Make(source, query, schema, MakeQuerySchema(*schema, query).ValueOrDie(), columns, std::nullopt, options).ValueOrDie();
      AlignedRows::Trials trials;
      EXPECT_EQ(AlignedRows(plan, &trials).Add(found[0]).ValueOrDie(),
                projects && is_large ? AlignedRows::Answer::kNotAligned : AlignedRows::Answer::kTaken);
    }
  }
}

}  // namespace
}  // namespace rushes
