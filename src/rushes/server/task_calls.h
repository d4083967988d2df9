// `QueryTasksOnCompletion`: tells of tasks as they end. No thread is held while a client waits.
#pragma once

#include <string>
#include <vector>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/catalog/catalog.h"
#include "rushes/server/rpc_internal.h"

namespace rushes {

// The distinct ids of a request. Invalid for an empty one.
arrow::Result<std::vector<std::string>> TaskIds(const google::protobuf::RepeatedPtrField<rerun::common::v1alpha1::TaskId>& ids);

// Each requested task once, as soon as it has ended, several a message if they end together; then OK. DEADLINE_EXCEEDED when the request's
// timeout passes before.
grpc::ServerWriteReactor<rerun::cloud::v1alpha1::QueryTasksOnCompletionResponse>* WaitForTasks(
    grpc::CallbackServerContext* context, const RpcEnvironment& environment, const std::shared_ptr<Catalog>& catalog,
    const rerun::cloud::v1alpha1::QueryTasksOnCompletionRequest& request);

}  // namespace rushes
