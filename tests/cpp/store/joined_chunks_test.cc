// Small chunks read as one hold the rows of all, in the order of their ids.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_nested.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/array/concatenate.h"
#include "arrow/compute/exec.h"
#include "arrow/datum.h"
#include "arrow/io/memory.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/chunk/chunk_joiner.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

ComponentDescriptor Descriptor(const char* component) {
  ComponentDescriptor out;
  out.component = component;
  return out;
}

std::shared_ptr<arrow::Array> Numbers(std::mt19937& random, int count) {
  arrow::DoubleBuilder builder;
  for (int i = 0; i < count; ++i) EXPECT_TRUE(builder.Append(static_cast<double>(random())).ok());
  return builder.Finish().ValueOrDie();
}

const std::shared_ptr<arrow::DataType>& PositionType() {
  static const auto kType = arrow::fixed_size_list(arrow::field("item", arrow::float32(), false), 3);
  return kType;
}

std::shared_ptr<arrow::Array> Positions(std::mt19937& random, int count) {
  arrow::FloatBuilder values;
  for (int i = 0; i < 3 * count; ++i) EXPECT_TRUE(values.Append(static_cast<float>(random() % 1000)).ok());
  const auto child = values.Finish().ValueOrDie();
  return arrow::MakeArray(arrow::ArrayData::Make(PositionType(), count, {nullptr}, {child->data()}, 0));
}

std::shared_ptr<arrow::Array> Texts(std::mt19937& random, int count) {
  arrow::StringBuilder builder;
  for (int i = 0; i < count; ++i) EXPECT_TRUE(builder.Append(std::to_string(random())).ok());
  return builder.Finish().ValueOrDie();
}

struct Shape {
  const char* entity;
  bool has_nulls = false;
  bool has_text = false;
  bool has_interleaved_ids = false;
  bool has_two_timelines = true;
  // As columns that were sent: ids count up, with a gap in some chunks; each cell has one item, until there are `single_chunks` chunks.
  bool ids_count_up = false;
  uint64_t single_chunks = 0;
};

