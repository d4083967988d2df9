// The service as a client sees it, over a real port.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/array/builder_binary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rerun/cloud/v1alpha1/cloud.grpc.pb.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/source_url.h"
#include "rushes/server/catalog_server.h"
#include "rushes/store/recording.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"

namespace rushes {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;
namespace common = ::rerun::common::v1alpha1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

std::string Recording(const std::string& name) { return std::string(RUSHES_SOURCE_DIR) + "/recordings/" + name; }

class RpcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    catalog_ = std::make_shared<Catalog>();
    auto started = CatalogServer::Start(catalog_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = std::move(*started);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);
    stub_ = cloud::RerunCloudService::NewStub(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(), arguments));
  }

  EntryId CreateDemo() {
    const EntryId id = catalog_->CreateDataset("demo").ValueOrDie()->entry.id;
    DataSource source;
    source.url = Recording("demo");
    source.is_prefix = true;
    EXPECT_TRUE(catalog_->Register(id, {source}, IfDuplicate::kError).ok());
    return id;
  }

  struct Call : grpc::ClientContext {
    Call() { set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30)); }
    explicit Call(EntryId id) : Call() { AddMetadata(wire::kEntryIdHeader, EntryIdText(id)); }
    explicit Call(const std::string& name) : Call() { AddMetadata(wire::kEntryNameHeader, name); }
  };

  Batches Find(EntryId id, const cloud::FindChunksRequest& request, grpc::Status* status) {
    Call call(id);
    const auto reader = stub_->FindChunks(&call, request);
    Batches batches;
    cloud::FindChunksResponse response;
    while (reader->Read(&response)) batches.push_back(wire::DecodePart(response.data(), "data").ValueOrDie());
    *status = reader->Finish();
    return batches;
  }

  static cloud::FindChunksRequest Everything() {
    cloud::FindChunksRequest request;
    request.mutable_contents()->mutable_all();
    request.mutable_range()->set_timeline("frame_nr");
    request.mutable_range()->mutable_segments()->mutable_all();
    return request;
  }

  static int64_t Rows(const Batches& batches) {
    int64_t rows = 0;
    for (const auto& batch : batches) rows += batch->num_rows();
    return rows;
  }

  std::shared_ptr<Catalog> catalog_;
  std::unique_ptr<CatalogServer> server_;
  std::unique_ptr<cloud::RerunCloudService::Stub> stub_;
};

TEST_F(RpcTest, HeadersOfEveryAnswer) {
  Call call;
  call.AddMetadata(wire::kClientVersionHeader, "test/1.0");
  cloud::VersionResponse response;
  ASSERT_TRUE(stub_->Version(&call, {}, &response).ok());
  EXPECT_THAT(response.features(), ElementsAre("per_segment_index_values"));
  const auto& metadata = call.GetServerInitialMetadata();
  EXPECT_EQ(metadata.count(wire::kServerVersionHeader), 1);
  ASSERT_EQ(metadata.count(wire::kTraceIdHeader), 1);
  EXPECT_EQ(metadata.find(wire::kTraceIdHeader)->second.size(), 32);
  EXPECT_EQ(metadata.find(wire::kClientVersionHeader)->second, "test/1.0");
  Call failing;
  cloud::ReadDatasetEntryResponse ignored;
  EXPECT_FALSE(stub_->ReadDatasetEntry(&failing, {}, &ignored).ok());
  EXPECT_EQ(
      failing.GetServerInitialMetadata().count(wire::kTraceIdHeader) + failing.GetServerTrailingMetadata().count(wire::kTraceIdHeader), 1);
}

