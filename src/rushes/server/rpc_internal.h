// Reactors of the gRPC callback interface: handlers run on our threads, streams go on when the client has room. Private to this folder.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "arrow/result.h"
#include "rushes/chunk/mutex.h"
#include "rushes/chunk/tuid.h"
#include "rushes/server/worker_pool.h"
#include "rushes/wire/grpc_status.h"

namespace rerun::common::v1alpha1 {
class EntryId;
}  // namespace rerun::common::v1alpha1

namespace rushes {

// What all calls of a server share.
struct RpcEnvironment {
  WorkerPool* pool = nullptr;
  WorkerPool* slow_pool = nullptr;  // for calls that read or write files for long
  std::string server_version;       // value of `x-rerun-server-version`
  int latency_ms = 0;
  int64_t bandwidth_limit_bytes = 0;  // per second
  std::atomic<bool> stopping{false};

  void Delay() const {
    if (latency_ms > 0 && !stopping) std::this_thread::sleep_for(std::chrono::milliseconds(latency_ms));
  }
  void Throttle(size_t bytes) const {
    if (bandwidth_limit_bytes > 0 && !stopping) {
      std::this_thread::sleep_for(std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(bandwidth_limit_bytes)));
    }
  }
};

// Puts the headers of every answer into `context`. Call before anything is sent.
void AddResponseHeaders(grpc::CallbackServerContext* context, const RpcEnvironment& environment);

// The entry a call is about, as its headers say it. Safe to use after the call's method returned.
struct EntryHeaders {
  std::optional<std::string> id_text;
  std::optional<std::string> name;
  bool narrow_components = false;            // kNarrowHeader
  std::optional<std::string> revision_text;  // of the dataset, that a read needs at least
  static EntryHeaders Read(const grpc::CallbackServerContext& context);

  // Invalid: what is wrong with headers that name nothing.
  arrow::Status Missing() const;
  // The id in `id_text`, which must be set. Invalid unless it is 32 hex digits.
  arrow::Result<EntryId> ParseId() const;
  // The entry that the id header and the body (null: unset) name, which must agree. Invalid if they do not, or both are missing.
  arrow::Result<EntryId> FindId(const rerun::common::v1alpha1::EntryId* body) const;
};

// Answers a unary call with what `handler` returns; it runs on a worker of `pool`.
template <typename Handler>
grpc::ServerUnaryReactor* UnaryOn(WorkerPool* pool, grpc::CallbackServerContext* context, const RpcEnvironment& environment,
                                  Handler handler) {
  AddResponseHeaders(context, environment);
  auto* reactor = context->DefaultReactor();
  pool->Submit([reactor, &environment, handler = std::move(handler)]() mutable {
    environment.Delay();
    const arrow::Status status = handler();
    reactor->Finish(status.ok() ? grpc::Status::OK : wire::ToGrpcStatus(status));
  });
  return reactor;
}

template <typename Handler>
grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const RpcEnvironment& environment, Handler handler) {
  return UnaryOn(environment.pool, context, environment, std::move(handler));
}

// Answers a streaming call with what `next` gives until it says false. `next` runs on workers, one call at a time, and only when the
// message before has left: a slow client holds no thread and one message. Where `is_ready` says that `next` will not wait for anything,
// it runs at once on the thread that saw the message leave: waking workers was a good part of what a stream of small chunks costs.
template <typename Response>
class StreamReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  using Next = std::function<arrow::Result<bool>(Response*)>;

  using IsReady = std::function<bool()>;  // may be empty: never

  StreamReactor(const RpcEnvironment& environment, Next next, IsReady is_ready)
      : environment_(environment), next_(std::move(next)), is_ready_(std::move(is_ready)) {}

  void Start() {
    environment_.pool->Submit([this] {
      environment_.Delay();
      Step();
    });
  }

  void OnWriteDone(bool ok) override {
    if (!ok || cancelled_) {
      this->Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
      return;
    }
    // A bandwidth limit is kept by sleeping, which only workers may.
    if (is_ready_ && environment_.bandwidth_limit_bytes == 0 && is_ready_()) {
      Step();
    } else {
      environment_.pool->Submit([this] { Step(); });
    }
  }
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  void Step() {
    if (cancelled_ || environment_.stopping) {
      this->Finish(grpc::Status(grpc::StatusCode::CANCELLED, environment_.stopping ? "the server is closed" : "the client went away"));
      return;
    }
    response_ = Response();
    const arrow::Result<bool> more = next_(&response_);
    if (!more.ok()) {
      this->Finish(wire::ToGrpcStatus(more.status()));
    } else if (!*more) {
      this->Finish(grpc::Status::OK);
    } else {
      if constexpr (requires { response_.ByteSizeLong(); }) {
        environment_.Throttle(response_.ByteSizeLong());
      } else {
        environment_.Throttle(response_.Length());
      }
      this->StartWrite(&response_);
    }
  }

  const RpcEnvironment& environment_;
  Next next_;
  IsReady is_ready_;
  Response response_;
  std::atomic<bool> cancelled_{false};
};

