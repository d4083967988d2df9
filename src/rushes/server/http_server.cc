#include "rushes/server/http_server.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <sys/socket.h>
#include <unistd.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include "rushes/chunk/mutex.h"
#include "rushes/server/upload_handler.h"
#include "rushes/wire/headers.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr size_t kMaxConnections = 256;
constexpr uint64_t kMaxRequestBytes = 256 << 20;  // a gRPC-Web request is kept whole
constexpr int kIdleSeconds = 120;

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

bool MatchesPattern(std::string_view text, std::string_view pattern) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return text == pattern;
  if (text.size() < star || text.substr(0, star) != pattern.substr(0, star)) return false;
  text.remove_prefix(star);
  pattern.remove_prefix(star + 1);
  for (size_t skip = 0; skip <= text.size(); ++skip) {
    if (MatchesPattern(text.substr(skip), pattern)) return true;
  }
  return false;
}

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

bool IsGrpcWeb(const Request& request) { return View(request[http::field::content_type]).starts_with("application/grpc-web"); }

// Header values of other than printable ASCII are escaped, as gRPC wants it for messages.
std::string PercentEncodeMessage(std::string_view message) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : message) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (u < 0x20 || u > 0x7E || c == '%') {
      out += {'%', kHex[u >> 4], kHex[u & 15]};
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::optional<std::string> Base64Decode(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    int value;
    if (c >= 'A' && c <= 'Z') {
      value = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      value = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      value = c - '0' + 52;
    } else if (c == '+' || c == '-') {
      value = 62;
    } else if (c == '/' || c == '_') {
      value = 63;
    } else if (c == '=') {
      have = 0;  // what follows is a frame encoded for itself
      continue;
    } else {
      return std::nullopt;
    }
    bits = (bits << 6) | static_cast<uint32_t>(value);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out.push_back(static_cast<char>(bits >> have));
    }
  }
  return out;
}

std::string Base64Encode(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = (bits << 8) | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    const size_t have = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 4; ++j) out.push_back(j <= have ? kDigits[(bits >> (18 - 6 * j)) & 63] : '=');
  }
  return out;
}

// A frame of gRPC-Web: flag, length, contents.
std::string FrameHead(uint8_t flag, size_t length) {
  return {static_cast<char>(flag), static_cast<char>(length >> 24), static_cast<char>(length >> 16), static_cast<char>(length >> 8),
          static_cast<char>(length)};
}

}  // namespace

bool IsAllowedOrigin(const std::string& origin, const std::vector<std::string>& patterns) {
  for (const char* always : {"*://localhost", "*://localhost:*", "*://127.0.0.1", "*://127.0.0.1:*", "*://rerun.io", "*://rerun.io:*"}) {
    if (MatchesPattern(origin, always)) return true;
  }
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) { return MatchesPattern(origin, pattern); });
}

struct HttpServer::Impl {
  grpc::GenericStub stub;
  HttpServerOptions options;
  asio::io_context io;

  Mutex mutex;
  CondVar changed;
  bool stopping RUSHES_GUARDED_BY(mutex) = false;
  std::set<int> sockets RUSHES_GUARDED_BY(mutex);
  std::set<grpc::ClientContext*> calls RUSHES_GUARDED_BY(mutex);
  size_t threads RUSHES_GUARDED_BY(mutex) = 0;

  Impl(std::shared_ptr<grpc::Channel> channel, HttpServerOptions o) : stub(std::move(channel)), options(std::move(o)) {}

  void Connection(int fd);
  template <typename Head, typename Message>
  void AddCommon(const Head& request, Message* response) const;
  Response Answer(const Request& request) const;
  // An upload; false: the connection cannot be used any more.
  bool Upload(http::request_parser<http::empty_body>&& head, beast::flat_buffer& buffer, asio::ip::tcp::socket& socket);
  // False: the connection cannot be used any more.
  bool Bridge(const Request& request, asio::ip::tcp::socket& socket);
};

