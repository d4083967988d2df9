#include "rushes/catalog/property_columns.h"

#include "arrow/array/builder_primitive.h"
#include "arrow/util/key_value_metadata.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rushes/chunk/chunk_builder.h"

namespace rushes {
namespace {

ComponentDescriptor Describe(std::optional<std::string> archetype, std::string component) {
  ComponentDescriptor descriptor;
  descriptor.archetype = std::move(archetype);
  descriptor.component = std::move(component);
  return descriptor;
}

TEST(PropertyColumns, Names) {
  const auto name = [](const char* path, std::optional<std::string> archetype, const char* component) {
    return PropertyColumnName(EntityPath::Parse(path), Describe(std::move(archetype), component));
  };
  EXPECT_EQ(name("/__properties", "rerun.archetypes.RecordingInfo", "RecordingInfo:start_time"), "property:RecordingInfo:start_time");
  EXPECT_EQ(name("/__properties/points", "rerun.archetypes.Points2D", "Points2D:positions"), "property:points:Points2D:positions");
  EXPECT_EQ(name("/__properties/prop", std::nullopt, "test"), "property:prop:test");
  EXPECT_EQ(name("/__properties/a/b/c", "MyArchetype", "MyArchetype:my_field"), "property:a/b/c:MyArchetype:my_field");
  EXPECT_EQ(name("/__properties/a.b-c", "example.My", "example.My:x, y"), "property:a_b_c:example_My:x__y");
}

std::shared_ptr<arrow::Array> Ints(std::vector<int64_t> values) {
  arrow::Int64Builder builder;
  EXPECT_TRUE(builder.AppendValues(values).ok());
  return *builder.Finish();
}

ChunkPtr MakeChunk(const char* path, uint64_t row, const char* component, std::vector<std::shared_ptr<arrow::Array>> cells) {
  ChunkBuilder builder(EntityPath::Parse(path), {});
  builder.AddColumn(Describe(std::nullopt, component), arrow::int64());
  for (auto& cell : cells) EXPECT_TRUE(builder.AddRow(RowId{1, row++}, {}, {cell}).ok());
  return *builder.Finish(ChunkId{1, row});
}

TEST(PropertyColumns, LatestStaticValueCounts) {
  const auto columns =
      MakePropertyColumns({MakeChunk("/__properties/b", 10, "v", {Ints({1}), Ints({2, 3}), nullptr}),
                           MakeChunk("/__properties/b", 1, "v", {Ints({9})}), MakeChunk("/__properties/a", 1, "w", {Ints({})}),
                           MakeChunk("/__properties/c", 1, "never", {nullptr}), MakeChunk("/elsewhere", 1, "v", {Ints({4})})});
  ASSERT_TRUE(columns.ok()) << columns.status();
  ASSERT_EQ(columns->size(), 2);
  EXPECT_EQ((*columns)[0].field->name(), "property:a:w");
  EXPECT_EQ((*columns)[1].field->name(), "property:b:v");
  EXPECT_TRUE((*columns)[1].field->nullable());
  EXPECT_EQ((*columns)[1].value->ToString(), "[\n  [\n    2,\n    3\n  ]\n]");
  EXPECT_EQ((*columns)[1].field->metadata()->Get("rerun:entity_path").ValueOr(""), "/__properties/b");
  EXPECT_EQ((*columns)[1].field->metadata()->Get("rerun:kind").ValueOr(""), "data");
}

TEST(PropertyColumns, ItemsOfFixedSizeListsBecomeNullable) {
  const auto vec2 = arrow::fixed_size_list(arrow::field("item", arrow::float32(), false), 2);
  ChunkBuilder builder(EntityPath::Parse("/__properties/p"), {});
  builder.AddColumn(Describe(std::nullopt, "v"), vec2);
  arrow::FloatBuilder values;
  ASSERT_TRUE(values.AppendValues({1.f, 2.f}).ok());
  const auto cell = std::make_shared<arrow::FixedSizeListArray>(vec2, 1, *values.Finish());
  ASSERT_TRUE(builder.AddRow(RowId{1, 1}, {}, {cell}).ok());
  const auto columns = MakePropertyColumns({*builder.Finish(ChunkId{1, 1})});
  ASSERT_TRUE(columns.ok()) << columns.status();
  const auto expected = arrow::list(arrow::fixed_size_list(arrow::field("item", arrow::float32(), true), 2));
  EXPECT_TRUE((*columns)[0].field->type()->Equals(*expected)) << (*columns)[0].field->ToString();
  EXPECT_TRUE((*columns)[0].value->ValidateFull().ok());
}

}  // namespace
}  // namespace rushes
