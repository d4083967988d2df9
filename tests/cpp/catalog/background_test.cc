// Registrations that go on behind their answer, and maintenance.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include <unistd.h>

#include "../rrd/test_chunks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rushes/catalog/catalog.h"
#include "rushes/rrd/writer.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

DataSource Source(const std::string& path, const std::string& layer = kBaseLayer) {
  DataSource source;
  source.url = path;
  source.layer = layer;
  return source;
}

class BackgroundTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = fs::path(testing::TempDir()) / ("background_" + std::to_string(::getpid()));
    fs::create_directories(directory_);
    // Large and without a footer: it takes a while to read.
    slow_ = (directory_ / "slow.rrd").string();
    rrd::WriterOptions options;
    options.footer = false;
    options.compression = rrd::Compression::kNone;
    auto writer = rrd::Writer::Open(slow_, options).ValueOrDie();
    std::mt19937_64 random(1);
    for (uint64_t i = 0; i < 24; ++i) {
      std::vector<double> values(250'000);
      for (double& value : values) value = static_cast<double>(random());
      const auto chunk = TestChunk(i + 1, "/a", {{"t", TimeType::kSequence}}, {{i + 1, {static_cast<int64_t>(i)}, values, {}}});
      ASSERT_TRUE(writer->Write({StoreKind::kRecording, "app", "slow"}, *chunk).ok());
    }
    ASSERT_TRUE(writer->Close().ok());
  }
  static void TearDownTestSuite() { fs::remove_all(directory_); }

  void SetUp() override { id_ = catalog_.CreateDataset("d").ValueOrDie()->entry.id; }
  std::vector<std::string> Segments() {
    std::vector<std::string> ids;
    for (const auto& [segment, ignored] : catalog_.state()->Find(id_)->content->segments()) ids.push_back(segment);
    return ids;
  }
  std::vector<RegisteredSource> RegisterAtOnce(const std::vector<DataSource>& sources) {
    RegisterOptions options;
    options.wait_s = 0;
    return catalog_.Register(id_, sources, IfDuplicate::kError, options).ValueOrDie();
  }
  std::vector<TaskInfo> Wait(const std::vector<RegisteredSource>& rows) {
    std::vector<std::string> ids;
    for (const auto& row : rows) ids.push_back(row.task_id);
    EXPECT_TRUE(catalog_.tasks().Wait(ids, 60, [](const TaskInfo&) { return arrow::Status::OK(); }).ok());
    return catalog_.QueryTasks(ids);
  }
  // Keeps all threads of the catalog busy for a while.
  std::vector<RegisteredSource> Occupy() {
    std::vector<RegisteredSource> rows;
    for (const char* layer : {"busy1", "busy2", "busy3", "busy4"}) {
      for (auto& row : RegisterAtOnce({Source(slow_, layer)})) rows.push_back(row);
    }
    return rows;
  }

  static fs::path directory_;
  static std::string slow_;
  Catalog catalog_;
  EntryId id_;
};
fs::path BackgroundTest::directory_;
std::string BackgroundTest::slow_;

TEST_F(BackgroundTest, SlowFilesAreTasksThatEnd) {
  const uint64_t before = catalog_.state()->Find(id_)->revision;
  const auto rows = RegisterAtOnce({Source(slow_)});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].segment_id, "slow");
  const TaskInfo task = Wait(rows).front();
  EXPECT_EQ(task.state, TaskState::kSuccess);
  EXPECT_EQ(task.dataset, id_);
  EXPECT_EQ(task.dataset_revision, catalog_.state()->Find(id_)->revision);
  EXPECT_GT(task.dataset_revision, before);
  EXPECT_THAT(Segments(), ElementsAre("slow"));
  // Waited for, it is the same.
  const auto waited = catalog_.Register(id_, {Source(slow_, "again")}, IfDuplicate::kError).ValueOrDie();
  EXPECT_EQ(catalog_.QueryTasks({waited[0].task_id}).front().state, TaskState::kSuccess);
  const auto exists = RegisterAtOnce({Source(slow_)});
  EXPECT_THAT(Wait(exists).front().message, HasSubstr("already exists"));
}

