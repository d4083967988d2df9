#include "rushes/server/health_service.h"

#include <algorithm>
#include <set>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "grpc/health/v1/health.grpc.pb.h"
#include "rushes/chunk/mutex.h"

namespace rushes {
namespace {

namespace health = ::grpc::health::v1;
using Status = health::HealthCheckResponse::ServingStatus;

// What the calls under way share; outlives them and the service.
struct State {
  Mutex mutex;
  bool is_serving RUSHES_GUARDED_BY(mutex) = true;
  class WatchReactor;
  std::set<WatchReactor*> watchers RUSHES_GUARDED_BY(mutex);

  Status status() RUSHES_REQUIRES(mutex) {
    return is_serving ? health::HealthCheckResponse::SERVING : health::HealthCheckResponse::NOT_SERVING;
  }
};

// Sends the status, and again when it is another one.
class State::WatchReactor final : public grpc::ServerWriteReactor<health::HealthCheckResponse> {
 public:
  WatchReactor(std::shared_ptr<State> state, bool is_known) : state_(std::move(state)), is_known_(is_known) {
    MutexLock lock(state_->mutex);
    state_->watchers.insert(this);
    Continue();
  }

  // With the state's lock held.
  void Continue() RUSHES_NO_THREAD_SAFETY_ANALYSIS {
    if (is_writing_ || is_finished_) return;
    if (is_cancelled_) {
      is_finished_ = true;
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
      return;
    }
    const Status status = is_known_ ? state_->status() : health::HealthCheckResponse::SERVICE_UNKNOWN;
    if (response_.status() == status) return;
    response_.set_status(status);
    is_writing_ = true;
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(state_->mutex);
    is_writing_ = false;
    is_cancelled_ |= !ok;
    Continue();
  }
  void OnCancel() override {
    MutexLock lock(state_->mutex);
    is_cancelled_ = true;
    Continue();
  }
  void OnDone() override {
    {
      MutexLock lock(state_->mutex);
      state_->watchers.erase(this);
    }
    delete this;
  }

 private:
  const std::shared_ptr<State> state_;
  const bool is_known_;
  health::HealthCheckResponse response_;  // UNKNOWN, which is never sent, before the first
  bool is_writing_ = false;
  bool is_cancelled_ = false;
  bool is_finished_ = false;
};

}  // namespace

class HealthService::Impl final : public health::Health::CallbackService {
 public:
  explicit Impl(std::vector<std::string> services) : services_(std::move(services)) { services_.emplace_back(); }

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const health::HealthCheckRequest* request,
                                  health::HealthCheckResponse* response) override {
    auto* reactor = context->DefaultReactor();
    if (Knows(request->service())) {
      MutexLock lock(state_->mutex);
      response->set_status(state_->status());
      reactor->Finish(grpc::Status::OK);
    } else {
      reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no service is named '" + request->service() + "'"));
    }
    return reactor;
  }

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const health::HealthListRequest*,
                                 health::HealthListResponse* response) override {
    auto* reactor = context->DefaultReactor();
    MutexLock lock(state_->mutex);
    for (const std::string& service : services_) (*response->mutable_statuses())[service].set_status(state_->status());
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerWriteReactor<health::HealthCheckResponse>* Watch(grpc::CallbackServerContext*,
                                                               const health::HealthCheckRequest* request) override {
    return new State::WatchReactor(state_, Knows(request->service()));
  }

  void StopServing() {
    MutexLock lock(state_->mutex);
    state_->is_serving = false;
    for (auto* watcher : state_->watchers) watcher->Continue();
  }

 private:
  bool Knows(const std::string& service) const { return std::find(services_.begin(), services_.end(), service) != services_.end(); }

  std::vector<std::string> services_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

HealthService::HealthService(std::vector<std::string> services) : impl_(std::make_unique<Impl>(std::move(services))) {}
HealthService::~HealthService() = default;
grpc::Service* HealthService::service() { return impl_.get(); }
void HealthService::StopServing() { impl_->StopServing(); }

}  // namespace rushes
