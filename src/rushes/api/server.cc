#include "rushes/api/server.h"

#include <filesystem>

#include "rushes/api/embedded_catalog.h"
#include "rushes/catalog/source_url.h"
#include "rushes/server/catalog_server.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

// The recordings that `paths` of a dataset mean. Invalid names what is neither a file nor a directory.
arrow::Result<std::vector<std::string>> ListFiles(const std::string& dataset, const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    ARROW_ASSIGN_OR_RAISE(const std::string local, LocalPath(path));
    std::error_code error;
    if (fs::is_directory(local, error)) {
      ARROW_ASSIGN_OR_RAISE(const auto listed, ListRecordings(local));
      if (listed.empty()) spdlog::warn("dataset '{}': there is no .rrd file in {}", dataset, path);
      files.insert(files.end(), listed.begin(), listed.end());
    } else if (fs::exists(local, error)) {
      files.push_back(local);
    } else {
      return arrow::Status::Invalid("Path '", path, "' for dataset '", dataset, "' must be a RRD file: there is no such file.");
    }
  }
  return files;
}

// Registers what can be registered; the rest is logged, as one broken file must not keep the others from being served.
arrow::Status Load(Catalog* catalog, const std::string& name, const std::vector<std::string>& paths) {
  ARROW_ASSIGN_OR_RAISE(const auto files, ListFiles(name, paths));
  ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, catalog->CreateDataset(name));
  const EntryId id = dataset->entry.id;
  std::vector<DataSource> sources;
  for (const std::string& file : files) {
    DataSource source;
    source.url = FileUrl(file);
    sources.push_back(std::move(source));
  }
  if (sources.empty()) return arrow::Status::OK();

  const auto log_failures = [&](const std::vector<RegisteredSource>& rows) {
    std::vector<std::string> task_ids;
    for (const RegisteredSource& row : rows) task_ids.push_back(row.task_id);
    for (const TaskInfo& task : catalog->QueryTasks(task_ids)) {
      if (task.state == TaskState::kFailed) spdlog::warn("dataset '{}': {}", name, task.message);
    }
  };
  // All at once, in parallel; one by one only if a file is broken.
  if (auto rows = catalog->Register(id, sources, IfDuplicate::kError, /*accept_damaged=*/true); rows.ok()) {
    log_failures(*rows);
    return arrow::Status::OK();
  }
  for (const DataSource& source : sources) {
    auto rows = catalog->Register(id, {source}, IfDuplicate::kError, /*accept_damaged=*/true);
    if (rows.ok()) {
      log_failures(*rows);
    } else {
      spdlog::warn("dataset '{}': Failed loading file {}: {}", name, source.url, rows.status().message());
    }
  }
  return arrow::Status::OK();
}

}  // namespace

struct Server::Impl {
  std::shared_ptr<EmbeddedCatalog> shared;
  std::unique_ptr<CatalogServer> network;

  void Shutdown() {
    shared->is_closed = true;
    if (network != nullptr) network->Shutdown();
  }
  ~Impl() { Shutdown(); }
};

Server::Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

arrow::Result<std::shared_ptr<Server>> Server::Start(const ServerOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->shared = std::make_shared<EmbeddedCatalog>(std::make_shared<Catalog>(), options.chunk_cache_bytes);
  for (const auto& [name, paths] : options.datasets) ARROW_RETURN_NOT_OK(Load(impl->shared->catalog.get(), name, paths));
  CatalogServerOptions network_options;
  network_options.host = options.host;
  network_options.port = options.port;
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
