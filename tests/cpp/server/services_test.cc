// Live messages, health and reflection, as clients see them over a real port.
#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "gtest/gtest.h"
#include "rerun/sdk_comms/v1alpha1/sdk_comms.grpc.pb.h"
#include "rushes/server/catalog_server.h"

namespace rushes {
namespace {

namespace comms = ::rerun::sdk_comms::v1alpha1;
namespace health = ::grpc::health::v1;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

std::unique_ptr<CatalogServer> Start(const CatalogServerOptions& options = {}) {
  auto started = CatalogServer::Start(std::make_shared<Catalog>(), options);
  EXPECT_TRUE(started.ok()) << started.status();
  return std::move(*started);
}

std::shared_ptr<grpc::Channel> ConnectTo(const CatalogServer& server) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server.port()), grpc::InsecureChannelCredentials(), arguments);
}

struct Call : grpc::ClientContext {
  Call() { set_deadline(std::chrono::system_clock::now() + 60s); }
};

comms::WriteMessagesRequest Message(const std::string& payload, bool is_static = false) {
  comms::WriteMessagesRequest request;
  auto* arrow = request.mutable_log_msg()->mutable_arrow_msg();
  arrow->mutable_store_id()->set_kind(::rerun::common::v1alpha1::STORE_KIND_RECORDING);
  arrow->mutable_store_id()->set_recording_id("run");
  arrow->mutable_store_id()->mutable_application_id()->set_id("app");
  arrow->set_encoding(::rerun::log_msg::v1alpha1::ENCODING_ARROW_IPC);
  arrow->set_payload(payload);
  arrow->set_is_static(is_static);
  return request;
}

comms::WriteMessagesRequest StoreInfo() {
  comms::WriteMessagesRequest request;
  auto* info = request.mutable_log_msg()->mutable_set_store_info();
  info->mutable_row_id()->set_time_ns(1);
  info->mutable_row_id()->set_inc(2);
  info->mutable_info()->mutable_store_id()->set_recording_id("run");
  return request;
}

grpc::Status Write(comms::MessageProxyService::Stub* stub, const std::vector<comms::WriteMessagesRequest>& messages) {
  Call call;
  comms::WriteMessagesResponse response;
  const auto writer = stub->WriteMessages(&call, &response);
  for (const auto& message : messages) {
    if (!writer->Write(message)) break;
  }
  writer->WritesDone();
  return writer->Finish();
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(Proxy, AReaderGetsWhatIsThereAndWhatComes) {
  const auto server = Start();
  const auto channel = ConnectTo(*server);
  const auto stub = comms::MessageProxyService::NewStub(channel);
  ASSERT_TRUE(Write(stub.get(), {Message("t1"), Message("s1", true), StoreInfo(), Message("t2")}).ok());
  Call call;
  const auto reader = stub->ReadMessages(&call, {});
  comms::ReadMessagesResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_TRUE(response.log_msg().has_set_store_info());
  for (const char* expected : {"s1", "t1", "t2"}) {
    ASSERT_TRUE(reader->Read(&response));
    // Byte for byte what was written.
    EXPECT_EQ(response.SerializeAsString(), Message(expected, expected[0] == 's').SerializeAsString());
  }
  ASSERT_TRUE(Write(stub.get(), {Message("live")}).ok());
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.log_msg().arrow_msg().payload(), "live");
  call.TryCancel();
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Proxy, ViewersLeaveWhileMessagesCome) {
  const auto server = Start();
  const auto stub = comms::MessageProxyService::NewStub(ConnectTo(*server));
  std::atomic<bool> stop = false;
  std::thread logger([&] {
    while (!stop) EXPECT_TRUE(Write(stub.get(), {Message("now"), Message("now")}).ok());
  });
  std::vector<std::thread> viewers;
  for (int viewer = 0; viewer < 4; ++viewer) {
    viewers.emplace_back([&, viewer] {
      for (int i = 0; i < 60; ++i) {
        Call call;
        const auto reader = stub->ReadMessages(&call, {});
        comms::ReadMessagesResponse response;
        for (int read = 0; read < (viewer + i) % 5; ++read) EXPECT_TRUE(reader->Read(&response));
        call.TryCancel();
        EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
      }
    });
  }
  for (auto& viewer : viewers) viewer.join();
  stop = true;
  logger.join();
  Call call;
  const auto reader = stub->ReadMessages(&call, {});
  comms::ReadMessagesResponse response;
  EXPECT_TRUE(reader->Read(&response));
  call.TryCancel();
}

