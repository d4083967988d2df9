#include "rushes/catalog/task_list.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <set>
#include <utility>

#include "rushes/chunk/tuid.h"

namespace rushes {
namespace {

// The words of one task; more tells a reader nothing.
constexpr size_t kMaxMessageBytes = 64 << 10;

int64_t SystemNowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string NewTaskId() {
  const Tuid id = Tuid::New();
  char text[32];
  std::snprintf(text, sizeof(text), "task_%016" PRIx64, static_cast<uint64_t>((id.time_ns << 8) ^ (id.counter * 0x9E3779B97F4A7C15u)));
  return text;
}

void Apply(TaskList::Outcome outcome, TaskInfo* info) {
  info->state = outcome.state;
  info->message = std::move(outcome.message);
  info->dataset = outcome.dataset;
  info->dataset_revision = outcome.dataset_revision;
  info->updated_at_ns = SystemNowNs();
}

}  // namespace

std::string TaskList::Add(std::string kind, Subject subject, std::function<void()> on_cancel) {
  Task task;
  task.info.id = NewTaskId();
  task.info.kind = std::move(kind);
  task.info.state = TaskState::kPending;
  task.info.created_at_ns = task.info.updated_at_ns = SystemNowNs();
  task.subject = std::move(subject);
  task.on_cancel = std::move(on_cancel);
  std::string id = task.info.id;
  MutexLock lock(mutex_);
  open_.emplace(id, std::move(task));
  return id;
}

std::string TaskList::AddEnded(std::string kind, Outcome outcome) {
  TaskInfo info;
  info.id = NewTaskId();
  info.kind = std::move(kind);
  info.created_at_ns = SystemNowNs();
  Apply(std::move(outcome), &info);
  std::string id = info.id;
  MutexLock lock(mutex_);
  Remember(std::move(info));
  return id;
}

bool TaskList::Start(const std::string& id) {
  MutexLock lock(mutex_);
  const auto it = open_.find(id);
  if (it == open_.end()) return false;
  it->second.info.state = TaskState::kRunning;
  it->second.info.updated_at_ns = SystemNowNs();
  return true;
}

bool TaskList::Claim(const std::string& id) {
  MutexLock lock(mutex_);
  const auto it = open_.find(id);
  if (it == open_.end()) return false;
  it->second.is_claimed = true;
  return true;
}

void TaskList::End(const std::string& id, Outcome outcome) {
  TaskInfo info;
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    MutexLock lock(mutex_);
    if (!open_.contains(id)) return;
    watchers = Close(id, std::move(outcome), &info);
  }
  for (const auto& watcher : watchers) (*watcher)(info);
}

void TaskList::Cancel(const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    TaskInfo info;
    std::vector<std::shared_ptr<Watcher>> watchers;
    std::function<void()> on_cancel;
    {
      MutexLock lock(mutex_);
      const auto it = open_.find(id);
      if (it == open_.end() || it->second.is_claimed) continue;
      on_cancel = std::move(it->second.on_cancel);
      const Subject& subject = it->second.subject;
      std::string message = "- Segment \"" + subject.segment_id + "\", layer \"" + subject.layer + "\": cancelled; nothing of it was done";
      watchers = Close(id, {TaskState::kCancelled, std::move(message), {}, 0}, &info);
    }
    if (on_cancel) on_cancel();
    for (const auto& watcher : watchers) (*watcher)(info);
  }
}

std::vector<std::string> TaskList::FindOpen(EntryId dataset, const std::vector<std::string>& segments,
                                            const std::vector<std::string>& layers) const {
  const std::set<std::string_view> wanted_segments(segments.begin(), segments.end());
  const std::set<std::string_view> wanted_layers(layers.begin(), layers.end());
  std::vector<std::string> found;
  MutexLock lock(mutex_);
  for (const auto& [id, task] : open_) {
    if (task.subject.dataset != dataset) continue;
    if (!wanted_segments.empty() && !wanted_segments.contains(task.subject.segment_id)) continue;
    if (!wanted_layers.empty() && !wanted_layers.contains(task.subject.layer)) continue;
    found.push_back(id);
  }
  return found;
}

