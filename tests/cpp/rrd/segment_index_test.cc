#include "rushes/rrd/segment_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rrd/test_chunks.h"
#include "rushes/rrd/manifest.h"

namespace rushes {
namespace {

const std::vector<Timeline> kFrame = {{"frame", TimeType::kSequence}};

SegmentIndexPtr Index(const std::vector<ChunkPtr>& chunks) {
  SegmentIndexBuilder builder;
  uint64_t offset = 100;
  for (const auto& chunk : chunks) {
    EXPECT_TRUE(builder.Add(SegmentIndexBuilder::Describe(*chunk, {offset, 50, 80})).ok());
    offset += 66;
  }
  return builder.Finish().ValueOrDie();
}

TEST(SegmentIndex, DescribesChunksAndColumns) {
  const auto index = Index({
      TestChunk(1, "/a", kFrame, {{1, {5}, {{1}}, {}}, {2, {9}, {}, {{2}}}, {3, {7}, {}, {{2, 3}}}}, true),
      TestChunk(2, "/a", {}, {{4, {}, {{1}}, {}}}),
      TestChunk(3, "/b", {{"clock", TimeType::kTimestamp}, {"frame", TimeType::kSequence}}, {{5, {100, -1}, {{1}}, {}}}),
  });
  ASSERT_EQ(index->num_chunks(), 3u);
  ASSERT_EQ(index->timelines().size(), 2u);
  const int frame = index->TimelineIndex("frame"), clock = index->TimelineIndex("clock");
  EXPECT_EQ(index->TimelineIndex("other"), -1);
  EXPECT_EQ(*index->Span(0, frame), (TimeSpan{5, 9}));
  EXPECT_FALSE(index->Span(0, clock));
  EXPECT_FALSE(index->Span(1, frame));
  EXPECT_EQ(*index->Span(2, clock), (TimeSpan{100, 100}));
  EXPECT_EQ(*index->TotalSpan(frame), (TimeSpan{-1, 9}));
  EXPECT_TRUE(index->is_static(1));
  EXPECT_EQ(index->num_rows(0), 3);
  EXPECT_EQ(index->FindChunk(ChunkId{7, 3}), 2);
  EXPECT_EQ(index->FindChunk(ChunkId{7, 4}), -1);
  EXPECT_EQ(index->size_bytes(), 3u * 66);

  const auto columns = index->ColumnsOf(static_cast<uint32_t>(index->EntityIndex(EntityPath::Parse("/a"))));
  ASSERT_EQ(columns.size(), 2u);
  for (const auto& column : columns) {
    const bool is_x = index->components()[column.component].component == "x";
    EXPECT_EQ(column.has_static, is_x);
    const auto& entry = index->Entries(column)[0];
    EXPECT_EQ(entry.num_rows, is_x ? 1 : 2);
    EXPECT_EQ(*index->EntrySpan(entry, frame), is_x ? (TimeSpan{5, 5}) : (TimeSpan{7, 9}));
  }
  EXPECT_FALSE(index->is_shadowed(0)) << "its column y has no static data";
}

TEST(SegmentIndex, KnowsWhatStaticDataHides) {
  const auto index = Index({TestChunk(1, "/a", kFrame, {{1, {5}, {{1}}, {}}}), TestChunk(2, "/a", {}, {{4, {}, {{1}}, {}}}),
                            TestChunk(3, "/b", kFrame, {{1, {5}, {{1}}, {}}})});
  EXPECT_TRUE(index->is_shadowed(0));
  EXPECT_FALSE(index->is_shadowed(1));
  EXPECT_FALSE(index->is_shadowed(2));
}

TEST(SegmentIndex, ListsEqualIdsOnceAndRefusesTwoTypesOfATimeline) {
  SegmentIndexBuilder builder;
  const auto chunk = TestChunk(1, "/a", kFrame, {{1, {5}, {{1}}, {}}});
  ASSERT_TRUE(builder.Add(SegmentIndexBuilder::Describe(*chunk, {1, 2, 3})).ok());
  ASSERT_TRUE(builder.Add(SegmentIndexBuilder::Describe(*chunk, {4, 5, 6})).ok());
  const auto other = TestChunk(2, "/b", {{"frame", TimeType::kTimestamp}}, {{1, {5}, {{1}}, {}}});
  const auto status = builder.Add(SegmentIndexBuilder::Describe(*other, {7, 8, 9}));
  EXPECT_THAT(status.message(), testing::HasSubstr("\"frame\" is a sequence and"));
  EXPECT_EQ((*builder.Finish())->num_chunks(), 1u);
}

// What a manifest says must give the index it was made of.
TEST(Manifest, GivesTheIndexBack) {
  const std::vector<ChunkPtr> chunks = {
      TestChunk(1, "/a", kFrame, {{1, {5}, {{1}}, {}}, {2, {9}, {}, {{2}}}, {3, {7}, {}, {{2, 3}}}}, true),
      TestChunk(2, "/static", {}, {{4, {}, {{1}}, {}}}),
      TestChunk(3, "/b c", {{"a-clock", TimeType::kTimestamp}, {"frame", TimeType::kSequence}}, {{5, {100, -1}, {{1}}, {}}}),
  };
  const auto index = Index(chunks);
  const auto schema = DatasetSchema::FromChunks(chunks).ValueOrDie();
  const ManifestPart part{index.get(), nullptr};
  const auto manifest = MakeManifest({&part, 1}, schema);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_TRUE(manifest->data->ValidateFull().ok());
  std::vector<std::string> names;
  for (const auto& field : manifest->data->schema()->fields()) names.push_back(field->name());
  EXPECT_THAT(names, testing::IsSupersetOf({"chunk_id", "x:has_static_data", "example_Two:y:has_static_data", "a_clock:start", "frame:end",
                                            "frame:x:num_rows", "frame:example_Two:y:start", "a_clock:x:end"}));

  const auto packed = rrd::PackManifest({StoreKind::kRecording, "app", "rec"}, *manifest);
  ASSERT_TRUE(packed.ok());
  const auto footer = rrd::ParseFooter(*packed);
  ASSERT_TRUE(footer.ok()) << footer.status();
  ASSERT_EQ(footer->size(), 1u);
  const auto unpacked = rrd::UnpackManifest((*footer)[0], 0, 1000);
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_EQ(unpacked->schema->sha256, manifest->schema_sha256);
  SegmentIndexBuilder builder;
  for (const auto& entry : unpacked->chunks) ASSERT_TRUE(builder.Add(entry).ok());
  const auto again = builder.Finish().ValueOrDie();
  ASSERT_EQ(again->num_chunks(), index->num_chunks());
  for (size_t i = 0; i < index->num_chunks(); ++i) {
    EXPECT_EQ(again->id(i), index->id(i));
    EXPECT_EQ(again->is_static(i), index->is_static(i));
    EXPECT_EQ(again->place(i).offset, index->place(i).offset);
    EXPECT_EQ(again->entities()[again->entity(i)], index->entities()[index->entity(i)]);
    for (int t = 0; t < 2; ++t) EXPECT_EQ(again->Span(i, t), index->Span(i, t));
  }
  for (const auto& column : index->columns()) {
    bool found = false;
    for (const auto& other : again->columns()) {
      if (again->entities()[other.entity] != index->entities()[column.entity] ||
          again->components()[other.component] != index->components()[column.component]) {
        continue;
      }
      found = true;
      ASSERT_EQ(again->Entries(other).size(), index->Entries(column).size());
      for (size_t i = 0; i < index->Entries(column).size(); ++i) {
        for (int t = 0; t < 2; ++t) {
          EXPECT_EQ(again->EntrySpan(again->Entries(other)[i], t), index->EntrySpan(index->Entries(column)[i], t));
        }
      }
    }
    EXPECT_TRUE(found);
  }
  EXPECT_TRUE(rrd::UnpackManifest((*footer)[0], 0, 200).status().IsInvalid()) << "chunks beyond the end";
}

TEST(Manifest, UnitesLayersAndListsEqualChunksOnce) {
  const auto shared = TestChunk(1, "/a", kFrame, {{1, {5}, {{1}}, {}}});
  const auto own = TestChunk(2, "/b", {}, {{4, {}, {{1}}, {{2}}}}, true);
  const auto first = Index({shared}), second = Index({shared, own});
  auto schema = DatasetSchema::FromChunks({shared, own}).ValueOrDie();
  const ManifestPart parts[] = {{first.get(), nullptr}, {second.get(), nullptr}};
  const auto manifest = MakeManifest(parts, schema);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->data->num_rows(), 2);
}

}  // namespace
}  // namespace rushes
