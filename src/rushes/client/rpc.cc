#include "rushes/client/rpc.h"

#include <google/protobuf/message_lite.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/rpc_method.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "rushes/client/fork.h"
#include "rushes/wire/grpc_status.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/status.h"

namespace rushes::client {
namespace {

using google::protobuf::MessageLite;
using Clock = std::chrono::steady_clock;

// Connections per server, used in turn: one connection's transport is worked on by one thread at a time.
constexpr int kNumConnections = 3;

std::string MethodPath(const char* method) { return std::string("/") + wire::kServiceName + "/" + method; }

Clock::duration Seconds(double seconds) { return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)); }

// How long to wait before the next attempt of a read; nullopt: give up. `attempt` counts from 1.
std::optional<Clock::duration> RetryDelay(const grpc::Status& status, int attempt, Clock::duration elapsed) {
  using std::chrono::milliseconds;
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      if (attempt >= 4) return std::nullopt;
      return milliseconds(100 << (attempt - 1));
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      if (attempt >= 12 || elapsed > std::chrono::seconds(10)) return std::nullopt;
      return std::min(milliseconds(250) * attempt, milliseconds(2000));
    case grpc::StatusCode::FAILED_PRECONDITION:
      // A replica that has not caught up with a revision we have seen.
      if (elapsed > std::chrono::seconds(10) || status.error_details().find("DATASET_REVISION_BEHIND") == std::string::npos) {
        return std::nullopt;
      }
      return std::min(milliseconds(100) * (1 << std::min(attempt - 1, 4)), milliseconds(1000));
    default:
      return std::nullopt;
  }
}

grpc::ChannelArguments MakeChannelArguments(int connection) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(-1);
  args.SetMaxSendMessageSize(-1);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, wire::kKeepaliveTimeMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, wire::kKeepaliveTimeoutMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 3000);
  args.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 1 << 20);
  args.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 8 << 20);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt("rushes.connection", connection);
  args.SetUserAgentPrefix(std::string("rushes/") + RUSHES_VERSION);
  return args;
}

// What follows a server's words in an error. The call must have ended.
std::string Where(const std::string& url, const std::string& method, const grpc::ClientContext& context) {
  std::string out = "- server: " + url + ", call: " + method;
  // An error without messages has all its metadata at the end.
  for (const auto* metadata : {&context.GetServerInitialMetadata(), &context.GetServerTrailingMetadata()}) {
    const auto it = metadata->find(wire::kTraceIdHeader);
    if (it == metadata->end()) continue;
    return out + ", trace id: " + std::string(it->second.data(), it->second.size());
  }
  return out;
}

}  // namespace

struct RpcChannel::Impl {
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  std::string target;
  std::string tls_name;  // in place of the host, if any
  Mutex mutex;
  std::vector<std::shared_ptr<grpc::Channel>> channels RUSHES_GUARDED_BY(mutex);
  std::atomic<uint32_t> next{0};

  std::shared_ptr<grpc::Channel> channel(bool data) {
    const size_t index = data ? next.fetch_add(1, std::memory_order_relaxed) % kNumConnections : 0;
    MutexLock lock(mutex);
    channels.resize(kNumConnections);
    if (channels[index] == nullptr) {
      auto args = MakeChannelArguments(static_cast<int>(index));
      if (!tls_name.empty()) args.SetSslTargetNameOverride(tls_name);
      channels[index] = grpc::CreateCustomChannel(target, credentials, args);
    }
    return channels[index];
  }
};

struct ServerStream::Impl {
  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader;
  std::string url;
  std::string method;
  uint64_t fork_generation = 0;
  bool is_done = false;
  grpc::Status status;

  std::string Context() const { return Where(url, method, context); }
};

struct ClientStream::Impl {
  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  grpc::ByteBuffer answer;
  std::unique_ptr<grpc::ClientWriter<grpc::ByteBuffer>> writer;
  std::string url;
  std::string method;
  uint64_t fork_generation = 0;
  bool is_done = false;

  arrow::Status End() {
    is_done = true;
    const grpc::Status status = writer->Finish();
    return status.ok() ? arrow::Status::OK() : wire::FromGrpcStatus(status, Where(url, method, context));
  }
};

