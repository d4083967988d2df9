#include "rushes/store/recording.h"
#include "rushes/chunk/repeat_texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "arrow/io/memory.h"
#include "rrd/test_chunks.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/rrd/format.h"
#include "rushes/rrd/writer.h"

namespace rushes {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using namespace std::string_literals;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

std::string Vector(const std::string& name) { return ReadFile(RUSHES_SOURCE_DIR "/tests/data/rrd/" + name); }

arrow::Result<Recording> Open(const std::string& bytes) {
  return OpenRecording(MakeBufferSource("test.rrd", arrow::Buffer::FromString(bytes)));
}

std::vector<uint32_t> All(const RecordingStore& store) {
  std::vector<uint32_t> chunks(store.index()->num_chunks());
  for (uint32_t i = 0; i < chunks.size(); ++i) chunks[i] = i;
  return chunks;
}

std::string Hex(const std::string& bytes) {
  std::string out;
  for (const unsigned char c : bytes) {
    char text[3];
    snprintf(text, sizeof(text), "%02x", c);
    out += text;
  }
  return out;
}

// All chunks, one after another, as text.
std::string Contents(const Recording& recording) {
  std::string out;
  for (const auto& store : recording.stores) {
    out += std::string(ToString(store->id().kind)) + " " + store->id().application_id + " " + store->id().recording_id + "\n";
    const auto chunks = store->ReadChunks(All(*store));
    EXPECT_TRUE(chunks.ok()) << chunks.status();
    if (!chunks.ok()) continue;
    for (const auto& chunk : *chunks) out += chunk->id().ToHex() + " " + chunk->entity().text() + "\n" + chunk->ToRecordBatch()->ToString();
  }
  return out;
}

class TwoChunks : public testing::Test {
 protected:
  const std::string bytes_ = Vector("two_chunks.rrd");
};

TEST_F(TwoChunks, AreFoundThroughTheFooter) {
  ASSERT_EQ(bytes_.size(), 5448u);
  const auto recording = Open(bytes_);
  ASSERT_TRUE(recording.ok()) << recording.status();
  EXPECT_TRUE(recording->has_footer);
  EXPECT_THAT(recording->warnings, IsEmpty());
  ASSERT_EQ(recording->stores.size(), 1u);
  const RecordingStore& store = *recording->stores[0];
  EXPECT_EQ(store.id(), (StoreId{StoreKind::kRecording, "app", "rec"}));
  EXPECT_EQ(Hex(store.schema_sha256()), "1d494fac7ca4c8c99db5455f3d83154b7dd5d477a485e208d6de3d4fda7becf1");
  const SegmentIndex& index = *store.index();
  ASSERT_EQ(index.num_chunks(), 2u);
  EXPECT_EQ(index.id(0).ToHex().substr(0, 16), "18EA7D59BF470565");
  EXPECT_EQ(index.place(0).offset, 174u);
  EXPECT_EQ(index.place(0).size, 960u);
  EXPECT_EQ(index.place(0).size_uncompressed, 1736u);
  EXPECT_EQ(index.place(1).offset, 1150u);
  EXPECT_EQ(index.num_rows(1), 2);
  EXPECT_TRUE(index.is_static(0));
  EXPECT_EQ(*index.Span(1, index.TimelineIndex("frame")), (TimeSpan{0, 1}));
  ASSERT_EQ(store.property_chunks().size(), 1u);
  EXPECT_EQ(static_cast<const arrow::Int64Array&>(*store.property_chunks()[0]->column(0)->values()).Value(0), 1795385225875150498);
  const auto chunks = store.ReadChunks(All(store));
  ASSERT_TRUE(chunks.ok()) << chunks.status();
  const auto& values = static_cast<const arrow::DoubleArray&>(*(*chunks)[1]->column(0)->values());
  EXPECT_EQ(values.Value(0), 1.5);
  EXPECT_EQ(values.Value(1), -2.0);
  EXPECT_EQ((*chunks)[1]->times(0)[1], 1);
}

TEST_F(TwoChunks, AreTheSameWithoutAFooter) {
  const auto with = Open(bytes_);
  const auto without = Open(bytes_.substr(0, 2231));
  ASSERT_TRUE(with.ok() && without.ok()) << without.status();
  EXPECT_FALSE(without->has_footer);
  EXPECT_THAT(without->warnings, IsEmpty());
  EXPECT_EQ(Contents(*with), Contents(*without));
  EXPECT_EQ(with->stores[0]->schema_sha256(), without->stores[0]->schema_sha256());
  EXPECT_EQ(with->stores[0]->index()->size_bytes(), without->stores[0]->index()->size_bytes());
}

TEST_F(TwoChunks, CanBeForwardedAsTheyAre) {
  const auto recording = Open(bytes_);
  const auto messages = recording->stores[0]->ReadMessages(std::vector<uint32_t>{1, 0});
  ASSERT_TRUE(messages.ok()) << messages.status();
  ASSERT_EQ((*messages)[0].pieces.size(), 1u);
  EXPECT_EQ(std::string_view(*(*messages)[0].pieces[0]), std::string_view(bytes_).substr(1150, 1081));
  EXPECT_EQ(std::string_view(*(*messages)[1].pieces[0]), std::string_view(bytes_).substr(174, 960));
  EXPECT_EQ((*messages)[0].size_uncompressed, 2056u);
}

// One kind of damage per row: how many chunks are still there, and what is said.
TEST_F(TwoChunks, SurviveDamage) {
  const auto with_byte = [&](size_t at, char value) {
    std::string out = bytes_;
    out[at] = value;
    return out;
  };
  std::string long_message = bytes_;
  long_message.replace(20, 8, "\0\0\0\0\2\0\0\0"s);
  const struct {
    const char* name;
    std::string bytes;
    size_t chunks;
    const char* warning;
  } kCases[] = {
      {"footer bit", with_byte(3000, bytes_[3000] ^ 1), 2, "checksum"},
      {"checksum", with_byte(5448 - 16, bytes_[5448 - 16] ^ 1), 2, "checksum"},
      {"last byte missing", bytes_.substr(0, 5447), 2, "trailer at byte 5416 is cut off"},
      {"no end message", bytes_.substr(0, 2231), 2, nullptr},
      {"something appended", bytes_ + "hello", 2, "what follows byte 5448"},
      {"cut in a footer", bytes_.substr(0, 2300), 2, "needs 3169 bytes, but only 53 follow"},
      {"cut in the second chunk", bytes_.substr(0, 1200), 1, "message at byte 1150 needs 1081 bytes, but only 50 follow"},
      {"cut in a header", bytes_.substr(0, 1140), 1, "inside the header of a message"},
      {"two trailer entries", with_byte(5448 - 4, 2), 2, nullptr},
      {"no trailer entry", with_byte(5448 - 4, 0), 2, nullptr},
      {"bad length, good footer", long_message, 2, nullptr},
      {"unknown message, good footer", with_byte(0x55, 9), 2, nullptr},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    const auto recording = Open(c.bytes);
    ASSERT_TRUE(recording.ok()) << recording.status();
    ASSERT_EQ(recording->stores.size(), 1u);
    EXPECT_EQ(recording->stores[0]->index()->num_chunks(), c.chunks);
    if (c.warning == nullptr) {
      EXPECT_THAT(recording->warnings, IsEmpty());
    } else {
      ASSERT_FALSE(recording->warnings.empty());
      EXPECT_THAT(recording->warnings[0], HasSubstr(c.warning));
      EXPECT_THAT(recording->warnings[0], HasSubstr("test.rrd"));
      EXPECT_EQ(recording->stores[0]->warnings(), recording->warnings);
    }
  }
}

TEST_F(TwoChunks, NothingReadableIsAnError) {
  EXPECT_THAT(Open("").status().message(), HasSubstr("test.rrd: byte 0: expected the 12-byte header"));
  EXPECT_THAT(Open("this is no recording").status().message(), HasSubstr("not an .rrd file"));
  EXPECT_THAT(Open(bytes_.substr(0, 12) + std::string(5, 'x')).status().message(), HasSubstr("inside the header of a message"));
  const auto empty = Open(bytes_.substr(0, 12));
  ASSERT_TRUE(empty.ok());
  EXPECT_THAT(empty->stores, IsEmpty());
}

TEST_F(TwoChunks, ABadChunkIsLeftOutAndNamed) {
  std::string bytes = bytes_.substr(0, 2231);
  for (size_t i = 1180; i < 1300; ++i) bytes[i] = '\xff';
  const auto recording = Open(bytes);
  ASSERT_TRUE(recording.ok()) << recording.status();
  EXPECT_EQ(recording->stores[0]->index()->num_chunks(), 1u);
  ASSERT_EQ(recording->warnings.size(), 1u);
  EXPECT_THAT(recording->warnings[0], HasSubstr("message at byte 1150 cannot be read"));

  std::string with_footer = bytes_;
  for (size_t i = 1180; i < 1300; ++i) with_footer[i] = '\xff';
  const auto opened = Open(with_footer);
  ASSERT_TRUE(opened.ok());
  const auto chunks = opened->stores[0]->ReadChunks(std::vector<uint32_t>{1});
  EXPECT_TRUE(chunks.status().IsInvalid());
  EXPECT_THAT(chunks.status().message(), HasSubstr("test.rrd: chunk at byte 1150"));
  EXPECT_TRUE(opened->stores[0]->ReadChunks(std::vector<uint32_t>{0}).ok());
}

TEST_F(TwoChunks, SurviveAJournal) {
  const auto recording = Open(bytes_);
  const auto& store = recording->stores[0];
  const auto bytes = store->ToBytes();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto again = RecordingStore::FromBytes(recording->source, *bytes);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->id(), store->id());
  EXPECT_EQ((*again)->schema_sha256(), store->schema_sha256());
  EXPECT_EQ((*again)->property_chunks().size(), 1u);
  Recording copy = *recording;
  copy.stores = {*again};
  EXPECT_EQ(Contents(copy), Contents(*recording));
  const std::string half = (*bytes)->ToString().substr(0, static_cast<size_t>((*bytes)->size() / 2));
  EXPECT_FALSE(RecordingStore::FromBytes(recording->source, arrow::Buffer::FromString(half)).ok());
}

