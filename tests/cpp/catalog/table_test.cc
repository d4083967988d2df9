// Tables on disk: versions, writers, readers, and what is left when something goes wrong.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/table.h"
#include "arrow/util/key_value_metadata.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rushes/catalog/catalog.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/source_url.h"
#include "rushes/catalog/table_files.h"
#include "rushes/catalog/table_schema.h"
#include "rushes/catalog/table_storage.h"
#include "rushes/catalog/table_writer.h"
#include "rushes/catalog/temporary_directory.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Ids = std::vector<int64_t>;

#define ASSERT_OK(expression)                        \
  do {                                               \
    const arrow::Status _status = (expression);      \
    ASSERT_TRUE(_status.ok()) << _status.ToString(); \
  } while (false)

// `id` is the key; `name` may be null.
std::shared_ptr<arrow::Schema> TwoColumns() {
  return arrow::schema({arrow::field("id", arrow::int64(), false, arrow::key_value_metadata({kTableIndexKey}, {"True"})),
                        arrow::field("name", arrow::utf8())});
}

std::shared_ptr<arrow::RecordBatch> Rows(const Ids& ids, const std::vector<const char*>& names = {}) {
  arrow::Int64Builder id_builder;
  arrow::StringBuilder name_builder;
  for (const int64_t id : ids) EXPECT_TRUE(id_builder.Append(id).ok());
  for (size_t i = 0; i < ids.size(); ++i) {
    const char* name = i < names.size() ? names[i] : nullptr;
    EXPECT_TRUE((name ? name_builder.Append(name) : name_builder.AppendNull()).ok());
  }
  return arrow::RecordBatch::Make(TwoColumns(), static_cast<int64_t>(ids.size()),
                                  {id_builder.Finish().ValueOrDie(), name_builder.Finish().ValueOrDie()});
}

std::shared_ptr<arrow::RecordBatch> OnlyIds(const Ids& ids) { return Rows(ids)->SelectColumns({0}).ValueOrDie(); }

class TableTest : public ::testing::Test {
 protected:
  void SetUp() override {
    temporary_ = TemporaryDirectory::Make("rushes-test-").ValueOrDie();
    directory_ = temporary_->path();
    path_ = directory_ + "/t";
  }

  std::shared_ptr<Table> Create(TableOptions options = {}) {
    return Table::Create(path_, MakeTableSchema(*TwoColumns()).ValueOrDie(), options).ValueOrDie();
  }
  // "1:a 2:- 3:c" of a table's rows in order.
  static std::string Text(const std::shared_ptr<arrow::RecordBatchReader>& reader) {
    std::string out;
    for (;;) {
      std::shared_ptr<arrow::RecordBatch> batch;
      const arrow::Status status = reader->ReadNext(&batch);
      if (!status.ok()) return status.message();
      if (batch == nullptr) return out;
      const auto& ids = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("id"));
      const auto& names = static_cast<const arrow::StringArray&>(*batch->GetColumnByName("name"));
      for (int64_t i = 0; i < batch->num_rows(); ++i) {
        out += (out.empty() ? "" : " ") + std::to_string(ids.Value(i)) + ":" + (names.IsNull(i) ? "-" : names.GetString(i));
      }
    }
  }
  static std::string Text(const Table& table) { return Text(table.Read(table.Current().ValueOrDie()).ValueOrDie()); }
  static arrow::Status Write(const std::shared_ptr<Table>& table, const std::shared_ptr<arrow::RecordBatch>& batch,
                             TableInsertMode mode = TableInsertMode::kAppend) {
    ARROW_ASSIGN_OR_RAISE(const auto writer, TableWriter::Begin(table));
    ARROW_RETURN_NOT_OK(writer->Write(batch, mode));
    return writer->Commit();
  }
  std::vector<std::string> DataFiles() const { return ListFiles(path_ + "/data").ValueOrDie(); }
  std::vector<std::string> Versions() const { return ListFiles(path_ + "/versions").ValueOrDie(); }

  std::unique_ptr<TemporaryDirectory> temporary_;
  std::string directory_;
  std::string path_;
};

