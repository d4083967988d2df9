#include "rushes/server/task_calls.h"

#include <chrono>
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

class TaskReactor final : public PushReactor<Response> {
 public:
  TaskReactor(arrow::Result<std::vector<std::string>> ids, TaskList& tasks, const Request& request) : ids_(std::move(ids)) {
    // Tasks that have ended already are told of before Watch returns: not with the mutex held.
    if (ids_.ok())
      watch_ = tasks.Watch(*ids_, Notifier<TaskReactor>([](TaskReactor& self, const TaskInfo& info) { self.ended_.push_back(info); }));
    Start([&] {
      if (!ids_.ok()) return;
      left_ = ids_->size();
      if (request.has_timeout() && ended_.size() < left_) SetAlarm(request.timeout().seconds(), request.timeout().nanos());
    });
  }

 private:
  void SetAlarm(int64_t seconds, int32_t nanos) {
    timeout_s_ = std::clamp(static_cast<double>(seconds) + 1e-9 * nanos, 0.0, kLongestTimeoutS);
    const auto timeout = std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::duration<double>(timeout_s_));
    alarm_.Set(std::chrono::system_clock::now() + timeout,
               Notifier<TaskReactor>([](TaskReactor& self, bool is_due) { self.is_late_ |= is_due; }));
  }

  arrow::Result<Step> Next(Response* message) override {
    ARROW_RETURN_NOT_OK(ids_.status());
    // A request for no task is answered with an empty batch.
    if (!ended_.empty() || (left_ == 0 && !has_written_)) {
      ARROW_ASSIGN_OR_RAISE(const auto batch, wire::MakeTaskBatch(ended_));
      ARROW_RETURN_NOT_OK(wire::EncodePart(*batch, message->mutable_data()));
      left_ -= ended_.size();
      ended_.clear();
      has_written_ = true;
      return Step::kWrite;
    }
    if (left_ == 0) return Step::kEnd;
    if (!is_late_) return Step::kWait;
    return wire::MakeStatus(wire::RpcCode::kDeadlineExceeded, std::to_string(left_) + " of " + std::to_string(ids_->size()) +
                                                                  " tasks have not ended within " + std::to_string(timeout_s_) +
                                                                  " seconds");
  }

  const arrow::Result<std::vector<std::string>> ids_;
  std::vector<TaskInfo> ended_;  // not told yet
  size_t left_ = 0;              // neither told nor being told
  double timeout_s_ = 0;
  bool has_written_ = false;
  bool is_late_ = false;
  std::shared_ptr<void> watch_;
  grpc::Alarm alarm_;
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
  return new TaskReactor(TaskIds(request.ids()), catalog->tasks(), request);
}

}  // namespace rushes
