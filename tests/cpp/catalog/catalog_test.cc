#include "rushes/catalog/catalog.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/util/key_value_metadata.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/metadata_tables.h"
#include "rushes/catalog/source_url.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

#define ASSERT_OK(expression)                        \
  do {                                               \
    const arrow::Status _status = (expression);      \
    ASSERT_TRUE(_status.ok()) << _status.ToString(); \
  } while (false)

std::string Recording(const std::string& name) { return std::string(RUSHES_SOURCE_DIR) + "/recordings/" + name; }

DataSource Source(const std::string& path, const std::string& layer = kBaseLayer) {
  DataSource source;
  source.url = path;
  source.layer = layer;
  return source;
}

class CatalogTest : public ::testing::Test {
 protected:
  EntryId Create(const std::string& name) { return catalog_.CreateDataset(name).ValueOrDie()->entry.id; }
  EntryPtr Entry(EntryId id) { return catalog_.state()->Find(id); }
  std::vector<std::string> Segments(EntryId id) {
    std::vector<std::string> ids;
    for (const auto& [segment, ignored] : Entry(id)->content->segments()) ids.push_back(segment);
    return ids;
  }
  // Empty: all went well; else the message of the first failed task.
  std::string Register(EntryId id, const std::vector<DataSource>& sources, IfDuplicate mode = IfDuplicate::kError) {
    const auto rows = catalog_.Register(id, sources, mode);
    if (!rows.ok()) return rows.status().message();
    for (const RegisteredSource& row : *rows) {
      const TaskInfo task = catalog_.QueryTasks({row.task_id}).front();
      if (task.state == TaskState::kFailed) return task.message;
    }
    return "";
  }

  Catalog catalog_;
  const std::string one_ = Recording("howto/recording_001.rrd");
  const std::string two_ = Recording("howto/recording_002.rrd");
};

TEST_F(CatalogTest, ADatasetComesAndGoesWithItsCompanions) {
  EXPECT_EQ(catalog_.state()->entries().size(), 1);  // __entries
  const EntryId id = Create("d");
  const EntryPtr entry = Entry(id);
  EXPECT_EQ(catalog_.state()->entries().size(), 4);
  EXPECT_EQ(Entry(*entry->details.blueprint_dataset)->entry.name, BlueprintDatasetName(id));
  EXPECT_EQ(Entry(*entry->details.asset_dataset)->entry.kind, EntryKind::kAssetDataset);
  EXPECT_TRUE(catalog_.CreateDataset("d").status().IsAlreadyExists());
  EXPECT_TRUE(catalog_.CreateDataset("e", id).status().IsAlreadyExists());
  EXPECT_EQ(catalog_.state()->entries().size(), 4);  // failures leave nothing behind
  ASSERT_OK(catalog_.Delete(id));
  EXPECT_EQ(catalog_.state()->entries().size(), 1);
  EXPECT_TRUE(catalog_.Delete(id).IsKeyError());
  ASSERT_OK(catalog_.CreateDataset("d").status());
}

TEST_F(CatalogTest, DeleteWorksWhenACompanionIsGone) {
  const EntryId id = Create("d");
  ASSERT_OK(catalog_.Delete(*Entry(id)->details.blueprint_dataset));
  ASSERT_OK(catalog_.Delete(id));
  EXPECT_EQ(catalog_.state()->entries().size(), 1);
}

TEST_F(CatalogTest, RenamingFreesTheOldName) {
  const EntryId id = Create("old");
  const int64_t before = Entry(id)->entry.updated_at_ns;
  ASSERT_OK(catalog_.Rename(id, "old").status());
  EXPECT_EQ(Entry(id)->entry.updated_at_ns, before);
  ASSERT_OK(catalog_.Rename(id, "new").status());
  EXPECT_GT(Entry(id)->entry.updated_at_ns, before);
  EXPECT_EQ(catalog_.state()->Find("old"), nullptr);
  const EntryId other = Create("old");
  EXPECT_TRUE(catalog_.Rename(other, "new").status().IsAlreadyExists());
  EXPECT_TRUE(catalog_.Rename(other, kEntriesTableName).status().IsAlreadyExists());
  EXPECT_TRUE(catalog_.Rename(other, "a/b").status().IsInvalid());
  EXPECT_TRUE(catalog_.Rename(Tuid::New(), "x").status().IsKeyError());
}

