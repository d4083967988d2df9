// gRPC server reflection, as grpcurl and the like use it, under its two names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <grpcpp/impl/codegen/service_type.h>

namespace rushes {

inline constexpr char kReflectionServices[2][48] = {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"};

// Both services. They list `services` (full names) and describe every message and service that is linked in.
std::vector<std::unique_ptr<grpc::Service>> MakeReflectionServices(std::vector<std::string> services);

}  // namespace rushes
