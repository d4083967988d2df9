// Uploads, tasks, revisions, maintenance and narrowed searches, over a real port.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <arpa/inet.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../rrd/test_chunks.h"
#include "arrow/array/array_binary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rerun/cloud/v1alpha1/cloud.grpc.pb.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/rrd/writer.h"
#include "rushes/server/catalog_server.h"
#include "rushes/server/upload_grants.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;
namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

struct Answer {
  int status = 0;  // 0: the connection ended without an answer
  std::string text;
};

// What the server says to these bytes on a connection of their own. `hang_up`: the client is gone after that.
Answer Http(int port, const std::string& bytes, bool hang_up = false) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return {};
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) break;
    sent += static_cast<size_t>(n);
  }
  Answer answer;
  if (hang_up) {
    close(fd);
    return answer;
  }
  shutdown(fd, SHUT_WR);
  char block[4096];
  for (ssize_t n; (n = recv(fd, block, sizeof(block), 0)) > 0;) answer.text.append(block, static_cast<size_t>(n));
  close(fd);
  if (answer.text.starts_with("HTTP/1.1 ")) answer.status = std::atoi(answer.text.c_str() + 9);
  return answer;
}

std::string Put(const std::string& path, const std::string& body, const std::string& headers = "If-None-Match: *\r\n") {
  return "PUT " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string Etag(const Answer& answer) {
  const size_t begin = answer.text.find("ETag: ");
  return begin == std::string::npos ? "" : answer.text.substr(begin + 6, answer.text.find('\r', begin) - begin - 6);
}

class UploadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    catalog_ = std::make_shared<Catalog>();
    StagingOptions staging;
    staging.max_object_bytes = 1 << 20;
    catalog_->SetStagingOptions(staging);
    CatalogServerOptions options;
    options.uploads.part_bytes = 1000;
    options.uploads.max_sessions = 3;
    server_ = CatalogServer::Start(catalog_, options).ValueOrDie();
    stub_ = cloud::RerunCloudService::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()));
    area_ = catalog_->staging().ValueOrDie();
  }
  struct Call : grpc::ClientContext {
    Call() { set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30)); }
    explicit Call(EntryId id) : Call() { AddMetadata(wire::kEntryIdHeader, EntryIdText(id)); }
  };

  grpc::Status Grant(const cloud::GetWriteAccessGrantRequest& request, cloud::GetWriteAccessGrantResponse* response) {
    Call call;
    return stub_->GetWriteAccessGrant(&call, request, response);
  }
  // The path of a grant for one request.
  std::string GrantPath(const std::string& key) {
    cloud::GetWriteAccessGrantRequest request;
    request.set_key(key);
    cloud::GetWriteAccessGrantResponse response;
    const grpc::Status status = Grant(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.grant().http_request().url();
  }
  // The token and the requests of a grant in parts.
  cloud::MultipartRequest GrantParts(const std::string& key, std::optional<uint64_t> size) {
    cloud::GetWriteAccessGrantRequest request;
    request.set_key(key);
    if (size) request.set_size_bytes(*size);
    request.add_supported_upload_methods(cloud::UPLOAD_METHOD_MULTIPART);
    cloud::GetWriteAccessGrantResponse response;
    const grpc::Status status = Grant(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.grant().multipart_request();
  }
  grpc::Status Complete(const std::string& token, const std::vector<std::string>& etags, uint32_t first = 1) {
    cloud::CompleteMultipartUploadRequest request;
    request.set_upload_token(token);
    for (size_t i = 0; i < etags.size(); ++i) {
      auto* part = request.add_parts();
      part->set_part_number(static_cast<uint32_t>(i) + first);
      part->set_etag(etags[i]);
    }
    Call call;
    cloud::CompleteMultipartUploadResponse response;
    return stub_->CompleteMultipartUpload(&call, request, &response);
  }
  bool HasNoDrafts() {
    // A hung up connection is seen a moment later.
    for (int i = 0; i < 200; ++i) {
      if (fs::is_empty(area_->directory() + "/drafts")) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::shared_ptr<Catalog> catalog_;
  std::unique_ptr<CatalogServer> server_;
  std::unique_ptr<cloud::RerunCloudService::Stub> stub_;
  std::shared_ptr<StagingArea> area_;
};

TEST_F(UploadsTest, AnObjectInOneRequest) {
  cloud::GetWriteAccessGrantRequest request;
  request.set_key("run/one.rrd");
  request.set_size_bytes(5);
  request.set_signing(cloud::URL_SIGNING_SIGNED);
  cloud::GetWriteAccessGrantResponse response;
  ASSERT_TRUE(Grant(request, &response).ok());
  EXPECT_EQ(response.storage_url(), "file://" + area_->ObjectPath("run/one.rrd"));
  EXPECT_EQ(response.grant().signing(), cloud::URL_SIGNING_SIGNED);
  EXPECT_GT(response.grant().expires_at().seconds(), std::time(nullptr) + 600);
  const auto& http = response.grant().http_request();
  EXPECT_EQ(http.method(), "PUT");
  EXPECT_TRUE(http.same_origin());
  ASSERT_EQ(http.headers_size(), 1);
  EXPECT_EQ(http.headers(0).name(), "if-none-match");

  const int port = server_->port();
  const Answer headerless = Http(port, Put(http.url(), "hello", ""));
  EXPECT_EQ(headerless.status, 403);
  EXPECT_EQ(Http(port, Put(http.url(), "hello", "If-None-Match: \"x\"\r\n")).status, 403);
  EXPECT_EQ(Http(port, Put(http.url(), "toolong")).status, 400);
  EXPECT_FALSE(area_->IsTaken("run/one.rrd"));
  EXPECT_EQ(Http(port, Put(http.url(), "hello")).status, 200);
  EXPECT_EQ(Contents(area_->ObjectPath("run/one.rrd")), "hello");
  const Answer again = Http(port, Put(http.url(), "other"));
  EXPECT_EQ(again.status, 412);
  EXPECT_THAT(again.text, ::testing::Not(HasSubstr(area_->directory())));
  EXPECT_EQ(Contents(area_->ObjectPath("run/one.rrd")), "hello");
  EXPECT_EQ(Grant(request, &response).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_TRUE(HasNoDrafts());
}

TEST_F(UploadsTest, BodiesInChunksAndKeptConnections) {
  const int port = server_->port();
  const std::string chunked = "PUT " + GrantPath("a") + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n" +
                              "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
  const Answer both = Http(port, chunked + Put(GrantPath("b"), "second") + "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(both.status, 200);
  EXPECT_THAT(both.text, HasSubstr("rushes"));
  EXPECT_EQ(Contents(area_->ObjectPath("a")), "hello world");
  EXPECT_EQ(Contents(area_->ObjectPath("b")), "second");
  const Answer expecting = Http(port, Put(GrantPath("c"), "third", "If-None-Match: *\r\nExpect: 100-continue\r\n"));
  EXPECT_EQ(expecting.status, 100);
  EXPECT_THAT(expecting.text, HasSubstr("200 OK"));
  EXPECT_EQ(Http(port, Put(GrantPath("empty"), "")).status, 200);
  EXPECT_TRUE(area_->IsTaken("empty"));
}

TEST_F(UploadsTest, BadRequests) {
  const int port = server_->port();
  const std::string path = GrantPath("x");
  for (const char* nonsense : {"/upload/", "/upload/abc", "/upload/a.b", "/upload/../../etc/passwd", "/upload/%2e%2e.%2f", "/upload/!.!"}) {
    EXPECT_EQ(Http(port, Put(nonsense, "x")).status, 400) << nonsense;
  }
  EXPECT_EQ(Http(port, Put("/upload/" + std::string(5000, 'a') + ".b", "x")).status, 400);
  std::string changed = path;
  changed[20] = changed[20] == 'A' ? 'B' : 'A';
  EXPECT_EQ(Http(port, Put(changed, "x")).status, 403);
  changed = path;
  changed.back() = changed.back() == 'A' ? 'B' : 'A';
  EXPECT_NE(Http(port, Put(changed, "x")).status, 200);
  EXPECT_EQ(Http(port, "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n").status, 405);
  EXPECT_EQ(Http(port, "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").status, 405);
  EXPECT_EQ(Http(port, "PUT " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").status, 400);
  // Announced as too large, and found to be so.
  EXPECT_EQ(Http(port, Put(path, std::string((1 << 20) + 1, 'x'))).status, 413);
  std::string chunked = "PUT " + path + " HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 17; ++i) chunked += "10000\r\n" + std::string(1 << 16, 'x') + "\r\n";
  EXPECT_EQ(Http(port, chunked + "0\r\n\r\n").status, 413);
  // A client that goes before the end, twice.
  const std::string whole = Put(path, "hello");
  EXPECT_EQ(Http(port, whole.substr(0, whole.size() - 2)).status, 0);
  Http(port, Put(path, std::string(100'000, 'x')).substr(0, 50'000), /*hang_up=*/true);
  EXPECT_TRUE(HasNoDrafts());
  EXPECT_FALSE(area_->IsTaken("x"));
  EXPECT_EQ(area_->used_bytes(), 0);
}

TEST_F(UploadsTest, GrantsAreRefused) {
  const auto code = [&](const std::function<void(cloud::GetWriteAccessGrantRequest*)>& change) {
    cloud::GetWriteAccessGrantRequest request;
    request.set_key("x");
    change(&request);
    cloud::GetWriteAccessGrantResponse response;
    return Grant(request, &response);
  };
  const grpc::Status key = code([](auto* request) { request->set_key("../x"); });
  EXPECT_EQ(key.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(key.error_message(), HasSubstr("invalid object key"));
  EXPECT_EQ(code([](auto* request) { request->clear_key(); }).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code([](auto* request) { request->mutable_location(); }).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code([](auto* request) { request->set_signing(cloud::URL_SIGNING_UNSIGNED); }).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(code([](auto* request) { request->set_signing(static_cast<cloud::UrlSigning>(9)); }).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code([](auto* request) { request->add_supported_upload_methods(cloud::UPLOAD_METHOD_UNSPECIFIED); }).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(code([](auto* request) { request->set_size_bytes(1 << 21); }).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(code([](auto* request) { request->set_size_bytes(~uint64_t{0}); }).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(UploadsTest, GrantsExpire) {
  UploadOptions options;
  options.grant_seconds = 0;
  options.session_seconds = 0;
  UploadGrants grants(catalog_, options);
  const auto grant = grants.Make("x", std::nullopt, true, false).ValueOrDie();
  const arrow::Status late = grants.Begin(grant.single->path, "*", std::nullopt).status();
  EXPECT_EQ(HttpStatusOf(late), 403);
  EXPECT_THAT(late.message(), HasSubstr("expired"));
  const auto parts = grants.Make("x", 10, false, true).ValueOrDie();
  EXPECT_EQ(wire::CodeOf(grants.MakeParts(parts.upload_token, {1}).status()), wire::RpcCode::kNotFound);
  EXPECT_EQ(wire::CodeOf(grants.Complete(parts.upload_token, {{1, ""}})), wire::RpcCode::kNotFound);
  EXPECT_TRUE(fs::is_empty(area_->directory() + "/drafts"));
  // Another server's key does not fit.
  UploadGrants others(catalog_);
  const auto foreign = others.Make("x", std::nullopt, true, false).ValueOrDie();
  EXPECT_EQ(HttpStatusOf(grants.Begin(foreign.single->path, "*", std::nullopt).status()), 403);
}

TEST_F(UploadsTest, AnObjectInParts) {
  const std::string body = std::string(1000, 'a') + std::string(1000, 'b') + std::string(500, 'c');
  const auto grant = GrantParts("parts.bin", body.size());
  EXPECT_EQ(grant.part_size_bytes(), 1000u);
  ASSERT_EQ(grant.part_requests_size(), 3);
  const int port = server_->port();
  std::vector<std::string> etags(3);
  for (const int i : {2, 0, 1}) {
    const Answer answer = Http(port, Put(grant.part_requests(i).url(), body.substr(static_cast<size_t>(i) * 1000, 1000), ""));
    EXPECT_EQ(answer.status, 200) << answer.text;
    etags[static_cast<size_t>(i)] = Etag(answer);
    EXPECT_THAT(etags[static_cast<size_t>(i)], HasSubstr("\""));
  }
  EXPECT_FALSE(area_->IsTaken("parts.bin"));
  const std::string token = grant.upload_token();
  EXPECT_EQ(Complete(token, {}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Complete(token, etags, 2).error_message(), HasSubstr("without gap"));
  EXPECT_THAT(Complete(token, {etags[0], etags[1]}).error_message(), HasSubstr("announced"));
  EXPECT_THAT(Complete(token, {etags[0], etags[2], etags[1]}).error_message(), HasSubstr("ETag"));
  EXPECT_THAT(Complete(token, {etags[0], etags[1], etags[2], ""}).error_message(), HasSubstr("only the last"));
  ASSERT_TRUE(Complete(token, etags).ok());
  EXPECT_EQ(Contents(area_->ObjectPath("parts.bin")), body);
  EXPECT_TRUE(Complete(token, etags).ok());  // it is so already
  EXPECT_EQ(Http(port, Put(grant.part_requests(0).url(), "late", "")).status, 404);
  EXPECT_EQ(area_->used_bytes(), static_cast<int64_t>(body.size()));
  EXPECT_TRUE(HasNoDrafts());
}

TEST_F(UploadsTest, PartsAreAskedForSentAgainAndAbandoned) {
  const auto grant = GrantParts("unknown-size", std::nullopt);
  ASSERT_EQ(grant.part_requests_size(), 1);
  cloud::GetMultipartUploadPartGrantsRequest request;
  request.set_upload_token(grant.upload_token());
  const auto more = [&](std::vector<uint32_t> numbers, cloud::GetMultipartUploadPartGrantsResponse* response) {
    request.clear_part_numbers();
    for (const uint32_t number : numbers) request.add_part_numbers(number);
    Call call;
    return stub_->GetMultipartUploadPartGrants(&call, request, response);
  };
  cloud::GetMultipartUploadPartGrantsResponse parts;
  for (const std::vector<uint32_t>& bad : std::vector<std::vector<uint32_t>>{{}, {0}, {1, 1}, {2'000'000'000}}) {
    EXPECT_EQ(more(bad, &parts).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  ASSERT_TRUE(more({2, 1}, &parts).ok());
  ASSERT_EQ(parts.requests_size(), 2);
  const int port = server_->port();
  const std::string second = parts.requests(0).url(), first = parts.requests(1).url();
  EXPECT_EQ(Http(port, Put(first, std::string(1001, 'x'), "")).status, 413);
  EXPECT_EQ(Http(port, Put(first, std::string(900, 'x'), "")).status, 200);
  EXPECT_EQ(Http(port, Put(second, "end", "")).status, 200);
  EXPECT_THAT(Complete(grant.upload_token(), {"", ""}).error_message(), HasSubstr("part 1 has 900 bytes"));
  // A part that breaks off is not there any more; sent again, it is.
  Http(port, Put(first, std::string(1000, 'y'), "").substr(0, 700), /*hang_up=*/true);
  for (int i = 0; i < 200 && Complete(grant.upload_token(), {"", ""}).error_message().find("not arrived") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(Complete(grant.upload_token(), {"", ""}).error_message(), HasSubstr("part 1 has not arrived"));
  EXPECT_EQ(Http(port, Put(first, std::string(1000, 'z'), "")).status, 200);
  ASSERT_TRUE(Complete(grant.upload_token(), {"", ""}).ok());
  EXPECT_EQ(Contents(area_->ObjectPath("unknown-size")), std::string(1000, 'z') + "end");

  const auto abandoned = GrantParts("abandoned", 2000);
  EXPECT_EQ(Http(port, Put(abandoned.part_requests(0).url(), std::string(1000, 'x'), "")).status, 200);
  const auto abort = [&](const std::string& token) {
    cloud::AbortMultipartUploadRequest abort_request;
    abort_request.set_upload_token(token);
    Call call;
    cloud::AbortMultipartUploadResponse response;
    return stub_->AbortMultipartUpload(&call, abort_request, &response);
  };
  EXPECT_TRUE(abort(abandoned.upload_token()).ok());
  EXPECT_TRUE(abort(abandoned.upload_token()).ok());
  EXPECT_TRUE(abort("nonsense").ok());
  EXPECT_TRUE(abort(grant.upload_token()).ok());
  EXPECT_TRUE(HasNoDrafts());
  EXPECT_TRUE(area_->IsTaken("unknown-size"));
  EXPECT_EQ(Complete(abandoned.upload_token(), {""}).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Complete("nonsense", {""}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(UploadsTest, TheFirstOfTwoUploadsTakesTheKey) {
  const auto one = GrantParts("key", 3), two = GrantParts("key", 3);
  for (const auto* grant : {&one, &two}) EXPECT_EQ(Http(server_->port(), Put(grant->part_requests(0).url(), "abc", "")).status, 200);
  EXPECT_TRUE(Complete(one.upload_token(), {""}).ok());
  EXPECT_EQ(Complete(two.upload_token(), {""}).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  // Open ones are few.
  GrantParts("a", 3);
  GrantParts("b", 3);
  cloud::GetWriteAccessGrantRequest request;
  request.set_key("c");
  request.add_supported_upload_methods(cloud::UPLOAD_METHOD_MULTIPART);
  cloud::GetWriteAccessGrantResponse response;
  EXPECT_EQ(Grant(request, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(UploadsTest, UploadsAreRegistered) {
  const std::string file = std::string(RUSHES_SOURCE_DIR) + "/recordings/howto/recording_001.rrd";
  ASSERT_EQ(Http(server_->port(), Put(GrantPath("one.rrd"), Contents(file))).status, 200);
  const EntryId id = catalog_->CreateDataset("d").ValueOrDie()->entry.id;
  EXPECT_TRUE(catalog_->state()->Find(id)->content->segments().empty());
  Call call(id);
  cloud::RegisterWithDatasetRequest request;
  auto* source = request.add_data_sources();
  source->set_storage_url("file://" + area_->ObjectPath("one.rrd"));
  source->set_typ(cloud::DATA_SOURCE_KIND_RRD);
  cloud::RegisterWithDatasetResponse response;
  ASSERT_TRUE(stub_->RegisterWithDataset(&call, request, &response).ok());
  EXPECT_EQ(catalog_->state()->Find(id)->content->segments().size(), 1u);
}

// --- tasks

class TasksTest : public UploadsTest {
 protected:
  std::vector<TaskInfo> Read(cloud::QueryTasksOnCompletionRequest request, grpc::Status* status, std::vector<size_t>* messages = nullptr) {
    Call call;
    const auto reader = stub_->QueryTasksOnCompletion(&call, request);
    std::vector<TaskInfo> tasks;
    cloud::QueryTasksOnCompletionResponse response;
    while (reader->Read(&response)) {
      const auto batch = wire::DecodePart(response.data(), "data").ValueOrDie();
      for (auto& task : wire::ReadTaskBatch(*batch).ValueOrDie()) tasks.push_back(std::move(task));
      if (messages) messages->push_back(static_cast<size_t>(batch->num_rows()));
    }
    *status = reader->Finish();
    return tasks;
  }
};

TEST_F(TasksTest, RowsComeAsTasksEnd) {
  TaskList& tasks = catalog_->tasks();
  const std::string ended = tasks.AddEnded("register", {TaskState::kFailed, "why", {}, 0});
  const std::string first = tasks.Add("register", {}), second = tasks.Add("register", {});
  cloud::QueryTasksOnCompletionRequest request;
  for (const auto& id : {second, ended, first, std::string("unknown"), ended}) request.add_ids()->set_id(id);
  std::thread ending([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    tasks.End(first, {TaskState::kSuccess, "", Tuid{1, 2}, 77});
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    tasks.Cancel({second});
  });
  grpc::Status status;
  const auto rows = Read(request, &status);
  ending.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[2].id, first);
  EXPECT_EQ(rows[2].dataset, (Tuid{1, 2}));
  EXPECT_EQ(rows[2].dataset_revision, 77u);
  EXPECT_EQ(rows[3].id, second);
  EXPECT_EQ(rows[3].state, TaskState::kCancelled);
}

TEST_F(TasksTest, WaitingHasAnEnd) {
  const std::string open = catalog_->tasks().Add("register", {});
  const std::string ended = catalog_->tasks().AddEnded("register", {});
  cloud::QueryTasksOnCompletionRequest request;
  request.add_ids()->set_id(open);
  request.add_ids()->set_id(ended);
  request.mutable_timeout()->set_nanos(50'000'000);
  grpc::Status status;
  const auto before = std::chrono::steady_clock::now();
  const auto rows = Read(request, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("1 of 2 tasks"));
  EXPECT_EQ(rows.size(), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  request.mutable_timeout()->set_nanos(0);
  Read(request, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  request.mutable_timeout()->set_seconds(-5);
  Read(request, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // Clients that leave are no burden.
  for (int i = 0; i < 20; ++i) {
    Call call;
    request.clear_timeout();
    const auto reader = stub_->QueryTasksOnCompletion(&call, request);
    call.TryCancel();
    reader->Finish();
  }
  catalog_->tasks().End(open, {});
}

TEST_F(TasksTest, BadRequests) {
  cloud::QueryTasksOnCompletionRequest request;
  grpc::Status status;
  std::vector<size_t> messages;
  EXPECT_TRUE(Read(request, &status, &messages).empty());
  EXPECT_TRUE(status.ok());
  EXPECT_THAT(messages, ElementsAre(0));
  request.add_ids()->set_id("");
  Read(request, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  Call call, cancel_call, other_call;
  cloud::QueryTasksRequest query;
  query.add_ids();
  cloud::QueryTasksResponse answer;
  EXPECT_EQ(stub_->QueryTasks(&call, query, &answer).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  cloud::CancelTasksRequest cancel;
  cancel.add_ids();
  cloud::CancelTasksResponse nothing;
  EXPECT_EQ(stub_->CancelTasks(&cancel_call, cancel, &nothing).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  cancel.mutable_ids(0)->set_id("unknown");
  EXPECT_TRUE(stub_->CancelTasks(&other_call, cancel, &nothing).ok());
}

TEST_F(TasksTest, CancelAndList) {
  const std::string open = catalog_->tasks().Add("register", {});
  Call cancel_call, call;
  cloud::CancelTasksRequest cancel;
  cancel.add_ids()->set_id(open);
  cloud::CancelTasksResponse nothing;
  EXPECT_TRUE(stub_->CancelTasks(&cancel_call, cancel, &nothing).ok());
  cloud::QueryTasksResponse answer;
  ASSERT_TRUE(stub_->QueryTasks(&call, {}, &answer).ok());
  const auto batch = wire::DecodePart(answer.data(), "data").ValueOrDie();
  EXPECT_EQ(static_cast<const arrow::StringArray&>(*batch->GetColumnByName("exec_status")).GetString(0), "cancelled");
}

// --- revisions, maintenance, narrowed searches

class DatasetTest : public UploadsTest {
 protected:
  void SetUp() override {
    UploadsTest::SetUp();
    id_ = catalog_->CreateDataset("demo").ValueOrDie()->entry.id;
    DataSource source;
    source.url = std::string(RUSHES_SOURCE_DIR) + "/recordings/demo";
    source.is_prefix = true;
    ASSERT_TRUE(catalog_->Register(id_, {source}, IfDuplicate::kError).ok());
  }
  uint64_t Revision() { return catalog_->state()->Find(id_)->revision; }
  EntryId id_;
};

TEST_F(DatasetTest, ReadsSayTheirRevisionAndRefuseLaterOnes) {
  const auto read = [&](const std::string& revision, cloud::GetDatasetSchemaResponse* response) {
    Call call(id_);
    if (!revision.empty()) call.AddMetadata(wire::kDatasetRevisionHeader, revision);
    return stub_->GetDatasetSchema(&call, {}, response);
  };
  cloud::GetDatasetSchemaResponse response;
  ASSERT_TRUE(read("", &response).ok());
  EXPECT_EQ(response.meta().dataset_revision(), Revision());
  EXPECT_EQ(wire::FromProto(response.meta().entry_id(), "id").ValueOrDie(), id_);
  EXPECT_TRUE(read(std::to_string(Revision()), &response).ok());
  const grpc::Status behind = read(std::to_string(Revision() + 1), &response);
  EXPECT_EQ(behind.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(behind.error_details(), HasSubstr("DATASET_REVISION_BEHIND"));
  EXPECT_THAT(behind.error_details(), HasSubstr("rerun.io"));
  for (const char* garbage : {"x", "-1", "1x", "99999999999999999999999"}) {
    EXPECT_EQ(read(garbage, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << garbage;
  }
  // A change is a new revision; nothing removed is none.
  const uint64_t before = Revision();
  ASSERT_TRUE(catalog_->Unregister(id_, {"nobody"}, {}).ok());
  EXPECT_EQ(Revision(), before);
  ASSERT_TRUE(catalog_->Unregister(id_, {catalog_->state()->Find(id_)->content->segments().begin()->first}, {}).ok());
  EXPECT_GT(Revision(), before);
  // A dataset made anew under the same id is later than the one before.
  const uint64_t last = Revision();
  ASSERT_TRUE(catalog_->Delete(id_).ok());
  ASSERT_TRUE(catalog_->CreateDataset("demo", id_).ok());
  EXPECT_GT(Revision(), last);
}

TEST_F(DatasetTest, StreamsCarryTheRevisionInTheirFirstMessage) {
  const auto check = [&](auto reader, auto response) {
    int messages = 0;
    while (reader->Read(&response)) {
      EXPECT_EQ(response.has_meta(), messages == 0);
      if (messages++ == 0) {
        EXPECT_EQ(response.meta().dataset_revision(), Revision());
      }
    }
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_GE(messages, 1);
  };
  Call segments(id_), manifest(id_), chunks(id_);
  check(stub_->ScanSegmentTable(&segments, {}), cloud::ScanSegmentTableResponse());
  check(stub_->ScanDatasetManifest(&manifest, {}), cloud::ScanDatasetManifestResponse());
  cloud::FindChunksRequest request;
  request.mutable_contents()->mutable_all();
  request.mutable_static_()->mutable_segments()->mutable_all();
  check(stub_->FindChunks(&chunks, request), cloud::FindChunksResponse());
}

TEST_F(DatasetTest, Maintenance) {
  const auto maintain = [&](Call& call, const cloud::DoMaintenanceRequest& request) {
    cloud::DoMaintenanceResponse response;
    const grpc::Status status = stub_->DoMaintenance(&call, request, &response);
    return status.ok() ? response.report() : std::to_string(status.error_code()) + ": " + status.error_message();
  };
  Call none, unknown(Tuid::New()), nothing(id_), recent(id_), all(id_), global;
  EXPECT_THAT(maintain(none, {}), HasSubstr("3: missing mandatory"));
  EXPECT_THAT(maintain(unknown, {}), HasSubstr("5: "));
  EXPECT_EQ(maintain(nothing, {}), "");
  cloud::DoMaintenanceRequest request;
  request.set_compact_fragments(true);
  request.mutable_cleanup_before()->set_seconds(std::time(nullptr));
  EXPECT_THAT(maintain(recent, request), HasSubstr("3: cleanup_before"));
  request.set_unsafe_allow_recent_cleanup(true);
  EXPECT_THAT(maintain(all, request), HasSubstr("cleanup: "));
  cloud::DoGlobalMaintenanceResponse response;
  EXPECT_TRUE(stub_->DoGlobalMaintenance(&global, {}, &response).ok());
}

TEST_F(DatasetTest, ComponentListsNarrowWhenAskedTo) {
  // An entity of which some chunks have a component and others have not.
  const std::string path = testing::TempDir() + "/narrow_" + std::to_string(::getpid()) + ".rrd";
  auto writer = rrd::Writer::Open(path).ValueOrDie();
  const std::vector<Timeline> timelines = {{"t", TimeType::kSequence}};
  std::set<std::string> with, all;
  for (uint64_t i = 1; i <= 6; ++i) {
    const bool has_y = i % 3 == 0;
    const auto chunk = TestChunk(i, "/a", timelines, {{i, {static_cast<int64_t>(i)}, {{1.0}}, {{2.0}}}}, has_y);
    ASSERT_TRUE(writer->Write({StoreKind::kRecording, "app", "narrow"}, *chunk).ok());
    all.insert(chunk->id().ToHex());
    if (has_y) with.insert(chunk->id().ToHex());
  }
  ASSERT_TRUE(writer->Close().ok());
  DataSource source;
  source.url = path;
  ASSERT_TRUE(catalog_->Register(id_, {source}, IfDuplicate::kError).ok());
  const auto find = [&](bool narrow) {
    Call call(id_);
    if (narrow) call.AddMetadata(wire::kNarrowHeader, wire::kNarrowComponents);
    cloud::FindChunksRequest request;
    auto* selection = request.mutable_contents()->mutable_explicit_()->add_entities();
    selection->mutable_entity_path()->set_path("/a");
    selection->mutable_explicit_()->add_ids("example.Two:y");
    request.mutable_range()->set_timeline("t");
    request.mutable_range()->mutable_segments()->mutable_explicit_()->add_ids()->set_id("narrow");
    const auto reader = stub_->FindChunks(&call, request);
    std::set<std::string> ids;
    cloud::FindChunksResponse response;
    while (reader->Read(&response)) {
      const auto batch = wire::DecodePart(response.data(), "data").ValueOrDie();
      const auto& column = static_cast<const arrow::FixedSizeBinaryArray&>(*batch->GetColumnByName("chunk_id"));
      for (int64_t i = 0; i < column.length(); ++i) ids.insert(Tuid::FromBytes(column.GetValue(i)).ToHex());
    }
    EXPECT_TRUE(reader->Finish().ok());
    return ids;
  };
  EXPECT_EQ(find(false), all);
  EXPECT_EQ(find(true), with);
  fs::remove(path);
  Call call;
  cloud::WhoAmIResponse who;
  ASSERT_TRUE(stub_->WhoAmI(&call, {}, &who).ok());
  EXPECT_THAT(std::vector<std::string>(who.capabilities().capabilities().begin(), who.capabilities().capabilities().end()),
              ::testing::IsSupersetOf({wire::kCapabilityNarrowComponents, wire::kCapabilityStaging, wire::kCapabilityFindChunks}));
}

}  // namespace
}  // namespace rushes
