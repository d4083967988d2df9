// std::mutex with clang's thread-safety annotations, and a scoped lock for it.
//
// Debian's absl::Mutex confuses the thread sanitizer, and a bare std::mutex cannot be annotated; this wrapper is both
// checkable by `clang -Wthread-safety` and plain to the sanitizers.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define RUSHES_ATTRIBUTE(x) __attribute__((x))
#else
#define RUSHES_ATTRIBUTE(x)
#endif
#define RUSHES_CAPABILITY(x) RUSHES_ATTRIBUTE(capability(x))
#define RUSHES_SCOPED_CAPABILITY RUSHES_ATTRIBUTE(scoped_lockable)
#define RUSHES_GUARDED_BY(x) RUSHES_ATTRIBUTE(guarded_by(x))
#define RUSHES_REQUIRES(...) RUSHES_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define RUSHES_ACQUIRE(...) RUSHES_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RUSHES_RELEASE(...) RUSHES_ATTRIBUTE(release_capability(__VA_ARGS__))
#define RUSHES_EXCLUDES(...) RUSHES_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define RUSHES_NO_THREAD_SAFETY_ANALYSIS RUSHES_ATTRIBUTE(no_thread_safety_analysis)

namespace rushes {

class RUSHES_CAPABILITY("mutex") Mutex {
 public:
  void Lock() RUSHES_ACQUIRE() { mutex_.lock(); }
  void Unlock() RUSHES_RELEASE() { mutex_.unlock(); }
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

class RUSHES_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) RUSHES_ACQUIRE(mutex) : lock_(mutex.native()) {}
  ~MutexLock() RUSHES_RELEASE() {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  // For CondVar only.
  std::unique_lock<std::mutex>& native() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
};

// A condition variable for Mutex. Waits may wake spuriously; use the predicate forms.
class CondVar {
 public:
  template <typename Predicate>
  void Wait(MutexLock& lock, Predicate done) RUSHES_NO_THREAD_SAFETY_ANALYSIS {
    condition_.wait(lock.native(), done);
  }
  // Returns the predicate's value when it holds or `timeout` has passed.
  template <typename Duration, typename Predicate>
  bool WaitFor(MutexLock& lock, Duration timeout, Predicate done) RUSHES_NO_THREAD_SAFETY_ANALYSIS {
    return condition_.wait_for(lock.native(), timeout, done);
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace rushes