TaskInfo TaskList::InfoOf(const std::string& id) const {
  if (const auto open = open_.find(id); open != open_.end()) return open->second.info;
  if (const auto ended = ended_.find(id); ended != ended_.end()) return ended->second;
  TaskInfo unknown;
  unknown.id = id;
  return unknown;
}

std::vector<TaskInfo> TaskList::Query(const std::vector<std::string>& ids) const {
  std::vector<TaskInfo> out;
  out.reserve(ids.size());
  MutexLock lock(mutex_);
  for (const std::string& id : ids) out.push_back(InfoOf(id));
  return out;
}

std::vector<TaskInfo> TaskList::QueryAll() const {
  std::vector<TaskInfo> out;
  MutexLock lock(mutex_);
  for (const auto& [id, task] : open_) out.push_back(task.info);
  for (const auto& [id, info] : ended_) out.push_back(info);
  return out;
}

std::shared_ptr<void> TaskList::Watch(const std::vector<std::string>& ids, std::function<void(const TaskInfo&)> on_end) {
  auto watcher = std::make_shared<Watcher>(std::move(on_end));
  std::set<std::string_view> seen;
  std::vector<TaskInfo> ended;
  {
    MutexLock lock(mutex_);
    for (const std::string& id : ids) {
      if (!seen.insert(id).second) continue;
      if (const auto open = open_.find(id); open != open_.end()) {
        auto& watchers = open->second.watchers;
        std::erase_if(watchers, [](const auto& weak) { return weak.expired(); });
        watchers.push_back(watcher);
      } else {
        ended.push_back(InfoOf(id));
      }
    }
  }
  for (const TaskInfo& info : ended) (*watcher)(info);
  return watcher;
}

arrow::Status TaskList::Wait(const std::vector<std::string>& ids, double timeout_s,
                             const std::function<arrow::Status(const TaskInfo&)>& on_end) {
  struct Arrived {
    Mutex mutex;
    CondVar changed;
    std::deque<TaskInfo> tasks RUSHES_GUARDED_BY(mutex);
  };
  const auto arrived = std::make_shared<Arrived>();
  const auto handle = Watch(ids, [arrived](const TaskInfo& info) {
    MutexLock lock(arrived->mutex);
    arrived->tasks.push_back(info);
    arrived->changed.NotifyAll();
  });
  size_t left = std::set<std::string_view>(ids.begin(), ids.end()).size();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                               std::chrono::duration<double>(std::clamp(timeout_s, 0.0, 1e9)));
  while (left > 0) {
    std::deque<TaskInfo> tasks;
    {
      MutexLock lock(arrived->mutex);
      const auto is_there = [&arrived]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return !arrived->tasks.empty(); };
      if (timeout_s < 0) {
        arrived->changed.Wait(lock, is_there);
      } else if (!arrived->changed.WaitFor(lock, deadline - std::chrono::steady_clock::now(), is_there)) {
        return arrow::Status::IOError("timeout: ", left, " of the tasks have not ended within ", timeout_s, " seconds");
      }
      tasks.swap(arrived->tasks);
    }
    left -= tasks.size();
    for (const TaskInfo& info : tasks) ARROW_RETURN_NOT_OK(on_end(info));
  }
  return arrow::Status::OK();
}

std::vector<std::shared_ptr<TaskList::Watcher>> TaskList::Close(const std::string& id, Outcome outcome, TaskInfo* out) {
  const auto it = open_.find(id);
  *out = std::move(it->second.info);
  Apply(std::move(outcome), out);
  std::vector<std::shared_ptr<Watcher>> watchers;
  for (const auto& weak : it->second.watchers) {
    if (auto watcher = weak.lock()) watchers.push_back(std::move(watcher));
  }
  open_.erase(it);
  Remember(*out);
  return watchers;
}

void TaskList::Remember(TaskInfo info) {
  if (info.message.size() > kMaxMessageBytes) {
    info.message.resize(kMaxMessageBytes);
    info.message += " …";
  }
  auto& order = info.state == TaskState::kSuccess ? succeeded_order_ : failed_order_;
  order.push_back(info.id);
  ended_[info.id] = std::move(info);
  if (order.size() > max_ended_) {
    ended_.erase(order.front());
    order.pop_front();
  }
}

}  // namespace rushes
