// A server of HTTP/1.1 in front of a small gRPC service, and a client that speaks to it over a socket pair. For tests.
#pragma once

#include <atomic>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "rushes/server/grpc_web.h"
#include "rushes/server/http_server.h"
#include "rushes/server/message_history.h"
#include "rushes/server/proxy_service.h"
#include "rushes/server/rpc_internal.h"
#include "rushes/server/socket_stream.h"

namespace rushes::testing_http {

namespace http = boost::beast::http;
namespace health = ::grpc::health::v1;

// `Check` answers by the service's name: `ok`; `fail`, with details; `slow`, never. `Watch` sends one message for each letter of the name;
// one that begins with `~` then stays open.
class TestService final : public health::Health::CallbackService {
 public:
  std::atomic<int> num_cancelled{0};
  std::atomic<int> num_open{0};

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const health::HealthCheckRequest* request,
                                  health::HealthCheckResponse* response) override {
    context->AddInitialMetadata("x-rerun-server-version", "test");
    if (request->service() == "slow") return new Slow(this);
    auto* reactor = context->DefaultReactor();
    response->set_status(health::HealthCheckResponse::SERVING);
    context->AddTrailingMetadata("x-tail", "end");
    context->AddTrailingMetadata("x-tail-bin", std::string("\x00\xff", 2));
    if (request->service() == "fail") {
      reactor->Finish(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                                   "100% b\xc3\xa4"
                                   "d\nreally",
                                   "details"));
    } else {
      const auto header = context->client_metadata().find("x-rerun-entry-name-bin");
      if (header != context->client_metadata().end()) {
        context->AddInitialMetadata("x-name-length", std::to_string(header->second.size()));
      }
      reactor->Finish(grpc::Status::OK);
    }
    return reactor;
  }

  grpc::ServerWriteReactor<health::HealthCheckResponse>* Watch(grpc::CallbackServerContext*,
                                                               const health::HealthCheckRequest* request) override {
    return new Stream(this, request->service());
  }

 private:
  struct Slow final : grpc::ServerUnaryReactor {
    explicit Slow(TestService* service) : service(service) { ++service->num_open; }
    void OnCancel() override {
      ++service->num_cancelled;
      Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override {
      --service->num_open;
      delete this;
    }
    TestService* service;
  };
  struct Stream final : grpc::ServerWriteReactor<health::HealthCheckResponse> {
    Stream(TestService* service, std::string name) : service(service), name(std::move(name)) {
      ++service->num_open;
      StartSendInitialMetadata();
      Step();
    }
    void Step() {
      if (at < name.size()) {
        ++at;
        response.set_status(health::HealthCheckResponse::SERVING);
        StartWrite(&response);
      } else if (name[0] != '~') {
        Finish(grpc::Status::OK);
      }
    }
    void OnWriteDone(bool ok) override {
      if (ok) return Step();
      if (!finished.exchange(true)) Finish(grpc::Status::CANCELLED);
    }
    void OnCancel() override {
      ++service->num_cancelled;
      if (!finished.exchange(true)) Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override {
      --service->num_open;
      delete this;
    }
    TestService* service;
    const std::string name;
    size_t at = 0;
    std::atomic<bool> finished{false};
    health::HealthCheckResponse response;
  };
};

struct Answer {
  int status = 0;  // 0: the connection ended without one
  std::map<std::string, std::string> headers;
  std::string body;
  bool is_open = false;  // the connection, afterwards

  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  }
  // The body's frames: flag and contents.
  std::vector<std::pair<int, std::string>> frames() const {
    std::vector<std::pair<int, std::string>> out;
    const std::string bytes = header("content-type").find("-text") != std::string::npos ? grpc_web::Base64Decode(body).ValueOrDie() : body;
    for (size_t at = 0; at + 5 <= bytes.size();) {
      size_t length = 0;
      for (int i = 1; i < 5; ++i) length = length << 8 | static_cast<unsigned char>(bytes[at + static_cast<size_t>(i)]);
      out.emplace_back(static_cast<unsigned char>(bytes[at]), bytes.substr(at + 5, length));
      at += 5 + length;
    }
    return out;
  }
  // The lines of the last frame.
  std::string trailers() const {
    const auto all = frames();
    return all.empty() || all.back().first != 0x80 ? "no trailers" : all.back().second;
  }
};