TEST_F(TableTest, RowsComeBackInOrderAfterReopening) {
  auto table = Create();
  EXPECT_EQ(Text(*table), "");
  ASSERT_OK(Write(table, Rows({1, 2}, {"a"})));
  ASSERT_OK(Write(table, OnlyIds({3})));  // a column that may be null may be missing
  EXPECT_EQ(Text(*table), "1:a 2:- 3:-");
  table.reset();
  table = Table::Open(path_).ValueOrDie();
  EXPECT_EQ(Text(*table), "1:a 2:- 3:-");
  const auto snapshot = table->Current().ValueOrDie();
  EXPECT_EQ(snapshot->version, 3);
  EXPECT_EQ(snapshot->num_rows(), 3);
  EXPECT_EQ(snapshot->schema->field(0)->metadata()->Get(kTableIndexKey).ValueOrDie(), "True");
}

TEST_F(TableTest, AProjectionReadsItsColumnsInItsOrder) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1, 2}, {"a", "b"})));
  const auto read = [&](std::vector<std::string> columns) { return table->Read(table->Current().ValueOrDie(), std::move(columns)); };
  const auto swapped = read({"name", "id"}).ValueOrDie();
  EXPECT_THAT(swapped->schema()->field_names(), ElementsAre("name", "id"));
  EXPECT_EQ(Text(swapped), "1:a 2:b");
  const auto none = read({}).ValueOrDie()->ToTable().ValueOrDie();
  EXPECT_EQ(none->num_columns(), 0);
  EXPECT_EQ(none->num_rows(), 2);
  EXPECT_THAT(read({"nope"}).status().message(), HasSubstr("'nope' not found"));
  EXPECT_THAT(read({"id", "id"}).status().message(), HasSubstr("named twice"));
}

TEST_F(TableTest, AReaderKeepsItsVersion) {
  TableOptions options;
  options.keep_superseded = std::chrono::nanoseconds(0);
  options.keep_unnamed = std::chrono::nanoseconds(0);
  const auto table = Create(options);
  ASSERT_OK(Write(table, Rows({1}, {"old"})));
  auto snapshot = table->Current().ValueOrDie();
  const auto reader = table->Read(snapshot).ValueOrDie();
  ASSERT_OK(Write(table, Rows({2}, {"new"}), TableInsertMode::kOverwrite));
  ASSERT_OK(Write(table, Rows({3}, {"newest"}), TableInsertMode::kOverwrite));
  EXPECT_EQ(Text(reader), "1:old");
  EXPECT_EQ(Text(*table), "3:newest");
  snapshot.reset();
  EXPECT_EQ(DataFiles().size(), 2);  // the version in between is gone
}

TEST_F(TableTest, OldVersionsStayForOthersForAWhile) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1})));
  ASSERT_OK(Write(table, Rows({2}), TableInsertMode::kOverwrite));
  ASSERT_OK(table->RemoveOldFiles());
  EXPECT_EQ(DataFiles().size(), 2);
  EXPECT_EQ(Versions().size(), 3);
}

TEST_F(TableTest, FilesOfVersionsThatGoDoNotWaitLikeUnnamedOnes) {
  TableOptions options;
  options.keep_superseded = std::chrono::nanoseconds(0);
  const auto table = Create(options);
  ASSERT_OK(Write(table, Rows({1})));
  std::ofstream(path_ + "/data/unnamed.arrows") << "of another process";
  ASSERT_OK(Write(table, Rows({2}), TableInsertMode::kOverwrite));
  EXPECT_EQ(DataFiles().size(), 2);  // the new one and the unnamed one
  EXPECT_EQ(Versions().size(), 1);
}

TEST_F(TableTest, ACountReadsNoFile) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1, 2, 3})));
  for (const std::string& name : DataFiles()) fs::remove(path_ + "/data/" + name);
  const auto reader = table->Read(table->Current().ValueOrDie(), std::vector<std::string>{}).ValueOrDie();
  EXPECT_EQ(reader->ToTable().ValueOrDie()->num_rows(), 3);
}

