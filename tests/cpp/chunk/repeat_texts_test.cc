#include "rushes/chunk/repeat_texts.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace rushes {
namespace {

TEST(RepeatTexts, RepeatsEach) {
  const std::string long_text(9'001, 'x');
  const std::vector<std::vector<TextRun>> cases = {
      {},
      {{"a", 0}},
      {{"", 3}},
      {{"run", 1}},
      {{"run", 5000}},
      {{"run_1", 100}, {"run_2", 7}, {"run_3", 900}},
      {{"short", 3}, {"", 2}, {"a longer one", 4}, {"none", 0}, {"x", 1}},
      {{long_text, 3}, {"ab", 2}},
      {{long_text, 5}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto array = RepeatTexts(cases[i]).ValueOrDie();
    ASSERT_TRUE(array->ValidateFull().ok()) << i;
    int64_t row = 0;
    for (const TextRun& run : cases[i]) {
      for (int64_t k = 0; k < run.num_rows; ++k) ASSERT_EQ(array->GetView(row++), run.text) << i;
    }
    EXPECT_EQ(array->length(), row) << i;
    EXPECT_EQ(array->null_count(), 0);
  }
}

// Offsets of one length are kept for the next array, whichever number of rows that has.
TEST(RepeatTexts, KeepsNoOffsetsOfAnotherLength) {
  for (const int64_t rows : {10, 3, 20, 70'000, 5}) {
    for (const std::string text : {"abc", "defg", "hij"}) {
      const TextRun run{text, rows};
      const auto array = RepeatTexts({&run, 1}).ValueOrDie();
      ASSERT_TRUE(array->ValidateFull().ok());
      EXPECT_EQ(array->length(), rows);
      EXPECT_EQ(array->GetView(rows - 1), text);
    }
  }
}

TEST(RepeatTexts, IsBounded) {
  const TextRun run{"four", int64_t{1} << 29};
  EXPECT_TRUE(RepeatTexts({&run, 1}).status().IsCapacityError());
}

}  // namespace
}  // namespace rushes