TEST_F(CatalogTest, TheSystemTableStays) {
  const EntryId id = catalog_.state()->Find(kEntriesTableName)->entry.id;
  EXPECT_TRUE(catalog_.Delete(id).IsInvalid());
  EXPECT_TRUE(catalog_.Rename(id, "x").status().IsInvalid());
  EXPECT_TRUE(catalog_.Register(id, {Source(one_)}, IfDuplicate::kError).status().IsKeyError());
}

TEST_F(CatalogTest, DetailsAreChecked) {
  const EntryId id = Create("d"), other = Create("o");
  DatasetDetails details = Entry(id)->details;
  details.default_blueprint_segment = "anything";
  ASSERT_OK(catalog_.UpdateDataset(id, details, std::nullopt).status());
  EXPECT_EQ(Entry(id)->details.default_blueprint_segment, "anything");
  details.blueprint_dataset = other;
  EXPECT_TRUE(catalog_.UpdateDataset(id, details, std::nullopt).status().IsInvalid());
  details.blueprint_dataset.reset();
  EXPECT_THAT(catalog_.UpdateDataset(id, details, std::nullopt).status().message(), HasSubstr("requires a blueprint dataset"));
  details.default_blueprint_segment.reset();
  details.asset_dataset.reset();
  const auto assets = Entry(id)->details.asset_dataset;
  ASSERT_OK(catalog_.UpdateDataset(id, details, std::nullopt).status());
  EXPECT_EQ(Entry(id)->details.blueprint_dataset, std::nullopt);
  EXPECT_EQ(Entry(id)->details.asset_dataset, assets);
  // A deleted one is made anew.
  ASSERT_OK(catalog_.Delete(*assets));
  ASSERT_OK(catalog_.UpdateDataset(id, details, std::nullopt).status());
  EXPECT_NE(Entry(id)->details.asset_dataset, assets);
  EXPECT_NE(Entry(*Entry(id)->details.asset_dataset), nullptr);
}

TEST_F(CatalogTest, EventsNameTheMainEntry) {
  std::vector<std::pair<bool, EntryId>> events;
  auto subscription = catalog_.Subscribe([&](const CatalogEvent& event) { events.emplace_back(event.created, event.id); });
  const EntryId id = Create("d");
  ASSERT_OK(catalog_.Rename(id, "e").status());
  EXPECT_FALSE(catalog_.CreateDataset("e").ok());
  ASSERT_OK(catalog_.Delete(id));
  EXPECT_THAT(events, ElementsAre(std::pair(true, id), std::pair(false, id)));
  subscription.reset();
  Create("f");
  EXPECT_EQ(events.size(), 2);
}