TEST(NoChunk, IsNoStoreWithAFooterAndAnEmptyOneWithout) {
  const std::string bytes = Vector("no_chunk.rrd");
  const auto with = Open(bytes);
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_THAT(with->stores, IsEmpty());
  const auto without = Open(bytes.substr(0, 0x9E));
  ASSERT_TRUE(without.ok()) << without.status();
  ASSERT_EQ(without->stores.size(), 1u);
  EXPECT_EQ(without->stores[0]->index()->num_chunks(), 0u);
  EXPECT_TRUE(without->stores[0]->schema()->empty());
}

TEST(Concatenated, StreamsAreAllRead) {
  const std::string two = Vector("two_chunks.rrd"), none = Vector("no_chunk.rrd"), old = Vector("sdk_0.23.4.rrd");
  const struct {
    const char* name;
    std::string bytes;
    size_t chunks;
    bool has_footer;
  } kCases[] = {
      {"an empty one last", two + none, 2, false},
      {"twice the same: equal ids are one chunk", two + two, 2, true},
      {"one without footer first", two.substr(0, 2231) + two, 2, false},
      {"an old one with a bare end first", old + two, 2, false},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    const auto recording = Open(c.bytes);
    ASSERT_TRUE(recording.ok()) << recording.status();
    EXPECT_THAT(recording->warnings, IsEmpty());
    EXPECT_EQ(recording->has_footer, c.has_footer);
    const auto& store = recording->stores[0];
    EXPECT_EQ(store->id().recording_id, "rec");
    EXPECT_EQ(store->index()->num_chunks(), c.chunks);
    EXPECT_TRUE(store->ReadChunks(All(*store)).ok());
  }
  const auto both = Open(old + two);
  ASSERT_EQ(both->stores.size(), 2u);
  EXPECT_EQ(both->stores[1]->id().recording_id, "rec-cols");
}

