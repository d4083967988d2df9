#include "rushes/chunk/entity_path.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "rushes/chunk/component.h"

namespace rushes {
namespace {

TEST(EntityPath, WritesWhatItReads) {
  struct Case {
    const char* text;
    std::vector<std::string> parts;
    const char* canonical;
  };
  const Case cases[] = {
      {"/", {}, "/"},
      {"", {}, "/"},
      {"world/car", {"world", "car"}, "/world/car"},
      {"//world///car//", {"world", "car"}, "/world/car"},
      {"/raw data", {"raw data"}, "/raw\\ data"},
      {"/raw\\ data", {"raw data"}, "/raw\\ data"},
      {"/a\\/b", {"a/b"}, "/a\\/b"},
      {"/a\\:b", {"a:b"}, "/a\\:b"},
      {"/größe/日本", {"größe", "日本"}, "/größe/日本"},
      {"/tab\\there", {"tab\there"}, "/tab\\there"},
      {"/\\u{1F916}", {"\xF0\x9F\xA4\x96"}, "/\\u{1F916}"},
      {"/\\u{7}", {"\x07"}, "/\\u{0007}"},
      {"/\\u{110000}", {"u{110000}"}, "/u\\{110000\\}"},
      {"/\\u{}x", {"u{}x"}, "/u\\{\\}x"},
      {"/end\\", {"end\\"}, "/end\\\\"},
      {"/a_b-c.d", {"a_b-c.d"}, "/a_b-c.d"},
  };
  for (const Case& c : cases) {
    const EntityPath path = EntityPath::Parse(c.text);
    EXPECT_EQ(path.parts(), c.parts) << c.text;
    EXPECT_EQ(path.text(), c.canonical) << c.text;
    EXPECT_EQ(EntityPath::Parse(path.text()), path) << c.text;
  }
}

TEST(EntityPath, MalformedUtf8IsReplacedNotRead) { EXPECT_EQ(EntityPath::Parse("/a\xFF\xE2\x82").text(), "/a\\u{FFFD}\\u{FFFD}\\u{FFFD}"); }

TEST(EntityPath, StrictRefusesWhatIsNoPath) {
  EXPECT_FALSE(EntityPath::ParseStrict("").ok());
  EXPECT_FALSE(EntityPath::ParseStrict("/a\\").ok());
  EXPECT_FALSE(EntityPath::ParseStrict("/a\\q").ok());
  EXPECT_TRUE(EntityPath::ParseStrict("/a\\ b").ok());
  EXPECT_TRUE(EntityPath::ParseStrict("/").ok());
}

TEST(EntityPath, OrderIsNaturalAndReservedPartsComeLast) {
  const std::vector<std::string> sorted = {
      "/", "/a", "/a/z", "/B", "/b", "/img2", "/img10", "/world", "/world/a", "/__properties", "/__properties/run"};
  for (size_t i = 0; i < sorted.size(); ++i) {
    for (size_t j = 0; j < sorted.size(); ++j) {
      EXPECT_EQ(EntityPath::Parse(sorted[i]) <=> EntityPath::Parse(sorted[j]), i <=> j) << sorted[i] << " " << sorted[j];
    }
  }
}

TEST(EntityPath, Ancestors) {
  const EntityPath car = EntityPath::Parse("/world/car");
  EXPECT_TRUE(car.StartsWith(EntityPath()));
  EXPECT_TRUE(car.StartsWith(car));
  EXPECT_TRUE(car.StartsWith(EntityPath::Parse("/world")));
  EXPECT_FALSE(EntityPath::Parse("/world/cars").StartsWith(car));
  EXPECT_EQ(car.Parent(), EntityPath::Parse("/world"));
  EXPECT_EQ(EntityPath().Parent(), EntityPath());
  EXPECT_TRUE(EntityPath::Parse("/__properties/run").IsProperty());
  EXPECT_FALSE(car.IsProperty());
}

TEST(ColumnName, NamesPropertiesByTheirOwnPrefix) {
  EXPECT_EQ(ColumnName(EntityPath(), "foo"), "/:foo");
  EXPECT_EQ(ColumnName(EntityPath::Parse("/points"), "Points3D:positions"), "/points:Points3D:positions");
  EXPECT_EQ(ColumnName(EntityPath::Parse("/__properties"), "RecordingInfo:name"), "property:RecordingInfo:name");
  EXPECT_EQ(ColumnName(EntityPath::Parse("/__properties/a/b"), "x"), "property:a/b:x");
}

}  // namespace
}  // namespace rushes