// `open` runs on a worker and gives the `next` of the stream, or the error that ends it. `is_ready` is asked only after a message.
template <typename Response>
grpc::ServerWriteReactor<Response>* Stream(grpc::CallbackServerContext* context, const RpcEnvironment& environment,
                                           std::function<arrow::Result<typename StreamReactor<Response>::Next>()> open,
                                           typename StreamReactor<Response>::IsReady is_ready = nullptr) {
  AddResponseHeaders(context, environment);
  typename StreamReactor<Response>::Next next;
  auto* reactor = new StreamReactor<Response>(
      environment,
      [open = std::move(open), next = std::move(next)](Response* response) mutable -> arrow::Result<bool> {
        if (!next) {
          ARROW_ASSIGN_OR_RAISE(next, open());
        }
        return next(response);
      },
      std::move(is_ready));
  reactor->Start();
  return reactor;
}

// Answers a streaming call with messages that others cause, at any time and on any thread: base of the reactors that wait. No thread is
// held while there is nothing to say, and of what was caused only one message is in the making: a slow client costs what Next keeps for it.
//
// Everything of the reactor happens under one mutex, that of its link. The link outlives it in the functions of Notifier, so that a
// notification which is under way when the call ends finds nobody instead of memory that is gone.
template <typename Response>
class PushReactor : public grpc::ServerWriteReactor<Response> {
 public:
  PushReactor(const PushReactor&) = delete;
  PushReactor& operator=(const PushReactor&) = delete;

  void OnWriteDone(bool ok) final {
    MutexLock lock(link_->mutex);
    is_writing_ = false;
    is_cancelled_ |= !ok;
    Continue();
  }
  void OnCancel() final {
    MutexLock lock(link_->mutex);
    is_cancelled_ = true;
    Continue();
  }
  // The link is cut before the members of the derived class end what notifies.
  void OnDone() final {
    {
      MutexLock lock(link_->mutex);
      link_->reactor = nullptr;
    }
    delete this;
  }

 protected:
  enum class Step { kWrite, kWait, kEnd };

  // Headers leave at once: the first message may be long in coming.
  PushReactor() : link_(std::make_shared<Link>()) {
    link_->reactor = this;
    this->StartSendInitialMetadata();
  }

  // The next step, when nothing is being written: kWrite with a filled `message`, which is cleared; kWait until the next notification; kEnd
  // or an error to end the call. With the mutex held.
  virtual arrow::Result<Step> Next(Response* message) = 0;

  // A function for others to call. While the call lasts, it does `change(reactor, arguments...)` with the mutex held and takes the next
  // step, if Start has been called; after that, nothing. It must not be called with a lock that Next takes.
  template <typename Reactor, typename Change>
  auto Notifier(Change change) {
    return [link = link_, change = std::move(change)](auto&&... arguments) {
      MutexLock lock(link->mutex);
      if (link->reactor == nullptr) return;
      std::invoke(change, static_cast<Reactor&>(*link->reactor), std::forward<decltype(arguments)>(arguments)...);
      link->reactor->Continue();
    };
  }

  // Does `begin()` with the mutex held and takes the first step. Once, before the reactor is handed to gRPC, which calls nothing before.
  template <typename Begin>
  void Start(Begin begin) {
    MutexLock lock(link_->mutex);
    begin();
    is_started_ = true;
    Continue();
  }

 private:
  struct Link {
    Mutex mutex;
    PushReactor* reactor = nullptr;
  };

  // With the mutex held. gRPC calls back on threads of its own, never from within StartWrite or Finish.
  void Continue() {
    if (!is_started_ || is_writing_ || is_finished_) return;
    if (is_cancelled_) return End(arrow::Status::Cancelled("the client went away"));
    message_.Clear();
    const arrow::Result<Step> step = Next(&message_);
    if (!step.ok()) return End(step.status());
    if (*step == Step::kEnd) return End(arrow::Status::OK());
    if (*step == Step::kWait) return;
    is_writing_ = true;
    this->StartWrite(&message_);
  }
  void End(const arrow::Status& status) {
    is_finished_ = true;
    this->Finish(status.ok() ? grpc::Status::OK : wire::ToGrpcStatus(status));
  }

  const std::shared_ptr<Link> link_;
  Response message_;
  bool is_started_ = false;
  bool is_writing_ = false;
  bool is_cancelled_ = false;
  bool is_finished_ = false;
};

}  // namespace rushes