TEST(Old, FilesOf023AreMigrated) {
  const auto recording = Open(Vector("sdk_0.23.4.rrd"));
  ASSERT_TRUE(recording.ok()) << recording.status();
  ASSERT_EQ(recording->stores.size(), 1u);
  const RecordingStore& store = *recording->stores[0];
  EXPECT_EQ(store.id(), (StoreId{StoreKind::kRecording, "app", "rec-cols"}));
  EXPECT_EQ(store.index()->num_chunks(), 2u) << "chunks with nothing but an indicator do not count";
  std::vector<std::string> names;
  for (const auto& column : store.schema()->columns()) names.push_back(column.name());
  EXPECT_THAT(names, ElementsAre("/s:Scalars:scalars", "property:RecordingInfo:start_time"));
  EXPECT_EQ(*store.schema()->columns()[0].descriptor.archetype, "rerun.archetypes.Scalars");
  EXPECT_EQ(*store.schema()->columns()[0].descriptor.component_type, "rerun.components.Scalar");
  // Old envelopes lack the application, the chunk id and whether the chunk is static.
  const auto messages = store.ReadMessages(All(store));
  ASSERT_TRUE(messages.ok()) << messages.status();
  for (const auto& message : *messages) {
    ASSERT_EQ(message.pieces.size(), 3u);
    std::string bytes;
    for (const auto& piece : message.pieces) bytes += piece->ToString();
    const auto parsed = rrd::ParseArrowMessage(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed->store_id.application_id, "app");
    EXPECT_EQ(*parsed->chunk_id, message.id);
    EXPECT_TRUE(parsed->is_static.has_value());
  }
}

class WrittenFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "rushes_store_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/file.rrd";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static const std::vector<Timeline>& Frame() {
    static const std::vector<Timeline> kFrame = {{"frame", TimeType::kSequence}};
    return kFrame;
  }
  void Write(rrd::WriterOptions options = {}) {
    auto writer = rrd::Writer::Open(path_, options).ValueOrDie();
    for (uint64_t i = 0; i < 10; ++i) {
      const auto chunk = TestChunk(i, "/a", Frame(), {{i, {static_cast<int64_t>(i)}, {{1.0 * static_cast<double>(i)}}, {}}});
      ASSERT_TRUE(writer->Write({StoreKind::kRecording, "app", "rec"}, *chunk).ok());
      ASSERT_TRUE(writer->Write({StoreKind::kBlueprint, "app", "bp"}, *TestChunk(100 + i, "/b", {}, {{i, {}, {{2}}, {}}})).ok());
    }
    ASSERT_TRUE(writer->ActivateBlueprint({StoreKind::kBlueprint, "app", "bp"}, true, true).ok());
    ASSERT_TRUE(writer->Close().ok());
  }
  std::string directory_, path_;
};

TEST_F(WrittenFile, IsReadBackInEveryForm) {
  Write();
  const auto expected = OpenRecording(path_);
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_TRUE(expected->has_footer);
  ASSERT_EQ(expected->stores.size(), 2u);
  const std::string contents = Contents(*expected);
  for (const bool footer : {false, true}) {
    for (const auto compression : {rrd::Compression::kNone, rrd::Compression::kLz4}) {
      Write({compression, footer, rrd::kOurVersion});
      const auto recording = OpenRecording("file://" + path_);
      ASSERT_TRUE(recording.ok()) << recording.status();
      EXPECT_THAT(recording->warnings, IsEmpty());
      EXPECT_EQ(recording->has_footer, footer);
      EXPECT_EQ(Contents(*recording), contents);
      EXPECT_EQ(recording->stores[0]->schema_sha256(), expected->stores[0]->schema_sha256());
    }
  }
}

