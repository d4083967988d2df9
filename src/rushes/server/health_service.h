// The standard health service: serving until the server shuts down.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <grpcpp/impl/codegen/service_type.h>

namespace rushes {

inline constexpr char kHealthService[] = "grpc.health.v1.Health";

// Thread safe.
class HealthService {
 public:
  // Knows `services` (full names) and the empty name, which is the whole server.
  explicit HealthService(std::vector<std::string> services);
  ~HealthService();
  grpc::Service* service();
  // From now on NOT_SERVING, also to those who watch.
  void StopServing();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rushes
