#include "rushes/server/http_server.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <thread>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "rushes/chunk/mutex.h"
#include "rushes/server/grpc_web.h"
#include "rushes/server/socket_stream.h"
#include "rushes/server/upload_handler.h"
#include "rushes/wire/grpc_status.h"
#include "rushes/wire/headers.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Clock = SocketStream::Clock;
using Error = boost::system::error_code;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

// How long a call may be silent before its client is looked after, and before the answer's head is sent without a first message.
constexpr auto kQuiet = std::chrono::milliseconds(100);
// What is read of a request that was refused, so that its sender gets to read the answer.
constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr size_t kLingerBytes = 16 << 20;
// Of an upload that was refused while the client was sending.
constexpr auto kUploadLingerTime = std::chrono::seconds(5);
constexpr size_t kUploadLingerBytes = 256 << 20;
constexpr char kCorsMaxAgeSeconds[] = "600";

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

template <typename Head>
std::optional<grpc_web::Encoding> GrpcWebEncoding(const Head& request) {
  return grpc_web::EncodingOf(View(request[http::field::content_type]));
}

// Reads what the other side still sends, for a short while, after the last answer on a connection.
void Linger(SocketStream* stream, size_t max_bytes = kLingerBytes, std::chrono::seconds max_time = kLingerTime) {
  stream->ShutdownWrites();
  stream->set_deadline(Clock::now() + max_time);
  char bytes[16384];
  Error error;
  for (size_t size = 0; size < max_bytes && !error;) size += stream->read_some(asio::mutable_buffer(bytes, sizeof(bytes)), error);
}

}  // namespace

bool IsAllowedOrigin(const std::string& origin, const std::vector<std::string>& patterns) {
  for (const char* always : {"*://localhost", "*://localhost:*", "*://127.0.0.1", "*://127.0.0.1:*", "*://[::1]", "*://[::1]:*",
                             "*://rerun.io", "*://rerun.io:*", "https://app.rerun.io"}) {
    if (MatchesPattern(origin, always)) return true;
  }
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) { return MatchesPattern(origin, pattern); });
}

struct HttpServer::Impl {
  grpc::GenericStub stub;
  HttpServerOptions options;

  Mutex mutex;
  CondVar changed;
  bool stopping RUSHES_GUARDED_BY(mutex) = false;
  std::set<int> sockets RUSHES_GUARDED_BY(mutex);
  std::set<grpc::ClientContext*> calls RUSHES_GUARDED_BY(mutex);
  size_t threads RUSHES_GUARDED_BY(mutex) = 0;
  size_t large_requests RUSHES_GUARDED_BY(mutex) = 0;

  Impl(std::shared_ptr<grpc::Channel> channel, HttpServerOptions o) : stub(std::move(channel)), options(std::move(o)) {}

