#include "rushes/wire/grpc_status.h"

#include <string>

#include "rushes/wire/status.h"

namespace rushes::wire {

grpc::Status ToGrpcStatus(const arrow::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(CodeOf(status)), status.message(), std::string(PayloadOf(status)));
}

arrow::Status FromGrpcStatus(const grpc::Status& status, std::string_view context) {
  if (status.ok()) return arrow::Status::OK();
  const int number = static_cast<int>(status.error_code());
  const RpcCode code = number >= 1 && number <= 16 ? static_cast<RpcCode>(number) : RpcCode::kUnknown;
  std::string message = status.error_message();
  if (message.empty()) message = ToString(code);
  if (!context.empty()) {
    message += '\n';
    message += context;
  }
  return MakeStatus(code, std::move(message));
}

}  // namespace rushes::wire