TEST_F(WrittenFile, ManifestsOf028To031AreNotBelievedForSeveralStores) {
  Write();
  const auto expected = Contents(*OpenRecording(path_));
  Write({rrd::Compression::kLz4, true, {0, 30, 2, 0}});
  const auto recording = OpenRecording(path_);
  ASSERT_TRUE(recording.ok()) << recording.status();
  EXPECT_FALSE(recording->has_footer);
  EXPECT_THAT(recording->warnings, IsEmpty()) << "nothing is lost";
  EXPECT_EQ(Contents(*recording), expected);
}

TEST_F(WrittenFile, ChangesAreNoticed) {
  Write();
  const auto recording = OpenRecording(path_);
  const RecordingStore& store = *recording->stores[0];
  const std::vector<uint32_t> first = {0};
  ASSERT_TRUE(store.ReadChunks(first).ok());
  const auto expect_changed = [&] {
    const auto chunks = store.ReadChunks(first);
    EXPECT_TRUE(chunks.status().IsIOError()) << chunks.status();
    EXPECT_THAT(chunks.status().message(), HasSubstr(path_));
  };
  {
    SCOPED_TRACE("touched");
    std::filesystem::last_write_time(path_, std::filesystem::file_time_type::clock::now() + std::chrono::seconds(5));
    expect_changed();
  }
  {
    SCOPED_TRACE("cut");
    std::filesystem::resize_file(path_, 100);
    expect_changed();
    EXPECT_THAT(store.ReadMessages(first).status().message(), HasSubstr("changed after it was opened or registered"));
  }
  {
    SCOPED_TRACE("removed");
    std::filesystem::remove(path_);
    expect_changed();
  }
  EXPECT_TRUE(OpenRecording(path_).status().IsKeyError());
  EXPECT_THAT(OpenRecording(directory_).status().message(), HasSubstr("is a directory"));
}

TEST_F(WrittenFile, AreReadInTheOrderAskedFor) {
  Write();
  const auto recording = OpenRecording(path_);
  const RecordingStore& store = *recording->stores[0];
  ChunkCache cache(1 << 20);
  for (int round = 0; round < 2; ++round) {
    const std::vector<uint32_t> wanted = {7, 2, 2, 9, 0};
    const auto chunks = store.ReadChunks(wanted, &cache);
    ASSERT_TRUE(chunks.ok()) << chunks.status();
    for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ((*chunks)[i]->id(), store.index()->id(wanted[i]));
  }
  EXPECT_GT(cache.size_bytes(), 0);
  EXPECT_TRUE(store.ReadChunks(std::vector<uint32_t>{10}).status().IsIndexError());
}

TEST_F(WrittenFile, TheLatestOfSeveralStaticChunksIsKnown) {
  {
    auto writer = rrd::Writer::Open(path_).ValueOrDie();
    for (const uint64_t row : {3, 9, 5}) {
      ASSERT_TRUE(writer->Write({StoreKind::kRecording, "app", "rec"}, *TestChunk(row, "/s", {}, {{row, {}, {{1}}, {}}})).ok());
    }
    ASSERT_TRUE(writer->Close().ok());
  }
  const auto recording = OpenRecording(path_);
  ASSERT_TRUE(recording.ok()) << recording.status();
  const SegmentIndex& index = *recording->stores[0]->index();
  ASSERT_EQ(index.columns().size(), 1u);
  std::vector<uint64_t> rows;
  for (const auto& entry : index.Entries(index.columns()[0])) rows.push_back(entry.last_row_id.counter);
  EXPECT_THAT(rows, ElementsAre(3, 9, 5));
}

