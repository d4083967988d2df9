// Temporary directories: removed with their process, or after it by the next one.
#include "rushes/catalog/temporary_directory.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rushes {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class TemporaryDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* known = std::getenv("TMPDIR")) known_ = known;
    std::string path = "/tmp/rushes_temporary_XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    parent_ = path;
    ::setenv("TMPDIR", path.c_str(), 1);
  }
  void TearDown() override {
    known_.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", known_.c_str(), 1);
    fs::remove_all(parent_);
  }

  std::set<std::string> There() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(parent_)) names.insert(entry.path().filename().string());
    return names;
  }

  fs::path parent_;
  std::string known_;
};

TEST_F(TemporaryDirectoryTest, GoesWithTheObject) {
  {
    const auto made = TemporaryDirectory::Make("rushes-a-").ValueOrDie();
    EXPECT_EQ(fs::path(made->path()).parent_path(), parent_);
    EXPECT_TRUE(fs::path(made->path()).filename().string().starts_with("rushes-a-"));
    fs::create_directories(made->path() + "/deep/er");
    std::ofstream(made->path() + "/deep/er/file") << "x";
    EXPECT_EQ(There().size(), 1);
  }
  EXPECT_TRUE(There().empty());
}

TEST_F(TemporaryDirectoryTest, OfAKilledProcessGoesWithTheNextOne) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto made = TemporaryDirectory::Make("rushes-a-");
    if (made.ok()) std::ofstream((*made)->path() + "/file") << "x";
    ::_exit(made.ok() ? 0 : 1);  // as kill -9: nothing is cleaned up
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const std::set<std::string> left = There();
  ASSERT_EQ(left.size(), 1);

  const auto other = TemporaryDirectory::Make("rushes-b-").ValueOrDie();
  EXPECT_EQ(There().size(), 2) << "another prefix is somebody else's";
  const auto first = TemporaryDirectory::Make("rushes-a-").ValueOrDie();
  EXPECT_FALSE(There().contains(*left.begin()));
  const auto second = TemporaryDirectory::Make("rushes-a-").ValueOrDie();
  EXPECT_TRUE(fs::exists(first->path())) << "one in use stays";
  EXPECT_NE(first->path(), second->path());
}

TEST_F(TemporaryDirectoryTest, WhatIsNotOursStays) {
  fs::create_directory(parent_ / "rushes-a-without_lock");
  std::ofstream(parent_ / "rushes-a-file") << "x";
  fs::create_directory(parent_ / "elsewhere");
  std::ofstream(parent_ / "elsewhere/.lock") << "";
  fs::create_directory_symlink(parent_ / "elsewhere", parent_ / "rushes-a-link");
  const auto made = TemporaryDirectory::Make("rushes-a-").ValueOrDie();
  EXPECT_EQ(There().size(), 5);
  EXPECT_TRUE(fs::exists(parent_ / "elsewhere/.lock"));
}

TEST_F(TemporaryDirectoryTest, SaysWhereItCannotBeMade) {
  ::setenv("TMPDIR", (parent_ / "missing").c_str(), 1);
  // Without the place that the environment names, /tmp serves.
  const auto made = TemporaryDirectory::Make("rushes-test-").ValueOrDie();
  EXPECT_EQ(fs::path(made->path()).parent_path(), "/tmp");
  EXPECT_THAT(TemporaryDirectory::Make("no/such/place-").status().ToString(), HasSubstr("/tmp/no/such/place-"));
}

}  // namespace
}  // namespace rushes
