#include "blocking.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <stdexcept>
#include <thread>

#include <sys/syscall.h>
#include <unistd.h>

namespace rushes::python {
namespace {

namespace nb = nanobind;

std::atomic<pid_t> used_in{0};

// Threads for what is called on the main thread. One that has nothing to do stays for a while: to start one takes longer than most calls.
// Leaked: they may outlive the destructors of the process.
struct Helpers {
  static constexpr std::chrono::seconds kStay{10};

  std::mutex mutex;
  std::condition_variable came;  // work did
  std::condition_variable changed;
  int running = 0;  // work, begun or not
  size_t idle = 0;  // threads that wait for work
  std::deque<std::function<void()>> work;

  // One thread.
  void Run(std::function<void()> first) {
    std::function<void()> work_here = std::move(first);
    while (true) {
      work_here();
      work_here = nullptr;
      std::unique_lock<std::mutex> lock(mutex);
      --running;
      changed.notify_all();
      ++idle;
      const bool is_there = came.wait_for(lock, kStay, [this] { return !work.empty(); });
      --idle;
      if (!is_there) return;
      work_here = std::move(work.front());
      work.pop_front();
    }
  }
};
Helpers& TheHelpers() {
  static Helpers* const helpers = new Helpers();
  return *helpers;
}

}  // namespace

void MarkUsed() {
  pid_t unset = 0;
  used_in.compare_exchange_strong(unset, getpid());
}

bool IsForkedChild() {
  const pid_t pid = used_in.load();
  return pid != 0 && pid != getpid();
}

void CheckProcess() {
  if (!IsForkedChild()) return;
  throw std::runtime_error(
      "rushes was in use before fork(), and its threads and connections do not survive it: opened before fork(); create the first "
      "Server or CatalogClient in the child, or use the spawn start method (multiprocessing.get_context(\"spawn\"))");
}

bool OnMainThread() { return syscall(SYS_gettid) == getpid(); }

void RunDetached(std::function<void()> work) {
  Helpers& helpers = TheHelpers();
  {
    std::lock_guard<std::mutex> lock(helpers.mutex);
    ++helpers.running;
    if (helpers.idle > helpers.work.size()) {
      helpers.work.push_back(std::move(work));
      helpers.came.notify_one();
      return;
    }
  }
  std::thread([work = std::move(work), &helpers]() mutable { helpers.Run(std::move(work)); }).detach();
}

bool WaitForSignalsOr(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, const std::function<bool()>& is_done,
                      std::chrono::milliseconds look) {
  const bool look_for_signals = OnMainThread();
  for (;;) {
    bool done = false;
    {
      nb::gil_scoped_release released;
      lock.lock();
      done = changed.wait_for(lock, look, is_done);
      lock.unlock();
    }
    if (done) return true;
    if (look_for_signals && PyErr_CheckSignals() != 0) return false;
  }
}

void BindBlocking(nb::module_& module) {
  module.def(
      "_drain",
      [](double timeout_s) {
        if (IsForkedChild()) return true;
        nb::gil_scoped_release released;
        Helpers& helpers = TheHelpers();
        std::unique_lock<std::mutex> lock(helpers.mutex);
        return helpers.changed.wait_for(lock, std::chrono::duration<double>(timeout_s), [&] { return helpers.running == 0; });
      },
      nb::arg("timeout_s"), "Waits for calls that go on after a Ctrl-C; False if some still do.");
  module.def("_is_forked_child", &IsForkedChild, "True in a process forked from one that used this module.");
  module.def("_check_process", &CheckProcess, "RuntimeError in such a process.");
}

}  // namespace rushes::python