TEST_F(CatalogTest, RegistersFilesUrlsAndLayers) {
  const EntryId id = Create("d");
  const int64_t created = Entry(id)->entry.updated_at_ns;
  EXPECT_EQ(Register(id, {Source(one_), Source(FileUrl(two_))}), "");
  EXPECT_THAT(Segments(id), ElementsAre("recording_001", "recording_002"));
  const int64_t updated = Entry(id)->entry.updated_at_ns;
  EXPECT_GT(updated, created);
  EXPECT_EQ(Register(id, {Source(one_, "extra")}), "");
  EXPECT_GT(Entry(id)->entry.updated_at_ns, updated);

  const auto table = Entry(id)->content->SegmentTable().ValueOrDie();
  EXPECT_EQ(table->num_rows(), 2);
  EXPECT_EQ(table->GetColumnByName("rerun_layer_names")->ToString(),
            "[\n  [\n    \"base\",\n    \"extra\"\n  ],\n  [\n    \"base\"\n  ]\n]");
  const auto names = table->schema()->field_names();
  EXPECT_THAT(std::vector<std::string>(names.begin(), names.begin() + 6),
              ElementsAre("rerun_segment_id", "rerun_layer_names", "rerun_storage_urls", "rerun_last_updated_at", "rerun_num_chunks",
                          "rerun_size_bytes"));
  const auto end = std::static_pointer_cast<arrow::Int64Array>(table->GetColumnByName("frame_nr:end"));
  EXPECT_EQ(end->Value(0), 3);
  EXPECT_EQ(end->Value(1), 103);
  EXPECT_EQ(table->schema()->GetFieldByName("log_time:start")->type()->ToString(), "timestamp[ns]");
  EXPECT_EQ(table->schema()->GetFieldByName("frame_nr:end")->metadata()->Get("rerun:index_marker").ValueOr(""), "end");
  EXPECT_NE(table->GetColumnByName("property:RecordingInfo:start_time"), nullptr);

  const auto manifest = Entry(id)->content->Manifest().ValueOrDie();
  EXPECT_EQ(manifest->num_rows(), 3);
  const auto& times = static_cast<const arrow::TimestampArray&>(*manifest->GetColumnByName("rerun_registration_time"));
  EXPECT_LT(times.Value(0), times.Value(2));
  EXPECT_LT(times.Value(2), times.Value(1));  // the further layer of the first segment came last

  const auto removed = catalog_.Unregister(id, {}, {"extra"});
  ASSERT_OK(removed.status());
  EXPECT_EQ(removed->size(), 1);
  EXPECT_EQ(Entry(id)->content->Manifest().ValueOrDie()->num_rows(), 2);
  ASSERT_OK(catalog_.Unregister(id, {"recording_001", "unknown"}, {}).status());
  EXPECT_THAT(Segments(id), ElementsAre("recording_002"));
  EXPECT_TRUE(catalog_.Unregister(id, {}, {}).status().IsInvalid());
  ASSERT_OK(catalog_.Unregister(id, {"recording_002"}, {"base"}).status());
  EXPECT_TRUE(Entry(id)->content->schema()->empty());
}

TEST_F(CatalogTest, DuplicatesFollowTheMode) {
  const EntryId id = Create("d");
  EXPECT_EQ(Register(id, {Source(one_)}), "");
  const auto registered = [&] { return Entry(id)->content->FindSegment("recording_001")->layers.front()->registered_at_ns; };
  const int64_t first = registered();
  const auto again = Register(id, {Source(one_), Source(two_)});
  EXPECT_THAT(again, HasSubstr("- Segment \"recording_001\", layer \"base\": already exists"));
  EXPECT_THAT(Segments(id), ElementsAre("recording_001", "recording_002"));  // the other one is in
  EXPECT_EQ(Register(id, {Source(one_)}, IfDuplicate::kSkip), "");
  EXPECT_EQ(registered(), first);
  EXPECT_EQ(Register(id, {Source(one_)}, IfDuplicate::kOverwrite), "");
  EXPECT_GT(registered(), first);
  const std::string twice = Register(id, {Source(one_), Source(FileUrl(one_))}, IfDuplicate::kOverwrite);
  EXPECT_THAT(twice, HasSubstr("duplicate segment layers in request"));
  EXPECT_THAT(twice, HasSubstr("segment id: recording_001, layer name: base"));
}

