// One port for several protocols: looks at the first bytes of a connection and hands it to the right owner.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "arrow/result.h"

namespace rushes {

// Takes ownership of a connected socket.
using ConnectionHandler = std::function<void(int fd)>;

// Accepts connections on one thread. Thread safe.
class Listener {
 public:
  // `host`: numeric address or name. `on_http2` gets connections that begin with the HTTP/2 preface, their bytes unread; `on_http1` all
  // others. Handlers are called on the listener's thread and must return at once. IOError names host and port.
  static arrow::Result<std::unique_ptr<Listener>> Start(const std::string& host, int port, ConnectionHandler on_http2,
                                                        ConnectionHandler on_http1);
  ~Listener();
  int port() const;
  // Closes the port and connections that were not handed over yet. Idempotent.
  void Stop();

 private:
  struct Impl;
  explicit Listener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rushes