TEST(Proxy, ABadMessageEndsItsCallAlone) {
  const auto server = Start();
  const auto stub = comms::MessageProxyService::NewStub(ConnectTo(*server));
  const auto status = Write(stub.get(), {Message("good"), comms::WriteMessagesRequest(), Message("never")});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("message 2 of WriteMessages"));
  EXPECT_THAT(status.error_message(), HasSubstr("WriteMessagesRequest.log_msg"));
  comms::WriteMessagesRequest no_case;
  no_case.mutable_log_msg();
  EXPECT_EQ(Write(stub.get(), {no_case}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(Write(stub.get(), {Message("after")}).ok());
  Call call;
  const auto reader = stub->ReadMessages(&call, {});
  comms::ReadMessagesResponse response;
  for (const char* expected : {"good", "after"}) {
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.log_msg().arrow_msg().payload(), expected);
  }
  call.TryCancel();
}

TEST(Proxy, AMessageBeyondTheHistoryIsRefused) {
  CatalogServerOptions options;
  options.live_history_bytes = 1 << 20;
  const auto server = Start(options);
  const auto stub = comms::MessageProxyService::NewStub(ConnectTo(*server));
  const auto status = Write(stub.get(), {Message(std::string(1 << 20, 'x'))});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("the history of live messages has 1048576 bytes"));
}

TEST(Proxy, Tables) {
  const auto server = Start();
  const auto stub = comms::MessageProxyService::NewStub(ConnectTo(*server));
  const auto write = [&](const char* id, const char* payload) {
    Call call;
    comms::WriteTableRequest request;
    if (id != nullptr) request.mutable_id()->set_id(id);
    if (payload != nullptr) request.mutable_data()->set_payload(payload);
    comms::WriteTableResponse response;
    return stub->WriteTable(&call, request, &response);
  };
  EXPECT_THAT(write(nullptr, "x").error_message(), HasSubstr("WriteTableRequest.id"));
  EXPECT_EQ(write("a", nullptr).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(write("a", "1").ok());
  ASSERT_TRUE(write("b", "2").ok());
  ASSERT_TRUE(write("a", "3").ok());
  Call call;
  const auto reader = stub->ReadTables(&call, {});
  comms::ReadTablesResponse response;
  for (const char* expected : {"2", "3"}) {
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.data().payload(), expected);
  }
  ASSERT_TRUE(write("c", "4").ok());
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.id().id(), "c");
  call.TryCancel();
}

