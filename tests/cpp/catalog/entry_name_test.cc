#include "rushes/catalog/entry_name.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rushes {
namespace {

using ::testing::HasSubstr;

TEST(EntryName, TakesWhatTheProtocolAllows) {
  for (const char* name : {"a", "__entries", "x__manifest", "test[a-b]: 1.0_x", "A.b.C"}) {
    EXPECT_TRUE(ValidateEntryName(name).ok()) << name;
  }
  EXPECT_TRUE(ValidateEntryName(std::string(180, 'x')).ok());
}

TEST(EntryName, SaysWhatIsWrong) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "must not be empty"},
      {"a/b", "invalid character '/'"},
      {"gr\xC3\xBC\xC3\x9F", "invalid character '\xC3\xBC'"},
      {std::string("a\0b", 3), "invalid character"},
      {std::string(181, 'x'), "exceeds maximum length of 180 characters (got 181)"},
  };
  for (const auto& [name, words] : cases) {
    const arrow::Status status = ValidateEntryName(name);
    EXPECT_TRUE(status.IsInvalid()) << name;
    EXPECT_THAT(status.message(), HasSubstr(words));
  }
}

TEST(EntryName, IdsInText) {
  const EntryId id{0x1860390B087BC65F, 0x602D68EB646C385C};
  EXPECT_EQ(EntryIdText(id), "1860390B087BC65F602d68eb646c385c");
  EXPECT_EQ(BlueprintDatasetName(id), "__bp_1860390B087BC65F602d68eb646c385c");
  EXPECT_EQ(AssetDatasetName(id), "__as_1860390B087BC65F602d68eb646c385c");
}

}  // namespace
}  // namespace rushes