TEST_F(TableTest, WhatADeadWriterLeftIsIgnoredAndRemovedWhenItIsOld) {
  auto table = Create();
  ASSERT_OK(Write(table, Rows({1})));
  // Between the steps of a commit: data without a version, and a manifest that has not got its name.
  const std::string orphan = path_ + "/data/0123ABC.arrows";
  const std::string unfinished = path_ + "/versions/.unfinished-1";
  std::ofstream(orphan) << "half a stream";
  std::ofstream(unfinished) << "half a manifest";
  table = Table::Open(path_).ValueOrDie();
  EXPECT_EQ(Text(*table), "1:-");
  ASSERT_OK(table->RemoveOldFiles());
  EXPECT_TRUE(fs::exists(orphan));  // somebody may be about to commit it
  for (const std::string& path : {orphan, unfinished}) fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(2));
  ASSERT_OK(table->RemoveOldFiles());
  EXPECT_FALSE(fs::exists(orphan));
  EXPECT_FALSE(fs::exists(unfinished));
  EXPECT_EQ(Text(*table), "1:-");
}

TEST_F(TableTest, AFileThatIsBeingWrittenStays) {
  TableOptions options;
  options.keep_unnamed = std::chrono::nanoseconds(0);
  options.keep_superseded = std::chrono::nanoseconds(0);
  const auto table = Create(options);
  auto writer = TableWriter::Begin(table).ValueOrDie();
  Ids many(70000);
  ASSERT_OK(writer->Write(Rows(many), TableInsertMode::kAppend));  // enough to be written at once
  EXPECT_EQ(DataFiles().size(), 1);
  ASSERT_OK(Write(table, Rows({5})));  // removes old files
  ASSERT_OK(writer->Commit());
  EXPECT_EQ(table->Current().ValueOrDie()->num_rows(), 70001);
}

TEST_F(TableTest, AWriterThatIsDroppedLeavesNothing) {
  const auto table = Create();
  auto writer = TableWriter::Begin(table).ValueOrDie();
  ASSERT_OK(writer->Write(Rows(Ids(70000)), TableInsertMode::kAppend));
  EXPECT_EQ(DataFiles().size(), 1);
  writer.reset();
  EXPECT_THAT(DataFiles(), IsEmpty());
  EXPECT_EQ(Versions().size(), 1);
}

TEST_F(TableTest, AnOverwriteOfSeveralBatchesKeepsThemAll) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1})));
  const auto writer = TableWriter::Begin(table).ValueOrDie();
  for (const int64_t id : {2, 3}) ASSERT_OK(writer->Write(Rows({id}), TableInsertMode::kOverwrite));
  ASSERT_OK(writer->Write(Rows({4}), TableInsertMode::kAppend));
  ASSERT_OK(writer->Commit());
  EXPECT_EQ(Text(*table), "2:- 3:- 4:-");
}

TEST_F(TableTest, StepsOfOneChangeAreAppliedInOrder) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1, 2}, {"a", "b"})));
  const auto writer = TableWriter::Begin(table).ValueOrDie();
  ASSERT_OK(writer->Write(Rows({3}, {"c"}), TableInsertMode::kAppend));
  ASSERT_OK(writer->Write(Rows({3, 1}, {"C", "A"}), TableInsertMode::kReplace));
  ASSERT_OK(writer->Write(Rows({4}, {"d"}), TableInsertMode::kAppend));
  ASSERT_OK(writer->Commit());
  EXPECT_EQ(Text(*table), "1:A 2:b 3:C 4:d");
  EXPECT_EQ(table->Current().ValueOrDie()->version, 3);
}

TEST_F(TableTest, AnOverwriteWithOtherColumnsChangesTheSchema) {
  const auto table = Create();
  ASSERT_OK(Write(table, OnlyIds({1}), TableInsertMode::kOverwrite));
  EXPECT_EQ(table->Current().ValueOrDie()->schema->num_fields(), 1);
  // The same columns keep it, with its metadata.
  const auto plain = Rows({2})->ReplaceSchemaMetadata(nullptr);
  path_ += "2";
  const auto other = Create();
  ASSERT_OK(Write(other, plain, TableInsertMode::kOverwrite));
  EXPECT_TRUE(other->Current().ValueOrDie()->schema->Equals(*MakeTableSchema(*TwoColumns()).ValueOrDie(), true));
}