TEST(Proxy, OffIsUnimplemented) {
  CatalogServerOptions options;
  options.live_history_bytes = 0;
  const auto server = Start(options);
  const auto stub = comms::MessageProxyService::NewStub(ConnectTo(*server));
  EXPECT_EQ(Write(stub.get(), {Message("x")}).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  options.live_history_bytes = 1000;
  EXPECT_TRUE(CatalogServer::Start(std::make_shared<Catalog>(), options).status().IsInvalid());
}

// A flood of several times the bound, with a reader that never reads and one that does.
TEST(Proxy, MemoryStaysBoundedUnderAFlood) {
  constexpr int kMessages = 4000;
  const std::string payload(100'000, 'x');
  CatalogServerOptions options;
  options.live_history_bytes = 32 << 20;
  const auto server = Start(options);
  const auto stub = comms::MessageProxyService::NewStub(ConnectTo(*server));
  const auto other = comms::MessageProxyService::NewStub(ConnectTo(*server));
  Call stuck_call, call;
  ASSERT_TRUE(Write(stub.get(), {StoreInfo()}).ok());
  const auto stuck = other->ReadMessages(&stuck_call, {});
  const auto reader = stub->ReadMessages(&call, {});
  std::atomic<int> read{0};
  std::atomic<bool> has_last{false};
  std::thread reading([&] {
    comms::ReadMessagesResponse response;
    while (reader->Read(&response)) {
      ++read;
      if (response.log_msg().arrow_msg().payload() == "last") has_last = true;
    }
  });
  const int64_t before = ResidentBytes();
  int64_t peak = 0;
  {
    Call write_call;
    comms::WriteMessagesResponse response;
    const auto writer = stub->WriteMessages(&write_call, &response);
    const auto message = Message(payload);
    for (int i = 0; i < kMessages; ++i) {
      ASSERT_TRUE(writer->Write(message));
      if (i % 100 == 0) peak = std::max(peak, ResidentBytes() - before);
    }
    ASSERT_TRUE(writer->Write(Message("last")));
    writer->WritesDone();
    ASSERT_TRUE(writer->Finish().ok());
  }
  peak = std::max(peak, ResidentBytes() - before);
#ifndef __SANITIZE_ADDRESS__  // it keeps what was freed for a while
  // 400 MB passed through; the bound, what gRPC holds under way on both sides, and room for the allocator.
  EXPECT_LT(peak, 160 << 20);
#endif
  for (int i = 0; i < 300 && !has_last; ++i) std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(has_last);
  EXPECT_GT(read, 200);
  // A late one gets the store and the newest of the bound.
  {
    Call late_call;
    const auto late = stub->ReadMessages(&late_call, {});
    comms::ReadMessagesResponse response;
    ASSERT_TRUE(late->Read(&response));
    EXPECT_TRUE(response.log_msg().has_set_store_info());
    int got = 0;
    while (late->Read(&response) && response.log_msg().arrow_msg().payload() != "last") ++got;
    EXPECT_GT(got, 300);
    EXPECT_LT(got, 336);
    late_call.TryCancel();
  }
  call.TryCancel();
  stuck_call.TryCancel();
  reading.join();
}

TEST(Proxy, ShuttingDownEndsItsCalls) {
  auto server = Start();
  const auto stub = comms::MessageProxyService::NewStub(ConnectTo(*server));
  Call read_call, write_call;
  const auto reader = stub->ReadMessages(&read_call, {});
  comms::WriteMessagesResponse response;
  const auto writer = stub->WriteMessages(&write_call, &response);
  ASSERT_TRUE(writer->Write(Message("x")));
  comms::ReadMessagesResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const auto start = std::chrono::steady_clock::now();
  server->Shutdown();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_FALSE(reader->Finish().ok());
  writer->WritesDone();
  EXPECT_FALSE(writer->Finish().ok());
}

TEST(Health, ChecksListsAndWatches) {
  auto server = Start();
  const auto stub = health::Health::NewStub(ConnectTo(*server));
  const auto check = [&](const std::string& service) {
    Call call;
    health::HealthCheckRequest request;
    request.set_service(service);
    health::HealthCheckResponse response;
    const auto status = stub->Check(&call, request, &response);
    return status.ok() ? static_cast<int>(response.status()) : -static_cast<int>(status.error_code());
  };
  for (const char* service : {"", "rerun.cloud.v1alpha1.RerunCloudService", "rerun.sdk_comms.v1alpha1.MessageProxyService"}) {
    EXPECT_EQ(check(service), health::HealthCheckResponse::SERVING) << service;
  }
  EXPECT_EQ(check("nobody"), -static_cast<int>(grpc::StatusCode::NOT_FOUND));
  Call list_call;
  health::HealthListResponse list;
  ASSERT_TRUE(stub->List(&list_call, {}, &list).ok());
  EXPECT_EQ(list.statuses_size(), 3);

  Call call, unknown_call;
  const auto watch = stub->Watch(&call, {});
  health::HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::SERVING);
  health::HealthCheckRequest request;
  request.set_service("nobody");
  const auto unknown = stub->Watch(&unknown_call, request);
  ASSERT_TRUE(unknown->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::SERVICE_UNKNOWN);
  std::thread stop([&] { server->Shutdown(); });
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), health::HealthCheckResponse::NOT_SERVING);
  stop.join();
}