ClientStream::ClientStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ClientStream::~ClientStream() {
  if (impl_ == nullptr || impl_->writer == nullptr || impl_->is_done) return;
  if (ForkGeneration() != impl_->fork_generation) {
    static_cast<void>(impl_.release());  // its threads are in the parent
    return;
  }
  impl_->context.TryCancel();
  static_cast<void>(impl_->writer->Finish());
}

arrow::Status ClientStream::Write(const MessageLite& request) {
  ARROW_RETURN_NOT_OK(CheckFork(impl_->fork_generation));
  if (request.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return arrow::Status::Invalid("a message of ", request.ByteSizeLong(), " bytes is too large to be sent; 2 GiB are possible");
  }
  const grpc::Slice bytes(request.SerializeAsString());
  if (impl_->writer->Write(grpc::ByteBuffer(&bytes, 1))) return arrow::Status::OK();
  ARROW_RETURN_NOT_OK(impl_->End());
  return arrow::Status::IOError("the server at ", impl_->url, " ended the call ", impl_->method, " before everything was sent");
}

arrow::Status ClientStream::Finish() {
  ARROW_RETURN_NOT_OK(CheckFork(impl_->fork_generation));
  impl_->writer->WritesDone();
  return impl_->End();
}

ServerStream::ServerStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ServerStream::~ServerStream() {
  if (impl_ == nullptr || impl_->reader == nullptr || impl_->is_done) return;
  if (ForkGeneration() != impl_->fork_generation) {
    static_cast<void>(impl_.release());  // its threads are in the parent
    return;
  }
  impl_->context.TryCancel();
  grpc::ByteBuffer ignored;
  while (impl_->reader->Read(&ignored)) {
  }
  static_cast<void>(impl_->reader->Finish());
}

bool ServerStream::WaitForHeaders() {
  impl_->reader->WaitForInitialMetadata();
  return !impl_->context.GetServerInitialMetadata().empty();
}

void ServerStream::Cancel() { impl_->context.TryCancel(); }

arrow::Result<bool> ServerStream::ReadRaw(const std::function<arrow::Status(const wire::BytePieces&)>& use) {
  ARROW_RETURN_NOT_OK(CheckFork(impl_->fork_generation));
  if (impl_->is_done) {
    if (impl_->status.ok()) return false;
    return wire::FromGrpcStatus(impl_->status, impl_->Context());
  }
  grpc::ByteBuffer buffer;
  if (!impl_->reader->Read(&buffer)) {
    impl_->status = impl_->reader->Finish();
    impl_->is_done = true;
    if (impl_->status.ok()) return false;
    return wire::FromGrpcStatus(impl_->status, impl_->Context());
  }
  std::vector<grpc::Slice> slices;
  const grpc::Status dumped = buffer.Dump(&slices);
  if (!dumped.ok()) return wire::FromGrpcStatus(dumped, impl_->Context());
  wire::BytePieces pieces;
  pieces.reserve(slices.size());
  for (const auto& slice : slices) pieces.emplace_back(slice.begin(), slice.size());
  arrow::Status status = use(pieces);
  if (!status.ok()) {
    impl_->context.TryCancel();
    return status;
  }
  return true;
}

arrow::Result<bool> ServerStream::Read(MessageLite* response) {
  return ReadRaw([&](const wire::BytePieces& pieces) -> arrow::Status {
    bool parsed = false;
    if (pieces.size() == 1) {
      parsed = response->ParseFromArray(pieces[0].data(), static_cast<int>(pieces[0].size()));
    } else {
      std::string bytes;
      for (const auto& piece : pieces) bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      parsed = response->ParseFromString(bytes);
    }
    if (parsed) return arrow::Status::OK();
    return arrow::Status::Invalid("the server's answer to ", impl_->method, " is not a ", response->GetTypeName(), "\n", impl_->Context());
  });
}

RpcChannel::RpcChannel(Address address, std::string token)
    : address_(std::move(address)),
      url_(address_.ToString()),
      token_(std::move(token)),
      client_id_(Tuid::New()),
      fork_generation_(ForkGeneration()),
      impl_(std::make_unique<Impl>()) {}