TEST_F(BackgroundTest, CancelledTasksLeaveNothing) {
  const auto busy = Occupy();
  const auto rows = RegisterAtOnce({Source(slow_, "one"), Source(slow_, "two"), Source(slow_, "three")});
  catalog_.tasks().Cancel({rows[0].task_id, rows[2].task_id});
  const auto ended = Wait(rows);
  EXPECT_EQ(ended[0].state, TaskState::kCancelled);
  EXPECT_EQ(ended[1].state, TaskState::kSuccess);
  EXPECT_EQ(ended[2].state, TaskState::kCancelled);
  Wait(busy);
  std::set<std::string> layers;
  for (const LayerPtr& layer : catalog_.state()->Find(id_)->content->FindSegment("slow")->layers) layers.insert(layer->name);
  EXPECT_THAT(layers, ElementsAre("busy1", "busy2", "busy3", "busy4", "two"));
}

TEST_F(BackgroundTest, ARequestThatIsGivenUpRegistersNothing) {
  RegisterOptions options;
  std::atomic<int> asked = 0;
  options.is_cancelled = [&] { return ++asked > 3; };  // three times before it waits
  const auto busy = Occupy();
  const auto result = catalog_.Register(id_, {Source(slow_, "one"), Source(slow_, "two")}, IfDuplicate::kError, options);
  EXPECT_TRUE(result.status().IsCancelled()) << result.status();
  Wait(busy);
  for (const LayerPtr& layer : catalog_.state()->Find(id_)->content->FindSegment("slow")->layers) {
    EXPECT_THAT(layer->name, HasSubstr("busy"));
  }
}

TEST_F(BackgroundTest, UnregisterWaitsForNobodyButSaysSo) {
  const auto busy = Occupy();
  const auto rows = RegisterAtOnce({Source(slow_, "one")});
  const auto refused = catalog_.Unregister(id_, {"slow"}, {"one"});
  EXPECT_TRUE(Catalog::IsBusy(refused.status()));
  EXPECT_THAT(refused.status().message(), HasSubstr(rows[0].task_id));
  EXPECT_TRUE(catalog_.Unregister(id_, {"other"}, {}).ok());
  EXPECT_TRUE(catalog_.Unregister(id_, {"slow"}, {"one"}, /*force=*/true).ok());
  EXPECT_EQ(Wait(rows).front().state, TaskState::kCancelled);
  Wait(busy);
  EXPECT_EQ(catalog_.state()->Find(id_)->content->FindSegment("slow")->FindLayer("one"), nullptr);
}

TEST_F(BackgroundTest, DamageFailsTheRequestOrItsTaskAlone) {
  std::string bytes = Contents(slow_);
  const std::string cut = (directory_ / "cut.rrd").string();
  std::ofstream(cut, std::ios::binary) << bytes.substr(0, bytes.size() - 1000);
  // Seen at once: nothing of the request is registered.
  RegisterOptions options;
  options.wait_s = 0;
  const auto refused = catalog_.Register(id_, {Source(cut), Source(slow_, "fine")}, IfDuplicate::kError, options);
  EXPECT_TRUE(refused.status().IsInvalid());
  EXPECT_THAT(refused.status().message(), HasSubstr("cut.rrd"));
  EXPECT_TRUE(Segments().empty());

  // Only seen when it is read.
  const std::string bad = (directory_ / "bad.rrd").string();
  const size_t schema = bytes.find("rerun:", bytes.size() / 2);
  ASSERT_NE(schema, std::string::npos);
  bytes.replace(schema, 300, std::string(300, '\xff'));
  std::ofstream(bad, std::ios::binary) << bytes;
  const auto waited = catalog_.Register(id_, {Source(bad), Source(slow_, "fine")}, IfDuplicate::kError);
  EXPECT_TRUE(waited.status().IsInvalid()) << waited.status();
  EXPECT_TRUE(Segments().empty());
  const auto rows = RegisterAtOnce({Source(bad), Source(slow_, "fine")});
  const auto ended = Wait(rows);
  EXPECT_EQ(ended[0].state, TaskState::kFailed);
  EXPECT_THAT(ended[0].message, HasSubstr("bad.rrd"));
  EXPECT_EQ(ended[1].state, TaskState::kSuccess) << ended[1].message;
  EXPECT_THAT(Segments(), ElementsAre("slow"));
}

TEST_F(BackgroundTest, ACatalogThatEndsGivesUpItsTasks) {
  auto catalog = std::make_unique<Catalog>();
  const EntryId id = catalog->CreateDataset("d").ValueOrDie()->entry.id;
  RegisterOptions options;
  options.wait_s = 0;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(catalog->Register(id, {Source(slow_, "l" + std::to_string(i))}, IfDuplicate::kError, options).ok());
  }
  catalog.reset();  // returns soon, and nothing touches what is gone
}

