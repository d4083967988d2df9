// A connected socket as a stream of Boost.Beast's synchronous functions, with limits of time that hold.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace rushes {

// Meets Asio's SyncReadStream and SyncWriteStream. Reads and writes give asio::error::timed_out when they had to wait for longer than the
// timeout, or beyond the deadline. Asio's own sockets, used in this way, wait for ever. Not thread safe, except that other threads may call
// ::shutdown on the descriptor.
class SocketStream {
 public:
  using Clock = std::chrono::steady_clock;

  // Takes the socket, which is closed at the end.
  explicit SocketStream(int fd) : fd_(fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK); }
  ~SocketStream() { close(fd_); }
  SocketStream(const SocketStream&) = delete;

  // Of each wait.
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }
  // Of everything until it is set again.
  void set_deadline(Clock::time_point deadline) { deadline_ = deadline; }
  void clear_deadline() { deadline_ = Clock::time_point::max(); }

  // False when nothing came in time; true also at the end of the stream.
  bool WaitReadable() { return Wait(POLLIN); }

  // True when the other side closed the connection, or its sending half.
  bool IsPeerGone() const {
    pollfd polled = {fd_, POLLRDHUP, 0};
    return poll(&polled, 1, 0) > 0 && (polled.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

  void ShutdownWrites() { ::shutdown(fd_, SHUT_WR); }

  template <typename Buffers>
  size_t read_some(const Buffers& buffers, boost::system::error_code& error) {
    return Transfer<boost::asio::mutable_buffer>(buffers, POLLIN, error);
  }
  template <typename Buffers>
  size_t write_some(const Buffers& buffers, boost::system::error_code& error) {
    return Transfer<boost::asio::const_buffer>(buffers, POLLOUT, error);
  }
  template <typename Buffers>
  size_t read_some(const Buffers& buffers) {
    boost::system::error_code error;
    const size_t size = read_some(buffers, error);
    if (error) throw boost::system::system_error(error);
    return size;
  }
  template <typename Buffers>
  size_t write_some(const Buffers& buffers) {
    boost::system::error_code error;
    const size_t size = write_some(buffers, error);
    if (error) throw boost::system::system_error(error);
    return size;
  }

 private:
  bool Wait(short events) const {
    for (;;) {
      auto left = timeout_;
      if (deadline_ != Clock::time_point::max()) {
        left = std::min(left, std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()));
        if (left.count() <= 0) return false;
      }
      pollfd polled = {fd_, events, 0};
      const int ready = poll(&polled, 1, static_cast<int>(left.count()));
      if (ready >= 0 || errno != EINTR) return ready != 0;
    }
  }

  template <typename Buffer, typename Buffers>
  size_t Transfer(const Buffers& buffers, short events, boost::system::error_code& error) {
    error = {};
    iovec pieces[32];
    size_t count = 0, total = 0;
    const auto end = boost::asio::buffer_sequence_end(buffers);
    for (auto it = boost::asio::buffer_sequence_begin(buffers); it != end && count < std::size(pieces); ++it) {
      const Buffer buffer(*it);
      if (buffer.size() == 0) continue;
      pieces[count++] = {const_cast<void*>(static_cast<const void*>(buffer.data())), buffer.size()};
      total += buffer.size();
    }
    if (total == 0) return 0;
    msghdr message = {};
    message.msg_iov = pieces;
    message.msg_iovlen = count;
    for (;;) {
      if (deadline_ != Clock::time_point::max() && Clock::now() >= deadline_) {
        error = boost::asio::error::timed_out;
        return 0;
      }
      const ssize_t size = events == POLLIN ? recvmsg(fd_, &message, 0) : sendmsg(fd_, &message, MSG_NOSIGNAL);
      if (size > 0) return static_cast<size_t>(size);
      if (size == 0) {
        error = boost::asio::error::eof;
        return 0;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        error = boost::system::error_code(errno, boost::system::system_category());
        return 0;
      }
      if (!Wait(events)) {
        error = boost::asio::error::timed_out;
        return 0;
      }
    }
  }

  const int fd_;
  std::chrono::milliseconds timeout_ = std::chrono::seconds(120);
  Clock::time_point deadline_ = Clock::time_point::max();
};

}  // namespace rushes
