#include "rushes/api/server.h"

#include "rushes/api/embedded_catalog.h"
#include "rushes/api/load_recordings.h"
#include "rushes/catalog/source_url.h"
#include "rushes/server/catalog_server.h"

namespace rushes {
namespace {

TableSpaceOptions SpaceOf(const ServerOptions& options) {
  TableSpaceOptions out;
  out.directory = options.table_directory;
  out.limits.max_batch_bytes = options.max_table_batch_bytes;
  out.limits.max_upsert_bytes = options.max_table_upsert_bytes;
  return out;
}

}  // namespace

struct Server::Impl {
  std::shared_ptr<EmbeddedCatalog> shared;
  std::unique_ptr<CatalogServer> network;

  void Shutdown() {
    shared->is_closed = true;
    if (network != nullptr) network->Shutdown();
    shared->catalog->table_space().RemoveTemporary();
  }
  ~Impl() { Shutdown(); }
};

Server::Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

arrow::Result<std::shared_ptr<Server>> Server::Start(const ServerOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->shared = std::make_shared<EmbeddedCatalog>(std::make_shared<Catalog>(std::make_unique<MemoryJournal>(), SpaceOf(options)),
                                                   options.chunk_cache_bytes);
  StagingOptions staging{options.staging_directory, options.max_upload_bytes, options.max_staging_bytes};
  impl->shared->catalog->SetStagingOptions(staging);
  if (!staging.directory.empty()) ARROW_RETURN_NOT_OK(impl->shared->catalog->staging());
  for (const auto& [name, paths] : options.datasets)
    ARROW_RETURN_NOT_OK(LoadRecordings(impl->shared->catalog.get(), name, paths, BrokenFiles::kLeaveOut));
  for (const auto& [name, path] : options.tables) {
    ARROW_ASSIGN_OR_RAISE(const std::string directory, LocalPath(path));
    const auto table = impl->shared->catalog->RegisterTable(name, FileUrl(directory));
    if (!table.ok()) return arrow::Status::Invalid("table '", name, "': ", table.status().message());
  }
  CatalogServerOptions network_options;
  network_options.host = options.host;
  network_options.port = options.port;
  network_options.live_history_bytes = options.live_history_bytes;
  network_options.cors_allow_origins = options.cors_allow_origins;
  network_options.latency_ms = options.latency_ms;
  network_options.bandwidth_limit_bytes = options.bandwidth_limit_bytes;
  ARROW_ASSIGN_OR_RAISE(impl->network, CatalogServer::Start(impl->shared->catalog, network_options));

  // An address that means "all interfaces" cannot be connected to; show one that can.
  std::string host = impl->network->host();
  if (host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  impl->shared->url = "rerun+http://" + host + ":" + std::to_string(impl->network->port());
  return std::shared_ptr<Server>(new Server(std::move(impl)));
}

const std::string& Server::host() const { return impl_->network->host(); }
int Server::port() const { return impl_->network->port(); }
std::string Server::url() const { return impl_->shared->url; }

arrow::Result<std::shared_ptr<Connection>> Server::Connect() {
  if (!is_running()) return arrow::Status::Cancelled("Cannot create client: server is not running.");
  return MakeEmbeddedConnection(impl_->shared, impl_);
}

bool Server::is_running() const { return !impl_->shared->is_closed.load() && impl_->network->is_running(); }
void Server::Shutdown() { impl_->Shutdown(); }
void Server::Wait() { impl_->network->Wait(); }

}  // namespace rushes
