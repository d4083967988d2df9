// Recordings with damage of all kinds, several at once: opening and reading end, with an answer or an error that names the file. A short
// run here, a long one by `make fuzz`.
#include <gtest/gtest.h>

#include "arrow/memory_pool.h"
#include "fuzz_support/mutate.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

constexpr size_t kMaxFileBytes = 64 << 10;  // of the corpus: larger files make rounds slow and find no more

TEST(RecordingFuzz, DamagedFilesEndInAnAnswerOrAnError) {
  std::vector<std::string> corpus;
  for (const char* folder : {"rrd", "sdk_0.23", "sdk_0.28", "sdk_0.36", "sdk_0.41"}) {
    for (std::string& bytes : ReadCorpus(std::string(RUSHES_SOURCE_DIR "/tests/data/") + folder, ".rrd")) {
      if (bytes.size() <= kMaxFileBytes) corpus.push_back(std::move(bytes));
    }
  }
  ASSERT_GE(corpus.size(), 4u);
  const int64_t before = arrow::default_memory_pool()->bytes_allocated();
  uint64_t opened = 0, read = 0;
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
    }
    EXPECT_LT(arrow::default_memory_pool()->max_memory(), before + (int64_t{1} << 30));
  }
  // Damage that stops everything at the first byte would test nothing.
  EXPECT_GT(opened, rounds.done() / 20);
  EXPECT_GT(read, opened / 4);
}

}  // namespace
}  // namespace rushes
