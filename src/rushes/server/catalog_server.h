// A catalog on a port: gRPC, gRPC-Web and HTTP/1.1 on the same one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "rushes/catalog/catalog.h"
#include "rushes/server/upload_options.h"

namespace rushes {

struct CatalogServerOptions {
  std::string host = "127.0.0.1";  // numeric address or name to bind
  int port = 0;                    // 0: any free port
  // Web pages that may call, beside those of localhost, 127.0.0.1 and rerun.io: patterns of whole origins, `*` for any run.
  std::vector<std::string> cors_allow_origins;
  int latency_ms = 0;                 // waits this long before each answer; for tests of clients
  int64_t bandwidth_limit_bytes = 0;  // per second, of answers; 0: none
  // Bound of what is kept of live messages (MessageHistory); 0: no live logging, its calls are UNIMPLEMENTED.
  int64_t live_history_bytes = int64_t{1} << 30;
  int num_threads = 16;      // that work on requests; none is held while a client is slow to read
  int num_slow_threads = 4;  // that register files and do maintenance; these never keep other calls waiting
  UploadOptions uploads;
};

// Thread safe.
class CatalogServer {
 public:
  // Binds and listens. IOError names host and port when the port is in use or the host unknown; Invalid names an option out of range.
  static arrow::Result<std::unique_ptr<CatalogServer>> Start(std::shared_ptr<Catalog> catalog, const CatalogServerOptions& options = {});
  ~CatalogServer();  // shuts down

  const std::string& host() const;
  int port() const;

  bool is_running() const;
  // Stops listening and ends open calls. Idempotent; returns when all is down.
  void Shutdown();
  // Blocks until Shutdown.
  void Wait();

 private:
  struct Impl;
  explicit CatalogServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rushes
