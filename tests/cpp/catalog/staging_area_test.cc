#include "rushes/catalog/staging_area.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

int64_t Later() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count() + 1'000'000'000;
}

class StagingAreaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(testing::TempDir()) /
                 ("staging_" + std::to_string(::getpid()) + "_" + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(directory_);
    options_.directory = directory_.string();
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::shared_ptr<StagingArea> Open() { return StagingArea::Open(options_).ValueOrDie(); }
  static arrow::Status Put(const std::shared_ptr<StagingArea>& area, const std::string& key, const std::string& bytes) {
    ARROW_ASSIGN_OR_RAISE(const auto draft, area->NewDraft());
    ARROW_RETURN_NOT_OK(draft->Append(bytes));
    return draft->PublishObject(key);
  }
  size_t CountDrafts() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory_ / "drafts"), fs::directory_iterator()));
  }

  fs::path directory_;
  StagingOptions options_;
};

TEST(StagingKeys, AreNamesThatCannotLeaveTheDirectory) {
  for (const char* good : {"a", "a.rrd", "run-1/a_b.rrd", "A/B/C/9", "a..b"}) {
    EXPECT_TRUE(StagingArea::CheckKey(good).ok()) << good;
  }
  EXPECT_TRUE(StagingArea::CheckKey(std::string(255, 'x')).ok());
  for (const char* bad : {"",   "/",  "/a",   "a/",  "a//b", ".", "..",  "../a", "a/../b", "a/./b",
                          ".a", "a.", "a/b.", "a b", "a\\b", "ä", "a\n", "a%2e", "~",      "a:b"}) {
    EXPECT_THAT(StagingArea::CheckKey(bad).message(), HasSubstr("invalid object key")) << bad;
  }
  EXPECT_TRUE(StagingArea::CheckKey(std::string(256, 'x')).IsInvalid());
  EXPECT_TRUE(StagingArea::CheckKey(std::string("a\0b", 3)).IsInvalid());
}

TEST_F(StagingAreaTest, ObjectsAppearWholeAndOnce) {
  const auto area = Open();
  auto draft = area->NewDraft().ValueOrDie();
  ASSERT_TRUE(draft->Append("hello ").ok());
  ASSERT_TRUE(draft->Append("world").ok());
  EXPECT_FALSE(area->IsTaken("run/a.rrd"));
  ASSERT_TRUE(draft->PublishObject("run/a.rrd").ok());
  draft.reset();
  EXPECT_TRUE(area->IsTaken("run/a.rrd"));
  EXPECT_EQ(Contents(area->ObjectPath("run/a.rrd")), "hello world");
  EXPECT_TRUE(Put(area, "run/a.rrd", "other").IsAlreadyExists());
  EXPECT_EQ(Contents(area->ObjectPath("run/a.rrd")), "hello world");
  // A name is an object or a directory of objects, not both.
  EXPECT_TRUE(area->IsTaken("run"));
  EXPECT_TRUE(Put(area, "run", "x").IsAlreadyExists());
  EXPECT_TRUE(area->IsTaken("run/a.rrd/b"));
  EXPECT_TRUE(Put(area, "run/a.rrd/b", "x").IsAlreadyExists());
  EXPECT_EQ(CountDrafts(), 0u);
  EXPECT_EQ(area->used_bytes(), 11);
}

TEST_F(StagingAreaTest, ManyWritersOfOneKey) {
  const auto area = Open();
  std::atomic<int> won = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const arrow::Status status = Put(area, "one/key", std::string(1000, static_cast<char>('a' + i)));
      if (status.ok()) ++won;
      EXPECT_TRUE(status.ok() || status.IsAlreadyExists()) << status;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
  const std::string bytes = Contents(area->ObjectPath("one/key"));
  EXPECT_EQ(bytes, std::string(1000, bytes[0]));
}

TEST_F(StagingAreaTest, WhatIsGivenUpIsRemoved) {
  const auto area = Open();
  {
    const auto draft = area->NewDraft().ValueOrDie();
    ASSERT_TRUE(draft->Append("half").ok());
    EXPECT_EQ(CountDrafts(), 1u);
    EXPECT_EQ(area->used_bytes(), 4);
  }
  EXPECT_EQ(CountDrafts(), 0u);
  EXPECT_EQ(area->used_bytes(), 0);
}

