// The calls about tables as a client sees them, over a real port: above all what is wrong with them.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "arrow/array/array_primitive.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/util/key_value_metadata.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rerun/cloud/v1alpha1/cloud.grpc.pb.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/source_url.h"
#include "rushes/catalog/table_files.h"
#include "rushes/catalog/temporary_directory.h"
#include "rushes/server/catalog_server.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/table.h"

namespace rushes {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Ids = std::vector<int64_t>;

std::shared_ptr<arrow::Schema> OneColumn() {
  return arrow::schema({arrow::field("id", arrow::int64(), false, arrow::key_value_metadata({"rerun:is_table_index"}, {"true"}))});
}

std::shared_ptr<arrow::RecordBatch> Batch(const Ids& ids) {
  arrow::Int64Builder builder;
  EXPECT_TRUE(builder.AppendValues(ids).ok());
  return arrow::RecordBatch::Make(OneColumn(), static_cast<int64_t>(ids.size()), {builder.Finish().ValueOrDie()});
}

class TableCallsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    temporary_ = TemporaryDirectory::Make("rushes-test-").ValueOrDie();
    directory_ = temporary_->path();
    TableSpaceOptions options;
    options.limits.max_batch_bytes = 1 << 20;
    catalog_ = std::make_shared<Catalog>(std::make_unique<MemoryJournal>(), options);
    auto started = CatalogServer::Start(catalog_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = std::move(*started);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);
    stub_ = cloud::RerunCloudService::NewStub(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(), arguments));
    table_ = catalog_->CreateTable("t", *OneColumn(), FileUrl(directory_ + "/t")).ValueOrDie()->entry.id;
    dataset_ = catalog_->CreateDataset("d").ValueOrDie()->entry.id;
    entries_ = catalog_->state()->Find("__entries")->entry.id;
  }
  void TearDown() override { server_.reset(); }

  struct Call : grpc::ClientContext {
    Call() { set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30)); }
    explicit Call(EntryId id) : Call() { AddMetadata(wire::kEntryIdHeader, EntryIdText(id)); }
    explicit Call(const std::string& name) : Call() { AddMetadata(wire::kEntryNameHeader, name); }
  };

  static cloud::WriteTableRequest Message(const Ids& ids, int mode = cloud::TABLE_INSERT_MODE_APPEND) {
    cloud::WriteTableRequest request;
    EXPECT_TRUE(wire::EncodePart(*Batch(ids), request.mutable_dataframe_part()).ok());
    request.set_insert_mode(static_cast<cloud::TableInsertMode>(mode));
    return request;
  }
  grpc::Status Write(Call& call, const std::vector<cloud::WriteTableRequest>& messages) {
    cloud::WriteTableResponse response;
    const auto writer = stub_->WriteTable(&call, &response);
    for (const auto& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  grpc::Status Write(EntryId id, const std::vector<cloud::WriteTableRequest>& messages) {
    Call call(id);
    return Write(call, messages);
  }
  grpc::Status Scan(EntryId id, Ids* ids, int* messages = nullptr) {
    Call call;
    cloud::ScanTableRequest request;
    wire::ToProto(id, request.mutable_table_id());
    const auto reader = stub_->ScanTable(&call, request);
    cloud::ScanTableResponse response;
    while (reader->Read(&response)) {
      if (messages) ++*messages;
      const auto batch = wire::DecodePart(response.dataframe_part(), "part").ValueOrDie();
      const auto& values = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("id"));
      for (int64_t i = 0; i < values.length(); ++i) ids->push_back(values.Value(i));
    }
    return reader->Finish();
  }
  Ids Rows() {
    Ids ids;
    const grpc::Status status = Scan(table_, &ids);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return ids;
  }
  size_t DataFiles() const { return ListFiles(directory_ + "/t/data").ValueOrDie().size(); }
  grpc::Status Create(const std::string& name, const std::string& type_url, const std::string& table_url,
                      cloud::TableEntry* table = nullptr) {
    Call call;
    cloud::CreateTableEntryRequest request;
    request.set_name(name);
    EXPECT_TRUE(wire::EncodeSchema(*OneColumn(), request.mutable_schema()).ok());
    if (!type_url.empty()) {
      wire::TableUrlToProto(table_url, request.mutable_provider_details());
      request.mutable_provider_details()->set_type_url(type_url);
    }
    cloud::CreateTableEntryResponse response;
    const grpc::Status status = stub_->CreateTableEntry(&call, request, &response);
    if (table) *table = response.table();
    return status;
  }

  std::unique_ptr<TemporaryDirectory> temporary_;
  std::string directory_;
  std::shared_ptr<Catalog> catalog_;
  std::unique_ptr<CatalogServer> server_;
  std::unique_ptr<cloud::RerunCloudService::Stub> stub_;
  EntryId table_, dataset_, entries_;
};

