#include "rushes/store/chunk_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "rrd/test_chunks.h"

namespace rushes {
namespace {

using Mode = SegmentSelection::Mode;
using testing::ElementsAre;
using testing::IsEmpty;

const std::vector<Timeline> kFrame = {{"frame", TimeType::kSequence}};

SegmentIndexPtr Index(const std::vector<ChunkPtr>& chunks) {
  SegmentIndexBuilder builder;
  for (const auto& chunk : chunks) EXPECT_TRUE(builder.Add(SegmentIndexBuilder::Describe(*chunk, {100, 50, 80})).ok());
  return builder.Finish().ValueOrDie();
}

std::vector<uint32_t> Select(const SegmentIndex& index, const SegmentSelection& selection) {
  const SegmentIndex* layers[] = {&index};
  std::vector<uint32_t> out;
  for (const SelectedChunk& chunk : SelectChunks(layers, selection)) out.push_back(chunk.chunk);
  return out;
}

// /a over frames 0-9 and 10-19, hidden /a/s, static /a/s twice, /b on another timeline only.
class Selection : public testing::Test {
 protected:
  static ChunkPtr Span(uint64_t id, const char* entity, int64_t first, int64_t last) {
    return TestChunk(id, entity, kFrame, {{id * 10, {first}, {{1}}, {}}, {id * 10 + 1, {last}, {{2}}, {}}});
  }
  const SegmentIndexPtr index_ = Index({
      Span(0, "/a", 0, 9),
      Span(1, "/a", 10, 19),
      Span(2, "/a/s", 0, 19),
      TestChunk(3, "/a/s", {}, {{50, {}, {{1}}, {}}}),
      TestChunk(4, "/a/s", {}, {{40, {}, {{1}}, {}}}),
      TestChunk(5, "/b", {{"clock", TimeType::kTimestamp}}, {{60, {3}, {{1}}, {}}}),
  });
};

TEST_F(Selection, ByMode) {
  SegmentSelection s;
  EXPECT_THAT(Select(*index_, s), ElementsAre(0, 1, 2, 3, 4, 5));
  s.mode = Mode::kStatic;
  EXPECT_THAT(Select(*index_, s), ElementsAre(3)) << "row 50 beats row 40";
  s.mode = Mode::kRange;
  s.timeline = "frame";
  EXPECT_THAT(Select(*index_, s), ElementsAre(0, 1, 2, 3, 4, 5)) << "without bounds: everything";
  s.start = 10;
  EXPECT_THAT(Select(*index_, s), ElementsAre(1, 3));
  s.end = 10;
  EXPECT_THAT(Select(*index_, s), ElementsAre(1, 3));
  s.start = s.end = 9;
  EXPECT_THAT(Select(*index_, s), ElementsAre(0, 3));
  s.start = 20, s.end = 30;
  EXPECT_THAT(Select(*index_, s), ElementsAre(3));
  s.latest_at = true;
  EXPECT_THAT(Select(*index_, s), ElementsAre(1, 3));
  s.timeline = "nowhere";
  EXPECT_THAT(Select(*index_, s), ElementsAre(3));
}

TEST_F(Selection, BySamples) {
  SegmentSelection s;
  s.mode = Mode::kSamples;
  s.timeline = "frame";
  EXPECT_THAT(Select(*index_, s), IsEmpty()) << "no sample, not even static chunks";
  s.samples = {5, 25};
  EXPECT_THAT(Select(*index_, s), ElementsAre(0, 3));
  s.latest_at = true;
  EXPECT_THAT(Select(*index_, s), ElementsAre(0, 1, 3));
  s.samples = {-5};
  EXPECT_THAT(Select(*index_, s), ElementsAre(3));
}

TEST_F(Selection, ByEntity) {
  SegmentSelection s;
  s.entities = {EntityPath::Parse("/b"), EntityPath::Parse("/not/there")};
  EXPECT_THAT(Select(*index_, s), ElementsAre(5));
  s.entities = std::vector<EntityPath>{};
  EXPECT_THAT(Select(*index_, s), IsEmpty());
}

TEST_F(Selection, OfLayersKeepsThemApartAndListsAChunkOnce) {
  const auto other = Index({Span(1, "/a", 10, 19), TestChunk(9, "/a", {}, {{1, {}, {{1}}, {}}})});
  const SegmentIndex* layers[] = {index_.get(), other.get()};
  SegmentSelection s;
  s.mode = Mode::kRange;
  s.timeline = "frame";
  s.start = 10, s.end = 12;
  // The static x of the other layer hides nothing in the first one.
  EXPECT_THAT(SelectChunks(layers, s), ElementsAre(SelectedChunk{0, 1}, SelectedChunk{0, 3}, SelectedChunk{1, 1}));
}

// Random stores: every chunk that holds the value in force at a time must be selected, and, when no two chunks overlap, no other.
TEST(SelectionProperty, LatestAtNeverMissesAValue) {
  std::mt19937 random(20240229);
  const auto pick = [&](int64_t from, int64_t to) { return std::uniform_int_distribution<int64_t>(from, to)(random); };
  for (int round = 0; round < 500; ++round) {
    std::vector<ChunkPtr> chunks;
    const int64_t count = pick(1, 8);
    uint64_t row_id = 1;
    for (int64_t c = 0; c < count; ++c) {
      std::vector<TestRow> rows;
      const int64_t base = pick(0, 40);
      for (int64_t r = pick(1, 6); r > 0; --r) {
        TestRow row{row_id++, {base + pick(0, 15)}, std::nullopt, std::nullopt};
        if (pick(0, 2) > 0) row.x = {{1}};
        if (pick(0, 2) > 0) row.y = std::vector<double>{};
        rows.push_back(row);
      }
      chunks.push_back(TestChunk(static_cast<uint64_t>(c), "/a", kFrame, rows, true));
    }
    const auto index = Index(chunks);
    for (int trial = 0; trial < 10; ++trial) {
      SegmentSelection s;
      s.timeline = "frame";
      s.latest_at = true;
      if (trial % 2 == 0) {
        s.mode = Mode::kRange;
        s.start = pick(-5, 60);
        s.end = s.start + pick(0, 10);
        s.samples = {s.start};
      } else {
        s.mode = Mode::kSamples;
        std::set<int64_t> samples;
        for (int64_t i = pick(1, 4); i > 0; --i) samples.insert(pick(-5, 60));
        s.samples.assign(samples.begin(), samples.end());
      }
      std::set<uint32_t> needed;
      for (const int64_t sample : s.samples) {
        for (int column = 0; column < 2; ++column) {
          std::tuple<int64_t, RowId, int> best{-1000, RowId{}, -1};
          for (size_t c = 0; c < chunks.size(); ++c) {
            for (int64_t r = 0; r < chunks[c]->num_rows(); ++r) {
              if (chunks[c]->column(column)->IsNull(r) || chunks[c]->times(0)[r] > sample) continue;
              best = std::max(best, {chunks[c]->times(0)[r], chunks[c]->row_id(r), static_cast<int>(c)});
            }
          }
          if (std::get<2>(best) >= 0) needed.insert(static_cast<uint32_t>(std::get<2>(best)));
        }
      }
      const auto selected = Select(*index, s);
      for (const uint32_t chunk : needed) EXPECT_TRUE(std::count(selected.begin(), selected.end(), chunk)) << "round " << round;
      if (s.mode == Mode::kSamples) {
        for (const uint32_t chunk : selected) EXPECT_LE(index->Span(chunk, 0)->start, s.samples.back());
      }
    }
  }
}

TEST(SelectionProperty, LatestAtOfDisjointChunksTakesOneChunkPerSample) {
  std::vector<ChunkPtr> chunks;
  for (uint64_t c = 0; c < 100; ++c) {
    const auto first = static_cast<int64_t>(c * 10);
    chunks.push_back(TestChunk(c, "/a", kFrame, {{c * 2, {first}, {{1}}, {}}, {c * 2 + 1, {first + 5}, {{2}}, {}}}));
  }
  const auto index = Index(chunks);
  SegmentSelection s;
  s.mode = Mode::kSamples;
  s.timeline = "frame";
  s.latest_at = true;
  s.samples = {57, 303, 5000};
  EXPECT_THAT(Select(*index, s), ElementsAre(5, 30, 99));
}

}  // namespace
}  // namespace rushes