template <typename Head, typename Message>
void HttpServer::Impl::AddCommon(const Head& request, Message* response) const {
  response->version(request.version());
  response->keep_alive(request.keep_alive());
  response->set(wire::kServerVersionHeader, options.server_version);
  const std::string origin(View(request[http::field::origin]));
  if (!origin.empty()) {
    response->set(http::field::vary, "origin, access-control-request-method, access-control-request-headers");
    if (IsAllowedOrigin(origin, options.cors_allow_origins)) {
      response->set(http::field::access_control_allow_origin, origin);
      response->set(http::field::access_control_allow_credentials, "true");
      response->set(http::field::access_control_expose_headers,
                    "etag, grpc-status, grpc-message, grpc-status-details-bin, x-request-trace-id, x-rerun-server-version");
    }
  }
}

Response HttpServer::Impl::Answer(const Request& request) const {
  Response response;
  AddCommon(request, &response);
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  const std::string_view target = View(request.target()).substr(0, View(request.target()).find('?'));
  if (request.method() == http::verb::options) {
    response.result(http::status::ok);
    const auto method = View(request[http::field::access_control_request_method]);
    const auto headers = View(request[http::field::access_control_request_headers]);
    if (!method.empty()) response.set(http::field::access_control_allow_methods, std::string(method));
    if (!headers.empty()) response.set(http::field::access_control_allow_headers, std::string(headers));
  } else if (target == "/version" && (request.method() == http::verb::get || request.method() == http::verb::head)) {
    response.result(http::status::ok);
    response.body() = options.version_text + "\n";
  } else if (IsGrpcWeb(request)) {
    response.result(http::status::method_not_allowed);
    response.body() = "gRPC-Web calls are made with POST\n";
  } else {
    response.result(http::status::not_found);
    response.body() = "This is a catalog server of robot recordings (" + options.version_text +
                      "). It speaks gRPC and gRPC-Web; open it in a viewer or with a client as rerun+http://" +
                      std::string(View(request[http::field::host])) + "\nGET /version tells what is running.\n";
  }
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();
  return response;
}