RpcChannel::~RpcChannel() {
  if (ForkGeneration() != fork_generation_) static_cast<void>(impl_.release());
}

arrow::Result<std::shared_ptr<RpcChannel>> RpcChannel::Make(Address address, std::string token) {
  for (const char c : token) {
    if (static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7F) {
      return arrow::Status::Invalid("the token has a character that HTTP does not allow");
    }
  }
  std::shared_ptr<RpcChannel> out(new RpcChannel(std::move(address), std::move(token)));
  out->impl_->target = out->address_.HostAndPort();
  if (!out->address_.tls) {
    out->impl_->credentials = grpc::InsecureChannelCredentials();
    return out;
  }
  grpc::SslCredentialsOptions options;
  if (const char* path = std::getenv("RERUN_REDAP_LOCAL_CERT_PATH"); path != nullptr && *path != '\0') {
    std::ifstream file(path, std::ios::binary);
    options.pem_root_certs.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    if (!file || options.pem_root_certs.empty()) {
      return arrow::Status::Invalid("cannot read the certificate '", path, "' named by RERUN_REDAP_LOCAL_CERT_PATH");
    }
    out->impl_->tls_name = "localhost";
  }
  out->impl_->credentials = grpc::SslCredentials(options);
  return out;
}

arrow::Status RpcChannel::WaitUntilConnected(double timeout_s) {
  ARROW_RETURN_NOT_OK(CheckFork(fork_generation_));
  const auto channel = impl_->channel(false);
  const auto start = Clock::now();
  const auto limit = Seconds(std::clamp(timeout_s, 0.0, 86400.0));
  // Refusal is tried again for a while: the server may be starting.
  const auto refusal_limit = std::min<Clock::duration>(limit, std::chrono::milliseconds(1000));
  bool was_refused = false;
  auto state = channel->GetState(true);
  while (state != GRPC_CHANNEL_READY) {
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) was_refused = true;
    const auto elapsed = Clock::now() - start;
    const auto allowed = was_refused ? refusal_limit : limit;
    if (elapsed >= allowed || state == GRPC_CHANNEL_SHUTDOWN) {
      const char* why = was_refused ? "connection refused or host unknown" : "no answer in time";
      if (was_refused && address_.tls) why = "connection refused, host unknown, or the server does not speak TLS";
      return wire::MakeStatus(wire::RpcCode::kUnavailable, "cannot connect to the catalog server at " + url_ + ": " + why);
    }
    const auto wait = std::min<Clock::duration>(allowed - elapsed, std::chrono::milliseconds(200));
    channel->WaitForStateChange(state,
                                std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(wait));
    state = channel->GetState(true);
  }
  return arrow::Status::OK();
}

void RpcChannel::NoteRevision(const EntryId& entry, uint64_t revision) {
  if (revision == 0) return;
  MutexLock lock(mutex_);
  uint64_t& known = revisions_[entry];
  known = std::max(known, revision);
}

namespace {

void SetUp(grpc::ClientContext* context, const std::string& token, const std::string& client_id, const CallOptions& options,
           uint64_t revision) {
  context->AddMetadata(wire::kClientVersionHeader, std::string("rushes/") + RUSHES_VERSION);
  context->AddMetadata(wire::kClientIdHeader, client_id);
  if (!token.empty()) context->AddMetadata(wire::kAuthorizationHeader, wire::kBearerPrefix + token);
  if (options.entry) context->AddMetadata(wire::kEntryIdHeader, wire::TuidToText(*options.entry));
  if (options.narrow_components) context->AddMetadata(wire::kNarrowHeader, wire::kNarrowComponents);
  if (revision > 0) context->AddMetadata(wire::kDatasetRevisionHeader, std::to_string(revision));
  if (options.timeout_s >= 0) {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                                                 std::chrono::duration<double>(options.timeout_s)));
  }
}

}  // namespace