// A chunk of a few rows, or of so many, that follows the one before in time.
ChunkPtr MakeChunk(const Shape& shape, std::mt19937& random, uint64_t number, int64_t* time, int rows = 0) {
  std::vector<Timeline> timelines = {{"frame", TimeType::kSequence}};
  if (shape.has_two_timelines) timelines.push_back({"log_time", TimeType::kTimestamp});
  ChunkBuilder builder(EntityPath::Parse(shape.entity), timelines);
  builder.AddColumn(Descriptor("A:numbers"), arrow::float64());
  builder.AddColumn(Descriptor("B:positions"), PositionType());
  if (shape.has_text) builder.AddColumn(Descriptor("C:text"), arrow::utf8());
  if (rows == 0) rows = 1 + static_cast<int>(random() % 30);
  for (int row = 0; row < rows; ++row) {
    *time += 1 + static_cast<int64_t>(random() % 3);
    const auto count = static_cast<uint64_t>(row);
    RowId id{shape.has_interleaved_ids ? random() % 1'000'000 : number * 10'000 + count, count};
    if (shape.ids_count_up) id = {number, count + (number % 3 == 0 && row > 4 ? 7 : 0)};
    const bool is_single = number <= shape.single_chunks;
    std::vector<int64_t> times = {*time};
    if (shape.has_two_timelines) times.push_back(*time * 1000);
    std::vector<std::shared_ptr<arrow::Array>> cells = {Numbers(random, is_single ? 1 : 1 + static_cast<int>(random() % 2)),
                                                        Positions(random, is_single ? 1 : static_cast<int>(random() % 3))};
    if (shape.has_text) cells.push_back(Texts(random, 1));
    // At least one row of each has a value, or the column would not be in the index.
    if (shape.has_nulls && row > 0) {
      for (auto& cell : cells) {
        if (random() % 3 == 0) cell = nullptr;
      }
    }
    EXPECT_TRUE(builder.AddRow(id, times, cells).ok());
  }
  return builder.Finish({number, 77}).ValueOrDie();
}

std::string Record(const std::vector<ChunkPtr>& chunks, rrd::Compression compression) {
  const auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  rrd::WriterOptions options;
  options.compression = compression;
  auto writer = rrd::Writer::Make(sink, options).ValueOrDie();
  for (const ChunkPtr& chunk : chunks) EXPECT_TRUE(writer->Write({StoreKind::kRecording, "app", "run"}, *chunk).ok());
  EXPECT_TRUE(writer->Close().ok());
  return sink->Finish().ValueOrDie()->ToString();
}

RecordingStorePtr Open(const std::string& bytes) {
  return OpenRecording(MakeBufferSource("joined.rrd", arrow::Buffer::FromString(bytes))).ValueOrDie().stores.at(0);
}

// The rows of chunks of one shape, by row id.
std::shared_ptr<arrow::RecordBatch> RowsOf(const std::vector<ChunkPtr>& chunks) {
  std::vector<std::pair<size_t, int64_t>> rows;
  for (size_t i = 0; i < chunks.size(); ++i) {
    for (int64_t row = 0; row < chunks[i]->num_rows(); ++row) rows.push_back({i, row});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [&](const auto& a, const auto& b) { return chunks[a.first]->row_id(a.second) < chunks[b.first]->row_id(b.second); });
  const auto schema = chunks[0]->schema().arrow_schema();
  arrow::ArrayVector columns;
  for (int c = 0; c < schema->num_fields(); ++c) {
    arrow::ArrayVector cells;
    for (const auto& [chunk, row] : rows) cells.push_back(chunks[chunk]->ToRecordBatch()->column(c)->Slice(row, 1));
    columns.push_back(arrow::Concatenate(cells).ValueOrDie());
  }
  return arrow::RecordBatch::Make(schema, static_cast<int64_t>(rows.size()), columns);
}

class JoinedChunks : public testing::TestWithParam<rrd::Compression> {};

TEST_P(JoinedChunks, HoldTheRowsOfAll) {
  std::mt19937 random(5);
  for (const Shape& shape :
       {Shape{"/plain"}, Shape{"/nulls", true}, Shape{"/ids", false, false, true}, Shape{"/frames", true, false, true, false},
        Shape{"/text", true, true}, Shape{.entity = "/sent", .ids_count_up = true, .single_chunks = 350},
        Shape{.entity = "/single", .single_chunks = 700},
        Shape{.entity = "/single/nulls", .has_nulls = true, .ids_count_up = true, .single_chunks = 700}}) {
    SCOPED_TRACE(shape.entity);
    std::vector<ChunkPtr> chunks;
    int64_t time = 0;
    for (uint64_t number = 1; number <= 700; ++number) chunks.push_back(MakeChunk(shape, random, number, &time));
    const auto store = Open(Record(chunks, GetParam()));
    const ChunkGroups& groups = store->groups();
    ASSERT_GT(groups.size(), 1);
    ChunkCache cache(int64_t{64} << 20);
    size_t seen = 0;
    for (uint32_t group = 0; group < groups.size(); ++group) {
      const auto members = groups.Members(group);
      seen += members.size();
      std::vector<ChunkPtr> expected;
      for (const uint32_t member : members) expected.push_back(chunks[member]);
      const auto read = store->ReadGroups(std::span(&group, 1), &cache).ValueOrDie()[0];
      // Text is read chunk by chunk, and so from then on.
      EXPECT_EQ(read.size() > 1, shape.has_text);
      EXPECT_EQ(groups.IsDissolved(group), shape.has_text);
      EXPECT_EQ(read[0]->id(), expected[0]->id());
      const auto got = RowsOf(read), wanted = RowsOf(expected);
      ASSERT_TRUE(got->Equals(*wanted)) << got->ToString() << wanted->ToString();
      if (!shape.has_text) {
        EXPECT_TRUE(read[0]->ToRecordBatch()->Equals(*wanted)) << "sorted by row id";
        EXPECT_EQ(read[0]->times_strict(0), !shape.has_interleaved_ids);
      }
      EXPECT_EQ(store->ReadGroups(std::span(&group, 1), &cache).ValueOrDie()[0], read) << "kept";
    }
    EXPECT_GE(seen + groups.size(), chunks.size());
  }
}

// Of plain values only their cells are kept, not the payload; and what counts up or is the same in all is not kept at all.
TEST(ChunkCache, KeepsLittleMoreThanTheValues) {
  std::mt19937 random(11);
  const Shape shape{.entity = "/sent", .ids_count_up = true, .single_chunks = 100};
  constexpr int kRows = 6'000;
  constexpr int64_t kValueBytes = kRows * (8 + 3 * 4), kTimeBytes = kRows * 2 * 8;
  std::vector<ChunkPtr> chunks;
  int64_t time = 0;
  for (uint64_t number = 1; number <= 3; ++number) chunks.push_back(MakeChunk(shape, random, number, &time, kRows));
  const auto store = Open(Record(chunks, rrd::Compression::kLz4));
  const std::vector<uint32_t> all = {0, 1, 2};
  ChunkCache cache(int64_t{64} << 20), none(0);
  const auto kept = store->ReadChunks(all, &cache).ValueOrDie(), alone = store->ReadChunks(all, &none).ValueOrDie();
  for (const uint32_t i : all) {
    EXPECT_TRUE(kept[i]->ToRecordBatch()->Equals(*chunks[i]->ToRecordBatch()));
    EXPECT_TRUE(alone[i]->ToRecordBatch()->Equals(*chunks[i]->ToRecordBatch()));
    EXPECT_LT(kept[i]->byte_size(), kValueBytes + kTimeBytes + 1'000);
    EXPECT_GT(kept[i]->byte_size(), kValueBytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Both, JoinedChunks, testing::Values(rrd::Compression::kNone, rrd::Compression::kLz4),
                         [](const auto& info) { return info.param == rrd::Compression::kNone ? "plain" : "lz4"; });

TEST(ChunkGroups, AreOfOneShapeOneAfterAnother) {
  std::mt19937 random(6);
  const Shape a{"/a"}, a_frames{"/a", false, false, false, false}, b{"/b"};
  std::vector<ChunkPtr> chunks;
  int64_t time = 0, earlier = 0, other = 0;
  uint64_t number = 0;
  const auto add = [&](const Shape& shape, int count, int64_t* at) {
    for (int i = 0; i < count; ++i) chunks.push_back(MakeChunk(shape, random, ++number, at));
  };
  add(a, 5, &time);
  add(b, 3, &other);        // in between, and of no matter
  add(a, 4, &time);         // go on
  add(a_frames, 2, &time);  // without log_time
  add(a, 2, &earlier);      // earlier than what came before
  add(b, 1, &other);
  const auto store = Open(Record(chunks, rrd::Compression::kNone));
  const ChunkGroups& groups = store->groups();
  const auto members = [&](uint32_t group) {
    const auto span = groups.Members(group);
    return std::vector<uint32_t>(span.begin(), span.end());
  };
  ASSERT_EQ(groups.size(), 4);
  EXPECT_EQ(members(0), (std::vector<uint32_t>{0, 1, 2, 3, 4, 8, 9, 10, 11}));
  EXPECT_EQ(members(1), (std::vector<uint32_t>{12, 13}));
  EXPECT_EQ(members(2), (std::vector<uint32_t>{14, 15}));
  EXPECT_EQ(members(3), (std::vector<uint32_t>{5, 6, 7, 16}));
  EXPECT_EQ(groups.GroupOf(16), 3);
}

TEST(ChunkGroups, SayWhatTheirMembersAreTogether) {
  std::mt19937 random(9);
  std::vector<ChunkPtr> chunks;
  int64_t time = 0;
  for (uint64_t number = 1; number <= 900; ++number) {
    // Now and then one that is too large for any.
    chunks.push_back(MakeChunk({"/a"}, random, number, &time, number % 100 == 50 ? 5'000 : 0));
  }
  const auto store = Open(Record(chunks, rrd::Compression::kLz4));
  const SegmentIndex& index = *store->index();
  const ChunkGroups& groups = store->groups();
  ASSERT_GT(groups.size(), 5);
  std::vector<uint32_t> seen(groups.alone().begin(), groups.alone().end());
  EXPECT_GE(seen.size(), 9);
  for (const uint32_t chunk : groups.alone()) EXPECT_EQ(groups.GroupOf(chunk), ChunkGroups::kNone);
  for (uint32_t group = 0; group < groups.size(); ++group) {
    int64_t rows = 0;
    uint64_t bytes = 0, most = 0;
    for (const uint32_t chunk : groups.Members(group)) {
      seen.push_back(chunk);
      rows += index.num_rows(chunk);
      bytes += index.place(chunk).size_uncompressed;
      most = std::max(most, index.place(chunk).size_uncompressed);
    }
    EXPECT_EQ(groups.summary(group).num_rows, rows);
    EXPECT_EQ(groups.summary(group).size_uncompressed, bytes);
    EXPECT_EQ(groups.summary(group).max_member_bytes, most);
    EXPECT_LE(rows, ChunkGroups::kMaxRows);
    for (int timeline = 0; timeline < 2; ++timeline) {
      int64_t start = kMaxTime, end = kMinTime;
      for (const uint32_t chunk : groups.Members(group)) {
        start = std::min(start, index.Span(chunk, timeline)->start);
        end = std::max(end, index.Span(chunk, timeline)->end);
      }
      ASSERT_TRUE(groups.Span(group, timeline).has_value());
      EXPECT_EQ(groups.Span(group, timeline)->start, start);
      EXPECT_EQ(groups.Span(group, timeline)->end, end);
    }
  }
  std::sort(seen.begin(), seen.end());
  ASSERT_EQ(seen.size(), index.num_chunks());
  for (uint32_t chunk = 0; chunk < seen.size(); ++chunk) EXPECT_EQ(seen[chunk], chunk);
}

// Large chunks are only worth joining for a cache.
TEST(ChunkGroups, OfLargeMembersAreJoinedWhereTheyAreKept) {
  std::mt19937 random(10);
  std::vector<ChunkPtr> chunks;
  int64_t time = 0;
  for (uint64_t number = 1; number <= 6; ++number) chunks.push_back(MakeChunk({"/a"}, random, number, &time, 2'000));
  const auto store = Open(Record(chunks, rrd::Compression::kLz4));
  const ChunkGroups& groups = store->groups();
  ASSERT_GE(groups.size(), 1);
  ASSERT_GT(groups.summary(0).max_member_bytes, ChunkGroups::kCheapMemberBytes);
  const uint32_t group = 0;
  const size_t members = groups.Members(group).size();
  ASSERT_GT(members, 1);
  ChunkCache none(0), large(int64_t{64} << 20);
  const auto one_by_one = store->ReadGroups(std::span(&group, 1)).ValueOrDie()[0];
  EXPECT_EQ(one_by_one.size(), members);
  EXPECT_EQ(store->ReadGroups(std::span(&group, 1), &none).ValueOrDie()[0].size(), members);
  EXPECT_FALSE(groups.IsDissolved(group));
  const auto joined = store->ReadGroups(std::span(&group, 1), &large).ValueOrDie()[0];
  ASSERT_EQ(joined.size(), 1);
  arrow::RecordBatchVector batches;
  for (const ChunkPtr& chunk : one_by_one) batches.push_back(chunk->ToRecordBatch());
  EXPECT_TRUE(joined[0]->ToRecordBatch()->Equals(*arrow::ConcatenateRecordBatches(batches).ValueOrDie()));
  // What is there is taken, whoever asks.
  EXPECT_EQ(store->ReadGroups(std::span(&group, 1), &large).ValueOrDie()[0], joined);
}

// What is wrong with one of them is said as if it had been read alone.
TEST(ChunkGroups, BadMembersAreNamed) {
  std::mt19937 random(7);
  std::vector<ChunkPtr> chunks;
  int64_t time = 0;
  for (uint64_t number = 1; number <= 5; ++number) chunks.push_back(MakeChunk({"/a"}, random, number, &time));
  std::string bytes = Record(chunks, rrd::Compression::kNone);
  const auto sound = Open(bytes);
  const ChunkPlace place = sound->index()->place(3);
  // The id in its schema message becomes another one.
  const std::string digits = chunks[3]->id().ToHex();
  const size_t at = bytes.find("chunk_" + digits, place.offset);
  ASSERT_LT(at, place.offset + place.size);
  bytes[at + 6 + 31] = bytes[at + 6 + 31] == '0' ? '1' : '0';
  const auto store = Open(bytes);
  const uint32_t group = 0;
  const auto read = store->ReadGroups(std::span(&group, 1));
  ASSERT_FALSE(read.ok());
  EXPECT_NE(read.status().message().find("joined.rrd: chunk at byte " + std::to_string(place.offset)), std::string::npos) << read.status();
  EXPECT_NE(read.status().message().find("where " + digits + " was expected"), std::string::npos) << read.status();
}

// Whatever its bytes, a payload is refused or gives a sound chunk.
TEST(ChunkJoiner, DistrustsPayloads) {
  std::mt19937 random(8);
  std::vector<ChunkPtr> chunks;
  std::vector<std::string> payloads;
  int64_t time = 0;
  for (uint64_t number = 1; number <= 3; ++number) {
    chunks.push_back(MakeChunk({"/a", true}, random, number, &time));
    payloads.push_back(EncodeChunk(*chunks.back()).ValueOrDie()->ToString());
  }
  int added = 0, refused = 0;
  for (int round = 0; round < 4'000; ++round) {
    std::string damaged = payloads[1];
    const size_t changes = 1 + random() % 3;
    for (size_t i = 0; i < changes; ++i) {
      const size_t at = random() % damaged.size();
      damaged[at] = random() % 2 == 0 ? static_cast<char>(random()) : static_cast<char>(damaged[at] ^ (1 << random() % 8));
    }
    if (random() % 8 == 0) damaged.resize(random() % damaged.size());
    // In memory of just its size, so that reading beyond it is seen.
    const std::vector<char> exact(damaged.begin(), damaged.end());
    ChunkJoiner joiner(64);
    const bool is_first = round % 2 == 0;
    if (!is_first) {
      ASSERT_TRUE(joiner.Add(chunks[0]->id(), payloads[0]).ValueOrDie());
    }
    const auto fits = joiner.Add(chunks[1]->id(), std::string_view(exact.data(), exact.size()));
    (fits.ok() && *fits ? added : refused) += 1;
    // Nothing of what was refused stays.
    ASSERT_TRUE(joiner.Add(chunks[2]->id(), payloads[2]).ValueOrDie() || (is_first && fits.ok() && *fits));
    const auto joined = joiner.Finish();
    if (!joined.ok()) continue;
    ASSERT_TRUE((*joined)->ToRecordBatch()->ValidateFull().ok());
    if (!is_first && !(fits.ok() && *fits)) {
      EXPECT_TRUE((*joined)->ToRecordBatch()->Equals(*RowsOf({chunks[0], chunks[2]})));
    }
  }
  EXPECT_GT(added, 200);
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace rushes