bool HttpServer::Impl::Bridge(const Request& request, asio::ip::tcp::socket& socket) {
  const bool text = View(request[http::field::content_type]).starts_with("application/grpc-web-text");
  std::string decoded;
  std::string_view body = request.body();
  bool good = true;
  if (text) {
    if (auto bytes = Base64Decode(body)) {
      decoded = std::move(*bytes);
      body = decoded;
    } else {
      good = false;
    }
  }
  // One frame, whole and not compressed.
  std::string_view message;
  if (good && body.size() >= 5 && body[0] == 0) {
    uint32_t length = 0;
    for (int i = 1; i < 5; ++i) length = (length << 8) | static_cast<unsigned char>(body[i]);
    good = body.size() >= 5 + static_cast<size_t>(length);
    if (good) message = body.substr(5, length);
  } else {
    good = false;
  }

  http::response<http::empty_body> head;
  AddCommon(request, &head);
  head.result(http::status::ok);
  head.set(http::field::content_type, text ? "application/grpc-web-text+proto" : "application/grpc-web+proto");
  head.chunked(true);

  boost::system::error_code error;
  bool head_sent = false;
  const auto send_head = [&] {
    http::response_serializer<http::empty_body> serializer(head);
    http::write_header(socket, serializer, error);
    head_sent = true;
  };
  // Writes one chunk of the body, in pieces.
  const auto send = [&](std::string prefix, const std::vector<grpc::Slice>& slices) {
    if (error) return;
    if (text) {
      for (const grpc::Slice& slice : slices) prefix.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      const std::string encoded = Base64Encode(prefix);
      asio::write(socket, http::make_chunk(asio::const_buffer(encoded.data(), encoded.size())), error);
      return;
    }
    std::vector<asio::const_buffer> buffers = {asio::const_buffer(prefix.data(), prefix.size())};
    for (const grpc::Slice& slice : slices) buffers.emplace_back(slice.begin(), slice.size());
    asio::write(socket, http::make_chunk(buffers), error);
  };
  const auto finish = [&](const grpc::Status& status, const std::multimap<grpc::string_ref, grpc::string_ref>& trailers) {
    std::string lines = "grpc-status:" + std::to_string(static_cast<int>(status.error_code())) + "\r\n";
    if (!status.error_message().empty()) lines += "grpc-message:" + PercentEncodeMessage(status.error_message()) + "\r\n";
    for (const auto& [key, value] : trailers) {
      if (key.starts_with("grpc-") || key.ends_with("-bin")) continue;
      lines += std::string(key.data(), key.size()) + ":" + std::string(value.data(), value.size()) + "\r\n";
    }
    if (!status.ok() && !head_sent) {
      // Readable in either place: headers for those who look there, a frame for pages that may not read them.
      head.set("grpc-status", std::to_string(static_cast<int>(status.error_code())));
      head.set("grpc-message", PercentEncodeMessage(status.error_message()));
    }
    if (!head_sent) send_head();
    send(FrameHead(0x80, lines.size()) + lines, {});
    if (!error) asio::write(socket, http::make_chunk_last(), error);
  };
  if (!good) {
    finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the body is not one gRPC-Web frame"), {});
    return !error && request.keep_alive();
  }

  grpc::ClientContext context;
  for (const auto& field : request) {
    std::string name(View(field.name_string()));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    const std::string value(View(field.value()));
    if (name.starts_with("x-rerun-") && name.ends_with("-bin")) {
      if (auto bytes = Base64Decode(value)) context.AddMetadata(name, *bytes);
    } else if (name.starts_with("x-rerun-") || name == "authorization") {
      context.AddMetadata(name, value);
    } else if (name == "grpc-timeout" && value.size() > 1) {
      static const std::map<char, double> kUnits = {{'H', 3600}, {'M', 60}, {'S', 1}, {'m', 1e-3}, {'u', 1e-6}, {'n', 1e-9}};
      const auto unit = kUnits.find(value.back());
      if (unit != kUnits.end()) {
        const double seconds = std::min(1e7, std::strtod(value.c_str(), nullptr) * unit->second);
        context.set_deadline(std::chrono::system_clock::now() +
                             std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::duration<double>(seconds)));
      }
    }
  }
  {
    MutexLock lock(mutex);
    if (stopping) return false;
    calls.insert(&context);
  }
  grpc::CompletionQueue queue;
  const auto done = [&queue](bool* ok) {
    void* tag = nullptr;
    return queue.Next(&tag, ok) && *ok;
  };
  bool ok = false;
  const auto stream = stub.PrepareCall(&context, std::string(View(request.target())), &queue);
  stream->StartCall(nullptr);
  done(&ok);
  const grpc::Slice slice(message.data(), message.size());
  stream->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  done(&ok);
  stream->ReadInitialMetadata(nullptr);
  done(&ok);
  for (const auto& [key, value] : context.GetServerInitialMetadata()) {
    const std::string name(key.data(), key.size());
    if (name.starts_with("x-") && !name.ends_with("-bin")) head.set(name, std::string(value.data(), value.size()));
  }
  grpc::ByteBuffer reply;
  for (;;) {
    stream->Read(&reply, nullptr);
    if (!done(&ok)) break;
    if (!head_sent) send_head();
    std::vector<grpc::Slice> slices;
    if (!reply.Dump(&slices).ok()) break;
    send(FrameHead(0, reply.Length()), slices);
    if (error) {
      context.TryCancel();
      break;
    }
  }
  grpc::Status status;
  stream->Finish(&status, nullptr);
  done(&ok);
  queue.Shutdown();
  void* tag = nullptr;
  while (queue.Next(&tag, &ok)) {
  }
  {
    MutexLock lock(mutex);
    calls.erase(&context);
  }
  if (!error) finish(status, context.GetServerTrailingMetadata());
  return !error && request.keep_alive();
}

