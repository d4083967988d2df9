#include "rushes/server/health_service.h"

#include <algorithm>
#include <functional>
#include <map>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "grpc/health/v1/health.grpc.pb.h"
#include "rushes/chunk/mutex.h"
#include "rushes/server/rpc_internal.h"

namespace rushes {
namespace {

namespace health = ::grpc::health::v1;
using Status = health::HealthCheckResponse::ServingStatus;

// What the calls under way share; outlives them and the service.
struct State {
  Mutex mutex;
  bool is_serving RUSHES_GUARDED_BY(mutex) = true;
  std::map<const void*, std::function<void()>> watchers RUSHES_GUARDED_BY(mutex);  // told when that changes, without the lock

  Status status() RUSHES_REQUIRES(mutex) {
    return is_serving ? health::HealthCheckResponse::SERVING : health::HealthCheckResponse::NOT_SERVING;
  }
};

// Sends the status, and again when it is another one.
class WatchReactor final : public PushReactor<health::HealthCheckResponse> {
 public:
  WatchReactor(std::shared_ptr<State> state, bool is_known) : state_(std::move(state)), is_known_(is_known) {
    {
      MutexLock lock(state_->mutex);
      state_->watchers.emplace(this, Notifier<WatchReactor>([](WatchReactor&) {}));
    }
    Start([] {});
  }
  ~WatchReactor() override {
    MutexLock lock(state_->mutex);
    state_->watchers.erase(this);
  }

 private:
  arrow::Result<Step> Next(health::HealthCheckResponse* response) override {
    Status status = health::HealthCheckResponse::SERVICE_UNKNOWN;
    if (is_known_) {
      MutexLock lock(state_->mutex);
      status = state_->status();
    }
    if (status == sent_) return Step::kWait;
    sent_ = status;
    response->set_status(status);
    return Step::kWrite;
  }

  const std::shared_ptr<State> state_;
  const bool is_known_;
  Status sent_ = health::HealthCheckResponse::UNKNOWN;  // which is never sent
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
    return new WatchReactor(state_, Knows(request->service()));
  }

  void StopServing() {
    std::vector<std::function<void()>> watchers;
    {
      MutexLock lock(state_->mutex);
      state_->is_serving = false;
      for (const auto& [reactor, tell] : state_->watchers) watchers.push_back(tell);
    }
    for (const auto& tell : watchers) tell();
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
