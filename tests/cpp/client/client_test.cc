// The client against a server that misbehaves on command.
#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/array/builder_time.h"
#include "arrow/record_batch.h"
#include "rerun/cloud/v1alpha1/cloud.grpc.pb.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/client/event_queue.h"
#include "rushes/client/remote_connection.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes::client {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;

template <typename T>
T Get(arrow::Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().ToString());
  return std::move(result).MoveValueUnsafe();
}

ChunkPtr MakeChunk(uint64_t number, bool is_static) {
  std::vector<Timeline> timelines;
  if (!is_static) timelines.push_back({"t", TimeType::kSequence});
  ChunkBuilder builder(EntityPath::Parse("/e"), timelines);
  builder.AddColumn({std::nullopt, is_static ? "fixed" : "value", std::nullopt}, arrow::int64());
  for (int64_t row = 0; row < (is_static ? 1 : 3); ++row) {
    arrow::Int64Builder values;
    EXPECT_TRUE(values.Append(static_cast<int64_t>(number) * 10 + row).ok());
    const auto time = static_cast<int64_t>(number) * 100 + row;
    EXPECT_TRUE(builder
                    .AddRow(Tuid{number, static_cast<uint64_t>(row)}, is_static ? std::vector<int64_t>() : std::vector<int64_t>{time},
                            {Get(values.Finish())})
                    .ok());
  }
  return Get(builder.Finish(Tuid{77, number}));
}

const EntryId kDataset = Tuid{1, 2};

// One dataset, one segment "seg", chunks 1 to 3 on timeline `t` and a static one, 4.
class FakeServer final : public cloud::RerunCloudService::Service {
 public:
  std::atomic<bool> find_chunks{true};
  std::atomic<bool> has_get_schemas{true};
  std::atomic<int> leave_out{-1};  // position of a chunk that is not sent
  std::atomic<bool> send_garbage{false};
  std::atomic<bool> send_twice{false};
  std::atomic<bool> can_read{true};
  std::atomic<int> busy_answers{0};    // FindChunks says RESOURCE_EXHAUSTED so often first
  std::atomic<int> broken_fetches{0};  // FetchChunks breaks off after one chunk so often first
  std::atomic<bool> hang_tasks{false};
  std::atomic<int> ping_ms{0};
  std::atomic<int> bytes_short{0};  // of a bandwidth test
  std::atomic<bool> has_events{true};
  std::atomic<bool> events_have_headers{true};
  std::atomic<bool> end_events{false};
  std::atomic<int> num_watchers_left{0};
  std::atomic<int> num_get_schemas{0};
  std::atomic<int> num_find_chunks{0};
  std::atomic<int> num_query_dataset{0};
  std::string last_entry_header;
  std::string last_token;
  std::vector<ChunkPtr> chunks;
  std::shared_ptr<DatasetSchema> schema = std::make_shared<DatasetSchema>();

