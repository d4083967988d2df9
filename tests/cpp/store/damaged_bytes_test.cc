// Every byte of a recording is distrusted: whatever is changed or cut, opening and reading end, with an answer or an error.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <random>
#include <sstream>

#include "arrow/memory_pool.h"
#include "rrd/test_chunks.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

std::string Vector(const std::string& name) {
  std::ifstream file(RUSHES_SOURCE_DIR "/tests/data/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

// What can be read chunk by chunk can be read by the group, or not at all.
void ExpectGroupsReadAsChunks(const RecordingStore& store) {
  for (uint32_t group = 0; group < store.groups().size(); ++group) {
    const auto chunks = store.ReadChunks(store.groups().Members(group));
    const auto joined = store.ReadGroups(std::span(&group, 1));
    EXPECT_TRUE(joined.ok() || joined.status().message().find("damaged.rrd") != std::string::npos) << joined.status();
    EXPECT_TRUE(joined.ok() || !chunks.ok()) << joined.status();
  }
}

// Opens and reads everything; returns the number of chunks that were read.
size_t ReadAll(const std::string& bytes) {
  const auto recording = OpenRecording(MakeBufferSource("damaged.rrd", arrow::Buffer::FromString(bytes)));
  if (!recording.ok()) {
    EXPECT_NE(recording.status().message().find("damaged.rrd"), std::string::npos) << recording.status();
    return 0;
  }
  size_t read = 0;
  for (const auto& store : recording->stores) {
    for (uint32_t chunk = 0; chunk < store->index()->num_chunks(); ++chunk) {
      const auto chunks = store->ReadChunks(std::span<const uint32_t>(&chunk, 1));
      if (chunks.ok()) {
        ++read;
      } else {
        EXPECT_NE(chunks.status().message().find("damaged.rrd"), std::string::npos) << chunks.status();
      }
      // In part, what can be read whole can be read too, or not at all: the times and row ids are where the damage may be.
      for (const ComponentList& values : {std::make_shared<const std::vector<std::string>>(),
                                          std::make_shared<const std::vector<std::string>>(
                                              1, store->index()->components().empty() ? "" : store->index()->components()[0].component)}) {
        const auto part = store->ReadChunks(std::span<const uint32_t>(&chunk, 1), std::span<const ComponentList>(&values, 1), nullptr);
        EXPECT_TRUE(part.ok() || part.status().message().find("damaged.rrd") != std::string::npos) << part.status();
        EXPECT_TRUE(part.ok() || !chunks.ok()) << part.status();
      }
      const auto messages = store->ReadMessages(std::span<const uint32_t>(&chunk, 1));
      if (messages.ok()) {
        EXPECT_GT((*messages)[0].size(), 0);
      }
    }
    ExpectGroupsReadAsChunks(*store);
    const auto journal = store->ToBytes();
    EXPECT_TRUE(journal.ok()) << journal.status();
  }
  return read;
}

class DamagedBytes : public testing::TestWithParam<const char*> {};

TEST_P(DamagedBytes, CutAnywhere) {
  const std::string bytes = Vector(GetParam());
  size_t before = 0;
  for (size_t size = 0; size <= bytes.size(); size += 1 + size / 500) {
    const size_t read = ReadAll(bytes.substr(0, size));
    // More bytes, more chunks; except where the footer begins to count.
    if (size < bytes.size() - 32) {
      EXPECT_GE(read, before) << size;
    }
    before = read;
  }
}

TEST_P(DamagedBytes, ChangedAnywhere) {
  const std::string bytes = Vector(GetParam());
  std::mt19937 random(7);
  const int64_t budget = arrow::default_memory_pool()->bytes_allocated() + (int64_t{1} << 30);
  for (size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 2000) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
    ReadAll(damaged);
    damaged[at] = '\xff';
    ReadAll(damaged);
  }
  EXPECT_LT(arrow::default_memory_pool()->max_memory(), budget);
}

TEST_P(DamagedBytes, SplicedAnywhere) {
  const std::string bytes = Vector(GetParam());
  std::mt19937 random(11);
  for (int round = 0; round < 150; ++round) {
    std::string damaged = bytes;
    const size_t from = random() % bytes.size(), to = random() % bytes.size();
    const size_t size = std::min<size_t>(random() % 64, bytes.size() - std::max(from, to));
    damaged.replace(to, size, bytes, from, size);
    ReadAll(damaged);
    damaged.erase(from, random() % 16);
    ReadAll(damaged);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, DamagedBytes,
                         testing::Values("rrd/two_chunks.rrd", "rrd/sdk_0.23.4.rrd", "rrd/no_chunk.rrd", "sdk_0.28/with_blueprint.rrd"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !isalnum(static_cast<unsigned char>(c)); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace rushes
