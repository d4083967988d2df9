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
  // Table name -> directory of a table, see docs/tables.md.
  std::map<std::string, std::string> tables;
  // Where tables are kept that are created without a URL; they stay there. Empty: a temporary directory, removed at shutdown.
  std::string table_directory;
  // Of one batch that is written to a table, decoded, and of all batches of an upsert, which wait in memory.
  int64_t max_table_batch_bytes = int64_t{512} << 20;
  int64_t max_table_upsert_bytes = int64_t{512} << 20;
  int64_t chunk_cache_bytes = int64_t{1} << 30;  // bound of the decoded-chunk cache
  // Bound of what is kept of live messages, at url() + "/proxy", for viewers that come later: 1 MiB at least, or 0 for no live logging.
  int64_t live_history_bytes = int64_t{1} << 30;
  // Web pages that may call, beside those of localhost, 127.0.0.1 and rerun.io: patterns of whole origins, `*` for any run.
  std::vector<std::string> cors_allow_origins;
  int latency_ms = 0;                 // waits this long before each answer over the network; for tests of clients
  int64_t bandwidth_limit_bytes = 0;  // per second, of answers over the network; 0: none
  // Where uploads and files of maintenance go. Kept when the server ends; empty: a temporary directory, removed at the end.
  std::string staging_directory;
  int64_t max_upload_bytes = int64_t{64} << 30;  // of one upload
  int64_t max_staging_bytes = int64_t{1} << 40;  // of all files there
};

// Holds the catalog and serves it on a port. Thread safe. Connections of `Connect` reach the catalog without the network and share
// its ownership: a server that is dropped goes on while one of them, or a chunk source of one, is left; Shutdown ends it at once.
class Server {
 public:
  // Loads, binds and listens. Invalid when a path is missing, holds no table, or a name is no name of an entry, IOError when the port or
  // the staging directory is in use; the message names it. A recording that cannot be read is logged and left out; of a truncated one the
  // readable part is served.
  static arrow::Result<std::shared_ptr<Server>> Start(const ServerOptions& options);
  ~Server();

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
  explicit Server(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace rushes
