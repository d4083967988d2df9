// Work that goes on after the request that began it was answered: its tasks, who waits for them, and how they ended.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "arrow/status.h"
#include "rushes/chunk/catalog_types.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

// Thread safe. Ids that are not known count as successful: what ended well long ago is forgotten.
class TaskList {
 public:
  // What a task works on.
  struct Subject {
    EntryId dataset;
    std::string segment_id;
    std::string layer;
  };
  // How many ended tasks are remembered; the oldest go first. Failures and successes do not push each other out.
  explicit TaskList(size_t max_ended = 10'000) : max_ended_(max_ended) {}
  TaskList(const TaskList&) = delete;

  // A new task, pending. `on_cancel` is called once, from Cancel, when somebody gives it up; it must be quick and not call back.
  std::string Add(std::string kind, Subject subject, std::function<void()> on_cancel = nullptr);
  // How a task ended.
  struct Outcome {
    TaskState state = TaskState::kSuccess;
    std::string message;
    EntryId dataset;  // as in TaskInfo
    uint64_t dataset_revision = 0;
  };
  // A task that has ended already.
  std::string AddEnded(std::string kind, Outcome outcome);

  // From pending to running. False if it was cancelled.
  bool Start(const std::string& id);
  // From here on it cannot be cancelled. False if it was.
  bool Claim(const std::string& id);
  // The end of a task that was not cancelled; otherwise nothing happens.
  void End(const std::string& id, Outcome outcome);

  // Ends the tasks that are pending or running as kCancelled. Others, and unknown ids, are left alone.
  void Cancel(const std::vector<std::string>& ids);
  // Open tasks on the product of segments and layers of a dataset; an empty list means all.
  std::vector<std::string> FindOpen(EntryId dataset, const std::vector<std::string>& segments,
                                    const std::vector<std::string>& layers) const;

  // In the order of `ids`.
  std::vector<TaskInfo> Query(const std::vector<std::string>& ids) const;
  // All that are known, in no particular order.
  std::vector<TaskInfo> QueryAll() const;

  // Calls `on_end` once for each distinct id: before this returns for those that have ended, later from the thread that ends them. It
  // must be quick and not call back. Drop the handle to hear no more.
  [[nodiscard]] std::shared_ptr<void> Watch(const std::vector<std::string>& ids, std::function<void(const TaskInfo&)> on_end);
  // Blocks until all have ended. IOError "timeout: …" after `timeout_s` seconds (negative: never); what `on_end` returns if it fails.
  // `on_end` is called on this thread.
  arrow::Status Wait(const std::vector<std::string>& ids, double timeout_s, const std::function<arrow::Status(const TaskInfo&)>& on_end);

 private:
  using Watcher = std::function<void(const TaskInfo&)>;
  struct Task {
    TaskInfo info;
    Subject subject;
    bool is_claimed = false;
    std::function<void()> on_cancel;
    std::vector<std::weak_ptr<Watcher>> watchers;
  };
  TaskInfo InfoOf(const std::string& id) const RUSHES_REQUIRES(mutex_);
  // Takes a task off the open ones, remembers how it ended, and gives who waits for it.
  std::vector<std::shared_ptr<Watcher>> Close(const std::string& id, Outcome outcome, TaskInfo* out) RUSHES_REQUIRES(mutex_);
  void Remember(TaskInfo info) RUSHES_REQUIRES(mutex_);

  const size_t max_ended_;
  mutable Mutex mutex_;
  std::unordered_map<std::string, Task> open_ RUSHES_GUARDED_BY(mutex_);
  std::unordered_map<std::string, TaskInfo> ended_ RUSHES_GUARDED_BY(mutex_);
  std::deque<std::string> succeeded_order_ RUSHES_GUARDED_BY(mutex_);
  std::deque<std::string> failed_order_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