// --- maintenance

using Rows = std::multiset<std::string>;

// Every row of a layer: entity, row id, times, value.
Rows RowsOf(const Layer& layer) {
  std::vector<uint32_t> all(layer.store->index()->num_chunks());
  for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  Rows rows;
  for (const ChunkPtr& chunk : layer.store->ReadChunks(all).ValueOrDie()) {
    for (int64_t row = 0; row < chunk->num_rows(); ++row) {
      std::string text = chunk->entity().text() + " " + chunk->row_id(row).ToHex();
      for (int t = 0; t < static_cast<int>(chunk->schema().timelines().size()); ++t) {
        text += " " + chunk->schema().timelines()[static_cast<size_t>(t)].name + "=" + std::to_string(chunk->times(t)[row]);
      }
      for (int c = 0; c < static_cast<int>(chunk->schema().columns().size()); ++c) {
        const auto& column = *chunk->column(c);
        text += " " + chunk->schema().columns()[static_cast<size_t>(c)].descriptor.component + "=" +
                (column.IsNull(row) ? std::string("null") : column.value_slice(row)->ToString());
      }
      rows.insert(text);
    }
  }
  return rows;
}

class MaintenanceTest : public BackgroundTest {
 protected:
  // Many small chunks of two entities, one that goes back in time, and static ones.
  std::string WriteFragments(const std::string& name) {
    const std::string path = (directory_ / (name + ".rrd")).string();
    auto writer = rrd::Writer::Open(path).ValueOrDie();
    const StoreId store{StoreKind::kRecording, "app", name};
    uint64_t n = 0;
    const auto write = [&](const ChunkPtr& chunk) { EXPECT_TRUE(writer->Write(store, *chunk).ok()); };
    write(TestChunk(++n, "/still", {}, {{1, {}, {{1.0}}, {}}}));
    for (int64_t i = 0; i < 50; ++i) {
      for (const char* entity : {"/a", "/b"}) {
        const std::vector<Timeline> timelines = {{"t", TimeType::kSequence}, {"u", TimeType::kDuration}};
        ++n;
        const int64_t time = i == 25 ? 3 : 2 * i;
        write(TestChunk(n, entity, timelines,
                        {{2 * n, {time, 10 * i}, {{static_cast<double>(i)}}, {}}, {2 * n + 1, {time + 1, 10 * i}, {}, {{0.5}}}}, true));
      }
    }
    EXPECT_TRUE(writer->Close().ok());
    return path;
  }
  LayerPtr LayerOf(const std::string& segment) { return catalog_.state()->Find(id_)->content->FindSegment(segment)->layers.front(); }
  std::string Compact() {
    MaintenanceOptions options;
    options.compact = true;
    return catalog_.Maintain(id_, options).ValueOrDie();
  }
  std::string Clean() {
    MaintenanceOptions options;
    options.cleanup_before_ns = (int64_t{1} << 62);
    options.unsafe_allow_recent_cleanup = true;
    return catalog_.Maintain(id_, options).ValueOrDie();
  }
};

TEST_F(MaintenanceTest, CompactionKeepsEveryRow) {
  const std::string path = WriteFragments("fragments");
  const std::string original = Contents(path);
  ASSERT_TRUE(catalog_.Register(id_, {Source(path)}, IfDuplicate::kError).ok());
  const LayerPtr before = LayerOf("fragments");
  const uint64_t revision = catalog_.state()->Find(id_)->revision;
  const int64_t updated_at = catalog_.state()->Find(id_)->entry.updated_at_ns;
  EXPECT_THAT(Compact(), HasSubstr("1 layer, 101 chunks became"));
  const LayerPtr after = LayerOf("fragments");
  EXPECT_NE(before, after);
  EXPECT_LE(after->num_chunks, 10u);
  EXPECT_EQ(RowsOf(*before), RowsOf(*after));
  EXPECT_EQ(Contents(path), original);
  EXPECT_EQ(after->url, before->url);
  EXPECT_EQ(after->schema_sha256, before->schema_sha256);
  EXPECT_EQ(after->registered_at_ns, before->registered_at_ns);
  EXPECT_GT(catalog_.state()->Find(id_)->revision, revision);
  EXPECT_EQ(catalog_.state()->Find(id_)->entry.updated_at_ns, updated_at);
  // Chunks of the old file can be fetched a while longer.
  EXPECT_EQ(catalog_.FindLayer(before->id), before);
  EXPECT_EQ(catalog_.FindLayer(after->id), after);
  // Once is enough, and what is in use stays.
  EXPECT_THAT(Compact(), HasSubstr("no layer"));
  EXPECT_THAT(Clean(), HasSubstr("0 files"));
  EXPECT_EQ(RowsOf(*before), RowsOf(*LayerOf("fragments")));
}