  void Connection(int fd);
  // One request and its answer. False: the connection cannot be used any more.
  bool Exchange(SocketStream& stream, beast::flat_buffer& buffer);
  template <typename Head, typename Message>
  void AddCommon(const Head& request, Message* response) const;
  // An answer without a body of the request: what is wrong with it, readable for pages and for gRPC-Web clients alike.
  template <typename Head>
  Response Refusal(const Head& request, http::status status, const std::string& text) const;
  Response Answer(const Request& request) const;
  bool Bridge(const Request& request, grpc_web::Encoding encoding, SocketStream& stream);
  // An upload; false: the connection cannot be used any more.
  bool Upload(http::request_parser<http::empty_body>&& head, beast::flat_buffer& buffer, SocketStream& stream);
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

template <typename Head>
Response HttpServer::Impl::Refusal(const Head& request, http::status status, const std::string& text) const {
  Response response;
  AddCommon(request, &response);
  response.result(status);
  response.keep_alive(false);
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  if (GrpcWebEncoding(request)) {
    const auto code = status == http::status::payload_too_large     ? grpc::StatusCode::RESOURCE_EXHAUSTED
                      : status == http::status::service_unavailable ? grpc::StatusCode::UNAVAILABLE
                                                                    : grpc::StatusCode::INVALID_ARGUMENT;
    response.set("grpc-status", std::to_string(static_cast<int>(code)));
    response.set("grpc-message", grpc_web::PercentEncodeMessage(text));
  }
  response.body() = text + "\n";
  response.prepare_payload();
  return response;
}

Response HttpServer::Impl::Answer(const Request& request) const {
  Response response;
  AddCommon(request, &response);
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  const std::string_view target = View(request.target()).substr(0, View(request.target()).find('?'));
  const std::string_view content_type = View(request[http::field::content_type]);
  if (request.method() == http::verb::options) {
    response.result(http::status::ok);
    const auto method = View(request[http::field::access_control_request_method]);
    const auto headers = View(request[http::field::access_control_request_headers]);
    if (!method.empty()) response.set(http::field::access_control_allow_methods, std::string(method));
    if (!headers.empty()) response.set(http::field::access_control_allow_headers, std::string(headers));
    if (response.find(http::field::access_control_allow_origin) != response.end()) {
      response.set(http::field::access_control_max_age, kCorsMaxAgeSeconds);
      // Pages from elsewhere that call a server of this machine or network.
      if (View(request["access-control-request-private-network"]) == "true") response.set("access-control-allow-private-network", "true");
    }
  } else if (target == "/version" && (request.method() == http::verb::get || request.method() == http::verb::head)) {
    response.result(http::status::ok);
    response.body() = options.version_text + "\n";
  } else if (GrpcWebEncoding(request)) {
    response.result(http::status::method_not_allowed);
    response.set(http::field::allow, "POST, OPTIONS");
    response.body() = "gRPC-Web calls are made with POST\n";
  } else if (content_type.starts_with("application/grpc")) {
    response.result(http::status::unsupported_media_type);
    response.body() = "gRPC needs HTTP/2; over HTTP/1.1 this server speaks gRPC-Web, with the content type application/grpc-web+proto\n";
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

namespace {

// The metadata of a call, from the headers of its request.
arrow::Status AddMetadata(const Request& request, grpc::ClientContext* context) {
  for (const auto& field : request) {
    std::string name(View(field.name_string()));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const std::string value(View(field.value()));
    if (name == "grpc-timeout") {
      ARROW_ASSIGN_OR_RAISE(const auto timeout, grpc_web::ParseTimeout(value));
      context->set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
      continue;
    }
    if (!name.starts_with("x-rerun-") && name != wire::kAuthorizationHeader) continue;
    if (!grpc_web::IsMetadataKey(name) || !grpc_web::IsMetadataValue(value)) {
      return arrow::Status::Invalid("the header '", grpc_web::PercentEncodeMessage(name), "' cannot be metadata of a call");
    }
    if (name.ends_with("-bin")) {
      const auto bytes = grpc_web::Base64Decode(value);
      if (!bytes.ok()) return arrow::Status::Invalid("the header '", name, "': ", bytes.status().message());
      context->AddMetadata(name, *bytes);
    } else {
      context->AddMetadata(name, value);
    }
  }
  return arrow::Status::OK();
}

// The answer to one call, written as it comes.
class Answering {
 public:
  Answering(SocketStream& stream, grpc_web::Encoding encoding, http::response<http::empty_body> head)
      : stream_(stream), encoding_(encoding), head_(std::move(head)) {
    head_.result(http::status::ok);
    head_.set(http::field::content_type, grpc_web::ContentType(encoding));
    head_.chunked(true);
  }

  bool is_broken() const { return static_cast<bool>(error_); }

  void AddHeaders(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
    for (const auto& [key, value] : metadata) {
      const std::string name(key.data(), key.size());
      if (name.starts_with("x-") && !name.ends_with("-bin")) head_.set(name, std::string(value.data(), value.size()));
    }
  }

  void SendHead() {
    if (is_head_sent_) return;
    is_head_sent_ = true;
    http::response_serializer<http::empty_body> serializer(head_);
    http::write_header(stream_, serializer, error_);
  }

  void SendMessage(const grpc::ByteBuffer& message) {
    SendHead();
    std::vector<grpc::Slice> slices;
    if (message.Valid() && !message.Dump(&slices).ok()) return;
    SendChunk(grpc_web::FrameHead(grpc_web::kMessageFlag, message.Valid() ? message.Length() : 0), slices);
  }

  void Finish(const grpc::Status& status, const std::multimap<grpc::string_ref, grpc::string_ref>& metadata = {}) {
    grpc_web::Trailers trailers{static_cast<int>(status.error_code()), status.error_message(), status.error_details(), {}};
    for (const auto& [key, value] : metadata) {
      trailers.metadata.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
    }
    if (!status.ok() && !is_head_sent_) {
      // Readable in either place: headers for those who look there, a frame for pages that may not read them.
      head_.set("grpc-status", std::to_string(trailers.code));
      head_.set("grpc-message", grpc_web::PercentEncodeMessage(trailers.message));
      if (!trailers.details.empty()) head_.set("grpc-status-details-bin", grpc_web::Base64Encode(trailers.details));
    }
    SendHead();
    SendChunk(grpc_web::TrailersFrame(trailers), {});
    if (!error_) asio::write(stream_, http::make_chunk_last(), error_);
  }

 private:
  void SendChunk(std::string prefix, const std::vector<grpc::Slice>& slices) {
    if (error_) return;
    if (encoding_ == grpc_web::Encoding::kText) {
      for (const grpc::Slice& slice : slices) prefix.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      const std::string encoded = grpc_web::Base64Encode(prefix);
      asio::write(stream_, http::make_chunk(asio::const_buffer(encoded.data(), encoded.size())), error_);
      return;
    }
    std::vector<asio::const_buffer> buffers = {asio::const_buffer(prefix.data(), prefix.size())};
    for (const grpc::Slice& slice : slices) buffers.emplace_back(slice.begin(), slice.size());
    asio::write(stream_, http::make_chunk(buffers), error_);
  }

  SocketStream& stream_;
  const grpc_web::Encoding encoding_;
  http::response<http::empty_body> head_;
  bool is_head_sent_ = false;
  Error error_;
};

// Runs one call to its end: requests are written and answers read side by side, so that all kinds of calls work. Sends the answers, and
// cancels when they cannot be sent or nobody is there to read them.
grpc::Status RunCall(grpc::GenericStub* stub, grpc::ClientContext* context, const std::string& path,
                     const std::vector<std::string_view>& messages, SocketStream* stream, Answering* answering) {
  enum Tag : intptr_t { kStarted = 1, kWritten, kMetadata, kRead, kFinished };
  const auto tag = [](Tag t) { return reinterpret_cast<void*>(static_cast<intptr_t>(t)); };
  grpc::CompletionQueue queue;
  const auto call = stub->PrepareCall(context, path, &queue);
  size_t next_message = 0;
  const auto write = [&] {
    if (next_message < messages.size()) {
      const grpc::Slice slice(messages[next_message].data(), messages[next_message].size());
      call->Write(grpc::ByteBuffer(&slice, 1), tag(kWritten));
    } else {
      call->WritesDone(tag(kWritten));
    }
    ++next_message;
  };
  grpc::Status status;
  grpc::ByteBuffer reply;
  bool has_metadata = false;
  int pending = 1;
  call->StartCall(tag(kStarted));
  while (pending > 0) {
    void* got = nullptr;
    bool ok = false;
    if (queue.AsyncNext(&got, &ok, std::chrono::system_clock::now() + kQuiet) != grpc::CompletionQueue::GOT_EVENT) {
      if (has_metadata) answering->SendHead();
      if (answering->is_broken() || stream->IsPeerGone()) context->TryCancel();
      continue;
    }
    --pending;
    switch (static_cast<Tag>(reinterpret_cast<intptr_t>(got))) {
      case kStarted:
        write();
        call->ReadInitialMetadata(tag(kMetadata));
        pending += 2;
        break;
      case kWritten:
        if (!ok || next_message > messages.size()) break;
        write();
        ++pending;
        break;
      case kMetadata:
        has_metadata = true;
        answering->AddHeaders(context->GetServerInitialMetadata());
        call->Read(&reply, tag(kRead));
        ++pending;
        break;
      case kRead:
        if (ok) {
          answering->SendMessage(reply);
          if (answering->is_broken()) context->TryCancel();
          call->Read(&reply, tag(kRead));
        } else {
          call->Finish(&status, tag(kFinished));
        }
        ++pending;
        break;
      case kFinished:
        break;
    }
  }
  queue.Shutdown();
  void* ignored = nullptr;
  bool ok = false;
  while (queue.Next(&ignored, &ok)) {
  }
  return status;
}

}  // namespace

bool HttpServer::Impl::Bridge(const Request& request, grpc_web::Encoding encoding, SocketStream& stream) {
  http::response<http::empty_body> head;
  AddCommon(request, &head);
  Answering answering(stream, grpc_web::AnswerEncoding(View(request[http::field::accept]), encoding), std::move(head));

  const std::string path(View(request.target()));
  std::string decoded;
  std::string_view body = request.body();
  std::vector<std::string_view> messages;
  grpc::ClientContext context;
  const auto prepare = [&]() -> arrow::Status {
    if (!grpc_web::IsMethodPath(path)) return arrow::Status::NotImplemented("'", path.substr(0, 200), "' is no call");
    if (encoding == grpc_web::Encoding::kText) {
      ARROW_ASSIGN_OR_RAISE(decoded, grpc_web::Base64Decode(body));
      body = decoded;
    }
    ARROW_ASSIGN_OR_RAISE(messages, grpc_web::SplitFrames(body));
    return AddMetadata(request, &context);
  };
  if (const arrow::Status prepared = prepare(); !prepared.ok()) {
    answering.Finish(wire::ToGrpcStatus(prepared));
    return !answering.is_broken() && request.keep_alive();
  }
  {
    MutexLock lock(mutex);
    if (stopping) return false;
    calls.insert(&context);
  }
  const grpc::Status status = RunCall(&stub, &context, path, messages, &stream, &answering);
  {
    MutexLock lock(mutex);
    calls.erase(&context);
  }
  if (!answering.is_broken()) answering.Finish(status, context.GetServerTrailingMetadata());
  return !answering.is_broken() && request.keep_alive();
}

bool HttpServer::Impl::Exchange(SocketStream& stream, beast::flat_buffer& buffer) {
  Error error;
  stream.set_timeout(options.idle_timeout);
  stream.clear_deadline();
  if (buffer.size() == 0 && !stream.WaitReadable()) return false;

  // Bodies are kept whole, so few large ones at a time.
  struct Slot {
    Impl* impl = nullptr;
    void Release() {
      if (impl == nullptr) return;
      {
        MutexLock lock(impl->mutex);
        --impl->large_requests;
      }
      impl = nullptr;
    }
    ~Slot() { Release(); }
  } slot;
  const auto send = [&](const Response& response) {
    stream.clear_deadline();
    Error write_error;
    http::write(stream, response, write_error);
    return !write_error && response.keep_alive();
  };
  const auto refuse = [&](const auto& request, http::status status, const std::string& text) {
    slot.Release();
    send(Refusal(request, status, text));
    Linger(&stream);
    return false;
  };

  stream.set_deadline(Clock::now() + options.header_timeout);
  http::request_parser<http::empty_body> head;
  head.body_limit(std::numeric_limits<uint64_t>::max());  // `none` is taken for 0 by this Boost
  http::read_header(stream, buffer, head, error);
  if (error == asio::error::timed_out) {
    return refuse(http::request<http::empty_body>(), http::status::request_timeout, "the request's headers took too long");
  }
  if (error) {
    if (error == http::error::end_of_stream || error == asio::error::eof || error.category() == boost::system::system_category())
      return false;
    const bool is_long = error == http::error::header_limit || error == http::error::buffer_overflow;
    return refuse(http::request<http::empty_body>(), is_long ? http::status::request_header_fields_too_large : http::status::bad_request,
                  "not an HTTP request: " + error.message());
  }

  if (options.uploads != nullptr && IsUploadTarget(View(head.get().target())) && head.get().method() != http::verb::options) {
    stream.clear_deadline();  // an upload may take as long as it moves
    return Upload(std::move(head), buffer, stream);
  }

  const std::string too_large = "a request has at most " + std::to_string(options.max_request_bytes) + " bytes";
  const auto length = head.content_length();
  if (length && *length > options.max_request_bytes) return refuse(head.get(), http::status::payload_too_large, too_large);
  const bool is_large = length ? *length > options.large_request_bytes : head.chunked();
  if (is_large) {
    MutexLock lock(mutex);
    if (large_requests < options.max_large_requests) {
      ++large_requests;
      slot.impl = this;
    }
  }
  if (is_large && slot.impl == nullptr) {
    return refuse(head.get(), http::status::service_unavailable, "too many large requests at a time; try again");
  }
  stream.set_deadline(Clock::now() + options.request_timeout);
  if (View(head.get()[http::field::expect]) == "100-continue") {
    http::response<http::empty_body> proceed(http::status::continue_, head.get().version());
    http::write(stream, proceed, error);
    if (error) return false;
  }
  http::request_parser<http::string_body> parser(std::move(head));
  parser.body_limit(options.max_request_bytes);
  http::read(stream, buffer, parser, error);
  if (error == http::error::body_limit) return refuse(parser.get(), http::status::payload_too_large, too_large);
  if (error == asio::error::timed_out) return refuse(parser.get(), http::status::request_timeout, "the request's body took too long");
  if (error) {
    if (error == http::error::partial_message || error == asio::error::eof || error.category() == boost::system::system_category())
      return false;
    return refuse(parser.get(), http::status::bad_request, "not an HTTP request: " + error.message());
  }
  stream.clear_deadline();
  const Request request = parser.release();
  const auto encoding = GrpcWebEncoding(request);
  if (!encoding || request.method() != http::verb::post) return send(Answer(request));
  if (request.version() < 11) return refuse(request, http::status::http_version_not_supported, "gRPC-Web needs HTTP/1.1");
  return Bridge(request, *encoding, stream);
}

bool HttpServer::Impl::Upload(http::request_parser<http::empty_body>&& head, beast::flat_buffer& buffer, SocketStream& stream) {
  Response response;
  AddCommon(head.get(), &response);
  const bool keep_alive = head.get().keep_alive();
  const UploadOutcome outcome = HandleUpload(options.uploads, &stream, &buffer, std::move(head));
  if (!outcome.is_connected) return false;
  response.result(static_cast<unsigned>(outcome.http_status));
  response.keep_alive(keep_alive && outcome.is_reusable);
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  if (!outcome.etag.empty()) response.set(http::field::etag, outcome.etag);
  if (outcome.http_status == 405) response.set(http::field::allow, "PUT");
  if (!outcome.text.empty()) response.body() = outcome.text + "\n";
  response.prepare_payload();
  Error error;
  http::write(stream, response, error);
  // So that the client sees the answer and not a broken connection.
  if (!outcome.is_reusable && !error) Linger(&stream, kUploadLingerBytes, kUploadLingerTime);
  return !error && response.keep_alive();
}

void HttpServer::Impl::Connection(int fd) {
  SocketStream stream(fd);
  beast::flat_buffer buffer;
  while (Exchange(stream, buffer)) {
    // What one large request took is not kept for the next.
    if (buffer.size() == 0) buffer.shrink_to_fit();
  }
  // Before the number is free for another connection.
  MutexLock lock(mutex);
  sockets.erase(fd);
}

HttpServer::HttpServer(std::shared_ptr<grpc::Channel> channel, HttpServerOptions options)
    : impl_(std::make_unique<Impl>(std::move(channel), std::move(options))) {}
HttpServer::~HttpServer() { Stop(); }

void HttpServer::Serve(int fd) {
  // Notices clients that vanished without a word. Fails on other than TCP sockets, harmlessly.
  const int on = 1, idle_seconds = 60, interval_seconds = 15, probes = 4;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof(idle_seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof(interval_seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  bool is_full = false;
  {
    MutexLock lock(impl_->mutex);
    is_full = impl_->stopping || impl_->threads >= impl_->options.max_connections;
    if (!is_full) {
      impl_->sockets.insert(fd);
      ++impl_->threads;
    }
  }
  if (is_full) {
    static constexpr char kFull[] =
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 21\r\n\r\n"
        "too many connections\n";
    [[maybe_unused]] const ssize_t sent = send(fd, kFull, sizeof(kFull) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
    return;
  }
  std::thread([impl = impl_.get(), fd] {
    impl->Connection(fd);
    MutexLock lock(impl->mutex);
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
