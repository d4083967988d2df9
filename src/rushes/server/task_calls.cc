#include "rushes/server/task_calls.h"

#include <chrono>
#include <deque>
#include <unordered_set>
#include <utility>

#include <grpcpp/alarm.h>

#include "rushes/wire/dataframe.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes {
namespace {

using Request = rerun::cloud::v1alpha1::QueryTasksOnCompletionRequest;
using Response = rerun::cloud::v1alpha1::QueryTasksOnCompletionResponse;

constexpr double kLongestTimeoutS = 1e7;

class TaskReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  // Nothing else may touch the reactor before Start has returned.
  explicit TaskReactor(arrow::Result<std::vector<std::string>> ids) : ids_(std::move(ids)), link_(std::make_shared<Link>()) {
    link_->reactor = this;
  }

  void Start(TaskList& tasks, const Request& request) {
    StartSendInitialMetadata();
    if (!ids_.ok()) {
      MutexLock lock(link_->mutex);
      status_ = ids_.status();
      Continue();
      return;
    }
    auto watch = tasks.Watch(*ids_, [link = link_](const TaskInfo& info) {
      MutexLock lock(link->mutex);
      if (link->reactor) link->reactor->ended_.push_back(info);
      if (link->reactor && link->reactor->is_started_) link->reactor->Continue();
    });
    MutexLock lock(link_->mutex);
    watch_ = std::move(watch);
    left_ = ids_->size();
    is_started_ = true;
    if (request.has_timeout() && ended_.size() < left_) {
      const double seconds = static_cast<double>(request.timeout().seconds()) + 1e-9 * request.timeout().nanos();
      timeout_s_ = std::clamp(seconds, 0.0, kLongestTimeoutS);
      alarm_.Set(std::chrono::system_clock::now() +
                     std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::duration<double>(timeout_s_)),
                 [link = link_](bool is_due) {
                   MutexLock relock(link->mutex);
                   if (!link->reactor) return;
                   if (is_due) link->reactor->is_late_ = true;
                   link->reactor->Continue();
                 });
    }
    Continue();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(link_->mutex);
    is_writing_ = false;
    is_cancelled_ |= !ok;
    Continue();
  }
  void OnCancel() override {
    MutexLock lock(link_->mutex);
    is_cancelled_ = true;
    Continue();
  }
  void OnDone() override {
    watch_.reset();
    {
      MutexLock lock(link_->mutex);
      link_->reactor = nullptr;
    }
    alarm_.Cancel();
    delete this;
  }

 private:
  // Outlives the reactor in a notification that is under way; its mutex guards the reactor.
  struct Link {
    Mutex mutex;
    TaskReactor* reactor = nullptr;
  };

  // Does the next step there is to do. With the mutex held.
  void Continue() {
    if (is_writing_ || is_finished_) return;
    if (is_cancelled_) return End(arrow::Status::Cancelled("the client went away"));
    if (!status_.ok()) return End(status_);
    // A request for no task is answered with an empty batch.
    if (!ended_.empty() || (left_ == 0 && !has_written_)) {
      const std::vector<TaskInfo> ended(ended_.begin(), ended_.end());
      const auto batch = wire::MakeTaskBatch(ended);
      if (!batch.ok()) return End(batch.status());
      message_.Clear();
      if (const arrow::Status encoded = wire::EncodePart(**batch, message_.mutable_data()); !encoded.ok()) return End(encoded);
      left_ -= ended.size();
      ended_.clear();
      is_writing_ = has_written_ = true;
      StartWrite(&message_);
      return;
    }
    if (left_ == 0) return End(arrow::Status::OK());
    if (is_late_) {
      End(wire::MakeStatus(wire::RpcCode::kDeadlineExceeded, std::to_string(left_) + " of " + std::to_string(ids_->size()) +
                                                                 " tasks have not ended within " + std::to_string(timeout_s_) +
                                                                 " seconds"));
    }
  }
  void End(const arrow::Status& status) {
    is_finished_ = true;
    Finish(wire::ToGrpcStatus(status));
  }

  const arrow::Result<std::vector<std::string>> ids_;
  const std::shared_ptr<Link> link_;
  std::shared_ptr<void> watch_;
  grpc::Alarm alarm_;
  std::deque<TaskInfo> ended_;  // not told yet
  size_t left_ = 0;             // neither told nor being told
  double timeout_s_ = 0;
  arrow::Status status_;
  bool is_started_ = false;
  bool is_writing_ = false;
  bool has_written_ = false;
  bool is_late_ = false;
  bool is_cancelled_ = false;
  bool is_finished_ = false;
  Response message_;
};

}  // namespace

arrow::Result<std::vector<std::string>> TaskIds(const google::protobuf::RepeatedPtrField<rerun::common::v1alpha1::TaskId>& wanted) {
  std::vector<std::string> ids;
  std::unordered_set<std::string> seen;
  for (const auto& id : wanted) {
    if (id.id().empty()) return arrow::Status::Invalid("a task id must not be empty");
    if (seen.insert(id.id()).second) ids.push_back(id.id());
  }
  return ids;
}

grpc::ServerWriteReactor<Response>* WaitForTasks(grpc::CallbackServerContext* context, const RpcEnvironment& environment,
                                                 const std::shared_ptr<Catalog>& catalog, const Request& request) {
  AddResponseHeaders(context, environment);
  auto* reactor = new TaskReactor(TaskIds(request.ids()));
  reactor->Start(catalog->tasks(), request);
  return reactor;
}

}  // namespace rushes