TEST_F(RpcTest, EntriesAreAddressedByHeader) {
  const EntryId id = catalog_->CreateDataset("d").ValueOrDie()->entry.id;
  const auto read = [&](Call& call) {
    cloud::ReadDatasetEntryResponse response;
    return stub_->ReadDatasetEntry(&call, {}, &response);
  };
  Call by_id(id), by_name("d"), unknown_name("x"), table("__entries"), none, unknown_id(Tuid::New()), bad;
  bad.AddMetadata(wire::kEntryIdHeader, "nonsense");
  EXPECT_TRUE(read(by_id).ok());
  EXPECT_TRUE(read(by_name).ok());
  EXPECT_EQ(read(unknown_name).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(read(table).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(read(unknown_id).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(read(bad).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status missing = read(none);
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(missing.error_message().rfind("missing mandatory", 0), 0);

  const auto rename = [&](Call& call, std::optional<EntryId> body) {
    cloud::UpdateEntryRequest request;
    if (body) wire::ToProto(*body, request.mutable_id());
    request.mutable_entry_details_update();
    cloud::UpdateEntryResponse response;
    return stub_->UpdateEntry(&call, request, &response);
  };
  Call header(id), both(id), body, different(id), neither;
  EXPECT_TRUE(rename(header, std::nullopt).ok());
  EXPECT_TRUE(rename(both, id).ok());
  EXPECT_TRUE(rename(body, id).ok());
  EXPECT_THAT(rename(different, Tuid::New()).error_message(), HasSubstr("mismatched entry id"));
  EXPECT_THAT(rename(neither, std::nullopt).error_message(), HasSubstr("missing entry id"));
}

TEST_F(RpcTest, FindEntriesByKind) {
  catalog_->CreateDataset("d").ValueOrDie();
  const auto count = [&](std::vector<int> kinds, const char* name = nullptr) {
    Call call;
    cloud::FindEntriesRequest request;
    for (const int kind : kinds) request.mutable_filter()->add_entry_kinds(static_cast<cloud::EntryKind>(kind));
    if (name) request.mutable_filter()->set_name(name);
    cloud::FindEntriesResponse response;
    const grpc::Status status = stub_->FindEntries(&call, request, &response);
    return status.ok() ? response.entries_size() : -static_cast<int>(status.error_code());
  };
  EXPECT_EQ(count({}), 3);  // all but the asset dataset
  EXPECT_EQ(count({1, 2, 3, 4, 5, 6}), 4);
  EXPECT_EQ(count({6}), 1);
  EXPECT_EQ(count({99}), 0);
  EXPECT_EQ(count({0, 1}), -3);
  EXPECT_EQ(count({1}, "d"), 1);
  EXPECT_EQ(count({3}, "d"), 0);
  EXPECT_EQ(count({}, "unknown"), 0);
}

TEST_F(RpcTest, FindAndFetchEveryChunk) {
  const EntryId id = CreateDemo();
  uint64_t expected = 0;
  for (const auto& [segment_id, segment] : catalog_->state()->Find(id)->content->segments()) expected += segment->layers[0]->num_chunks;
  grpc::Status status;
  const Batches found = Find(id, Everything(), &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(static_cast<uint64_t>(Rows(found)), expected);

  Call call;
  cloud::FetchChunksRequest request;
  std::multiset<std::string> wanted, got;
  for (const auto& batch : found) {
    ASSERT_TRUE(wire::EncodePart(*batch, request.add_chunk_infos()).ok());
    const auto& ids = static_cast<const arrow::FixedSizeBinaryArray&>(*batch->GetColumnByName("chunk_id"));
    for (int64_t i = 0; i < ids.length(); ++i) wanted.insert(Tuid::FromBytes(ids.GetValue(i)).ToHex());
  }
  const auto reader = stub_->FetchChunks(&call, request);
  cloud::FetchChunksResponse response;
  while (reader->Read(&response)) {
    for (const auto& chunk : response.chunks()) {
      EXPECT_EQ(chunk.store_id().kind(), common::STORE_KIND_RECORDING);
      EXPECT_THAT(chunk.store_id().recording_id(), HasSubstr("episode_00"));
      EXPECT_TRUE(chunk.has_is_static());
      EXPECT_GT(chunk.payload().size(), 0);
      got.insert(wire::FromProto(chunk.chunk_id(), "chunk_id").ValueOrDie().ToHex());
    }
  }
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(got, wanted);
}

TEST_F(RpcTest, FindChunksSelects) {
  const EntryId id = CreateDemo();
  grpc::Status status;
  // A bounded range leaves chunks out; one segment is a third.
  auto range = Everything();
  range.mutable_range()->set_start_inclusive(10);
  range.mutable_range()->set_end_inclusive(12);
  const int64_t some = Rows(Find(id, range, &status));
  const int64_t all = Rows(Find(id, Everything(), &status));
  EXPECT_GT(some, 0);
  EXPECT_LT(some, all);
  auto one = Everything();
  one.mutable_range()->mutable_segments()->mutable_explicit_()->add_ids()->set_id("episode_001");
  one.mutable_range()->mutable_segments()->mutable_explicit_()->add_ids()->set_id("unknown");
  EXPECT_LT(Rows(Find(id, one, &status)), all);
  // Nothing selected: exactly one message without rows.
  auto none = Everything();
  none.mutable_range()->mutable_segments()->mutable_explicit_();
  const Batches empty = Find(id, none, &status);
  ASSERT_TRUE(status.ok());
  ASSERT_EQ(empty.size(), 1);
  EXPECT_EQ(empty[0]->num_rows(), 0);
  EXPECT_THAT(empty[0]->schema()->field_names(),
              ElementsAre("chunk_id", "chunk_segment_id", "rerun_segment_layer", "chunk_key", "chunk_entity_path", "chunk_is_static",
                          "chunk_byte_len", "chunk_byte_size_uncompressed", "chunk_timeline_start", "rerun_layer_direct_url",
                          "rerun_layer_direct_url_expires_at"));
  // Static chunks only.
  cloud::FindChunksRequest only_static;
  only_static.mutable_contents()->mutable_all();
  only_static.mutable_static_()->mutable_segments()->mutable_all();
  for (const auto& batch : Find(id, only_static, &status)) {
    const auto& flags = static_cast<const arrow::BooleanArray&>(*batch->GetColumnByName("chunk_is_static"));
    EXPECT_EQ(flags.true_count(), flags.length());
    EXPECT_EQ(batch->GetColumnByName("chunk_timeline_start")->null_count(), batch->num_rows());
  }
  // Unknown timelines, unless there is no data.
  auto unknown = Everything();
  unknown.mutable_range()->set_timeline("nope");
  Find(id, unknown, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("nope"));
  const EntryId empty_dataset = catalog_->CreateDataset("empty").ValueOrDie()->entry.id;
  EXPECT_EQ(Find(empty_dataset, unknown, &status).size(), 1);
  EXPECT_TRUE(status.ok());
  // Filling from later values is refused before anything is looked up.
  auto earliest = Everything();
  earliest.mutable_range()->set_fill_mode(cloud::FILL_MODE_EARLIEST_AT);
  Find(Tuid::New(), earliest, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  Find(Tuid::New(), Everything(), &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(RpcTest, QueryDatasetFindsTheSame) {
  const EntryId id = CreateDemo();
  Call call(id);
  cloud::QueryDatasetRequest full;
  full.set_select_all_entity_paths(true);
  const auto reader = stub_->QueryDataset(&call, full);
  cloud::QueryDatasetResponse response;
  int64_t rows = 0;
  while (reader->Read(&response)) {
    const auto batch = wire::DecodePart(response.data(), "data").ValueOrDie();
    rows += batch->num_rows();
    // Readers before 0.40 name no start column: all timelines have theirs.
    EXPECT_NE(batch->GetColumnByName("frame_nr:start"), nullptr);
    EXPECT_NE(batch->GetColumnByName("sim_time:start"), nullptr);
    EXPECT_EQ(batch->GetColumnByName("chunk_timeline_start"), nullptr);
  }
  ASSERT_TRUE(reader->Finish().ok());
  grpc::Status status;
  EXPECT_EQ(rows, Rows(Find(id, Everything(), &status)));
}

TEST_F(RpcTest, BadKeysFailTheCall) {
  CreateDemo();
  const auto fetch = [&](const std::shared_ptr<arrow::RecordBatch>& batch) {
    Call call;
    cloud::FetchChunksRequest request;
    if (batch) {
      EXPECT_TRUE(wire::EncodePart(*batch, request.add_chunk_infos()).ok());
    }
    const auto reader = stub_->FetchChunks(&call, request);
    cloud::FetchChunksResponse response;
    EXPECT_FALSE(reader->Read(&response));
    return reader->Finish().error_code();
  };
  const auto keys = [](const std::string& key) {
    arrow::BinaryBuilder builder;
    EXPECT_TRUE(builder.Append(key).ok());
    return arrow::RecordBatch::Make(arrow::schema({arrow::field("chunk_key", arrow::binary())}), 1, arrow::ArrayVector{*builder.Finish()});
  };
  EXPECT_EQ(fetch(nullptr), grpc::StatusCode::OK);
  EXPECT_EQ(fetch(keys("short")), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(fetch(keys("R1" + std::string(36, 'x'))), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(fetch(arrow::RecordBatch::Make(arrow::schema({}), 0, arrow::ArrayVector{})), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RpcTest, ManifestFetches) {
  const EntryId id = CreateDemo();
  Call call(id);
  cloud::GetRrdManifestRequest request;
  request.mutable_segment_id()->set_id("episode_001");
  const auto reader = stub_->GetRrdManifest(&call, request);
  cloud::GetRrdManifestResponse response;
  ASSERT_TRUE(reader->Read(&response));
  const auto& manifest = response.rrd_manifest();
  EXPECT_EQ(manifest.store_id().recording_id(), "episode_001");
  EXPECT_EQ(manifest.sorbet_schema_sha256().size(), 32);
  const auto batch = wire::DecodePart(manifest.data(), "data").ValueOrDie();
  EXPECT_GT(batch->num_rows(), 0);
  cloud::GetRrdManifestResponse more;
  EXPECT_FALSE(reader->Read(&more));
  EXPECT_TRUE(reader->Finish().ok());

  Call fetch;
  cloud::FetchChunksRequest all;
  *all.add_chunk_infos() = manifest.data();
  const auto chunks = stub_->FetchChunks(&fetch, all);
  cloud::FetchChunksResponse part;
  int64_t count = 0;
  while (chunks->Read(&part)) count += part.chunks_size();
  EXPECT_TRUE(chunks->Finish().ok());
  EXPECT_EQ(count, batch->num_rows());

  Call unknown(id);
  request.mutable_segment_id()->set_id("nope");
  const auto failing = stub_->GetRrdManifest(&unknown, request);
  EXPECT_FALSE(failing->Read(&response));
  const grpc::Status status = failing->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("'nope'"));
}

TEST_F(RpcTest, SchemasByHash) {
  const EntryId id = CreateDemo();
  const auto state = catalog_->state();
  const std::string hash = state->Find(id)->content->FindSegment("episode_000")->layers[0]->schema_sha256;
  const auto get = [&](std::vector<std::string> ids, grpc::Status* status) {
    Call call(id);
    cloud::GetSchemasRequest request;
    for (const std::string& wanted : ids) request.add_schema_ids()->set_sha256(wanted);
    const auto reader = stub_->GetSchemas(&call, request);
    std::vector<std::string> found;
    cloud::GetSchemasResponse response;
    while (reader->Read(&response)) {
      const auto schema = wire::DecodeSchema(response.schema(), "schema").ValueOrDie();
      EXPECT_EQ(SchemaSha256(*schema).ValueOrDie(), response.schema_id().sha256());
      found.push_back(response.schema_id().sha256());
    }
    *status = reader->Finish();
    return found;
  };
  grpc::Status status;
  EXPECT_THAT(get({hash, hash, std::string(32, 'x')}, &status), ElementsAre(hash));
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(get({}, &status).empty());
  EXPECT_TRUE(status.ok());
  get({"short"}, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  get(std::vector<std::string>(1025, hash), &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RpcTest, EventsArrive) {
  Call call;
  const auto reader = stub_->WatchEvents(&call, {});
  reader->WaitForInitialMetadata();
  const EntryId id = catalog_->CreateDataset("d").ValueOrDie()->entry.id;
  ASSERT_TRUE(catalog_->Delete(id).ok());
  cloud::WatchEventsResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(wire::FromProto(event.entry_created().id(), "id").ValueOrDie(), id);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(wire::FromProto(event.entry_deleted().id(), "id").ValueOrDie(), id);
  call.TryCancel();
  EXPECT_FALSE(reader->Read(&event));
}

// Notifications are under way while calls end: none may reach a call that is gone, none of the others may be missed.
TEST_F(RpcTest, WatchersLeaveWhileThereIsNews) {
  TaskList& tasks = catalog_->tasks();
  const std::string open = tasks.Add("register", {});
  std::atomic<bool> stop = false;
  std::thread news([&] {
    while (!stop) {
      const EntryId id = catalog_->CreateDataset("news").ValueOrDie()->entry.id;
      EXPECT_TRUE(catalog_->Delete(id).ok());
    }
  });
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      for (int i = 0; i < 60; ++i) {
        Call events;
        const auto reader = stub_->WatchEvents(&events, {});
        cloud::WatchEventsResponse event;
        for (int read = 0; read < (client + i) % 5; ++read) EXPECT_TRUE(reader->Read(&event));
        events.TryCancel();
        EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);

        const std::string ends = tasks.Add("register", {});
        cloud::QueryTasksOnCompletionRequest request;
        for (const auto& id : {ends, open}) request.add_ids()->set_id(id);
        request.mutable_timeout()->set_nanos(i % 3 * 1'000'000 + 1);
        Call waiting;
        const auto waiter = stub_->QueryTasksOnCompletion(&waiting, request);
        std::thread ending([&] { tasks.End(ends, {}); });
        if (i % 2 == 0) waiting.TryCancel();
        cloud::QueryTasksOnCompletionResponse response;
        while (waiter->Read(&response)) {
        }
        EXPECT_EQ(waiter->Finish().error_code(), i % 2 == 0 ? grpc::StatusCode::CANCELLED : grpc::StatusCode::DEADLINE_EXCEEDED);
        ending.join();
      }
    });
  }
  for (auto& client : clients) client.join();
  stop = true;
  news.join();
  cloud::QueryTasksOnCompletionRequest request;
  request.add_ids()->set_id(open);
  Call call;
  const auto waiter = stub_->QueryTasksOnCompletion(&call, request);
  waiter->WaitForInitialMetadata();
  tasks.End(open, {});
  cloud::QueryTasksOnCompletionResponse response;
  EXPECT_TRUE(waiter->Read(&response));
  EXPECT_TRUE(waiter->Finish().ok());
}

TEST_F(RpcTest, BandwidthTest) {
  const auto run = [&](uint64_t bytes, grpc::Status* status) {
    Call call;
    cloud::DoBandwidthTestRequest request;
    request.set_num_bytes(bytes);
    const auto reader = stub_->DoBandwidthTest(&call, request);
    cloud::DoBandwidthTestResponse response;
    uint64_t got = 0;
    while (reader->Read(&response)) got += response.payload().size();
    *status = reader->Finish();
    return got;
  };
  grpc::Status status;
  EXPECT_EQ(run((3 << 20) + 5, &status), (3u << 20) + 5);
  EXPECT_EQ(run(0, &status), 0);
  EXPECT_TRUE(status.ok());
  run((32 << 20) + 1, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RpcTest, AnEmptyRequestNamesWhatItLacks) {
  Call call;
  cloud::CreateTableEntryResponse response;
  const grpc::Status status = stub_->CreateTableEntry(&call, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("name: must not be empty"));
}

// A client that does not read holds neither a thread nor more than a few messages of the server.
TEST_F(RpcTest, SlowReadersDoNotHoldOthers) {
  const EntryId id = CreateDemo();
  grpc::Status status;
  const Batches found = Find(id, Everything(), &status);
  cloud::FetchChunksRequest request;
  for (int i = 0; i < 50; ++i) {
    for (const auto& batch : found) ASSERT_TRUE(wire::EncodePart(*batch, request.add_chunk_infos()).ok());
  }
  std::vector<std::unique_ptr<Call>> calls;
  std::vector<std::unique_ptr<grpc::ClientReader<cloud::FetchChunksResponse>>> readers;
  for (int i = 0; i < 40; ++i) {  // more than the server has threads
    calls.push_back(std::make_unique<Call>());
    readers.push_back(stub_->FetchChunks(calls.back().get(), request));
    cloud::FetchChunksResponse response;
    ASSERT_TRUE(readers.back()->Read(&response));
  }
  Call quick;
  cloud::VersionResponse version;
  EXPECT_TRUE(stub_->Version(&quick, {}, &version).ok());
  for (auto& call : calls) call->TryCancel();
  for (auto& reader : readers) reader->Finish();
}

TEST_F(RpcTest, ShutdownEndsOpenStreams) {
  CreateDemo();
  Call call;
  const auto reader = stub_->WatchEvents(&call, {});
  reader->WaitForInitialMetadata();
  std::thread stopper([&] { server_->Shutdown(); });
  cloud::WatchEventsResponse event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_FALSE(reader->Finish().ok());
  stopper.join();
  EXPECT_FALSE(server_->is_running());
  server_->Wait();
  server_->Shutdown();  // again
}

TEST(CatalogServer, SaysWhichPortIsInUse) {
  auto catalog = std::make_shared<Catalog>();
  const auto first = CatalogServer::Start(catalog).ValueOrDie();
  CatalogServerOptions options;
  options.port = first->port();
  const arrow::Status status = CatalogServer::Start(catalog, options).status();
  EXPECT_TRUE(status.IsIOError());
  EXPECT_THAT(status.message(), HasSubstr("127.0.0.1:" + std::to_string(first->port())));
  EXPECT_THAT(status.message(), HasSubstr("in use"));
  options.port = 70000;
  EXPECT_TRUE(CatalogServer::Start(catalog, options).status().IsInvalid());
  options.port = 0;
  options.host = "no.such.host.invalid";
  EXPECT_THAT(CatalogServer::Start(catalog, options).status().message(), HasSubstr("no.such.host.invalid"));
}

}  // namespace
}  // namespace rushes