arrow::Status RpcChannel::Unary(const char* method, const MessageLite& request, MessageLite* response, const CallOptions& options) {
  ARROW_RETURN_NOT_OK(CheckFork(fork_generation_));
  const std::string path = MethodPath(method);
  const auto start = Clock::now();
  for (int attempt = 1;; ++attempt) {
    uint64_t revision = 0;
    if (options.entry && options.is_read) {
      MutexLock lock(mutex_);
      const auto it = revisions_.find(*options.entry);
      if (it != revisions_.end()) revision = it->second;
    }
    grpc::ClientContext context;
    SetUp(&context, token_, wire::TuidToText(client_id_), options, revision);
    const auto channel = impl_->channel(false);
    const grpc::internal::RpcMethod rpc(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
    const grpc::Status status =
        grpc::internal::BlockingUnaryCall<MessageLite, MessageLite>(channel.get(), rpc, &context, request, response);
    if (status.ok()) return arrow::Status::OK();
    const auto delay = options.is_read ? RetryDelay(status, attempt, Clock::now() - start) : std::nullopt;
    if (!delay) {
      return wire::FromGrpcStatus(status, Where(url_, method, context));
    }
    std::this_thread::sleep_for(*delay);
  }
}

arrow::Result<std::unique_ptr<ServerStream>> RpcChannel::Stream(const char* method, const MessageLite& request,
                                                                const CallOptions& options) {
  ARROW_RETURN_NOT_OK(CheckFork(fork_generation_));
  uint64_t revision = 0;
  if (options.entry && options.is_read) {
    MutexLock lock(mutex_);
    const auto it = revisions_.find(*options.entry);
    if (it != revisions_.end()) revision = it->second;
  }
  auto impl = std::make_unique<ServerStream::Impl>();
  impl->url = url_;
  impl->method = method;
  impl->fork_generation = fork_generation_;
  SetUp(&impl->context, token_, wire::TuidToText(client_id_), options, revision);
  impl->channel = impl_->channel(!options.on_first_connection);
  const std::string path = MethodPath(method);
  const grpc::internal::RpcMethod rpc(path.c_str(), grpc::internal::RpcMethod::SERVER_STREAMING);
  impl->reader.reset(grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(impl->channel.get(), rpc, &impl->context, request));
  return std::unique_ptr<ServerStream>(new ServerStream(std::move(impl)));
}

arrow::Result<std::unique_ptr<ClientStream>> RpcChannel::OpenClientStream(const char* method, const CallOptions& options) {
  ARROW_RETURN_NOT_OK(CheckFork(fork_generation_));
  auto impl = std::make_unique<ClientStream::Impl>();
  impl->url = url_;
  impl->method = method;
  impl->fork_generation = fork_generation_;
  SetUp(&impl->context, token_, wire::TuidToText(client_id_), options, 0);
  impl->channel = impl_->channel(true);
  const std::string path = MethodPath(method);
  const grpc::internal::RpcMethod rpc(path.c_str(), grpc::internal::RpcMethod::CLIENT_STREAMING);
  impl->writer.reset(
      grpc::internal::ClientWriterFactory<grpc::ByteBuffer>::Create(impl->channel.get(), rpc, &impl->context, &impl->answer));
  return std::unique_ptr<ClientStream>(new ClientStream(std::move(impl)));
}

arrow::Status RpcChannel::ReadAll(const char* method, const MessageLite& request, const CallOptions& options, MessageLite* scratch,
                                  const std::function<arrow::Status()>& use) {
  const auto start = Clock::now();
  for (int attempt = 1;; ++attempt) {
    ARROW_ASSIGN_OR_RAISE(auto stream, Stream(method, request, options));
    bool has_begun = false;
    while (true) {
      scratch->Clear();
      const arrow::Result<bool> more = stream->Read(scratch);
      if (!more.ok()) {
        const auto delay = !has_begun && options.is_read && !stream->impl_->status.ok()
                               ? RetryDelay(stream->impl_->status, attempt, Clock::now() - start)
                               : std::nullopt;
        if (!delay) return more.status();
        std::this_thread::sleep_for(*delay);
        break;
      }
      if (!*more) return arrow::Status::OK();
      has_begun = true;
      ARROW_RETURN_NOT_OK(use());
    }
  }
}

}  // namespace rushes::client