TEST_F(TableTest, RowsThatDoNotFitAreRefusedWithTheColumn) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1})));
  const auto with = [](const std::shared_ptr<arrow::Field>& field, const std::shared_ptr<arrow::Array>& column) {
    return Rows({9})->AddColumn(2, field, column).ValueOrDie();
  };
  arrow::Int64Builder null_builder;
  ASSERT_OK(null_builder.AppendNull());
  const auto null = null_builder.Finish().ValueOrDie();
  const auto id_null = arrow::RecordBatch::Make(arrow::schema({arrow::field("id", arrow::int64())}), 1, {null});
  const auto id_text = arrow::RecordBatch::Make(arrow::schema({arrow::field("id", arrow::utf8())}), 1, {Rows({9}, {"x"})->column(1)});
  const struct {
    std::shared_ptr<arrow::RecordBatch> batch;
    const char* words;
  } cases[] = {
      {with(arrow::field("extra", arrow::int64()), null), "the table has no column 'extra'; it has: 'id', 'name'"},
      {with(arrow::field("id", arrow::int64()), null), "two columns called 'id'"},
      {id_null, "column 'id' has a null"},
      {id_text, "column 'id' is int64 in the table and string in the batch"},
      {Rows({9})->SelectColumns({1}).ValueOrDie(), "column 'id' is missing in the batch and may not be null"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.words);
    const arrow::Status status = Write(table, test.batch);
    EXPECT_TRUE(status.IsInvalid());
    EXPECT_THAT(status.message(), HasSubstr(test.words));
  }
  EXPECT_EQ(Text(*table), "1:-");
  EXPECT_EQ(DataFiles().size(), 1);
}

TEST_F(TableTest, BoundsOfAWriteAreKept) {
  const auto table = Create();
  TableLimits limits;
  limits.max_batch_bytes = 10'000;
  limits.max_upsert_bytes = 20'000;
  const auto writer = TableWriter::Begin(table, limits).ValueOrDie();
  EXPECT_THAT(writer->Write(Rows(Ids(5000)), TableInsertMode::kAppend).message(), HasSubstr("more than the 10000 that this server takes"));
  int64_t next = 0;
  arrow::Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) {
    Ids ids;
    for (int k = 0; k < 500; ++k) ids.push_back(next++);
    status = writer->Write(Rows(ids), TableInsertMode::kReplace);
  }
  EXPECT_THAT(status.message(), HasSubstr("an upsert of more than 20000 bytes"));
}

TEST_F(TableTest, AnUpsertReplacesInPlaceAndAddsTheRest) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1, 2, 2}, {"a", "b", "b2"})));
  ASSERT_OK(Write(table, Rows({3}, {"c"})));
  const auto untouched = table->Current().ValueOrDie()->files.back().name;
  ASSERT_OK(Write(table, Rows({4, 2}, {"d", "B"}), TableInsertMode::kReplace));
  EXPECT_EQ(Text(*table), "1:a 2:B 2:B 3:c 4:d");  // every row of the key
  EXPECT_EQ(table->Current().ValueOrDie()->files[1].name, untouched);
  ASSERT_OK(Write(table, OnlyIds({1, 5}), TableInsertMode::kReplace));  // columns that are not given stay
  EXPECT_EQ(Text(*table), "1:a 2:B 2:B 3:c 4:d 5:-");
  ASSERT_OK(Write(table, Rows({3, 6}, {"C", "f"}), TableInsertMode::kUpdate));
  EXPECT_EQ(Text(*table), "1:a 2:B 2:B 3:C 4:d 5:-");
  const arrow::Status twice = Write(table, Rows({7, 7}), TableInsertMode::kReplace);
  EXPECT_THAT(twice.message(), HasSubstr("the key (id = 7) occurs twice in one batch"));
  EXPECT_THAT(Write(table, Rows({7})->SelectColumns({1}).ValueOrDie(), TableInsertMode::kReplace).message(),
              HasSubstr("key column 'id' is missing"));
  // Across batches the last one counts.
  const auto writer = TableWriter::Begin(table).ValueOrDie();
  for (const char* name : {"x", "y"}) ASSERT_OK(writer->Write(Rows({1, 8}, {name, name}), TableInsertMode::kReplace));
  ASSERT_OK(writer->Commit());
  EXPECT_EQ(Text(*table), "1:y 2:B 2:B 3:C 4:d 5:- 8:y");
}

TEST_F(TableTest, AnUpsertNeedsAKeyColumn) {
  const auto table = Table::Create(path_, arrow::schema({arrow::field("id", arrow::int64())})).ValueOrDie();
  const arrow::Status status = Write(table, OnlyIds({1}), TableInsertMode::kReplace);
  EXPECT_TRUE(status.IsUnknownError());
  EXPECT_THAT(status.message(), HasSubstr("the table has no key column"));
}