  FakeServer() {
    for (uint64_t i = 1; i <= 4; ++i) chunks.push_back(MakeChunk(i, i == 4));
    *schema = Get(DatasetSchema::FromChunks(chunks));
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() override { Stop(); }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  std::string url() const { return "rerun+http://127.0.0.1:" + std::to_string(port_); }

  grpc::Status WhoAmI(grpc::ServerContext* context, const cloud::WhoAmIRequest*, cloud::WhoAmIResponse* response) override {
    const auto it = context->client_metadata().find(wire::kAuthorizationHeader);
    if (it != context->client_metadata().end()) last_token.assign(it->second.data(), it->second.size());
    response->set_can_read(can_read);
    response->mutable_capabilities();
    if (find_chunks) response->mutable_capabilities()->add_capabilities(wire::kCapabilityFindChunks);
    return grpc::Status::OK;
  }

  grpc::Status ReadDatasetEntry(grpc::ServerContext* context, const cloud::ReadDatasetEntryRequest*,
                                cloud::ReadDatasetEntryResponse* response) override {
    const auto it = context->client_metadata().find(wire::kEntryIdHeader);
    last_entry_header.assign(it->second.data(), it->second.size());
    if (last_entry_header != wire::TuidToText(kDataset)) {
      context->AddInitialMetadata(wire::kTraceIdHeader, "0123456789abcdef0123456789abcdef");
      return {grpc::StatusCode::NOT_FOUND, "Entry id 'x' not found"};
    }
    DatasetEntry entry;
    entry.entry.id = kDataset;
    entry.entry.name = "d";
    wire::ToProto(entry, response->mutable_dataset());
    return grpc::Status::OK;
  }

  grpc::Status DoBandwidthTest(grpc::ServerContext*, const cloud::DoBandwidthTestRequest* request,
                               grpc::ServerWriter<cloud::DoBandwidthTestResponse>* writer) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(ping_ms));
    cloud::DoBandwidthTestResponse response;
    response.mutable_payload()->assign(request->num_bytes() - static_cast<uint64_t>(bytes_short), 'x');
    writer->Write(response);
    return grpc::Status::OK;
  }

  // One event of a kind that is not known yet between two that are.
  grpc::Status WatchEvents(grpc::ServerContext* context, const cloud::WatchEventsRequest*,
                           grpc::ServerWriter<cloud::WatchEventsResponse>* writer) override {
    if (!has_events) return {grpc::StatusCode::UNIMPLEMENTED, "there are no events"};
    if (events_have_headers) context->AddInitialMetadata("x-fake", "1");
    writer->SendInitialMetadata();
    cloud::WatchEventsResponse created, deleted;
    wire::ToProto(kDataset, created.mutable_entry_created()->mutable_id());
    wire::ToProto(kDataset, deleted.mutable_entry_deleted()->mutable_id());
    for (const auto& event : {created, cloud::WatchEventsResponse(), deleted}) writer->Write(event);
    while (!context->IsCancelled() && !end_events) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    num_watchers_left++;
    return end_events ? grpc::Status(grpc::StatusCode::INTERNAL, "out of order") : grpc::Status::OK;
  }

  grpc::Status GetDatasetSchema(grpc::ServerContext*, const cloud::GetDatasetSchemaRequest*,
                                cloud::GetDatasetSchemaResponse* response) override {
    return wire::EncodeSchema(*schema->ToArrow(), response->mutable_schema()).ok() ? grpc::Status::OK
                                                                                   : grpc::Status(grpc::StatusCode::INTERNAL, "");
  }

  grpc::Status ScanDatasetManifest(grpc::ServerContext*, const cloud::ScanDatasetManifestRequest*,
                                   grpc::ServerWriter<cloud::ScanDatasetManifestResponse>* writer) override {
    arrow::StringBuilder ids, layers, states;
    arrow::FixedSizeBinaryBuilder hashes(arrow::fixed_size_binary(32));
    arrow::TimestampBuilder times(arrow::timestamp(arrow::TimeUnit::NANO), arrow::default_memory_pool());
    EXPECT_TRUE(ids.AppendValues({"seg", "gone"}).ok());
    EXPECT_TRUE(layers.AppendValues({"base", "base"}).ok());
    EXPECT_TRUE(states.AppendValues({"done", "deleted"}).ok());
    EXPECT_TRUE(hashes.Append(std::string(32, 'h')).ok() && hashes.AppendNull().ok());
    EXPECT_TRUE(times.AppendValues({1, 2}).ok());
    const auto batch = arrow::RecordBatch::Make(
        arrow::schema({arrow::field("rerun_segment_id", arrow::utf8()), arrow::field("rerun_layer_name", arrow::utf8()),
                       arrow::field("rerun_schema_sha256", arrow::fixed_size_binary(32)),
                       arrow::field("rerun_registration_status", arrow::utf8()),
                       arrow::field("rerun_registration_time", arrow::timestamp(arrow::TimeUnit::NANO))}),
        2, {Get(ids.Finish()), Get(layers.Finish()), Get(hashes.Finish()), Get(states.Finish()), Get(times.Finish())});
    cloud::ScanDatasetManifestResponse response;
    EXPECT_TRUE(wire::EncodePart(*batch, response.mutable_data()).ok());
    writer->Write(response);
    return grpc::Status::OK;
  }

  grpc::Status GetSchemas(grpc::ServerContext*, const cloud::GetSchemasRequest* request,
                          grpc::ServerWriter<cloud::GetSchemasResponse>* writer) override {
    ++num_get_schemas;
    if (!has_get_schemas) return {grpc::StatusCode::UNIMPLEMENTED, ""};
    for (const auto& id : request->schema_ids()) {
      cloud::GetSchemasResponse response;
      *response.mutable_schema_id() = id;
      EXPECT_TRUE(wire::EncodeSchema(*schema->ToArrow(), response.mutable_schema()).ok());
      writer->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetRrdManifest(grpc::ServerContext*, const cloud::GetRrdManifestRequest* request,
                              grpc::ServerWriter<cloud::GetRrdManifestResponse>* writer) override {
    EXPECT_EQ(request->segment_id().id(), "seg");
    cloud::GetRrdManifestResponse response;
    EXPECT_TRUE(wire::EncodeSchema(*schema->ToArrow(), response.mutable_rrd_manifest()->mutable_sorbet_schema()).ok());
    writer->Write(response);
    return grpc::Status::OK;
  }

  std::shared_ptr<arrow::RecordBatch> Rows(bool is_find_chunks, const std::string& timeline) {
    wire::ChunkRowsLayout layout;
    layout.find_chunks = is_find_chunks;
    if (!is_find_chunks) layout.start_timelines = {timeline};
    wire::ChunkRowsBuilder builder(layout);
    for (const auto& chunk : chunks) {
      const std::string key = chunk->id().ToHex();
      wire::ChunkRow row;
      row.id = chunk->id();
      row.segment_id = "seg";
      row.layer = "base";
      row.key = key;
      row.entity_path = "/e";
      row.is_static = chunk->is_static();
      row.byte_len = 10;
      if (!row.is_static) row.timeline_start = chunk->times(0)[0];
      EXPECT_TRUE(builder.Append(row).ok());
    }
    return Get(builder.Finish());
  }

  grpc::Status FindChunks(grpc::ServerContext*, const cloud::FindChunksRequest* request,
                          grpc::ServerWriter<cloud::FindChunksResponse>* writer) override {
    ++num_find_chunks;
    if (busy_answers > 0) {
      --busy_answers;
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "busy"};
    }
    last_find = *request;
    // Twice the same: a chunk may be found more than once.
    for (int i = 0; i < 2; ++i) {
      cloud::FindChunksResponse response;
      EXPECT_TRUE(wire::EncodePart(*Rows(true, ""), response.mutable_data()).ok());
      writer->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status QueryDataset(grpc::ServerContext*, const cloud::QueryDatasetRequest*,
                            grpc::ServerWriter<cloud::QueryDatasetResponse>* writer) override {
    ++num_query_dataset;
    cloud::QueryDatasetResponse response;
    EXPECT_TRUE(wire::EncodePart(*Rows(false, "t"), response.mutable_data()).ok());
    writer->Write(response);
    return grpc::Status::OK;
  }

  grpc::Status FetchChunks(grpc::ServerContext* context, const cloud::FetchChunksRequest* request,
                           grpc::ServerWriter<cloud::FetchChunksResponse>* writer) override {
    int sent = 0;
    for (const auto& part : request->chunk_infos()) {
      const auto batch = Get(wire::DecodePart(part, "request"));
      for (const auto key : Get(wire::ReadFetchKeys(*batch))) {
        for (size_t i = 0; i < chunks.size(); ++i) {
          if (chunks[i]->id().ToHex() != key || static_cast<int>(i) == leave_out) continue;
          cloud::FetchChunksResponse response;
          auto* msg = response.add_chunks();
          msg->set_encoding(rerun::log_msg::v1alpha1::ENCODING_ARROW_IPC);
          msg->set_payload(send_garbage ? "garbage" : Get(EncodeChunk(*chunks[i]))->ToString());
          writer->Write(response);
          if (send_twice) writer->Write(response);
          ++sent;
          if (broken_fetches > 0) {
            --broken_fetches;
            return {grpc::StatusCode::UNAVAILABLE, "broken"};
          }
        }
      }
    }
    static_cast<void>(context);
    num_sent += sent;
    return grpc::Status::OK;
  }

  grpc::Status QueryTasksOnCompletion(grpc::ServerContext* context, const cloud::QueryTasksOnCompletionRequest* request,
                                      grpc::ServerWriter<cloud::QueryTasksOnCompletionResponse>* writer) override {
    while (hang_tasks && !context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    // One task at a time: the client asks again for the rest.
    TaskInfo task;
    task.id = request->ids(0).id();
    task.state = task.id == "bad" ? TaskState::kFailed : TaskState::kSuccess;
    task.message = task.id == "bad" ? "reason" : "";
    cloud::QueryTasksOnCompletionResponse response;
    EXPECT_TRUE(wire::EncodePart(*Get(wire::MakeTaskBatch({task})), response.mutable_data()).ok());
    writer->Write(response);
    return grpc::Status::OK;
  }

  cloud::FindChunksRequest last_find;
  std::atomic<int> num_sent{0};

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

ChunkSelection Everything() {
  ChunkSelection out;
  out.mode = ChunkSelection::Mode::kRange;
  out.timeline = "t";
  out.segments = {"seg", "gone", "unknown"};
  return out;
}

class ClientTest : public testing::Test {
 protected:
  std::shared_ptr<Connection> Open() { return Get(RemoteConnection::Open(server.url(), "", 5)); }
  std::shared_ptr<ChunkSource> Source() { return Get(Open()->OpenDataset(kDataset)); }
  static arrow::Result<std::vector<FetchedChunk>> FetchAll(ChunkSource* source) {
    ARROW_ASSIGN_OR_RAISE(const auto found, source->FindChunks(Everything()));
    std::vector<uint32_t> all(found.at(0).chunks.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint32_t>(i);
    return source->FetchChunks(found[0], all);
  }
  FakeServer server;
};

TEST_F(ClientTest, FindsAndFetches) {
  for (const bool find_chunks : {true, false}) {
    server.find_chunks = find_chunks;
    const auto source = Source();
    const auto found = Get(source->FindChunks(Everything()));
    // Segments that are being removed, and those never known, are not there.
    ASSERT_EQ(found.size(), 1);
    EXPECT_EQ(found[0].segment_id, "seg");
    ASSERT_EQ(found[0].chunks.size(), 4) << "each chunk once, however often it was found";
    ASSERT_EQ(found[0].entities->size(), 1);
    EXPECT_EQ(found[0].entity_of(0).text(), "/e");
    EXPECT_TRUE(found[0].schema->FindColumn(EntityPath::Parse("/e"), "fixed")->is_static);
    int static_chunks = 0;
    for (const auto& info : found[0].chunks) {
      static_chunks += info.is_static ? 1 : 0;
      EXPECT_EQ(info.has_timeline, !info.is_static);
      if (info.has_timeline) {
        EXPECT_EQ(info.start % 100, 0);
      }
    }
    EXPECT_EQ(static_chunks, 1);
    const std::vector<uint32_t> wanted = {2, 0, 2, 3};
    const auto chunks = Get(source->FetchChunks(found[0], wanted));
    ASSERT_EQ(chunks.size(), 4);
    for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(chunks[i].chunk->id(), found[0].chunks[wanted[i]].id);
    EXPECT_TRUE(Get(source->FetchChunks(found[0], {})).empty());
  }
  EXPECT_EQ(server.num_find_chunks, 1);
  EXPECT_EQ(server.num_query_dataset, 1);
}

TEST_F(ClientTest, AsksForNoMoreThanTheSelection) {
  const auto source = Source();
  auto selection = Everything();
  selection.start = 100;
  selection.end = 200;
  selection.latest_at = true;
  selection.entities = {EntityPath::Parse("/e"), EntityPath::Parse("/e"), EntityPath::Parse("/f")};
  ASSERT_TRUE(source->FindChunks(selection).ok());
  EXPECT_EQ(server.last_find.range().start_inclusive(), 100);
  EXPECT_EQ(server.last_find.range().end_inclusive(), 200);
  EXPECT_EQ(server.last_find.range().fill_mode(), cloud::FILL_MODE_LATEST_AT);
  EXPECT_EQ(server.last_find.contents().explicit_().entities_size(), 2);
  EXPECT_EQ(server.last_find.direct_url_mode(), cloud::DIRECT_URL_MODE_OMIT);
  EXPECT_EQ(server.last_find.range().segments().explicit_().ids_size(), 3);

  // Nothing can be found: no question, but the segments are there.
  const int before = server.num_find_chunks;
  selection.entities.emplace();
  EXPECT_EQ(Get(source->FindChunks(selection)).size(), 1);
  selection = Everything();
  selection.start = 5;
  selection.end = 4;
  EXPECT_EQ(Get(source->FindChunks(selection)).at(0).chunks.size(), 0);
  selection = Everything();
  selection.segments.clear();
  EXPECT_TRUE(Get(source->FindChunks(selection)).empty());
  EXPECT_EQ(server.num_find_chunks, before);

  // An open range has bounds all the same: without any, chunks of other timelines would come.
  ASSERT_TRUE(source->FindChunks(Everything()).ok());
  EXPECT_TRUE(server.last_find.range().has_start_inclusive());
  EXPECT_TRUE(server.last_find.range().has_end_inclusive());

  selection = Everything();
  selection.mode = ChunkSelection::Mode::kSamples;
  selection.samples = {{"seg", {3, 4}}, {"other", {}}};
  ASSERT_TRUE(source->FindChunks(selection).ok());
  ASSERT_EQ(server.last_find.samples().segments_size(), 1);
  EXPECT_EQ(server.last_find.samples().segments(0).values_size(), 2);

  selection = Everything();
  selection.mode = ChunkSelection::Mode::kAll;
  selection.timeline.clear();
  EXPECT_EQ(Get(source->FindChunks(selection)).at(0).chunks.size(), 4);
  EXPECT_EQ(server.num_query_dataset, 1);
}

TEST_F(ClientTest, SchemasAreAskedForOnce) {
  const auto source = Source();
  const auto a = Get(source->FindChunks(Everything()));
  const auto b = Get(source->FindChunks(Everything()));
  EXPECT_EQ(a[0].schema, b[0].schema);
  EXPECT_EQ(server.num_get_schemas, 1);
}

TEST_F(ClientTest, ServersWithoutGetSchemas) {
  server.has_get_schemas = false;
  EXPECT_EQ(Get(Source()->FindChunks(Everything())).at(0).schema->columns().size(), 2);
}

TEST_F(ClientTest, UnderDeliveryIsAnError) {
  server.leave_out = 1;
  const auto source = Source();
  const auto status = FetchAll(source.get()).status();
  EXPECT_TRUE(status.IsIOError());
  EXPECT_EQ(status.message(), "segment seg under-delivered: 3/4 announced chunks arrived");
  // More of the same does not make up for it.
  server.send_twice = true;
  EXPECT_EQ(FetchAll(source.get()).status().message(), "segment seg under-delivered: 3/4 announced chunks arrived");
  server.leave_out = -1;
  EXPECT_EQ(Get(FetchAll(source.get())).size(), 4);
}

TEST_F(ClientTest, SmallChunksAreFoundAndFetchedAsOne) {
  const auto source = Source();
  auto selection = Everything();
  selection.max_joined_bytes = int64_t{1} << 20;
  const auto found = Get(source->FindChunks(selection));
  ASSERT_EQ(found.at(0).chunks.size(), 2) << "the static one, and one for the three others";
  const auto& infos = found[0].chunks;
  const uint32_t joined = infos[0].is_static ? 1 : 0;
  EXPECT_EQ(infos[1 - joined].num_chunks, 1);
  EXPECT_EQ(infos[joined].num_chunks, 3);
  EXPECT_EQ(infos[joined].start, 100);
  EXPECT_EQ(infos[joined].num_rows, -1);

  int64_t rows = 0;
  for (const auto& [chunk, request] : Get(FetchAll(source.get()))) rows += chunk->is_static() ? 0 : chunk->num_rows();
  const std::vector<uint32_t> wanted = {joined, 1 - joined};
  const auto chunks = Get(source->FetchChunks(found[0], wanted));
  ASSERT_EQ(chunks.size(), 2);
  EXPECT_EQ(chunks[0].request, 0);
  EXPECT_EQ(chunks[0].chunk->num_rows(), rows);
  EXPECT_EQ(chunks[0].chunk->id(), infos[joined].id);
  EXPECT_TRUE(chunks[1].chunk->is_static());

  server.leave_out = 1;
  EXPECT_EQ(source->FetchChunks(found[0], wanted).status().message(), "segment seg under-delivered: 3/4 announced chunks arrived");
  server.leave_out = -1;
  server.broken_fetches = 2;
  EXPECT_EQ(Get(source->FetchChunks(found[0], wanted))[0].chunk->num_rows(), rows) << "what is missing is asked for again";
}

TEST_F(ClientTest, FetchedAheadIsNotFetchedAgain) {
  const auto source = Source();
  auto found = Get(source->FindChunks(Everything()));
  const auto all = [](const SegmentChunks& segment) -> arrow::Result<std::vector<uint32_t>> {
    std::vector<uint32_t> chunks(segment.chunks.size() - 1);
    std::iota(chunks.begin(), chunks.end(), 0);
    return chunks;
  };
  EXPECT_FALSE(found.at(0).is_fetched);
  ASSERT_TRUE(source->FetchAhead(found, all).ok());
  EXPECT_TRUE(found[0].is_fetched);
  EXPECT_EQ(server.num_sent, 3);
  const std::vector<uint32_t> wanted = {0, 2};
  EXPECT_EQ(Get(source->FetchChunks(found[0], wanted))[1].chunk->id(), found[0].chunks[2].id);
  EXPECT_EQ(server.num_sent, 3);
  const std::vector<uint32_t> more = {3, 0};
  EXPECT_EQ(Get(source->FetchChunks(found[0], more))[0].chunk->id(), found[0].chunks[3].id);
  EXPECT_EQ(server.num_sent, 4) << "what was not brought";

  found = Get(source->FindChunks(Everything()));
  server.send_garbage = true;
  EXPECT_THAT(source->FetchAhead(found, all).message(), testing::StartsWith("segment seg: "));
  EXPECT_FALSE(found[0].is_fetched);
}

TEST_F(ClientTest, GarbageNamesTheSegment) {
  server.send_garbage = true;
  const auto status = FetchAll(Source().get()).status();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.message().substr(0, 12), "segment seg:") << status;
}

TEST_F(ClientTest, BusyServersAndBrokenStreamsAreAskedAgain) {
  server.busy_answers = 2;
  server.broken_fetches = 2;
  const auto source = Source();
  EXPECT_EQ(Get(FetchAll(source.get())).size(), 4);
  EXPECT_EQ(server.num_find_chunks, 3);
  // What had arrived was not asked for again.
  EXPECT_EQ(server.num_sent, 2);
  server.broken_fetches = 100;
  const auto status = FetchAll(source.get()).status();
  // With one chunk per attempt, three attempts are not enough for four.
  EXPECT_EQ(wire::CodeOf(status), wire::RpcCode::kUnavailable) << status;
}

TEST_F(ClientTest, ErrorsSayWhere) {
  const auto connection = Open();
  const auto status = connection->ReadDataset(Tuid{9, 9}).status();
  EXPECT_TRUE(status.IsKeyError());
  EXPECT_EQ(status.message(),
            "Entry id 'x' not found\n- server: " + server.url() + ", call: ReadDatasetEntry, trace id: 0123456789abcdef0123456789abcdef");
  EXPECT_TRUE(connection->CreateDataset("x").status().IsNotImplemented());
  EXPECT_EQ(connection->url(), server.url());
}

TEST_F(ClientTest, TokensTravel) {
  Get(RemoteConnection::Open(server.url(), "abc.def", 5));
  EXPECT_EQ(server.last_token, "Bearer abc.def");
  EXPECT_TRUE(RemoteConnection::Open(server.url(), "a\nb", 5).status().IsInvalid());
  server.can_read = false;
  EXPECT_EQ(wire::CodeOf(RemoteConnection::Open(server.url(), "", 5).status()), wire::RpcCode::kUnauthenticated);
}

TEST_F(ClientTest, NobodyThere) {
  const std::string url = server.url();
  const auto connection = Open();
  server.Stop();
  const auto start = std::chrono::steady_clock::now();
  const auto status = RemoteConnection::Open(url, "", 10).status();
  EXPECT_EQ(wire::CodeOf(status), wire::RpcCode::kUnavailable);
  EXPECT_NE(status.message().find(url), std::string::npos) << status;
  // A connection whose server went away.
  const auto gone = connection->ReadDataset(kDataset).status();
  EXPECT_EQ(wire::CodeOf(gone), wire::RpcCode::kUnavailable);
  EXPECT_NE(gone.message().find(url), std::string::npos) << gone;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(ClientTest, WaitsForTasks) {
  const auto connection = Open();
  std::vector<TaskInfo> ended;
  const auto collect = [&](const TaskInfo& task) {
    ended.push_back(task);
    return arrow::Status::OK();
  };
  ASSERT_TRUE(connection->WaitForTasks({"a", "bad", "a", "c"}, 10, collect).ok());
  ASSERT_EQ(ended.size(), 3);
  for (const auto& task : ended) EXPECT_EQ(task.state, task.id == "bad" ? TaskState::kFailed : TaskState::kSuccess);
  EXPECT_TRUE(connection->WaitForTasks({}, 0, collect).ok());
  EXPECT_EQ(connection->WaitForTasks({"a"}, 10, [](const TaskInfo&) { return arrow::Status::Invalid("stop"); }).message(), "stop");

  server.hang_tasks = true;
  const auto start = std::chrono::steady_clock::now();
  const auto status = connection->WaitForTasks({"a", "b"}, 0.2, collect);
  EXPECT_EQ(wire::CodeOf(status), wire::RpcCode::kDeadlineExceeded) << status;
  EXPECT_NE(status.message().find("2 of 2 tasks"), std::string::npos) << status;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
}

TEST_F(ClientTest, MeasuresTheLink) {
  server.ping_ms = 30;
  const auto connection = Open();
  const LinkSpeed speed = Get(connection->MeasureLink(1 << 20, 3));
  EXPECT_GE(speed.round_trip_s, 0.03);
  EXPECT_LT(speed.round_trip_s, 5);
  if (speed.bytes_per_s) {
    EXPECT_GT(*speed.bytes_per_s, 0);
  }
  server.bytes_short = 1;
  const arrow::Status status = connection->MeasureLink(100, 1).status();
  EXPECT_TRUE(status.IsIOError()) << status;
  EXPECT_NE(status.message().find("sent 0 of the 1 bytes"), std::string::npos) << status;
}

TEST_F(ClientTest, WatchesEvents) {
  for (const bool headers : {true, false}) {
    SCOPED_TRACE(headers);
    server.events_have_headers = headers;
    server.end_events = false;
    const auto events = Get(Open()->WatchEvents());
    EXPECT_TRUE(Get(events->Next(10))->created);
    EXPECT_FALSE(Get(events->Next(10))->created);
    EXPECT_FALSE(Get(events->Next(0)).has_value());
    EXPECT_FALSE(events->is_closed());
    server.end_events = true;
    for (int again = 0; again < 2; ++again) {
      const arrow::Status status = events->Next(10).status();
      EXPECT_NE(status.message().find("out of order"), std::string::npos) << status;
    }
    events->Close();
    EXPECT_FALSE(Get(events->Next(10)).has_value());
    EXPECT_TRUE(events->is_closed());
  }
}

TEST_F(ClientTest, WatchersThatAreDroppedEndTheirCall) {
  const auto events = Get(Open()->WatchEvents());
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    events->Close();
  });
  while (Get(events->Next(10))) {
  }
  EXPECT_TRUE(events->is_closed());
  closer.join();
  Get(Open()->WatchEvents()).reset();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (server.num_watchers_left < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(server.num_watchers_left, 2);
}

TEST_F(ClientTest, ServersWithoutEventsSaySoAtOnce) {
  server.has_events = false;
  const arrow::Status status = Open()->WatchEvents().status();
  EXPECT_EQ(wire::CodeOf(status), wire::RpcCode::kUnimplemented) << status;
}

TEST(EventQueue, KeepsTheNewest) {
  EventQueue queue;
  const auto id = [](uint64_t number) { return Tuid{number, 0}; };
  for (uint64_t i = 0; i < EventQueue::kMaxEvents + 10; ++i) queue.Push({true, id(i)});
  EXPECT_EQ(Get(queue.Next(0))->id, id(10));
  queue.End(arrow::Status::IOError("first"));
  queue.End(arrow::Status::IOError("second"));
  queue.Push({true, id(0)});
  for (uint64_t i = 11; i < EventQueue::kMaxEvents + 10; ++i) EXPECT_EQ(Get(queue.Next(0))->id, id(i));
  EXPECT_EQ(queue.Next(0).status().message(), "first");
  queue.Close();
  EXPECT_FALSE(Get(queue.Next(0)).has_value());
}

TEST_F(ClientTest, ForkedChildrenAreTold) {
  const auto connection = Open();
  const auto source = Source();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    const bool told = connection->ReadDataset(kDataset).status().message().find("before fork()") != std::string::npos &&
                      source->ListSegments().status().message().find("before fork()") != std::string::npos;
    _exit(told ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  // The parent goes on.
  EXPECT_TRUE(connection->ReadDataset(kDataset).ok());
}

}  // namespace
}  // namespace rushes::client