bool HttpServer::Impl::Upload(http::request_parser<http::empty_body>&& head, beast::flat_buffer& buffer, asio::ip::tcp::socket& socket) {
  Response response;
  AddCommon(head.get(), &response);
  const bool keep_alive = head.get().keep_alive();
  const UploadOutcome outcome = HandleUpload(options.uploads, &socket, &buffer, std::move(head));
  if (!outcome.is_connected) return false;
  response.result(static_cast<unsigned>(outcome.http_status));
  response.keep_alive(keep_alive && outcome.is_reusable);
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  if (!outcome.etag.empty()) response.set(http::field::etag, outcome.etag);
  if (outcome.http_status == 405) response.set(http::field::allow, "PUT");
  if (!outcome.text.empty()) response.body() = outcome.text + "\n";
  response.prepare_payload();
  boost::system::error_code error;
  http::write(socket, response, error);
  if (!outcome.is_reusable && !error) DiscardRest(&socket);
  return !error && response.keep_alive();
}

void HttpServer::Impl::Connection(int fd) {
  boost::system::error_code error;
  asio::ip::tcp::socket socket(io);
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  socket.assign(address.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), fd, error);
  if (error) {
    close(fd);
    return;
  }
  beast::flat_buffer buffer;
  for (bool open = true; open;) {
    http::request_parser<http::empty_body> head;
    head.body_limit(boost::none);
    http::read_header(socket, buffer, head, error);
    if (!error && options.uploads && IsUploadTarget(View(head.get().target())) && head.get().method() != http::verb::options) {
      open = Upload(std::move(head), buffer, socket);
      continue;
    }
    if (!error && head.content_length() && *head.content_length() > kMaxRequestBytes) error = http::error::body_limit;
    http::request_parser<http::string_body> parser(std::move(head));
    parser.body_limit(kMaxRequestBytes);
    if (!error) http::read(socket, buffer, parser, error);
    if (error) {
      if (error == http::error::end_of_stream || error == asio::error::eof || error.category() == asio::error::get_system_category()) break;
      Response bad(error == http::error::body_limit ? http::status::payload_too_large : http::status::bad_request, 11);
      bad.set(http::field::content_type, "text/plain; charset=utf-8");
      bad.body() = "not an HTTP request: " + error.message() + "\n";
      bad.keep_alive(false);
      bad.prepare_payload();
      http::write(socket, bad, error);
      break;
    }
    const Request request = parser.release();
    if (IsGrpcWeb(request) && request.method() == http::verb::post) {
      open = Bridge(request, socket);
    } else {
      const Response response = Answer(request);
      http::write(socket, response, error);
      open = !error && request.keep_alive();
    }
  }
  {
    // Before the number is free for another connection.
    MutexLock lock(mutex);
    sockets.erase(fd);
  }
  socket.shutdown(asio::ip::tcp::socket::shutdown_both, error);
  socket.close(error);
}

HttpServer::HttpServer(std::shared_ptr<grpc::Channel> channel, HttpServerOptions options)
    : impl_(std::make_unique<Impl>(std::move(channel), std::move(options))) {}
HttpServer::~HttpServer() { Stop(); }

void HttpServer::Serve(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) & ~O_NONBLOCK);
  const timeval timeout = {kIdleSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  {
    MutexLock lock(impl_->mutex);
    if (impl_->stopping || impl_->threads >= kMaxConnections) {
      close(fd);
      return;
    }
    impl_->sockets.insert(fd);
    ++impl_->threads;
  }
  std::thread([impl = impl_.get(), fd] {
    impl->Connection(fd);
    MutexLock lock(impl->mutex);
    impl->sockets.erase(fd);
    --impl->threads;
    impl->changed.NotifyAll();
  }).detach();
}

void HttpServer::Stop() {
  MutexLock lock(impl_->mutex);
  impl_->stopping = true;
  for (const int fd : impl_->sockets) shutdown(fd, SHUT_RDWR);
  for (grpc::ClientContext* call : impl_->calls) call->TryCancel();
  impl_->changed.Wait(lock, [this]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return impl_->threads == 0; });
}

}  // namespace rushes