TEST_F(TableTest, AddedRowsMakeMissingColumnsNullable) {
  auto schema = arrow::schema({TwoColumns()->field(0), arrow::field("name", arrow::utf8(), false)});
  const auto table = Table::Create(path_, schema).ValueOrDie();
  ASSERT_OK(Write(table, Rows({1}, {"a"})));
  ASSERT_OK(Write(table, OnlyIds({1}), TableInsertMode::kReplace));
  EXPECT_FALSE(table->Current().ValueOrDie()->schema->field(1)->nullable());
  ASSERT_OK(Write(table, OnlyIds({1, 2}), TableInsertMode::kReplace));
  EXPECT_TRUE(table->Current().ValueOrDie()->schema->field(1)->nullable());
  EXPECT_EQ(Text(*table), "1:a 2:-");
}

TEST_F(TableTest, ManySmallWritesBecomeFewFiles) {
  TableOptions options;
  options.keep_superseded = std::chrono::nanoseconds(0);
  options.keep_unnamed = std::chrono::nanoseconds(0);
  const auto table = Create(options);
  std::string expected;
  for (int64_t i = 0; i < 200; ++i) {
    ASSERT_OK(Write(table, Rows({i})));
    expected += (i ? " " : "") + std::to_string(i) + ":-";
  }
  EXPECT_EQ(Text(*table), expected);
  EXPECT_LT(table->Current().ValueOrDie()->files.size(), 40);
  EXPECT_LT(DataFiles().size(), 80);
  EXPECT_LT(Versions().size(), 5);
}