TEST_F(CatalogTest, BadSourcesChangeNothing) {
  const fs::path dir = fs::path(RUSHES_BINARY_DIR) / "test" / "catalog_bad";
  fs::create_directories(dir);
  std::ofstream(dir / "text.rrd") << "not a recording";
  std::ofstream(dir / "empty.rrd");
  const EntryId id = Create("d");
  const auto fail = [&](const std::string& path) {
    const arrow::Status status = catalog_.Register(id, {Source(one_), Source(path)}, IfDuplicate::kError).status();
    EXPECT_THAT(status.message(), HasSubstr(fs::path(path).filename().string()));
    EXPECT_TRUE(Segments(id).empty());
    return status;
  };
  EXPECT_TRUE(fail((dir / "missing.rrd").string()).IsKeyError());
  EXPECT_TRUE(fail(dir.string()).IsKeyError());
  EXPECT_TRUE(fail((dir / "text.rrd").string()).IsInvalid());
  EXPECT_TRUE(fail((dir / "empty.rrd").string()).IsInvalid());
  EXPECT_TRUE(catalog_.Register(id, {}, IfDuplicate::kError).status().IsInvalid());
  EXPECT_TRUE(catalog_.Register(Tuid::New(), {Source(one_)}, IfDuplicate::kError).status().IsKeyError());
}

TEST_F(CatalogTest, TruncatedFilesAreRefusedUnlessAsked) {
  const fs::path path = fs::path(RUSHES_BINARY_DIR) / "test" / "cut.rrd";
  fs::create_directories(path.parent_path());
  fs::copy_file(Recording("demo/episode_000.rrd"), path, fs::copy_options::overwrite_existing);
  fs::resize_file(path, fs::file_size(path) / 2);
  const EntryId id = Create("d");
  EXPECT_THAT(Register(id, {Source(path.string())}), HasSubstr("damaged"));
  EXPECT_TRUE(Segments(id).empty());
  RegisterOptions damaged;
  damaged.accept_damaged = true;
  ASSERT_OK(catalog_.Register(id, {Source(path.string())}, IfDuplicate::kError, damaged).status());
  EXPECT_THAT(Segments(id), ElementsAre("episode_000"));
}

TEST_F(CatalogTest, FilesOfOldWritersAreSound) {
  const EntryId id = Create("d");
  for (const char* version : {"0.23", "0.24", "0.26", "0.28", "0.30", "0.36", "0.39", "0.41"}) {
    const std::string path = std::string(RUSHES_SOURCE_DIR) + "/tests/data/sdk_" + version + "/recording.rrd";
    EXPECT_EQ(Register(id, {Source(path, version)}), "") << version;
  }
  const std::string path = std::string(RUSHES_SOURCE_DIR) + "/tests/data/sdk_0.22/recording.rrd";
  EXPECT_THAT(Register(id, {Source(path, "0.22")}), HasSubstr("0.22"));
}

TEST_F(CatalogTest, ReadersKeepTheirState) {
  const EntryId id = Create("d");
  ASSERT_EQ(Register(id, {Source(one_)}), "");
  const EntryPtr before = Entry(id);
  const LayerPtr layer = before->content->FindSegment("recording_001")->layers.front();
  EXPECT_EQ(catalog_.FindLayer(layer->id), layer);
  ASSERT_OK(catalog_.Delete(id));
  EXPECT_EQ(before->content->SegmentTable().ValueOrDie()->num_rows(), 1);
  EXPECT_EQ(catalog_.FindLayer(layer->id), layer);  // still read by somebody
  EXPECT_EQ(catalog_.FindLayer(Tuid::New()), nullptr);
}

class FailingJournal : public Journal {
 public:
  arrow::Status Commit(const CatalogChange&) override { return fail ? arrow::Status::IOError("disk full") : arrow::Status::OK(); }
  bool fail = false;
};

TEST(CatalogJournal, WhatIsNotRecordedDoesNotHappen) {
  auto owned = std::make_unique<FailingJournal>();
  FailingJournal* journal = owned.get();
  Catalog catalog(std::move(owned));
  const EntryId id = catalog.CreateDataset("d").ValueOrDie()->entry.id;
  journal->fail = true;
  EXPECT_TRUE(catalog.CreateDataset("e").status().IsIOError());
  EXPECT_TRUE(catalog.Rename(id, "e").status().IsIOError());
  EXPECT_TRUE(catalog.Delete(id).IsIOError());
  EXPECT_TRUE(catalog.Register(id, {Source(Recording("howto/recording_001.rrd"))}, IfDuplicate::kError).status().IsIOError());
  EXPECT_EQ(catalog.state()->entries().size(), 4);
  EXPECT_EQ(catalog.state()->Find(id)->entry.name, "d");
  EXPECT_TRUE(catalog.state()->Find(id)->content->segments().empty());
}

