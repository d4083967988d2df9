#include "rushes/server/catalog_server.h"

#include <atomic>
#include <chrono>

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

#include "rushes/server/catalog_service.h"
#include "rushes/server/health_service.h"
#include "rushes/server/http_server.h"
#include "rushes/server/listener.h"
#include "rushes/server/proxy_service.h"
#include "rushes/server/reflection_service.h"
#include "rushes/server/rpc_internal.h"
#include "rushes/server/upload_grants.h"
#include "rushes/wire/headers.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace {

// Calls that have not ended by then are cut.
constexpr auto kShutdownGrace = std::chrono::milliseconds(250);

}  // namespace

struct CatalogServer::Impl {
  std::string host;
  std::shared_ptr<Catalog> catalog;
  // In the order they are made; they go in the opposite one.
  std::unique_ptr<WorkerPool> pool;
  std::unique_ptr<WorkerPool> slow_pool;
  RpcEnvironment environment;
  std::unique_ptr<UploadGrants> uploads;
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Service> proxy_service;  // null: no live logging
  std::unique_ptr<HealthService> health;
  std::vector<std::unique_ptr<grpc::Service>> reflection_services;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Listener> listener;

  Mutex mutex;
  CondVar down;
  enum class Phase { kRunning, kStopping, kDown } phase RUSHES_GUARDED_BY(mutex) = Phase::kRunning;
};

CatalogServer::CatalogServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CatalogServer::~CatalogServer() { Shutdown(); }

arrow::Result<std::unique_ptr<CatalogServer>> CatalogServer::Start(std::shared_ptr<Catalog> catalog, const CatalogServerOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->host = options.host;
  impl->catalog = std::move(catalog);
  impl->pool = std::make_unique<WorkerPool>(std::max(1, options.num_threads));
  impl->slow_pool = std::make_unique<WorkerPool>(std::max(1, options.num_slow_threads));
  impl->environment.pool = impl->pool.get();
  impl->environment.slow_pool = impl->slow_pool.get();
  impl->environment.server_version = "rushes/" RUSHES_VERSION;
  impl->environment.latency_ms = options.latency_ms;
  impl->environment.bandwidth_limit_bytes = options.bandwidth_limit_bytes;
  impl->uploads = std::make_unique<UploadGrants>(impl->catalog, options.uploads);
  impl->service = MakeCatalogService(impl->catalog, *impl->uploads, impl->environment);
  std::vector<std::string> services = {wire::kServiceName};
  if (options.live_history_bytes != 0) {
    ARROW_ASSIGN_OR_RAISE(auto history, MessageHistory::Make(options.live_history_bytes));
    impl->proxy_service = MakeProxyService(std::move(history), impl->environment);
    services.push_back(wire::kProxyServiceName);
  }
  impl->health = std::make_unique<HealthService>(services);
  services.push_back(kHealthService);
  for (const char* name : kReflectionServices) services.push_back(name);
  impl->reflection_services = MakeReflectionServices(services);

  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  // Official clients ping idle connections every 30 s; without these two the third ping ends the connection.
  builder.AddChannelArgument("grpc.http2.min_ping_interval_without_data_ms", 5000);
  builder.AddChannelArgument("grpc.keepalive_permit_without_calls", 1);
  // A peer that vanished without a word, a viewer's machine put to sleep say, is noticed and its calls end.
  builder.AddChannelArgument("grpc.keepalive_time_ms", 60'000);
  builder.AddChannelArgument("grpc.keepalive_timeout_ms", 20'000);
  builder.RegisterService(impl->service.get());
  if (impl->proxy_service) builder.RegisterService(impl->proxy_service.get());
  // Ours, also where the process switched gRPC's own on.
  builder.SetOption(std::make_unique<grpc::HealthCheckServiceServerBuilderOption>(nullptr));
  builder.RegisterService(impl->health->service());
  for (const auto& reflection : impl->reflection_services) builder.RegisterService(reflection.get());
  impl->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  impl->server = builder.BuildAndStart();
  if (!impl->server) return arrow::Status::IOError("the gRPC server did not start");

  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  HttpServerOptions http;
  http.version_text = "rushes " RUSHES_VERSION;
  http.server_version = impl->environment.server_version;
  http.cors_allow_origins = options.cors_allow_origins;
  http.uploads = impl->uploads.get();
  impl->http = std::make_unique<HttpServer>(impl->server->InProcessChannel(arguments), std::move(http));

  const auto to_grpc = [acceptor = impl->acceptor.get()](int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = -1;
    connection.fd = fd;
    acceptor->HandleNewConnection(&connection);
  };
  const auto to_http = [http_server = impl->http.get()](int fd) { http_server->Serve(fd); };
  auto listener = Listener::Start(options.host, options.port, to_grpc, to_http);
  if (!listener.ok()) {
    impl->environment.stopping = true;
    impl->http->Stop();
    impl->server->Shutdown();
    return listener.status();
  }
  impl->listener = std::move(*listener);
  return std::unique_ptr<CatalogServer>(new CatalogServer(std::move(impl)));
}

const std::string& CatalogServer::host() const { return impl_->host; }
int CatalogServer::port() const { return impl_->listener->port(); }

bool CatalogServer::is_running() const {
  MutexLock lock(impl_->mutex);
  return impl_->phase == Impl::Phase::kRunning;
}

void CatalogServer::Shutdown() {
  {
    MutexLock lock(impl_->mutex);
    if (impl_->phase != Impl::Phase::kRunning) {
      impl_->down.Wait(lock, [this]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return impl_->phase == Impl::Phase::kDown; });
      return;
    }
    impl_->phase = Impl::Phase::kStopping;
  }
  impl_->environment.stopping = true;
  impl_->health->StopServing();
  impl_->listener->Stop();
  impl_->http->Stop();
  impl_->server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  impl_->server->Wait();
  impl_->slow_pool->Stop();
  impl_->pool->Stop();
  MutexLock lock(impl_->mutex);
  impl_->phase = Impl::Phase::kDown;
  impl_->down.NotifyAll();
}

void CatalogServer::Wait() {
  MutexLock lock(impl_->mutex);
  impl_->down.Wait(lock, [this]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return impl_->phase == Impl::Phase::kDown; });
}

}  // namespace rushes
