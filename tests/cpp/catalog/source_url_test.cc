#include "rushes/catalog/source_url.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SourceUrl : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(RUSHES_BINARY_DIR) / "test" / "source_url";
    fs::remove_all(dir_);
    fs::create_directories(dir_ / "sub");
    for (const char* name : {"b.rrd", "a.rrd", "sub/c d.rrd", "UPPER.RRD", "notes.txt", "x.rbl"}) std::ofstream(dir_ / name) << "x";
  }
  std::string At(const std::string& name) const { return (dir_ / name).string(); }
  fs::path dir_;
};

TEST(SourceUrlText, LocalPathAndBack) {
  EXPECT_EQ(*LocalPath("file:///a/b%20c.rrd"), "/a/b c.rrd");
  EXPECT_EQ(*LocalPath("FILE:///a"), "/a");
  EXPECT_EQ(*LocalPath("file://localhost/a"), "/a");
  EXPECT_EQ(*LocalPath("/a/../b"), "/b");
  EXPECT_EQ(*LocalPath("x.rrd"), (fs::current_path() / "x.rrd").string());
  const std::string odd = "/tmp/a b#c%d?\xC3\xBC.rrd";
  EXPECT_EQ(FileUrl(odd), "file:///tmp/a%20b%23c%25d%3F%C3%BC.rrd");
  EXPECT_EQ(*LocalPath(FileUrl(odd)), odd);
}

TEST(SourceUrlText, OtherHostsAndSchemesAreNotFound) {
  for (const char* url : {"file://host/a.rrd", "s3://bucket/a.rrd", "http://x/a.rrd", "memory:///store/1", "file:a.rrd"}) {
    EXPECT_TRUE(LocalPath(url).status().IsKeyError()) << url;
  }
  EXPECT_TRUE(LocalPath("").status().IsInvalid());
  EXPECT_TRUE(LocalPath("file:///a%00b").status().IsInvalid());
}

TEST_F(SourceUrl, PrefixesAreWalked) {
  DataSource source;
  source.url = FileUrl(dir_.string()) + "/";
  source.is_prefix = true;
  source.layer = "l";
  const auto files = ResolveSources({source});
  ASSERT_TRUE(files.ok()) << files.status();
  std::vector<std::string> paths;
  for (const SourceFile& file : *files) {
    paths.push_back(file.path);
    EXPECT_EQ(file.url, FileUrl(file.path));
    EXPECT_EQ(file.layer, "l");
  }
  EXPECT_THAT(paths, ElementsAre(At("a.rrd"), At("b.rrd"), At("sub/c d.rrd")));
}

TEST_F(SourceUrl, BadPrefixesSayWhy) {
  fs::create_directories(dir_ / "empty");
  const std::pair<std::string, const char*> cases[] = {{At("none"), "Directory not found"},
                                                       {At("a.rrd"), "expected prefix / directory but got an object"},
                                                       {At("empty"), "no rrd files found in"},
                                                       {"s3://bucket/x", "cannot expand"}};
  for (const auto& [url, words] : cases) {
    DataSource source;
    source.url = url;
    source.is_prefix = true;
    const auto files = ResolveSources({source});
    EXPECT_TRUE(files.status().IsInvalid()) << url;
    EXPECT_THAT(files.status().message(), HasSubstr(words));
  }
}

TEST_F(SourceUrl, PlainFilesKeepTheirUrl) {
  DataSource by_url, by_path;
  by_url.url = "file://localhost" + At("a.rrd");
  by_path.url = At("sub/c d.rrd");
  by_path.layer = "";
  const auto files = ResolveSources({by_url, by_path});
  ASSERT_TRUE(files.ok());
  EXPECT_EQ((*files)[0].url, by_url.url);
  EXPECT_EQ((*files)[0].path, At("a.rrd"));
  EXPECT_EQ((*files)[1].url, FileUrl(At("sub/c d.rrd")));
  EXPECT_EQ((*files)[1].layer, "base");
}

TEST_F(SourceUrl, DirectoriesAtStartAreNotRecursive) {
  const auto found = ListRecordings(dir_.string());
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(*found, ElementsAre(At("UPPER.RRD"), At("a.rrd"), At("b.rrd")));
  EXPECT_TRUE(ListRecordings(At("a.rrd")).status().IsInvalid());
}

}  // namespace
}  // namespace rushes
