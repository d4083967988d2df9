// Work in the background: a few threads, started when they are first needed.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "rushes/chunk/mutex.h"

namespace rushes {

// Thread safe. Jobs are started in order.
class JobQueue {
 public:
  explicit JobQueue(int max_threads) : max_threads_(static_cast<size_t>(max_threads)) {}
  // Runs what is queued to its end.
  ~JobQueue() {
    std::vector<std::thread> threads;
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      threads.swap(threads_);
      wake_.NotifyAll();
    }
    for (std::thread& thread : threads) thread.join();
  }
  JobQueue(const JobQueue&) = delete;

  void Submit(std::function<void()> job) {
    MutexLock lock(mutex_);
    jobs_.push_back(std::move(job));
    if (idle_ < jobs_.size() && threads_.size() < max_threads_) threads_.emplace_back([this] { Run(); });
    wake_.NotifyOne();
  }

 private:
  void Run() {
    for (;;) {
      std::function<void()> job;
      {
        MutexLock lock(mutex_);
        ++idle_;
        wake_.Wait(lock, [this]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || !jobs_.empty(); });
        --idle_;
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      job();
    }
  }

  const size_t max_threads_;
  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> jobs_ RUSHES_GUARDED_BY(mutex_);
  size_t idle_ RUSHES_GUARDED_BY(mutex_) = 0;
  bool stopping_ RUSHES_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
