// arrow::Status <-> grpc::Status: the edge of servers and clients. The only header of this folder that includes gRPC.
#pragma once

#include <string_view>

#include <grpcpp/support/status.h>
#include "arrow/status.h"

namespace rushes::wire {

// Code by CodeOf (wire/status.h), message unchanged.
grpc::Status ToGrpcStatus(const arrow::Status& status);

// Status by MakeStatus (wire/status.h). `context`, if any, follows the server's words on a line of its own.
arrow::Status FromGrpcStatus(const grpc::Status& status, std::string_view context = {});

}  // namespace rushes::wire