TEST_F(MaintenanceTest, FilesOfCompactionGoWhenNobodyUsesThem) {
  const std::string path = WriteFragments("fragments");
  ASSERT_TRUE(catalog_.Register(id_, {Source(path)}, IfDuplicate::kError).ok());
  Compact();
  LayerPtr reading = LayerOf("fragments");
  ASSERT_TRUE(catalog_.Unregister(id_, {"fragments"}, {}).ok());
  EXPECT_THAT(Clean(), HasSubstr("0 files"));  // somebody reads it still
  const std::string file = reading->store->source().name();
  EXPECT_TRUE(fs::exists(file));
  reading.reset();
  EXPECT_THAT(Clean(), HasSubstr("1 file that"));
  EXPECT_FALSE(fs::exists(file));
  EXPECT_TRUE(fs::exists(path));
}

TEST_F(MaintenanceTest, UploadsGoUnlessTheyAreRegistered) {
  const std::string path = WriteFragments("uploaded");
  const auto area = catalog_.staging().ValueOrDie();
  for (const char* key : {"used.rrd", "unused.rrd"}) {
    const auto draft = area->NewDraft().ValueOrDie();
    ASSERT_TRUE(draft->Append(Contents(path)).ok());
    ASSERT_TRUE(draft->PublishObject(key).ok());
  }
  ASSERT_TRUE(catalog_.Register(id_, {Source(area->ObjectPath("used.rrd"))}, IfDuplicate::kError).ok());
  MaintenanceOptions options;
  options.cleanup_before_ns = (int64_t{1} << 62);
  EXPECT_THAT(catalog_.Maintain(id_, options).status().message(), HasSubstr("one hour ago"));
  EXPECT_TRUE(catalog_.MaintainAll().ok());  // nothing is that old
  EXPECT_TRUE(area->IsTaken("unused.rrd"));
  EXPECT_THAT(Clean(), HasSubstr("1 file that"));
  EXPECT_TRUE(area->IsTaken("used.rrd"));
  EXPECT_FALSE(area->IsTaken("unused.rrd"));
  EXPECT_FALSE(RowsOf(*LayerOf("uploaded")).empty());
}

TEST_F(MaintenanceTest, NothingToDoIsSaid) {
  EXPECT_EQ(catalog_.Maintain(id_, {}).ValueOrDie(), "");
  MaintenanceOptions options;
  options.optimize_indexes = options.compact = true;
  EXPECT_THAT(catalog_.Maintain(id_, options).ValueOrDie(), HasSubstr("up to date"));
  EXPECT_TRUE(catalog_.Maintain(Tuid::New(), {}).status().IsKeyError());
}

TEST_F(MaintenanceTest, AFileThatChangedIsLeftAsItIs) {
  const std::string path = WriteFragments("changed");
  ASSERT_TRUE(catalog_.Register(id_, {Source(path)}, IfDuplicate::kError).ok());
  std::ofstream(path, std::ios::binary | std::ios::app) << "more";
  const LayerPtr before = LayerOf("changed");
  EXPECT_THAT(Compact(), HasSubstr("was left as it is"));
  EXPECT_EQ(LayerOf("changed"), before);
  EXPECT_EQ(catalog_.staging().ValueOrDie()->used_bytes(), 0);
}

TEST_F(MaintenanceTest, CompactionThatIsGivenUpChangesNothing) {
  ASSERT_TRUE(catalog_.Register(id_, {Source(WriteFragments("fragments"))}, IfDuplicate::kError).ok());
  const LayerPtr before = LayerOf("fragments");
  MaintenanceOptions options;
  options.compact = true;
  EXPECT_TRUE(catalog_.Maintain(id_, options, [] { return true; }).status().IsCancelled());
  EXPECT_EQ(LayerOf("fragments"), before);
  EXPECT_EQ(catalog_.staging().ValueOrDie()->used_bytes(), 0);
}

}  // namespace
}  // namespace rushes
