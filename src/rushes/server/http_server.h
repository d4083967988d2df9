// HTTP/1.1 on connections that the listener hands over: `GET /version`, gRPC-Web for browsers, uploads, and helpful words for everything
// else.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace grpc {
class Channel;
}

namespace rushes {

class UploadGrants;

struct HttpServerOptions {
  std::string version_text;                     // body of `GET /version`
  std::string server_version;                   // value of `x-rerun-server-version`
  std::vector<std::string> cors_allow_origins;  // beside those of IsAllowedOrigin

  size_t max_connections = 256;                                           // further ones get 503 and are closed
  uint64_t max_request_bytes = 64 << 20;                                  // of a body; it is kept whole
  uint64_t large_request_bytes = 1 << 20;                                 // of bodies above this, or of unknown size,
  size_t max_large_requests = 8;                                          // so many are read at a time; others get 503
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(120);     // between requests, and of each write
  std::chrono::milliseconds header_timeout = std::chrono::seconds(30);    // from a request's first byte to the end of its headers
  std::chrono::milliseconds request_timeout = std::chrono::seconds(300);  // from there to the end of its body

  UploadGrants* uploads = nullptr;  // must outlive the server; none: no uploads
};

// True if `origin` is a page of this machine (localhost, 127.0.0.1, [::1]), of rerun.io or https://app.rerun.io, or matches one of
// `patterns` (`*`: any run of characters).
bool IsAllowedOrigin(const std::string& origin, const std::vector<std::string>& patterns);

// One thread per connection, a bounded number of them. gRPC-Web calls go to `channel`; a call is cancelled when its client goes away.
// Thread safe.
class HttpServer {
 public:
  HttpServer(std::shared_ptr<grpc::Channel> channel, HttpServerOptions options);
  ~HttpServer();  // stops
  // Takes the socket.
  void Serve(int fd);
  // Ends all connections and calls. Idempotent.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rushes