TEST_F(TableCallsTest, RowsAreWrittenAndScanned) {
  int messages = 0;
  Ids ids;
  EXPECT_TRUE(Scan(table_, &ids, &messages).ok());
  EXPECT_EQ(messages, 0);  // of an empty table
  EXPECT_TRUE(Write(table_, {}).ok());
  EXPECT_TRUE(Write(table_, {Message({1, 2}), Message({3}, cloud::TABLE_INSERT_MODE_UNSPECIFIED)}).ok());
  EXPECT_THAT(Rows(), ElementsAre(1, 2, 3));
  EXPECT_TRUE(Write(table_, {Message({7}, 2), Message({8}, 2)}).ok());
  EXPECT_THAT(Rows(), ElementsAre(7, 8));
  EXPECT_TRUE(Write(table_, {Message({8, 9}, 3)}).ok());
  EXPECT_THAT(Rows(), ElementsAre(7, 8, 9));
  EXPECT_TRUE(Write(table_, {Message({9, 10}, 4)}).ok());
  EXPECT_THAT(Rows(), ElementsAre(7, 8, 9));
}

TEST_F(TableCallsTest, AWriteMustNameATable) {
  const auto code = [&](Call& call) { return Write(call, {Message({1})}).error_code(); };
  Call none, name("t"), unknown(Tuid::New()), dataset(dataset_), entries(entries_), bad;
  bad.AddMetadata(wire::kEntryIdHeader, "xyz");
  EXPECT_EQ(code(none), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code(bad), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code(name), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(code(unknown), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(code(dataset), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(code(entries), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(TableCallsTest, BrokenMessagesAreRefusedAndLeaveNothing) {
  cloud::WriteTableRequest empty, garbage = Message({1}), bomb = Message({1}), cut = Message({1}), large;
  garbage.mutable_dataframe_part()->set_payload(std::string(100, 'x'));
  bomb.mutable_dataframe_part()->set_uncompressed_size(uint64_t{1} << 40);
  cut.mutable_dataframe_part()->mutable_payload()->resize(20);
  large = Message(Ids(200'000));
  cloud::WriteTableRequest other;
  arrow::DoubleBuilder doubles;
  ASSERT_TRUE(doubles.Append(1.5).ok());
  const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("id", arrow::float64())}), 1, {doubles.Finish().ValueOrDie()});
  ASSERT_TRUE(wire::EncodePart(*batch, other.mutable_dataframe_part()).ok());
  const struct {
    const char* name;
    cloud::WriteTableRequest message;
    const char* words;
  } cases[] = {
      {"no part", empty, "dataframe_part"},
      {"no LZ4", garbage, "WriteTableRequest.dataframe_part"},
      {"too large when decoded", bomb, "this server takes at once"},
      {"cut off", cut, "WriteTableRequest.dataframe_part"},
      {"too large", large, "this server takes at once"},
      {"mode", Message({1}, 17), "unknown table insert mode 17"},
      {"type", other, "column 'id' is int64 in the table and double in the batch"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const grpc::Status status = Write(table_, {Message({1}), test.message, Message({2})});
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(test.words));
    EXPECT_THAT(Rows(), IsEmpty());
    EXPECT_EQ(DataFiles(), 0);
  }
  EXPECT_TRUE(Write(table_, {Message({5})}).ok());
  EXPECT_THAT(Rows(), ElementsAre(5));
}

TEST_F(TableCallsTest, AnAbandonedWriteLeavesNothing) {
  for (int round = 0; round < 30; ++round) {
    Call call(table_);
    cloud::WriteTableResponse response;
    const auto writer = stub_->WriteTable(&call, &response);
    for (int64_t i = 0; i < round % 4; ++i) writer->Write(Message(Ids(30'000, i)));
    call.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // The server notices a moment later, and may not have begun all of them yet.
  for (int i = 0, without = 0; i < 500 && without < 30; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    without = DataFiles() == 0 ? without + 1 : 0;
  }
  EXPECT_THAT(Rows(), IsEmpty());
  EXPECT_EQ(DataFiles(), 0);
  EXPECT_EQ(ListFiles(directory_ + "/t/versions").ValueOrDie().size(), 1);
}

TEST_F(TableCallsTest, AnExpiredDeadlineLeavesNothing) {
  Call call(table_);
  call.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  cloud::WriteTableResponse response;
  const auto writer = stub_->WriteTable(&call, &response);
  EXPECT_TRUE(writer->Write(Message({1})));
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_THAT(Rows(), IsEmpty());
}

TEST_F(TableCallsTest, ASlowWriterHoldsUpNobody) {
  // More writers that say nothing than the server has threads.
  std::vector<std::unique_ptr<Call>> calls;
  std::vector<std::unique_ptr<grpc::ClientWriter<cloud::WriteTableRequest>>> writers;
  std::vector<cloud::WriteTableResponse> responses(40);
  for (auto& response : responses) {
    calls.push_back(std::make_unique<Call>(table_));
    writers.push_back(stub_->WriteTable(calls.back().get(), &response));
    EXPECT_TRUE(writers.back()->Write(Message({1})));
  }
  EXPECT_TRUE(Write(table_, {Message({2})}).ok());
  EXPECT_THAT(Rows(), ElementsAre(2));
  for (auto& writer : writers) writer->WritesDone();
  for (auto& writer : writers) EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(Rows().size(), 41);
}

TEST_F(TableCallsTest, TablesAreAddressedByHeaderOrBody) {
  const auto schema = [&](std::optional<EntryId> header, std::optional<EntryId> body) {
    Call call;
    if (header) call.AddMetadata(wire::kEntryIdHeader, EntryIdText(*header));
    cloud::GetTableSchemaRequest request;
    if (body) wire::ToProto(*body, request.mutable_table_id());
    cloud::GetTableSchemaResponse response;
    return stub_->GetTableSchema(&call, request, &response);
  };
  EXPECT_TRUE(schema(table_, std::nullopt).ok());
  EXPECT_TRUE(schema(std::nullopt, table_).ok());
  EXPECT_TRUE(schema(table_, table_).ok());
  EXPECT_THAT(schema(table_, entries_).error_message(), HasSubstr("mismatched entry id"));
  EXPECT_THAT(schema(std::nullopt, std::nullopt).error_message(), HasSubstr("missing entry id"));
  EXPECT_EQ(schema(dataset_, std::nullopt).error_code(), grpc::StatusCode::NOT_FOUND);
  Ids ids;
  EXPECT_EQ(Scan(dataset_, &ids).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Scan(Tuid::New(), &ids).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(TableCallsTest, CreationIsChecked) {
  const std::string lance = "/rerun.cloud.v1alpha1.LanceTable";
  const std::string url = FileUrl(directory_ + "/new");
  EXPECT_EQ(Create("t", "", "").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Create("d", "", "").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Create("a/b", "", "").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Create("x", "/rerun.cloud.v1alpha1.SystemTable", url).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Create("x", "/google.protobuf.Empty", url).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Create("x", lance, "surprise://bad").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/new"));
  cloud::TableEntry table;
  EXPECT_TRUE(Create("x", lance, url, &table).ok());
  EXPECT_EQ(wire::FromProto(table).ValueOrDie().url, url);
  EXPECT_EQ(table.provider_details().type_url(), lance);
  const grpc::Status again = Create("y", lance, url);
  EXPECT_EQ(again.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(again.error_message(), HasSubstr(url));
  EXPECT_TRUE(Create("y", "", "", &table).ok());
  EXPECT_THAT(wire::FromProto(table).ValueOrDie().url, StartsWith("file:///"));
  Call call;
  cloud::CreateTableEntryRequest no_schema;
  no_schema.set_name("z");
  cloud::CreateTableEntryResponse ignored;
  EXPECT_THAT(stub_->CreateTableEntry(&call, no_schema, &ignored).error_message(), HasSubstr("CreateTableEntryRequest.schema"));
  EXPECT_EQ(catalog_->FindEntries({}).size(), 10);  // no companion of a failed creation: __entries, d with 2, 3 tables with 1
}

TEST_F(TableCallsTest, RegistrationIsChecked) {
  const auto register_table = [&](const std::string& name, const std::optional<std::string>& url) {
    Call call;
    cloud::RegisterTableRequest request;
    request.set_name(name);
    if (url) wire::TableUrlToProto(*url, request.mutable_provider_details());
    cloud::RegisterTableResponse response;
    return stub_->RegisterTable(&call, request, &response);
  };
  EXPECT_EQ(register_table("x", std::nullopt).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(register_table("x", "s3://bucket/t").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(register_table("x", FileUrl(directory_ + "/none")).ok());
  EXPECT_EQ(register_table("x", FileUrl(directory_)).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(register_table("d", FileUrl(directory_ + "/t")).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_TRUE(register_table("x", FileUrl(directory_ + "/t") + "/").ok());
}

}  // namespace
}  // namespace rushes
