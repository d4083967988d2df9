#include <gtest/gtest.h>

#include "arrow/type.h"
#include "arrow/util/key_value_metadata.h"
#include "rushes/rrd/manifest.h"

namespace rushes {
namespace {

std::string HashHex(const arrow::FieldVector& fields) {
  std::string out;
  for (const unsigned char c : SchemaSha256(arrow::Schema(fields)).ValueOrDie()) {
    char text[3];
    snprintf(text, sizeof(text), "%02x", c);
    out += text;
  }
  return out;
}

std::shared_ptr<arrow::Field> FrameField() {
  return arrow::field("frame", arrow::int64(), true, arrow::key_value_metadata({{"rerun:kind", "index"}, {"rerun:index_name", "frame"}}));
}

std::shared_ptr<arrow::Field> RowIdField() {
  return arrow::field("rerun.controls.RowId", arrow::fixed_size_binary(16), false,
                      arrow::key_value_metadata({{"rerun:kind", "control"},
                                                 {"ARROW:extension:name", "rerun.datatypes.TUID"},
                                                 {"ARROW:extension:metadata", "{\"namespace\":\"row\"}"}}));
}

// Digests taken from files of other writers.
TEST(SchemaHash, AgreesWithOtherWriters) {
  using arrow::field;
  const struct {
    const char* name;
    arrow::FieldVector fields;
    const char* digest;
  } kCases[] = {
      {"no field", {}, "37ad320cf3e271498734c396dec2b6c4ed214422d87e24b1fe4b6f5f444bc145"},
      {"index", {FrameField()}, "12f3e08264fd2133711d6f79442abc30ef8b49f5a7ac2c52ddf020cc2d20782d"},
      {"row id", {RowIdField()}, "e8733130fea286aa7e5654267647b668f789055d05ed9d8225fa8164ce001eda"},
      {"types",
       {field("a", arrow::timestamp(arrow::TimeUnit::NANO)), field("b", arrow::duration(arrow::TimeUnit::NANO)),
        field("c", arrow::list(field("item", arrow::fixed_size_list(field("item", arrow::float32(), false), 3)))),
        field("d", arrow::list(field("item", arrow::struct_({field("x", arrow::uint8(), false), field("y", arrow::utf8())})))),
        field("e", arrow::boolean(), false), field("f", arrow::binary()), field("g", arrow::uint32()), field("h", arrow::float16()),
        field("i", arrow::large_binary()), field("j", arrow::null()),
        field("k", arrow::dense_union({field("n", arrow::null()), field("v", arrow::int32(), false)}, {0, 1}), false)},
       "8b96844dc60d7b46306cb310e52fe4ef339df4d43d37aa7f2b78ac73311e070a"},
  };
  for (const auto& c : kCases) EXPECT_EQ(HashHex(c.fields), c.digest) << c.name;
}

TEST(SchemaHash, DoesNotDependOnFieldOrder) {
  EXPECT_EQ(HashHex({FrameField(), RowIdField()}), HashHex({RowIdField(), FrameField()}));
  EXPECT_NE(HashHex({FrameField()}), HashHex({FrameField()->WithNullable(false)}));
}

TEST(SchemaHash, HasAValueForTypesNoWriterUses) {
  EXPECT_EQ(HashHex({arrow::field("d", arrow::date32())}).size(), 64u);
  EXPECT_NE(HashHex({arrow::field("d", arrow::date32())}), HashHex({arrow::field("d", arrow::date64())}));
}

}  // namespace
}  // namespace rushes
