// Calls that may take long: made without the interpreter lock, and so that Ctrl-C ends the wait.
//
// Python runs signal handlers on the main thread only, between its own instructions. A call made there is therefore handed to a
// helper thread while the main thread waits and looks for signals; an interrupted call goes on in its helper, unseen, and its result
// is dropped. On other threads the call is made directly.
//
// After fork() the threads of the parent are gone: locks they held stay locked, and pools wait for nobody. So every object knows
// the process it was made in, refuses to work in another one, and is leaked there instead of being destroyed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include <nanobind/nanobind.h>

namespace rushes::python {

// Raises RuntimeError in a process that was forked from one that used this module already.
void CheckProcess();
// True in such a process; never raises.
bool IsForkedChild();
// Notes that this process has threads and sockets from now on.
void MarkUsed();

// Runs `work` on a thread of its own; Drain waits for those that run still.
void RunDetached(std::function<void()> work);
bool OnMainThread();

// Waits until `is_done`, which helper threads announce through `changed`. On the main thread signals are looked for; false: a handler
// raised, the Python error is set. Call with the interpreter lock held; it is released meanwhile. `look`: how often signals, and `is_done`,
// are looked for without an announcement; short enough for a Ctrl-C to feel immediate, long enough to cost nothing.
bool WaitForSignalsOr(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, const std::function<bool()>& is_done,
                      std::chrono::milliseconds look = std::chrono::milliseconds(50));

// `call` must own all it uses: it may outlive this frame.
template <typename Call>
std::invoke_result_t<Call> CallBlocking(Call call) {
  using Result = std::invoke_result_t<Call>;
  CheckProcess();
  MarkUsed();
  if (!OnMainThread()) {
    nanobind::gil_scoped_release released;
    return call();
  }
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Result> result;
  };
  auto state = std::make_shared<State>();
  RunDetached([state, call = std::make_shared<Call>(std::move(call))]() mutable {
    Result result = (*call)();
    call.reset();
    std::lock_guard<std::mutex> lock(state->mutex);
    state->result.emplace(std::move(result));
    state->changed.notify_all();
  });
  std::unique_lock<std::mutex> lock(state->mutex, std::defer_lock);
  if (!WaitForSignalsOr(lock, state->changed, [&] { return state->result.has_value(); })) throw nanobind::python_error();
  return std::move(*state->result);
}

// The same for a call that never waits long: on this thread, since it takes longer to wake another one.
template <typename Call>
std::invoke_result_t<Call> CallHere(const Call& call) {
  CheckProcess();
  MarkUsed();
  nanobind::gil_scoped_release released;
  return call();
}

// Keeps an object of this process; see the head of this file.
template <typename T>
class Owned {
 public:
  Owned() = default;
  explicit Owned(std::shared_ptr<T> object) : object_(std::move(object)) {}
  Owned(Owned&&) = default;
  Owned& operator=(Owned&&) = default;
  ~Owned() {
    if (object_ == nullptr) return;
    if (IsForkedChild()) {
      new std::shared_ptr<T>(std::move(object_));
      return;
    }
    // Destructors may wait for threads that log or for the network.
    nanobind::gil_scoped_release released;
    object_.reset();
  }

  const std::shared_ptr<T>& get() const {
    CheckProcess();
    return object_;
  }

 private:
  std::shared_ptr<T> object_;
};

void BindBlocking(nanobind::module_& module);

}  // namespace rushes::python
