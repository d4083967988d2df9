// Stores read as one hold the rows of each, one store's after another's.
#include "rushes/store/store_bundle.h"

#include <gtest/gtest.h>

#include "arrow/array/builder_binary.h"
#include "arrow/io/memory.h"
#include "rrd/test_chunks.h"
#include "rushes/rrd/writer.h"

namespace rushes {
namespace {

const std::vector<Timeline> kFrame = {{"frame", TimeType::kSequence}};
const std::vector<Timeline> kBoth = {{"frame", TimeType::kSequence}, {"tick", TimeType::kDuration}};

std::string Record(const std::string& id, const std::vector<ChunkPtr>& chunks) {
  const auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  auto writer = rrd::Writer::Make(sink, {}).ValueOrDie();
  for (const ChunkPtr& chunk : chunks) EXPECT_TRUE(writer->Write({StoreKind::kRecording, "app", id}, *chunk).ok());
  EXPECT_TRUE(writer->Close().ok());
  return sink->Finish().ValueOrDie()->ToString();
}

RecordingStorePtr Open(const std::string& bytes) {
  return OpenRecording(MakeBufferSource("bundle.rrd", arrow::Buffer::FromString(bytes))).ValueOrDie().stores.at(0);
}

// Rows at `start`, `start` + 1 ...
ChunkPtr Rows(uint64_t id, const char* entity, int64_t start, int count, const std::vector<Timeline>& timelines = kFrame) {
  std::vector<TestRow> rows;
  for (int i = 0; i < count; ++i) {
    std::vector<int64_t> times = {start + i};
    if (timelines.size() > 1) times.push_back(10 * (start + i));
    rows.push_back({id * 1000 + static_cast<uint64_t>(i), times, {{static_cast<double>(id), static_cast<double>(i)}}, {}});
  }
  return TestChunk(id, entity, timelines, rows);
}

ChunkPtr Static(uint64_t id, int rows = 1) {
  std::vector<TestRow> values;
  for (int i = 0; i < rows; ++i) values.push_back({id * 1000 + static_cast<uint64_t>(i), {}, {{static_cast<double>(id)}}, {}});
  return TestChunk(id, "/s", {}, values);
}

ChunkPtr Text(uint64_t id) {
  ChunkBuilder builder(EntityPath::Parse("/a"), kFrame);
  builder.AddColumn({std::nullopt, "x", std::nullopt}, arrow::utf8());
  arrow::StringBuilder text;
  EXPECT_TRUE(text.Append("text").ok());
  EXPECT_TRUE(builder.AddRow(RowId{1, id}, {1}, {text.Finish().ValueOrDie()}).ok());
  return builder.Finish(ChunkId{7, id}).ValueOrDie();
}

// All chunks of stores, static ones first.
struct Asked {
  explicit Asked(std::vector<RecordingStorePtr> opened) : stores(std::move(opened)) {
    for (const RecordingStorePtr& store : stores) {
      std::vector<uint32_t>& own = chunks.emplace_back();
      for (uint32_t i = 0; i < store->index()->num_chunks(); ++i) own.push_back(i);
      std::stable_partition(own.begin(), own.end(), [&](uint32_t chunk) { return store->index()->is_static(chunk); });
    }
    for (size_t i = 0; i < stores.size(); ++i) requests.push_back({stores[i].get(), chunks[i]});
  }
  std::vector<RecordingStorePtr> stores;
  std::vector<std::vector<uint32_t>> chunks;
  std::vector<StoreRequest> requests;
};

void ExpectRowsOf(const BundlePart& part, const Asked& asked, size_t first_request = 0) {
  const StoreBundle& bundle = *part.bundle;
  for (size_t i = 0; i < part.num_members; ++i) {
    const StoreRequest& request = asked.requests[first_request + i];
    const size_t member = part.first_member + i;
    const auto chunks = request.store->ReadChunks(request.chunks).ValueOrDie();
    ASSERT_EQ(bundle.lanes.size(), chunks.size());
    for (size_t lane = 0; lane < chunks.size(); ++lane) {
      const Chunk& chunk = *chunks[lane];
      const JoinedRows& rows = bundle.lanes[lane].rows;
      const int64_t begin = chunk.is_static() ? static_cast<int64_t>(member) : bundle.row_begin(member);
      const int64_t end = chunk.is_static() ? begin + 1 : bundle.members[member].row_end;
      ASSERT_EQ(end - begin, chunk.num_rows());
      EXPECT_EQ(rows.schema->entity(), chunk.entity());
      for (int t = 0; t < static_cast<int>(chunk.schema().timelines().size()); ++t) {
        EXPECT_TRUE(std::equal(rows.times_of(t) + begin, rows.times_of(t) + end, chunk.times(t)));
      }
      for (size_t c = 0; c < rows.columns.size(); ++c) {
        EXPECT_TRUE(rows.columns[c]->ValidateFull().ok());
        EXPECT_TRUE(rows.columns[c]->Slice(begin, end - begin)->Equals(chunk.column(static_cast<int>(c))));
      }
      if (chunk.is_static()) continue;
      for (int64_t row = begin; row < end; ++row) EXPECT_EQ(bundle.recording_ids->GetView(row), request.store->id().recording_id);
    }
  }
}

TEST(StoreBundle, HoldsTheRowsOfEach) {
  std::vector<RecordingStorePtr> stores;
  for (uint64_t i = 0; i < 5; ++i) {
    const auto start = static_cast<int64_t>(100 - 20 * i);
    const int rows = 1 + static_cast<int>(i % 3);
    stores.push_back(Open(Record("run" + std::to_string(i), {Rows(10 * i, "/a", start, rows, kBoth), Static(10 * i + 1),
                                                             Rows(10 * i + 2, "/b", start, rows, kBoth)})));
  }
  const Asked asked(stores);
  const BundlePart part = ReadBundle(asked.requests, nullptr).ValueOrDie();
  ASSERT_EQ(part.num_members, 5);
  ExpectRowsOf(part, asked);
  const auto& lanes = part.bundle->lanes;
  EXPECT_EQ(lanes[1].rows.times[0], lanes[2].rows.times[0]) << "equal times are kept once";
  EXPECT_EQ(lanes[1].is_strict, std::vector<uint8_t>({1, 1})) << "though the next store begins earlier";
}

TEST(StoreBundle, EndsWhereAStoreDoesNotFit) {
  const auto plain = [](uint64_t i) { return Record("run" + std::to_string(i), {Rows(10 * i, "/a", 1, 2)}); };
  struct Case {
    const char* name;
    std::vector<ChunkPtr> chunks;
  };
  const std::vector<Case> cases = {
      {"another entity", {Rows(91, "/b", 1, 2)}},
      {"another timeline", {Rows(91, "/a", 1, 2, kBoth)}},
      {"text", {Text(91)}},
      {"one more chunk", {Rows(91, "/a", 1, 2), Rows(92, "/b", 1, 2)}},
  };
  for (const Case& c : cases) {
    const Asked asked({Open(plain(1)), Open(plain(2)), Open(Record("odd", c.chunks)), Open(plain(3))});
    const BundlePart part = ReadBundle(asked.requests, nullptr).ValueOrDie();
    EXPECT_EQ(part.num_members, 2) << c.name;
    ExpectRowsOf(part, asked);
    EXPECT_EQ(part.bundle->lanes[0].rows.num_rows, 4) << c.name;
  }
}

TEST(StoreBundle, NeedsAsManyRowsInEachChunk) {
  const Asked uneven(
      {Open(Record("a", {Rows(1, "/a", 1, 2), Rows(2, "/b", 1, 3)})), Open(Record("b", {Rows(3, "/a", 1, 2), Rows(4, "/b", 1, 3)}))});
  EXPECT_EQ(ReadBundle(uneven.requests, nullptr).ValueOrDie().num_members, 0);
  const Asked two_static({Open(Record("a", {Static(1, 2), Rows(2, "/b", 1, 3)}))});
  EXPECT_EQ(ReadBundle(two_static.requests, nullptr).ValueOrDie().num_members, 0);
  const Asked text({Open(Record("a", {Text(1)}))});
  EXPECT_EQ(ReadBundle(text.requests, nullptr).ValueOrDie().num_members, 0);
}

TEST(StoreBundle, TellsTimesThatDoNotAscend) {
  const std::vector<TestRow> rows = {{1, {5}, {{1}}, {}}, {2, {5}, {{2}}, {}}, {3, {6}, {{3}}, {}}};
  const Asked asked({Open(Record("a", {TestChunk(1, "/a", kFrame, rows)}))});
  const BundlePart part = ReadBundle(asked.requests, nullptr).ValueOrDie();
  ASSERT_EQ(part.num_members, 1);
  EXPECT_EQ(part.bundle->lanes[0].is_strict, std::vector<uint8_t>({0}));
}

// What cannot be read is left to ReadChunks, which says why.
TEST(StoreBundle, EndsBeforeDamage) {
  const std::string good = Record("good", {Rows(1, "/a", 1, 40)});
  const RecordingStorePtr store = Open(good);
  for (size_t at = 64; at < good.size() / 2; at += 5) {
    std::string bad = Record("bad", {Rows(2, "/a", 1, 40)});
    bad[at] = static_cast<char>(bad[at] ^ 0x41);
    auto opened = OpenRecording(MakeBufferSource("bad.rrd", arrow::Buffer::FromString(bad)));
    if (!opened.ok() || opened->stores.empty() || opened->stores[0]->index()->num_chunks() != 1) continue;
    const Asked asked({store, opened->stores[0], store});
    const BundlePart part = ReadBundle(asked.requests, nullptr).ValueOrDie();
    ASSERT_GE(part.num_members, 1);
    const auto alone = asked.stores[1]->ReadChunks(asked.chunks[1]);
    if (alone.ok()) continue;
    EXPECT_EQ(part.num_members, 1) << alone.status().ToString();
    ExpectRowsOf(part, asked);
  }
}

TEST(StoreBundle, IsKept) {
  std::vector<RecordingStorePtr> stores;
  for (uint64_t i = 0; i < 6; ++i)
    stores.push_back(Open(Record("run" + std::to_string(i), {Rows(i, "/a", 1, 50), Rows(100 + i, "/b", 1, 50)})));
  const Asked asked(stores);
  ChunkCache cache(1 << 20);
  const BundlePart all = ReadBundle(asked.requests, &cache).ValueOrDie();
  ASSERT_EQ(all.num_members, 6);
  EXPECT_EQ(cache.size_bytes(), all.bundle->byte_size);
  EXPECT_GT(all.bundle->byte_size, 6 * 50 * (8 + 2 * (4 + 16)));
  EXPECT_EQ(ReadBundle(asked.requests, &cache).ValueOrDie().bundle, all.bundle);
  // From its middle on, and not beyond what is asked for.
  const BundlePart part = ReadBundle(std::span(asked.requests).subspan(2, 3), &cache).ValueOrDie();
  EXPECT_EQ(part.bundle, all.bundle);
  EXPECT_EQ(part.first_member, 2);
  EXPECT_EQ(part.num_members, 3);
  ExpectRowsOf(part, asked, 2);
  // As far as the same stores follow.
  const std::vector<StoreRequest> gap = {asked.requests[1], asked.requests[2], asked.requests[4]};
  EXPECT_EQ(ReadBundle(gap, &cache).ValueOrDie().num_members, 2);
  // Of other chunks there is none.
  const std::vector<uint32_t> first = {0};
  const std::vector<StoreRequest> other = {{stores[0].get(), first}};
  EXPECT_NE(ReadBundle(other, &cache).ValueOrDie().bundle, all.bundle);
}

TEST(StoreBundle, LeavesTheCacheInItsTurn) {
  std::vector<RecordingStorePtr> stores;
  for (uint64_t i = 0; i < 40; ++i) stores.push_back(Open(Record("run" + std::to_string(i), {Rows(i, "/a", 1, 50)})));
  const Asked asked(stores);
  const int64_t size = ReadBundle(std::span(asked.requests).first(2), nullptr).ValueOrDie().bundle->byte_size;
  ChunkCache cache(6 * size);
  for (size_t i = 0; i < stores.size(); i += 2) {
    const BundlePart part = ReadBundle(std::span(asked.requests).subspan(i, 2), &cache).ValueOrDie();
    EXPECT_EQ(part.num_members, 2);
    // A chunk of a store that is in a bundle too.
    EXPECT_TRUE(stores[i]->ReadChunks(asked.chunks[i], &cache).ok());
    EXPECT_LE(cache.size_bytes(), 6 * size);
    EXPECT_GT(cache.size_bytes(), 0);
  }
  EXPECT_EQ(cache.FindBundle(stores[0]->cache_owner(), asked.chunks[0]).bundle, nullptr);
  EXPECT_NE(cache.FindBundle(stores[39]->cache_owner(), asked.chunks[39]).bundle, nullptr);
  ChunkCache none(0);
  EXPECT_EQ(ReadBundle(asked.requests, &none).ValueOrDie().num_members, 40);
  EXPECT_EQ(none.size_bytes(), 0);
}

}  // namespace
}  // namespace rushes