TEST_F(WrittenFile, AStaticNullHidesNothing) {
  const Timeline frame{"frame", TimeType::kSequence};
  {
    auto writer = rrd::Writer::Open(path_).ValueOrDie();
    ASSERT_TRUE(writer->Write({StoreKind::kRecording, "app", "rec"}, *TestChunk(1, "/s", {frame}, {{1, {4}, {{1}}, {}}})).ok());
    ASSERT_TRUE(writer->Write({StoreKind::kRecording, "app", "rec"}, *TestChunk(2, "/s", {}, {{2, {}, {}, {}}})).ok());
    ASSERT_TRUE(writer->Close().ok());
  }
  const auto recording = OpenRecording(path_);
  ASSERT_TRUE(recording.ok()) << recording.status();
  const SegmentIndex& index = *recording->stores[0]->index();
  ASSERT_EQ(index.num_chunks(), 2u);
  EXPECT_FALSE(index.is_shadowed(0));
  ASSERT_EQ(index.columns().size(), 1u);
  EXPECT_FALSE(index.columns()[0].has_static);
}

ChunkPtr FindOne(ChunkCache& cache, uint64_t owner, uint32_t chunk) {
  std::vector<ChunkPtr> out(1);
  cache.Find(owner, std::span(&chunk, 1), {}, &out);
  return out[0];
}

TEST(ChunkCache, KeepsToItsBudget) {
  const auto chunk = TestChunk(1, "/a", {}, {{1, {}, {{1, 2, 3}}, {}}});
  const int64_t size = chunk->byte_size();
  ChunkCache cache(size * 5);
  for (uint32_t i = 0; i < 20; ++i) {
    cache.Insert(1, i, nullptr, chunk);
    EXPECT_LE(cache.size_bytes(), cache.budget_bytes());
    FindOne(cache, 1, 0);
  }
  EXPECT_NE(FindOne(cache, 1, 0), nullptr) << "used all the time";
  EXPECT_EQ(FindOne(cache, 1, 1), nullptr);
  EXPECT_NE(FindOne(cache, 1, 19), nullptr);
  EXPECT_EQ(FindOne(cache, 2, 19), nullptr);
  ChunkCache tiny(size);
  tiny.Insert(1, 1, nullptr, chunk);
  EXPECT_EQ(tiny.size_bytes(), 0);
}

TEST(ChunkCache, KeepsRepeatedIdsWithinItsBudget) {
  const auto repeat = [](const char* id, int64_t num_rows) {
    const TextRun run{id, num_rows};
    return RepeatTexts({&run, 1}).ValueOrDie();
  };
  const auto chunk = TestChunk(1, "/a", {}, {{1, {}, {{1, 2, 3}}, {}}});
  ChunkCache cache(200'000);
  EXPECT_EQ(cache.FindId(1, 10), nullptr);
  cache.InsertId(1, repeat("run", 100));
  cache.InsertId(2, repeat("other", 100));
  EXPECT_EQ(cache.FindId(1, 100)->GetString(99), "run");
  EXPECT_EQ(cache.FindId(1, 101), nullptr) << "as long as it is";
  cache.InsertId(1, repeat("run", 1'000));
  cache.InsertId(1, repeat("run", 500));
  EXPECT_EQ(cache.FindId(1, 1'000)->length(), 1'000) << "a shorter one does not replace it";
  EXPECT_EQ(cache.FindId(2, 100)->GetString(0), "other");
  // It goes like anything else, and its store can be forgotten then.
  cache.Insert(1, 0, nullptr, chunk);
  for (uint64_t owner = 10; owner < 60; ++owner) cache.InsertId(owner, repeat("some", 1'000));
  EXPECT_LE(cache.size_bytes(), cache.budget_bytes());
  EXPECT_GT(cache.size_bytes(), cache.budget_bytes() / 2);
  EXPECT_EQ(cache.FindId(10, 1), nullptr);
  cache.InsertId(10, repeat("large", 10'000));
  EXPECT_EQ(cache.FindId(10, 1), nullptr) << "no more than a quarter of the budget";
}

}  // namespace
}  // namespace rushes
