#include "rushes/client/event_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace rushes {
namespace {

constexpr double kLongestWaitS = 1e7;

}  // namespace

void EventQueue::Push(const CatalogEvent& event) {
  MutexLock lock(mutex_);
  if (is_closed_ || end_) return;
  events_.push_back(event);
  if (events_.size() > kMaxEvents) events_.pop_front();
  changed_.NotifyAll();
}

void EventQueue::End(arrow::Status status) {
  MutexLock lock(mutex_);
  if (!end_) end_ = std::move(status);
  changed_.NotifyAll();
}

arrow::Status EventQueue::WaitForEnd(double timeout_s) {
  MutexLock lock(mutex_);
  const auto has_ended = [this]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return end_.has_value(); };
  changed_.WaitFor(lock, std::chrono::duration<double>(timeout_s), has_ended);
  return end_.value_or(arrow::Status::OK());
}

arrow::Result<std::optional<CatalogEvent>> EventQueue::Next(double timeout_s) {
  MutexLock lock(mutex_);
  const auto has_news = [this]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return is_closed_ || end_ || !events_.empty(); };
  changed_.WaitFor(lock, std::chrono::duration<double>(std::clamp(timeout_s, 0.0, kLongestWaitS)), has_news);
  if (is_closed_) return std::optional<CatalogEvent>();
  if (!events_.empty()) {
    const CatalogEvent event = events_.front();
    events_.pop_front();
    return event;
  }
  if (end_) return *end_;
  return std::optional<CatalogEvent>();
}

void EventQueue::Close() {
  MutexLock lock(mutex_);
  is_closed_ = true;
  events_.clear();
  changed_.NotifyAll();
}

bool EventQueue::is_closed() const {
  MutexLock lock(mutex_);
  return is_closed_;
}

}  // namespace rushes