TEST_F(CatalogTest, PropertiesHaveRevisions) {
  const EntryId id = Create("d");
  const auto row = arrow::RecordBatch::MakeEmpty(arrow::schema({arrow::field("x", arrow::int64())})).ValueOrDie();
  EXPECT_TRUE(catalog_.SetProperties(id, "s", row, std::nullopt).status().IsInvalid());
  const auto one = arrow::RecordBatch::Make(arrow::schema({}), 1, arrow::ArrayVector{});
  EXPECT_TRUE(Catalog::IsRevisionMismatch(catalog_.SetProperties(id, "s", one, 7).status()));
  const uint64_t first = catalog_.SetProperties(id, "s", one, 0).ValueOrDie();
  EXPECT_NE(first, 0);
  EXPECT_TRUE(Catalog::IsRevisionMismatch(catalog_.SetProperties(id, "s", one, 0).status()));
  const uint64_t second = catalog_.SetProperties(id, "s", one, first).ValueOrDie();
  EXPECT_NE(second, first);
  ASSERT_OK(catalog_.DeleteProperties(id, {{"s", first}, {"unknown", std::nullopt}}));  // a stale revision: left alone
  EXPECT_EQ(Entry(id)->properties.count("s"), 1);
  ASSERT_OK(catalog_.DeleteProperties(id, {{"s", second}}));
  EXPECT_EQ(Entry(id)->properties.count("s"), 0);
}

TEST_F(CatalogTest, ScansFilterAndProject) {
  const EntryId id = Create("d");
  ASSERT_EQ(Register(id, {Source(one_), Source(two_), Source(one_, "extra")}), "");
  const auto manifest = Entry(id)->content->Manifest().ValueOrDie();
  TableScan scan;
  scan.columns = {"rerun_layer_name"};
  scan.filters = {{"rerun_segment_id", false, {"recording_001", "unknown"}}, {"rerun_layer_name", true, {"extra"}}};
  const auto rows = ApplyScan(manifest, scan).ValueOrDie();
  EXPECT_EQ(rows->num_columns(), 1);
  EXPECT_EQ(rows->column(0)->ToString(), "[\n  \"base\"\n]");
  scan.filters = {{"rerun_segment_id", false, {}}};
  EXPECT_EQ(ApplyScan(manifest, scan).ValueOrDie()->num_rows(), 0);
  scan.columns = {"nope"};
  EXPECT_THAT(ApplyScan(manifest, scan).status().message(), HasSubstr("'nope' not found"));
  scan.columns = {"rerun_layer_name", "rerun_layer_name"};
  EXPECT_THAT(ApplyScan(manifest, scan).status().message(), HasSubstr("twice"));
}

TEST_F(CatalogTest, WritersAndReadersTogether) {
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      const auto state = catalog_.state();
      for (const auto& [id, entry] : state->entries()) {
        if (!entry->is_dataset()) continue;
        ASSERT_OK(entry->content->SegmentTable().status());
        ASSERT_EQ(state->Find(entry->entry.name), entry);
      }
    }
  });
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 10; ++i) {
        const std::string name = "d" + std::to_string(w) + "_" + std::to_string(i);
        const EntryId id = Create(name);
        EXPECT_EQ(Register(id, {Source(one_), Source(two_)}), "");
        ASSERT_OK(catalog_.Unregister(id, {"recording_001"}, {}).status());
        if (i % 2) ASSERT_OK(catalog_.Delete(id));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  done = true;
  reader.join();
  EXPECT_EQ(catalog_.state()->entries().size(), 1 + 3 * 20);
}

}  // namespace
}  // namespace rushes