template <typename Service, typename Request, typename Response>
void CheckReflection() {
  const auto server = Start();
  const auto stub = Service::NewStub(ConnectTo(*server));
  Call call;
  const auto stream = stub->ServerReflectionInfo(&call);
  const auto ask = [&](const Request& request) {
    Response response;
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
    return response;
  };
  Request request;
  request.set_host("h");
  request.set_list_services("*");
  const auto listed = ask(request);
  EXPECT_EQ(listed.valid_host(), "h");
  std::set<std::string> services;
  for (const auto& service : listed.list_services_response().service()) services.insert(service.name());
  EXPECT_EQ(services, (std::set<std::string>{"rerun.cloud.v1alpha1.RerunCloudService", "rerun.sdk_comms.v1alpha1.MessageProxyService",
                                             "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                                             "grpc.reflection.v1alpha.ServerReflection"}));
  // Every service, with all it needs, builds in an empty pool.
  for (const std::string& service : services) {
    request.set_file_containing_symbol(service);
    std::map<std::string, google::protobuf::FileDescriptorProto> files;
    const auto described = ask(request);
    for (const auto& bytes : described.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(bytes));
      files[file.name()] = file;
    }
    google::protobuf::DescriptorPool pool;
    std::function<void(const std::string&)> build = [&](const std::string& name) {
      if (pool.FindFileByName(name) != nullptr) return;
      ASSERT_EQ(files.count(name), 1) << name;
      for (const auto& needed : files[name].dependency()) build(needed);
      ASSERT_NE(pool.BuildFile(files[name]), nullptr) << name;
    };
    for (const auto& [name, file] : files) build(name);
    ASSERT_NE(pool.FindServiceByName(service), nullptr) << service;
  }
  request.set_file_by_filename("rerun/sdk_comms/v1alpha1/sdk_comms.proto");
  EXPECT_GT(ask(request).file_descriptor_response().file_descriptor_proto_size(), 1);
  const auto not_found = static_cast<int>(grpc::StatusCode::NOT_FOUND);
  request.set_file_by_filename("no.proto");
  EXPECT_EQ(ask(request).error_response().error_code(), not_found);
  request.set_file_containing_symbol("no.Such");
  EXPECT_THAT(ask(request).error_response().error_message(), HasSubstr("'no.Such' is not known here"));
  request.set_all_extension_numbers_of_type("no.Such");
  EXPECT_EQ(ask(request).error_response().error_code(), not_found);
  request.set_all_extension_numbers_of_type("rerun.log_msg.v1alpha1.LogMsg");
  EXPECT_EQ(ask(request).all_extension_numbers_response().base_type_name(), "rerun.log_msg.v1alpha1.LogMsg");
  request.mutable_file_containing_extension()->set_containing_type("rerun.log_msg.v1alpha1.LogMsg");
  EXPECT_EQ(ask(request).error_response().error_code(), not_found);
  request.clear_list_services();
  request.Clear();
  EXPECT_EQ(ask(request).error_response().error_code(), static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(Reflection, V1) {
  using namespace ::grpc::reflection::v1;
  CheckReflection<ServerReflection, ServerReflectionRequest, ServerReflectionResponse>();
}

TEST(Reflection, V1Alpha) {
  using namespace ::grpc::reflection::v1alpha;
  CheckReflection<ServerReflection, ServerReflectionRequest, ServerReflectionResponse>();
}

}  // namespace
}  // namespace rushes
