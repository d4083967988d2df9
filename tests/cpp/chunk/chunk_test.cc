#include "rushes/chunk/chunk.h"

#include <gtest/gtest.h>

#include <random>

#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/builder.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/chunk/metadata.h"

namespace rushes {
namespace {

std::shared_ptr<arrow::Array> Ints(const std::vector<int64_t>& values) {
  arrow::Int64Builder builder;
  EXPECT_TRUE(builder.AppendValues(values).ok());
  return *builder.Finish();
}

std::shared_ptr<arrow::Array> Texts(const std::vector<std::string>& values) {
  arrow::StringBuilder builder;
  EXPECT_TRUE(builder.AppendValues(values).ok());
  return *builder.Finish();
}

ChunkPtr MakeChunk() {
  ChunkBuilder builder(EntityPath::Parse("/a"), {{"frame", TimeType::kSequence}, {"time", TimeType::kTimestamp}});
  builder.AddColumn({"rerun.archetypes.Scalars", "Scalars:scalars", "rerun.components.Scalar"}, arrow::int64());
  builder.AddColumn({std::nullopt, "note", std::nullopt}, arrow::utf8());
  EXPECT_TRUE(builder.AddRow({0, 2}, {5, 50}, {Ints({1, 2}), nullptr}).ok());
  EXPECT_TRUE(builder.AddRow({0, 1}, {7, 40}, {Ints({}), Texts({"x"})}).ok());
  EXPECT_TRUE(builder.AddRow({0, 3}, {6, INT64_MIN}, {nullptr, Texts({"y", "z"})}).ok());
  return *builder.Finish({1, 2});
}

TEST(Chunk, HoldsRowsInRowIdOrder) {
  const ChunkPtr chunk = MakeChunk();
  EXPECT_EQ(chunk->num_rows(), 3);
  EXPECT_EQ(chunk->entity().text(), "/a");
  EXPECT_EQ(chunk->row_id(0), (RowId{0, 1}));
  EXPECT_EQ(chunk->row_id(2), (RowId{0, 3}));
  EXPECT_EQ(std::vector<int64_t>(chunk->times(0), chunk->times(0) + 3), (std::vector<int64_t>{7, 5, 6}));
  EXPECT_FALSE(chunk->times_sorted(0));
  EXPECT_EQ(chunk->times(1)[2], kMinTime) << "the value that means static is clamped";
  EXPECT_EQ(chunk->schema().TimelineIndex("time"), 1);
  EXPECT_EQ(chunk->schema().TimelineIndex("nope"), -1);
  EXPECT_EQ(chunk->schema().ColumnIndex("note"), 1);
  EXPECT_TRUE(chunk->column(0)->IsNull(2));
  EXPECT_EQ(chunk->column(0)->value_length(0), 0);
  EXPECT_GT(chunk->byte_size(), 0);
}

TEST(Chunk, SurvivesEncodingAndDecoding) {
  const ChunkPtr chunk = MakeChunk();
  const auto payload = *EncodeChunk(*chunk);
  ChunkDecoder decoder(2);
  for (int i = 0; i < 3; ++i) {
    const auto decoded = decoder.Decode(payload);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ((*decoded)->id(), (ChunkId{1, 2}));
    EXPECT_TRUE((*decoded)->ToRecordBatch()->Equals(*chunk->ToRecordBatch(), /*check_metadata=*/true));
  }
}

TEST(ChunkDecoder, SharesSchemasBetweenChunksButNotTheirIds) {
  ChunkDecoder decoder;
  std::vector<ChunkPtr> chunks;
  for (uint64_t i = 1; i <= 3; ++i) {
    ChunkBuilder builder(EntityPath::Parse("/a"), {});
    builder.AddColumn({std::nullopt, "x", std::nullopt}, arrow::int64());
    ASSERT_TRUE(builder.AddRow({0, i}, {}, {Ints({1})}).ok());
    chunks.push_back(*decoder.Decode(*EncodeChunk(**builder.Finish({7, i}))));
    EXPECT_EQ(chunks.back()->id(), (ChunkId{7, i}));
    EXPECT_TRUE(chunks.back()->is_static());
    EXPECT_EQ(FindMetadata(chunks.back()->ToRecordBatch()->schema()->metadata(), kMetaChunkId), "chunk_" + chunks.back()->id().ToHex());
  }
  EXPECT_EQ(chunks[0]->schema_ptr(), chunks[1]->schema_ptr());
  EXPECT_EQ(chunks[1]->schema_ptr(), chunks[2]->schema_ptr());
}

TEST(ChunkDecoder, NamesThatLookLikeIdsAreNames) {
  ChunkDecoder decoder;
  const std::string name = "chunk_" + ChunkId{9, 9}.ToHex();
  for (const auto& [entity, component] :
       std::vector<std::pair<std::string, std::string>>{{"/" + name, "x"}, {"/chunk_data", "chunk_data"}, {"/a", name}}) {
    ChunkBuilder builder(EntityPath::Parse(entity), {});
    builder.AddColumn({std::nullopt, component, std::nullopt}, arrow::int64());
    ASSERT_TRUE(builder.AddRow({0, 1}, {}, {Ints({1})}).ok());
    for (uint64_t i = 1; i <= 2; ++i) {
      const auto chunk = decoder.Decode(*EncodeChunk(**builder.Finish({7, i})));
      ASSERT_TRUE(chunk.ok()) << chunk.status();
      EXPECT_EQ((*chunk)->id(), (ChunkId{7, i})) << entity << ":" << component;
      builder = ChunkBuilder(EntityPath::Parse(entity), {});
      builder.AddColumn({std::nullopt, component, std::nullopt}, arrow::int64());
      ASSERT_TRUE(builder.AddRow({0, 1}, {}, {Ints({1})}).ok());
    }
  }
}

TEST(ChunkDecoder, RefusesDamagedPayloads) {
  const auto payload = *EncodeChunk(*MakeChunk());
  ChunkDecoder decoder;
  for (int64_t length = 0; length < payload->size() - 8; ++length) {
    // A copy in a buffer of its own size, so that a sanitizer sees any read past it.
    const auto cut = *payload->CopySlice(0, length);
    EXPECT_FALSE(decoder.Decode(cut).ok()) << length;
  }
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto damaged = *payload->CopySlice(0, payload->size());
    for (int flips = 0; flips < 3; ++flips) damaged->mutable_data()[random() % payload->size()] = static_cast<uint8_t>(random());
    const auto decoded = decoder.Decode(damaged);
    if (!decoded.ok()) {
      ++refused;
      EXPECT_FALSE(decoded.status().message().empty());
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(Chunk, RefusesBrokenRules) {
  const auto good = MakeChunk()->ToRecordBatch();
  const auto with_nulls = good->SetColumn(1, good->schema()->field(1), *arrow::MakeArrayOfNull(arrow::int64(), 3));
  auto refused = ChunkFromRecordBatch(*with_nulls);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("\"frame\" has nulls"), std::string::npos) << refused.status();

  refused = ChunkFromRecordBatch(*good->RemoveColumn(0));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("row id"), std::string::npos) << refused.status();

  refused = ChunkFromRecordBatch(*good->AddColumn(5, good->schema()->field(4), good->column(4)));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("twice"), std::string::npos) << refused.status();
}

TEST(Chunk, SortsUnsortedRows) {
  const auto good = MakeChunk()->ToRecordBatch();
  // Reverse the rows: the row ids descend.
  arrow::ArrayVector columns;
  for (const auto& column : good->columns()) {
    arrow::ArrayVector rows;
    for (int64_t i = 2; i >= 0; --i) rows.push_back(column->Slice(i, 1));
    columns.push_back(*arrow::Concatenate(rows));
  }
  const auto chunk = ChunkFromRecordBatch(arrow::RecordBatch::Make(good->schema(), 3, columns));
  ASSERT_TRUE(chunk.ok()) << chunk.status();
  EXPECT_TRUE((*chunk)->ToRecordBatch()->Equals(*good));
}

TEST(DatasetSchema, MergesAndRoundTrips) {
  DatasetSchema a = *DatasetSchema::FromChunks({MakeChunk()});
  ASSERT_EQ(a.columns().size(), 2u);
  EXPECT_EQ(a.columns()[0].name(), "/a:note") << "no archetype comes first";
  EXPECT_EQ(a.timelines()[0].name, "frame");
  const auto arrow_schema = a.ToArrow();
  EXPECT_EQ(arrow_schema->field(0)->name(), kRowIdField);
  const DatasetSchema back = *DatasetSchema::FromArrow(*arrow_schema);
  EXPECT_TRUE(back.ToArrow()->Equals(*arrow_schema, true));

  DatasetSchema b;
  ASSERT_TRUE(b.AddColumn({EntityPath::Parse("/a"), {std::nullopt, "note", std::nullopt}, arrow::list(arrow::int32())}).ok());
  const auto status = a.Merge(b);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("/a:note"), std::string::npos) << status;
  EXPECT_TRUE(a.ToArrow()->Equals(*arrow_schema, true)) << "a refused merge changes nothing";

