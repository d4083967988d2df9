// Recordings with damage of all kinds, several at once: opening and reading end, with an answer or an error that names the file. A short
// run here, a long one by `make fuzz`.
#include <gtest/gtest.h>

#include "arrow/io/memory.h"
#include "arrow/memory_pool.h"
#include "fuzz_support/mutate.h"
#include "rrd/test_chunks.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

constexpr size_t kMaxFileBytes = 64 << 10;  // of the corpus: larger files make rounds slow and find no more

// Chunks of a few rows each, which are read by the group.
std::string SmallChunks() {
  const auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  auto writer = rrd::Writer::Make(sink, {}).ValueOrDie();
  for (int64_t number = 1; number <= 12; ++number) {
    const auto at = static_cast<uint64_t>(10 * number);
    const auto chunk = TestChunk(static_cast<uint64_t>(number), number % 3 == 0 ? "/a" : "/b", {{"frame", TimeType::kSequence}},
                                 {{at, {10 * number}, {{1.5}}, {{2, 3}}}, {at + 1, {10 * number + 1}, {}, {{4}}}}, /*with_y=*/true);
    EXPECT_TRUE(writer->Write({StoreKind::kRecording, "app", "run"}, *chunk).ok());
  }
  EXPECT_TRUE(writer->Close().ok());
  return sink->Finish().ValueOrDie()->ToString();
}

TEST(RecordingFuzz, DamagedFilesEndInAnAnswerOrAnError) {
  std::vector<std::string> corpus;
  for (const char* folder : {"rrd", "sdk_0.23", "sdk_0.28", "sdk_0.36", "sdk_0.41"}) {
    for (std::string& bytes : ReadCorpus(std::string(RUSHES_SOURCE_DIR "/tests/data/") + folder, ".rrd")) {
      if (bytes.size() <= kMaxFileBytes) corpus.push_back(std::move(bytes));
    }
  }
  corpus.push_back(SmallChunks());
  ASSERT_GE(corpus.size(), 4u);
  const int64_t before = arrow::default_memory_pool()->bytes_allocated();
  uint64_t opened = 0, read = 0, groups_read = 0;
  FuzzRounds rounds(2000);
  while (rounds.Next() && !HasFailure()) {
    FuzzRandom random(rounds.seed());
    SCOPED_TRACE("RUSHES_FUZZ_SEED=" + std::to_string(rounds.seed()));
    const std::string damaged = Mutate(corpus[Below(random, corpus.size())], corpus[Below(random, corpus.size())], random);
    const auto recording = OpenRecording(MakeBufferSource("damaged.rrd", arrow::Buffer::FromString(damaged)));
    if (!recording.ok()) {
      EXPECT_NE(recording.status().message().find("damaged.rrd"), std::string::npos) << recording.status();
      continue;
    }
    ++opened;
    for (const auto& store : recording->stores) {
      for (uint32_t chunk = 0; chunk < store->index()->num_chunks(); ++chunk) {
        const auto chunks = store->ReadChunks(std::span<const uint32_t>(&chunk, 1));
        if (chunks.ok()) {
          ++read;
        } else {
          EXPECT_NE(chunks.status().message().find("damaged.rrd"), std::string::npos) << chunks.status();
        }
        ARROW_UNUSED(store->ReadMessages(std::span<const uint32_t>(&chunk, 1)));
      }
      for (uint32_t group = 0; group < store->groups().size(); ++group) {
        ++groups_read;
        const auto joined = store->ReadGroups(std::span<const uint32_t>(&group, 1));
        EXPECT_TRUE(joined.ok() || joined.status().message().find("damaged.rrd") != std::string::npos) << joined.status();
      }
    }
    EXPECT_LT(arrow::default_memory_pool()->max_memory(), before + (int64_t{1} << 30));
  }
  // Damage that stops everything at the first byte would test nothing.
  EXPECT_GT(opened, rounds.done() / 20);
  EXPECT_GT(read, opened / 4);
  EXPECT_GT(groups_read, opened / 20);
}

}  // namespace
}  // namespace rushes
