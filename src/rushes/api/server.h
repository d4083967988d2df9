// A catalog served from this process.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "rushes/api/connection.h"

namespace rushes {

struct ServerOptions {
  std::string host = "127.0.0.1";  // numeric address or name to bind
  int port = 0;                    // 0: any free port
  // Dataset name -> recordings or directories of recordings, each registered as one segment.
  std::map<std::string, std::vector<std::string>> datasets;
  int64_t chunk_cache_bytes = int64_t{1} << 30;  // bound of the decoded-chunk cache
};

// Holds the catalog and serves it on a port. Thread safe. Connections of `Connect` reach the catalog without the network and share
// its ownership: data stays readable while they live, until Shutdown.
class Server {
 public:
  // Binds, loads and listens. IOError when the port is in use (the message names it) or a recording is missing or unreadable.
  static arrow::Result<std::shared_ptr<Server>> Start(const ServerOptions& options);
  ~Server();  // shuts down

  const std::string& host() const;
  int port() const;
  std::string url() const;  // rerun+http://host:port

  // An in-process connection to this catalog. Cancelled after Shutdown.
  arrow::Result<std::shared_ptr<Connection>> Connect();

  bool is_running() const;
  // Stops listening and ends open calls; later calls on connections return Cancelled "server is closed". Idempotent.
  void Shutdown();
  // Blocks until Shutdown.
  void Wait();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rushes