TEST_F(TableTest, WritersOfOneProcessAndOfOthersDoNotLoseRows) {
  // Two Table objects of one directory see each other only through the files, as two processes do.
  const auto first = Create();
  const auto second = Table::Open(path_).ValueOrDie();
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      const auto& table = t % 2 ? first : second;
      for (int64_t i = 0; i < 15; ++i) {
        const auto mode = i % 3 == 0 ? TableInsertMode::kReplace : TableInsertMode::kAppend;
        if (!Write(table, Rows({t * 100 + i}), mode).ok()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(first->Current().ValueOrDie()->num_rows(), 90);
  EXPECT_EQ(second->Current().ValueOrDie()->version, 91);
}

TEST_F(TableTest, AChangedSchemaStopsAWriterThatDidNotKnow) {
  const auto table = Create();
  const auto writer = TableWriter::Begin(table).ValueOrDie();
  ASSERT_OK(writer->Write(Rows({1}), TableInsertMode::kAppend));
  ASSERT_OK(Write(table, OnlyIds({2}), TableInsertMode::kOverwrite));
  EXPECT_THAT(writer->Commit().message(), HasSubstr("the schema of the table was changed by somebody else"));
  EXPECT_EQ(table->Current().ValueOrDie()->num_rows(), 1);
}

TEST_F(TableTest, ATableIsMadeInAPlaceOfItsOwn) {
  const auto schema = MakeTableSchema(*TwoColumns()).ValueOrDie();
  Create();
  const auto again = Table::Create(path_, schema);
  EXPECT_TRUE(again.status().IsAlreadyExists());
  EXPECT_THAT(again.status().message(), HasSubstr(path_));
  fs::create_directories(directory_ + "/lance/_versions");
  EXPECT_TRUE(Table::Create(directory_ + "/lance", schema).status().IsAlreadyExists());
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_TRUE(Table::Create(directory_ + "/file", schema).status().IsInvalid());
  EXPECT_THAT(Table::Create(directory_, schema).status().message(), HasSubstr("is not empty"));
  fs::create_directories(directory_ + "/empty");
  ASSERT_OK(Table::Create(directory_ + "/empty", schema).status());
  fs::create_directories(directory_ + "/died/versions");  // a creation that did not come to its end
  ASSERT_OK(Table::Create(directory_ + "/died", schema).status());
}

TEST_F(TableTest, OpeningSaysWhatIsThereInstead) {
  EXPECT_TRUE(Table::Open(directory_ + "/none").status().IsKeyError());
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_THAT(Table::Open(directory_ + "/file").status().message(), HasSubstr("is not a directory"));
  EXPECT_THAT(Table::Open(directory_).status().message(), HasSubstr("holds no table of this server"));
  fs::create_directories(directory_ + "/lance/_versions");
  EXPECT_THAT(Table::Open(directory_ + "/lance").status().message(), HasSubstr("holds a Lance table"));
}

TEST_F(TableTest, DamagedFilesAreErrorsThatNameThem) {
  const auto table = Create();
  ASSERT_OK(Write(table, Rows({1, 2, 3}, {"a", "b", "c"})));
  const std::string data = path_ + "/data/" + table->Current().ValueOrDie()->files.front().name;
  std::string bytes;
  {
    std::ifstream in(data, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto put = [](const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; };
  put(data, bytes.substr(0, bytes.size() - 1));
  EXPECT_THAT(Text(*table), HasSubstr(data));
  for (size_t i = 0; i < bytes.size(); i += 11) {
    std::string broken = bytes;
    broken[i] = static_cast<char>(broken[i] ^ 0x55);
    put(data, broken);
    Text(*table);  // an answer or an error, never a crash
  }
  fs::remove(data);
  EXPECT_THAT(Text(*table), HasSubstr(data));
  put(data, bytes);
  EXPECT_EQ(Text(*table), "1:a 2:b 3:c");

  const std::string manifest = path_ + "/versions/00000000000000000002.arrow";
  {
    std::ifstream in(manifest, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  for (size_t i = 0; i < bytes.size(); i += 13) {
    std::string broken = bytes;
    broken[i] = static_cast<char>(broken[i] ^ 0x55);
    put(manifest, broken);
    const auto opened = Table::Open(path_);
    if (!opened.ok()) {
      EXPECT_THAT(opened.status().message(), HasSubstr(manifest));
    }
  }
  put(manifest, "");
  EXPECT_THAT(Table::Open(path_).status().message(), HasSubstr("not a readable table manifest"));
  put(manifest, bytes);
  fs::rename(manifest, path_ + "/versions/00000000000000000009.arrow");
  EXPECT_THAT(Table::Open(path_).status().message(), HasSubstr("says that it is version 2"));
}

TEST(TableManifest, AFileElsewhereIsRefused) {
  for (const char* name : {"../x.arrows", "/etc/passwd", "a/b.arrows", ".arrows", "x", ".x.arrows"}) {
    TableManifest manifest{1, TwoColumns(), {{name, 1, 1}}};
    EXPECT_THAT(DecodeManifest(EncodeManifest(manifest).ValueOrDie()).status().message(), HasSubstr("not the name of a data file")) << name;
  }
  TableManifest manifest{1, TwoColumns(), {{"a.arrows", -1, 1}}};
  EXPECT_THAT(DecodeManifest(EncodeManifest(manifest).ValueOrDie()).status().message(), HasSubstr("impossible"));
}

class CatalogTablesTest : public TableTest {
 protected:
  std::string Url(const std::string& name) const { return FileUrl(directory_ + "/" + name); }
  Catalog catalog_;
};

TEST_F(CatalogTablesTest, ATableComesAndGoesWithItsCompanion) {
  const auto table = catalog_.CreateTable("t", *TwoColumns()).ValueOrDie();
  EXPECT_EQ(catalog_.state()->entries().size(), 3);
  EXPECT_EQ(catalog_.state()->Find(*table->details.blueprint_dataset)->entry.name, BlueprintDatasetName(table->entry.id));
  EXPECT_TRUE(catalog_.CreateTable("t", *TwoColumns()).status().IsAlreadyExists());
  EXPECT_TRUE(catalog_.CreateDataset("t").status().IsAlreadyExists());
  const std::string directory = table->table->directory();
  EXPECT_TRUE(fs::exists(directory));
  ASSERT_OK(catalog_.Delete(table->entry.id));
  EXPECT_EQ(catalog_.state()->entries().size(), 1);
}

TEST_F(CatalogTablesTest, FailedCreationsLeaveNothing) {
  ASSERT_OK(catalog_.CreateDataset("taken").status());
  EXPECT_TRUE(catalog_.CreateTable("taken", *TwoColumns(), Url("x")).status().IsAlreadyExists());
  EXPECT_FALSE(fs::exists(directory_ + "/x"));
  EXPECT_TRUE(catalog_.CreateTable("a", *TwoColumns(), "s3://bucket/x").status().IsInvalid());
  EXPECT_TRUE(catalog_.CreateTable("a", *TwoColumns(), "relative/x").status().IsInvalid());
  EXPECT_TRUE(catalog_.CreateTable("a/b", *TwoColumns()).status().IsInvalid());
  ASSERT_OK(catalog_.CreateTable("a", *TwoColumns(), Url("x")).status());
  const auto again = catalog_.CreateTable("b", *TwoColumns(), Url("x"));
  EXPECT_TRUE(again.status().IsAlreadyExists());
  EXPECT_THAT(again.status().message(), HasSubstr(Url("x")));
  EXPECT_EQ(catalog_.state()->entries().size(), 6);  // __entries, the dataset with two companions, the table with one
}

TEST_F(CatalogTablesTest, EntriesOfOneDirectorySeeEachOther) {
  const auto first = catalog_.CreateTable("a", *TwoColumns(), Url("x")).ValueOrDie();
  fs::create_directory_symlink(directory_ + "/x", directory_ + "/link");
  const auto second = catalog_.RegisterTable("b", Url("link") + "/").ValueOrDie();
  EXPECT_EQ(first->table, second->table);
  const auto writer = catalog_.WriteTable(first->entry.id).ValueOrDie();
  ASSERT_OK(writer->Write(Rows({1}), TableInsertMode::kAppend));
  ASSERT_OK(writer->Commit());
  EXPECT_EQ(Text(catalog_.ReadTable(second->entry.id).ValueOrDie()), "1:-");
}

TEST_F(CatalogTablesTest, TemporaryTablesGoWithTheCatalog) {
  std::string directory;
  {
    Catalog catalog;
    directory = fs::path(catalog.CreateTable("t", *TwoColumns()).ValueOrDie()->table->directory()).parent_path();
    EXPECT_TRUE(fs::exists(directory));
  }
  EXPECT_FALSE(fs::exists(directory));
  TableSpaceOptions options;
  options.directory = directory_;
  {
    Catalog catalog(std::make_unique<MemoryJournal>(), options);
    directory = catalog.CreateTable("t", *TwoColumns()).ValueOrDie()->table->directory();
  }
  EXPECT_EQ(fs::path(directory).parent_path(), directory_);
  ASSERT_OK(catalog_.RegisterTable("t", FileUrl(directory)).status());
}

TEST_F(CatalogTablesTest, DetailsAreChecked) {
  const EntryId table = catalog_.CreateTable("t", *TwoColumns()).ValueOrDie()->entry.id;
  const EntryPtr dataset = catalog_.CreateDataset("d").ValueOrDie();
  const auto update = [&](EntryId id, std::optional<EntryId> blueprints, std::optional<std::string> segment) {
    return catalog_.UpdateTable(id, {blueprints, std::move(segment)});
  };
  const auto own = catalog_.state()->Find(table)->details.blueprint_dataset;
  EXPECT_TRUE(update(Tuid::New(), std::nullopt, "x").status().IsKeyError());
  EXPECT_TRUE(update(dataset->entry.id, std::nullopt, "x").status().IsKeyError());
  EXPECT_THAT(update(table, Tuid::New(), "x").status().message(), HasSubstr("table blueprint dataset does not exist"));
  EXPECT_THAT(update(table, dataset->entry.id, "x").status().message(), HasSubstr("is not a blueprint dataset"));
  const EntryPtr updated = update(table, std::nullopt, "x").ValueOrDie();
  EXPECT_EQ(updated->details.blueprint_dataset, own);
  EXPECT_EQ(updated->details.default_blueprint_segment, "x");
  EXPECT_EQ(update(table, std::nullopt, std::nullopt).ValueOrDie()->details.blueprint_dataset, own);
  ASSERT_OK(catalog_.Delete(*own));
  EXPECT_THAT(update(table, own, "x").status().message(), HasSubstr("does not exist"));
  EXPECT_NE(update(table, std::nullopt, "x").ValueOrDie()->details.blueprint_dataset, own);
  const EntryId entries = catalog_.state()->Find("__entries")->entry.id;
  EXPECT_TRUE(update(entries, std::nullopt, std::nullopt).status().IsInvalid());
  EXPECT_TRUE(catalog_.WriteTable(entries).status().IsInvalid());
}

}  // namespace
}  // namespace rushes
