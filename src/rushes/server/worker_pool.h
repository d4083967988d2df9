// Threads that work on requests.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "rushes/chunk/mutex.h"

namespace rushes {

// A fixed number of threads and a queue. Thread safe.
class WorkerPool {
 public:
  explicit WorkerPool(int num_threads) {
    for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  ~WorkerPool() { Stop(); }
  WorkerPool(const WorkerPool&) = delete;

  // Tasks are started in order. After Stop they run on the caller's thread, so that none is lost.
  void Submit(std::function<void()> task) {
    {
      MutexLock lock(mutex_);
      if (!stopping_) {
        tasks_.push_back(std::move(task));
        wake_.NotifyOne();
        return;
      }
    }
    task();
  }

  // Runs what is queued, then joins the threads. Idempotent; not to be called from a task.
  void Stop() {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      wake_.NotifyAll();
    }
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  void Run() {
    for (;;) {
      std::function<void()> task;
      {
        MutexLock lock(mutex_);
        wake_.Wait(lock, [this]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> tasks_ RUSHES_GUARDED_BY(mutex_);
  bool stopping_ RUSHES_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace rushes
