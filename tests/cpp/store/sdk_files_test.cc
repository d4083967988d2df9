// Files of other writers, each beside a description of what must be found in it.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/property_tree/json_parser.hpp>
#include <boost/property_tree/ptree.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "rushes/rrd/hash.h"
#include "rushes/rrd/messages.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using boost::property_tree::ptree;

std::vector<std::string> DescribedFiles() {
  std::vector<std::string> files;
  for (const auto& folder : fs::directory_iterator(RUSHES_SOURCE_DIR "/tests/data")) {
    if (!folder.path().filename().string().starts_with("sdk_")) continue;
    for (const auto& file : fs::directory_iterator(folder)) {
      if (file.path().extension() != ".json") continue;
      files.push_back(fs::relative(file.path().parent_path() / file.path().stem(), RUSHES_SOURCE_DIR "/tests/data").string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

class SdkFile : public testing::TestWithParam<std::string> {};

TEST_P(SdkFile, HoldsWhatItsDescriptionSays) {
  const std::string path = RUSHES_SOURCE_DIR "/tests/data/" + GetParam();
  ptree description;
  boost::property_tree::read_json(path + ".json", description);
  const auto recording = OpenRecording(path);
  if (description.count("refused") > 0) {
    EXPECT_TRUE(recording.status().IsInvalid()) << recording.status();
    EXPECT_NE(recording.status().message().find("0.23"), std::string::npos) << recording.status();
    return;
  }
  ASSERT_TRUE(recording.ok()) << recording.status();
  EXPECT_TRUE(recording->warnings.empty()) << recording->warnings[0];

  std::map<std::pair<std::string, std::string>, const ptree*> expected;
  for (const auto& [unused, store] : description.get_child("stores")) {
    expected[{store.get<std::string>("kind"), store.get<std::string>("recording_id")}] = &store;
  }
  ASSERT_EQ(recording->stores.size(), expected.size());
  for (const auto& store : recording->stores) {
    SCOPED_TRACE(store->id().recording_id);
    const auto it = expected.find({std::string(ToString(store->id().kind)), store->id().recording_id});
    ASSERT_NE(it, expected.end());
    const ptree& says = *it->second;
    EXPECT_EQ(store->id().application_id, says.get<std::string>("application_id"));
    EXPECT_EQ(store->index()->num_chunks(), says.get<size_t>("chunk_count"));

    std::map<std::string, std::string> timelines, expected_timelines;
    for (const Timeline& timeline : store->schema()->timelines()) timelines[timeline.name] = ToString(timeline.type);
    for (const auto& [name, type] : says.get_child("timelines")) expected_timelines[name] = type.data();
    EXPECT_EQ(timelines, expected_timelines);

    std::vector<uint32_t> all(store->index()->num_chunks());
    for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
    const auto chunks = store->ReadChunks(all);
    ASSERT_TRUE(chunks.ok()) << chunks.status();
    std::map<std::string, int64_t> cells;
    for (const auto& chunk : *chunks) {
      for (size_t i = 0; i < chunk->schema().columns().size(); ++i) {
        const auto& column = chunk->column(static_cast<int>(i));
        cells[chunk->entity().text() + "|" + chunk->schema().columns()[i].descriptor.component] += column->length() - column->null_count();
      }
    }
    std::set<std::string> columns, expected_columns;
    for (const ComponentColumn& column : store->schema()->columns()) {
      columns.insert(column.entity.text() + "|" + column.descriptor.component + "|" + column.descriptor.archetype.value_or("") + "|" +
                     column.descriptor.component_type.value_or("") + "|" + (column.is_static ? "static" : "temporal"));
    }
    for (const auto& [unused, column] : says.get_child("columns")) {
      const auto text = [&](const char* key) {
        const auto value = column.get<std::string>(key, "");
        return value == "null" ? std::string() : value;
      };
      expected_columns.insert(text("entity") + "|" + text("component") + "|" + text("archetype") + "|" + text("component_type") + "|" +
                              (column.get<bool>("static") ? "static" : "temporal"));
      EXPECT_GE(cells[text("entity") + "|" + text("component")], static_cast<int64_t>(column.get_child("rows").size()))
          << text("entity") << " " << text("component");
    }
    EXPECT_EQ(columns, expected_columns);
  }
}

// A footer and a walk through the file must tell the same; the hash in the footer is another writer's.
TEST_P(SdkFile, FooterAndContentsAgree) {
  const std::string path = RUSHES_SOURCE_DIR "/tests/data/" + GetParam();
  const auto recording = OpenRecording(path);
  if (!recording.ok() || !recording->has_footer) return;
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  bytes[bytes.size() - 1] = 9;  // no trailer any more
  const auto scanned = OpenRecording(MakeBufferSource("scanned", arrow::Buffer::FromString(bytes)));
  ASSERT_TRUE(scanned.ok()) << scanned.status();
  ASSERT_EQ(scanned->stores.size(), recording->stores.size());
  for (size_t i = 0; i < recording->stores.size(); ++i) {
    const RecordingStore &a = *recording->stores[i], &b = *scanned->stores[i];
    EXPECT_EQ(a.id(), b.id());
    EXPECT_EQ(a.arrow_schema()->ToString(true), b.arrow_schema()->ToString(true));
    EXPECT_EQ(a.schema_sha256(), b.schema_sha256());
    ASSERT_EQ(a.index()->num_chunks(), b.index()->num_chunks());
    ASSERT_EQ(a.property_chunks().size(), b.property_chunks().size());
    ASSERT_EQ(a.index()->timelines(), b.index()->timelines());
    for (uint32_t c = 0; c < a.index()->num_chunks(); ++c) {
      const auto other = static_cast<uint32_t>(b.index()->FindChunk(a.index()->id(c)));
      ASSERT_LT(other, b.index()->num_chunks());
      EXPECT_EQ(a.index()->num_rows(c), b.index()->num_rows(other));
      EXPECT_EQ(a.index()->place(c).offset, b.index()->place(other).offset);
      EXPECT_EQ(a.index()->place(c).size, b.index()->place(other).size);
      EXPECT_EQ(a.index()->place(c).size_uncompressed, b.index()->place(other).size_uncompressed);
      EXPECT_EQ(a.index()->is_static(c), b.index()->is_static(other));
      EXPECT_EQ(a.index()->is_shadowed(c), b.index()->is_shadowed(other));
      for (size_t t = 0; t < a.index()->timelines().size(); ++t) {
        EXPECT_EQ(a.index()->Span(c, static_cast<int>(t)), b.index()->Span(other, static_cast<int>(t)));
      }
    }
    const auto spans = [](const SegmentIndex& index) {
      std::set<std::string> out;
      for (const auto& column : index.columns()) {
        for (const auto& entry : index.Entries(column)) {
          for (size_t t = 0; t < index.timelines().size(); ++t) {
            const auto span = index.EntrySpan(entry, static_cast<int>(t));
            out.insert(index.entities()[column.entity].text() + index.components()[column.component].component +
                       index.id(entry.chunk).ToHex() + index.timelines()[t].name +
                       (span ? std::to_string(span->start) + ".." + std::to_string(span->end) : "-"));
          }
        }
      }
      return out;
    };
    EXPECT_EQ(spans(*a.index()), spans(*b.index()));
  }
  const auto trailer = std::string_view(bytes).substr(bytes.size() - 32);
  uint64_t offset, size;
  std::memcpy(&offset, trailer.data(), 8);
  std::memcpy(&size, trailer.data() + 8, 8);
  if (GetParam().find("concatenated") != std::string::npos) return;
  const auto manifests = rrd::ParseFooter(std::string_view(bytes).substr(offset, size));
  ASSERT_TRUE(manifests.ok()) << manifests.status();
  const std::string writer = GetParam().substr(4, 4);
  if (writer < "0.31") return;  // renamed since
  for (const auto& manifest : *manifests) {
    bool found = false;
    for (const auto& store : recording->stores) found |= store->schema_sha256() == manifest.schema_sha256;
    EXPECT_TRUE(found || GetParam().find("blueprint") != std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, SdkFile, testing::ValuesIn(DescribedFiles()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

}  // namespace
}  // namespace rushes