// One connection.
class Client {
 public:
  explicit Client(int fd) : stream_(fd) { stream_.set_timeout(std::chrono::seconds(20)); }

  void Send(const std::string& bytes) {
    boost::system::error_code error;
    boost::asio::write(stream_, boost::asio::buffer(bytes), error);
  }
  void HalfClose() { stream_.ShutdownWrites(); }
  // Only the head of the answer.
  Answer ReadHead() { return Read(true); }
  Answer ReadAnswer() { return Read(false); }
  // Without an answer of the last kind: what has arrived of the body.
  std::string ReadSome() {
    std::string bytes(65536, '\0');
    boost::system::error_code error;
    bytes.resize(stream_.read_some(boost::asio::buffer(bytes), error));
    return bytes;
  }
  SocketStream& stream() { return stream_; }

 private:
  Answer Read(bool head_only) {
    http::response_parser<http::string_body> parser;
    parser.body_limit(std::numeric_limits<uint64_t>::max());
    boost::system::error_code error;
    if (head_only) {
      http::read_header(stream_, buffer_, parser, error);
    } else {
      http::read(stream_, buffer_, parser, error);
    }
    Answer answer;
    if (error) return answer;
    const auto& response = parser.get();
    answer.status = static_cast<int>(response.result_int());
    for (const auto& field : response) {
      std::string name(field.name_string().data(), field.name_string().size());
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      answer.headers[name] = std::string(field.value().data(), field.value().size());
    }
    answer.body = response.body();
    answer.is_open = response.keep_alive();
    return answer;
  }

  SocketStream stream_;
  boost::beast::flat_buffer buffer_;
};

class HttpHarness {
 public:
  explicit HttpHarness(HttpServerOptions options = {}) {
    history = MessageHistory::Make(MessageHistory::kMinBytes).ValueOrDie();
    proxy_ = MakeProxyService(history, environment_);
    pool_ = std::make_unique<WorkerPool>(2);
    environment_.pool = pool_.get();
    grpc::ServerBuilder builder;
    builder.RegisterService(&service);
    builder.RegisterService(proxy_.get());
    server_ = builder.BuildAndStart();
    options.version_text = "test";
    options.server_version = "test/1";
    http_ = std::make_unique<HttpServer>(server_->InProcessChannel({}), std::move(options));
  }
  ~HttpHarness() {
    http_.reset();
    server_->Shutdown();
    server_->Wait();
  }

  std::unique_ptr<Client> Connect() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    http_->Serve(fds[0]);
    return std::make_unique<Client>(fds[1]);
  }
  HttpServer& http() { return *http_; }

  TestService service;
  std::shared_ptr<MessageHistory> history;

 private:
  std::unique_ptr<WorkerPool> pool_;
  RpcEnvironment environment_;
  std::unique_ptr<grpc::Service> proxy_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<HttpServer> http_;
};

inline std::string CheckRequest(const std::string& name) {
  health::HealthCheckRequest request;
  request.set_service(name);
  const std::string bytes = request.SerializeAsString();
  return grpc_web::FrameHead(0, bytes.size()) + bytes;
}

// A gRPC-Web request with all its bytes; `headers` are whole lines.
inline std::string Post(const std::string& path, const std::string& body, const std::string& headers = {},
                        const std::string& type = "application/grpc-web+proto") {
  return "POST " + path + " HTTP/1.1\r\nhost: x\r\ncontent-type: " + type + "\r\n" + headers +
         "content-length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

inline constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
inline constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";

}  // namespace rushes::testing_http
