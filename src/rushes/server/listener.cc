#include "rushes/server/listener.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "spdlog/spdlog.h"

namespace rushes {
namespace {

using Clock = std::chrono::steady_clock;

// A connection that has said nothing yet is kept this long, and no more than so many of them.
constexpr auto kFirstBytesTimeout = std::chrono::seconds(20);
constexpr size_t kMaxSilentConnections = 1024;
constexpr char kHttp2Preface[] = "PRI";
// What tells the protocols apart; a connection counts as readable only when it has said that much, or has ended.
constexpr int kTellingBytes = 3;
// Between two programs of one machine. The megabytes that the kernel would let wait fall out of the caches before they are read, which
// makes sending them a third more expensive. A peer elsewhere needs them: its round trips are long.
constexpr int kSendBufferOnOneMachine = 256 << 10;

std::string At(const std::string& host, int port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

// True when the socket's other end has our own address.
bool IsOfThisMachine(int connection) {
  sockaddr_storage ours = {}, theirs = {};
  socklen_t our_size = sizeof(ours), their_size = sizeof(theirs);
  if (getsockname(connection, reinterpret_cast<sockaddr*>(&ours), &our_size) != 0 ||
      getpeername(connection, reinterpret_cast<sockaddr*>(&theirs), &their_size) != 0 || ours.ss_family != theirs.ss_family) {
    return false;
  }
  if (ours.ss_family == AF_INET6) {
    return std::memcmp(&reinterpret_cast<sockaddr_in6*>(&ours)->sin6_addr, &reinterpret_cast<sockaddr_in6*>(&theirs)->sin6_addr,
                       sizeof(in6_addr)) == 0;
  }
  return reinterpret_cast<sockaddr_in*>(&ours)->sin_addr.s_addr == reinterpret_cast<sockaddr_in*>(&theirs)->sin_addr.s_addr;
}

struct Silent {
  int fd;
  Clock::time_point since;
};

}  // namespace

struct Listener::Impl {
  int fd = -1;
  int wake_fd = -1;
  int port = 0;
  ConnectionHandler on_http2;
  ConnectionHandler on_http1;
  std::thread thread;

  void Run();
  // True when the connection is no longer ours. `has_ended`: nothing more comes.
  bool Look(int connection, bool has_ended);
};

Listener::Listener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Listener::~Listener() { Stop(); }
int Listener::port() const { return impl_->port; }

arrow::Result<std::unique_ptr<Listener>> Listener::Start(const std::string& host, int port, ConnectionHandler on_http2,
                                                         ConnectionHandler on_http1) {
  if (port < 0 || port > 65535) return arrow::Status::Invalid("port must be in 0..65535, got ", port);
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return arrow::Status::IOError("cannot listen on '", host, "': ", gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  int fd = -1, why = 0;
  // Of a name with several addresses, IPv4 first: that is what clients try for `localhost`.
  std::vector<const addrinfo*> candidates;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
      if (address->ai_family == family) candidates.push_back(address);
    }
  }
  for (const addrinfo* address : candidates) {
    if (fd >= 0) break;
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
      why = errno;
      continue;
    }
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 512) != 0) {
      why = errno;
      close(fd);
      fd = -1;
    }
  }
  if (fd < 0) {
    return arrow::Status::IOError("Failed to bind to address ", At(host, port), ": ", std::strerror(why),
                                  why == EADDRINUSE ? "; another program listens there, choose another port or 0 for any free one" : "");
  }
  sockaddr_storage bound = {};
  socklen_t length = sizeof(bound);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length);
  auto impl = std::make_unique<Impl>();
  impl->fd = fd;
  impl->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  impl->port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                                 : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  impl->on_http2 = std::move(on_http2);
  impl->on_http1 = std::move(on_http1);
  impl->thread = std::thread([state = impl.get()] { state->Run(); });
  return std::unique_ptr<Listener>(new Listener(std::move(impl)));
}

bool Listener::Impl::Look(int connection, bool has_ended) {
  char bytes[kTellingBytes];
  const ssize_t count = recv(connection, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
  if (count < kTellingBytes) {
    const bool may_go_on = count > 0 || (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
    if (may_go_on && !has_ended) return false;
    close(connection);
    return true;
  }
  const int any = 1;
  setsockopt(connection, SOL_SOCKET, SO_RCVLOWAT, &any, sizeof(any));
  if (std::memcmp(bytes, kHttp2Preface, kTellingBytes) == 0) {
    on_http2(connection);
  } else {
    on_http1(connection);
  }
  return true;
}

void Listener::Impl::Run() {
  std::vector<Silent> silent;
  std::vector<pollfd> polled;
  for (;;) {
    polled.clear();
    polled.push_back({wake_fd, POLLIN, 0});
    // Too many silent connections: accept again when some have spoken or timed out.
    polled.push_back({silent.size() < kMaxSilentConnections ? fd : -1, POLLIN, 0});
    for (const Silent& connection : silent) polled.push_back({connection.fd, POLLIN | POLLRDHUP, 0});
    const int ready = poll(polled.data(), polled.size(), silent.empty() ? -1 : 1000);
    if (ready < 0 && errno != EINTR) {
      spdlog::error("the listener failed: {}", std::strerror(errno));
      break;
    }
    if (polled[0].revents != 0) break;
    std::vector<Silent> still;
    const auto now = Clock::now();
    for (size_t i = 0; i < silent.size(); ++i) {
      const short events = polled[i + 2].revents;
      if (events != 0 && Look(silent[i].fd, (events & (POLLRDHUP | POLLHUP | POLLERR)) != 0)) continue;
      if (now - silent[i].since > kFirstBytesTimeout) {
        close(silent[i].fd);
        continue;
      }
      still.push_back(silent[i]);
    }
    silent = std::move(still);
    if (polled[1].revents == 0) continue;
    for (;;) {
      const int connection = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (connection < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
          spdlog::warn("cannot accept a connection: {}", std::strerror(errno));
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
        break;
      }
      const int one = 1;
      setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
      if (IsOfThisMachine(connection)) {
        setsockopt(connection, SOL_SOCKET, SO_SNDBUF, &kSendBufferOnOneMachine, sizeof(kSendBufferOnOneMachine));
      }
      setsockopt(connection, SOL_SOCKET, SO_RCVLOWAT, &kTellingBytes, sizeof(kTellingBytes));
      if (!Look(connection, false)) silent.push_back({connection, now});
      if (silent.size() >= kMaxSilentConnections) break;
    }
  }
  for (const Silent& connection : silent) close(connection.fd);
}

void Listener::Stop() {
  if (!impl_->thread.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(impl_->wake_fd, &one, sizeof(one));
  impl_->thread.join();
  close(impl_->fd);
  close(impl_->wake_fd);
  impl_->fd = impl_->wake_fd = -1;
}

}  // namespace rushes