  DatasetSchema c;
  ASSERT_TRUE(c.AddTimeline({"frame", TimeType::kTimestamp}).ok());
  EXPECT_FALSE(a.Merge(c).ok());
}

TEST(UniteTypes, WidensStructsAndNulls) {
  const auto u = arrow::struct_({arrow::field("u", arrow::int64())});
  const auto uv = arrow::struct_({arrow::field("u", arrow::int64()), arrow::field("v", arrow::utf8())});
  EXPECT_TRUE((*UniteTypes(arrow::list(u), arrow::list(uv)))->Equals(arrow::list(uv)));
  EXPECT_TRUE((*UniteTypes(arrow::list(arrow::null()), arrow::list(arrow::int64())))->Equals(arrow::list(arrow::int64())));
  EXPECT_FALSE(UniteTypes(arrow::list(arrow::int32()), arrow::list(arrow::int64())).ok());
  EXPECT_FALSE(UniteTypes(arrow::fixed_size_list(arrow::float32(), 3), arrow::fixed_size_list(arrow::float32(), 2)).ok());

  const auto array = *arrow::MakeArrayFromScalar(*arrow::MakeScalar(int64_t{4}), 3);
  const auto structs = *arrow::StructArray::Make({array}, u->fields());
  const auto adapted = *AdaptArray(structs->Slice(1), uv);
  ASSERT_TRUE(adapted->ValidateFull().ok());
  EXPECT_EQ(adapted->length(), 2);
  const auto& children = static_cast<const arrow::StructArray&>(*adapted);
  EXPECT_EQ(children.field(1)->null_count(), 2);
  EXPECT_TRUE(children.field(0)->Equals(array->Slice(1)));
  EXPECT_FALSE(AdaptArray(adapted, u).ok()) << "a field with no place in the column would be lost";
}

TEST(Tuid, OrdersAsItsBytes) {
  Tuid last;
  for (int i = 0; i < 1000; ++i) {
    const Tuid id = Tuid::New();
    EXPECT_LT(last, id);
    const auto a = last.bytes(), b = id.bytes();
    EXPECT_LT(std::memcmp(a.data(), b.data(), 16), 0);
    EXPECT_EQ(*Tuid::FromHex(id.ToHex()), id);
    EXPECT_EQ(Tuid::FromBytes(b.data()), id);
    last = id;
  }
  EXPECT_EQ(Tuid::FromHex("182342300C5F8C327a7b4a6e5a379ac4")->ToHex(), "182342300C5F8C327a7b4a6e5a379ac4");
  EXPECT_FALSE(Tuid::FromHex("12").ok());
  EXPECT_FALSE(Tuid::FromHex("g82342300C5F8C327a7b4a6e5a379ac4").ok());
}

}  // namespace
}  // namespace rushes