TEST_F(StagingAreaTest, HoldsItsLimits) {
  options_.max_object_bytes = 10;
  options_.max_total_bytes = 15;
  const auto area = Open();
  EXPECT_THAT(Put(area, "a", std::string(11, 'x')).message(), HasSubstr("10 bytes"));
  ASSERT_TRUE(Put(area, "a", std::string(10, 'x')).ok());
  const arrow::Status full = Put(area, "b", std::string(6, 'x'));
  EXPECT_TRUE(full.IsCapacityError());
  EXPECT_THAT(full.message(), HasSubstr("15 bytes"));
  ASSERT_TRUE(Put(area, "b", std::string(5, 'x')).ok());
  EXPECT_EQ(area->Sweep(Later(), [] { return std::vector<std::string>(); }).ValueOrDie().bytes, 15);
  EXPECT_TRUE(Put(area, "b", std::string(6, 'x')).ok());
}

TEST_F(StagingAreaTest, AGivenDirectoryIsKeptAndBelongsToOneServer) {
  {
    const auto area = Open();
    ASSERT_TRUE(Put(area, "a", "kept").ok());
    EXPECT_THAT(StagingArea::Open(options_).status().message(), HasSubstr("in use"));
    std::ofstream(directory_ / "drafts" / "leftover") << "x";
  }
  const auto area = Open();
  EXPECT_EQ(Contents(area->ObjectPath("a")), "kept");
  EXPECT_EQ(area->used_bytes(), 4);
  EXPECT_EQ(CountDrafts(), 0u);
}

TEST(StagingDirectory, ATemporaryOneGoesAtTheEnd) {
  std::string directory;
  {
    const auto area = StagingArea::Open({}).ValueOrDie();
    directory = area->directory();
    EXPECT_TRUE(fs::is_directory(directory));
  }
  EXPECT_FALSE(fs::exists(directory));
}

TEST(StagingDirectory, OneThatCannotBeMadeIsAnError) {
  StagingOptions options;
  options.directory = "/proc/nowhere/staging";
  EXPECT_THAT(StagingArea::Open(options).status().message(), HasSubstr("/proc/nowhere"));
}

TEST_F(StagingAreaTest, SweepSparesWhatIsUsedHeldOrRecent) {
  const auto area = Open();
  for (const char* key : {"used", "held/x", "gone/deep/x", "gone/y"}) ASSERT_TRUE(Put(area, key, "1234").ok());
  const auto layer = [&] {
    const auto draft = area->NewDraft().ValueOrDie();
    ARROW_UNUSED(draft->Append("layer"));
    return draft->PublishLayer().ValueOrDie();
  }();
  const auto nobody = [] { return std::vector<std::string>(); };
  EXPECT_EQ(area->Sweep(0, nobody).ValueOrDie().files, 0);

  auto hold = area->Hold({area->ObjectPath("held/x"), "/etc/hosts"}).ValueOrDie();
  // By any name of the file.
  const std::string alias = area->directory() + "/objects/gone/../used";
  const auto swept = area->Sweep(Later(), [&] { return std::vector<std::string>{alias, "/etc/hosts"}; }).ValueOrDie();
  EXPECT_EQ(swept.files, 2);
  EXPECT_EQ(swept.bytes, 8);
  EXPECT_FALSE(fs::exists(area->directory() + "/objects/gone"));
  EXPECT_TRUE(area->IsTaken("used"));
  EXPECT_TRUE(area->IsTaken("held/x"));
  EXPECT_TRUE(fs::exists(layer.path));
  hold.reset();
  EXPECT_EQ(area->Sweep(Later(), [&] { return std::vector<std::string>{alias}; }).ValueOrDie().files, 1);
}

TEST_F(StagingAreaTest, WhatIsBeingRemovedCannotBeHeld) {
  const auto area = Open();
  ASSERT_TRUE(Put(area, "a", "1234").ok());
  arrow::Status refused;
  ASSERT_TRUE(area->Sweep(Later(),
                          [&] {
                            refused = area->Hold({area->ObjectPath("a")}).status();
                            return std::vector<std::string>();
                          })
                  .ok());
  EXPECT_TRUE(refused.IsKeyError()) << refused;
  EXPECT_TRUE(area->Hold({area->ObjectPath("a")}).ok());  // gone by now: a matter of whoever opens it
}

}  // namespace
}  // namespace rushes
