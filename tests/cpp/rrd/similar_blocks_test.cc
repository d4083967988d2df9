#include "rushes/rrd/similar_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "rushes/rrd/messages.h"

namespace rushes::rrd {
namespace {

std::string Compress(const std::string& payload) { return CompressLz4(payload).ValueOrDie()->ToString(); }

std::string Digits(std::mt19937& random, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += "0123456789abcdef"[random() % 16];
  return out;
}

// Much that recurs, then an id, then more of it: what begins chunks of one writer.
std::string MakeHead(const std::string& digits) {
  std::string out;
  for (int field = 0; field < 12; ++field) {
    out += "rerun:component_" + std::to_string(field * 7919) + std::string(4, '\0') + "rerun:archetype" + std::string(3, '\1');
    if (field == 1) out += "chunk_" + digits;
  }
  return out;
}

std::string MakeValues(std::mt19937& random, size_t rows) {
  std::string out;
  for (size_t row = 0; row < rows; ++row) {
    out += "row" + std::string(9, '\0') + static_cast<char>(row) + static_cast<char>(random());
    if (random() % 4 == 0) out += "rerun:archetype";  // refers to the head
  }
  return out;
}

struct Judged {
  bool ok = false;
  std::string payload;
};

// Into memory of just the right size.
Judged Plain(const std::string& block, uint64_t size) {
  const auto out = Decompress(block, Compression::kLz4, size);
  return out.ok() ? Judged{true, (*out)->ToString()} : Judged{};
}

TEST(SimilarBlocks, GiveWhatLz4Gives) {
  std::mt19937 random(1);
  SimilarBlocks blocks;
  std::string scratch;
  std::vector<std::string> learned;
  size_t num_common = 0, num_bytes = 0;
  for (int round = 0; round < 500; ++round) {
    const std::string digits = "18ECE550" + Digits(random, 24), head = MakeHead(digits);
    const std::string payload = head + MakeValues(random, 5 + random() % 40);
    const std::string block = Compress(payload);
    const auto got = blocks.Decompress(block, payload.size(), &scratch).ValueOrDie();
    ASSERT_EQ(got.payload, payload) << round;
    ASSERT_LE(got.num_common, head.size());
    // What is said of it is so for one of those that were learned.
    const bool is_so = std::any_of(learned.begin(), learned.end(), [&](const std::string& other) {
      for (size_t i = 0; i < got.num_common; ++i) {
        if ((i < got.changes_begin || i >= got.changes_end) && other[i] != payload[i]) return false;
      }
      return true;
    });
    ASSERT_TRUE(is_so || got.num_common == 0);
    const size_t at = head.find(digits);
    if (got.changes_begin < got.changes_end) {
      EXPECT_GE(got.changes_begin, at);
      EXPECT_LE(got.changes_end, at + digits.size());
    }
    num_common += got.num_common;
    num_bytes += head.size();
    if (blocks.wants_to_learn()) {
      blocks.Learn(block, got.payload, head.size());
      learned.push_back(payload);
    }
  }
  // Most of the heads is copied, and what is learned again has its bounds.
  EXPECT_GT(num_common, num_bytes * 3 / 4);
  EXPECT_LT(learned.size(), 12u);
}

TEST(SimilarBlocks, DoNotMindBlocksOfAnotherKind) {
  std::mt19937 random(2);
  SimilarBlocks blocks;
  std::string scratch;
  int learned = 0;
  for (int round = 0; round < 2'000; ++round) {
    std::string payload = Digits(random, random() % 300);
    if (random() % 2 == 0) payload = MakeHead(Digits(random, 32)).substr(random() % 100) + payload;
    const std::string block = Compress(payload);
    const auto got = blocks.Decompress(block, payload.size(), &scratch).ValueOrDie();
    ASSERT_EQ(got.payload, payload);
    if (blocks.wants_to_learn()) {
      blocks.Learn(block, got.payload, random() % 400);
      ++learned;
    }
  }
  EXPECT_LT(learned, 12);
}

// Whatever the bytes: what LZ4 refuses is refused, and what it gives is given.
TEST(SimilarBlocks, DistrustBlocks) {
  std::mt19937 random(3);
  int refused = 0, taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    SimilarBlocks blocks;
    std::string scratch;
    const std::string first = MakeHead(Digits(random, 32)) + MakeValues(random, 10);
    const std::string first_block = Compress(first);
    ASSERT_EQ(blocks.Decompress(first_block, first.size(), &scratch).ValueOrDie().payload, first);
    blocks.Learn(first_block, first, random() % (first.size() + 50));

    const std::string payload = MakeHead(Digits(random, 32)) + MakeValues(random, 10);
    std::string block = Compress(payload);
    const size_t changes = random() % 3;
    for (size_t i = 0; i < changes; ++i) {
      const size_t at = random() % block.size();
      block[at] = random() % 2 == 0 ? static_cast<char>(random()) : static_cast<char>(block[at] ^ (1 << random() % 8));
    }
    if (random() % 6 == 0) block.resize(random() % block.size());
    const uint64_t size = random() % 4 == 0 ? random() % (2 * payload.size()) : payload.size();

    // In memory of just their sizes, so that reading and writing beyond them is seen.
    const std::vector<char> exact(block.begin(), block.end());
    const Judged wanted = Plain(block, size);
    std::string zeros;
    const auto got = blocks.Decompress(std::string_view(exact.data(), exact.size()), size, &zeros);
    ASSERT_EQ(got.ok(), wanted.ok) << round << ": " << got.status();
    (got.ok() ? taken : refused) += 1;
    if (!got.ok()) {
      EXPECT_NE(got.status().message().find("LZ4 block"), std::string::npos) << got.status();
    } else {
      ASSERT_EQ(got->payload.size(), wanted.payload.size()) << round;
      // A copy over the distance 0 means nothing; LZ4 gives for it what happened to be there.
      if (changes == 0) ASSERT_EQ(got->payload, wanted.payload) << round;
    }
  }
  EXPECT_GT(refused, 2'000);
  EXPECT_GT(taken, 2'000);
}

}  // namespace
}  // namespace rushes::rrd
