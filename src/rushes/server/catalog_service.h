// The gRPC service over a catalog.
#pragma once

#include <memory>

#include <grpcpp/impl/codegen/service_type.h>

#include "rushes/catalog/catalog.h"

namespace rushes {

struct RpcEnvironment;
class UploadGrants;

// `uploads` and `environment` must outlive the service.
std::unique_ptr<grpc::Service> MakeCatalogService(std::shared_ptr<Catalog> catalog, UploadGrants& uploads,
                                                  const RpcEnvironment& environment);

}  // namespace rushes
