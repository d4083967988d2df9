// HTTP/1.1 on connections that the listener hands over: `GET /version`, gRPC-Web for browsers, uploads, and helpful words for everything
// else.
#pragma once

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
  std::vector<std::string> cors_allow_origins;  // beside localhost, 127.0.0.1 and rerun.io
  UploadGrants* uploads = nullptr;              // must outlive the server
};

// True if `origin` matches one of the patterns that are always allowed or one of `patterns` (`*`: any run of characters).
bool IsAllowedOrigin(const std::string& origin, const std::vector<std::string>& patterns);

// One thread per connection, a bounded number of them. gRPC-Web calls go to `channel`. Thread safe.
class HttpServer {
 public:
  HttpServer(std::shared_ptr<grpc::Channel> channel, HttpServerOptions options);
  ~HttpServer();  // stops
  // Takes the socket. Beyond the limit of connections it is closed.
  void Serve(int fd);
  // Ends all connections and calls. Idempotent.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rushes
