#include "rushes/wire/status.h"

#include <utility>

#include "rushes/rrd/proto_bytes.h"

namespace rushes::wire {

std::string_view ToString(RpcCode code) {
  switch (code) {
    case RpcCode::kOk:
      return "Ok";
    case RpcCode::kCancelled:
      return "Cancelled";
    case RpcCode::kUnknown:
      return "Unknown";
    case RpcCode::kInvalidArgument:
      return "InvalidArgument";
    case RpcCode::kDeadlineExceeded:
      return "DeadlineExceeded";
    case RpcCode::kNotFound:
      return "NotFound";
    case RpcCode::kAlreadyExists:
      return "AlreadyExists";
    case RpcCode::kPermissionDenied:
      return "PermissionDenied";
    case RpcCode::kResourceExhausted:
      return "ResourceExhausted";
    case RpcCode::kFailedPrecondition:
      return "FailedPrecondition";
    case RpcCode::kAborted:
      return "Aborted";
    case RpcCode::kOutOfRange:
      return "OutOfRange";
    case RpcCode::kUnimplemented:
      return "Unimplemented";
    case RpcCode::kInternal:
      return "Internal";
    case RpcCode::kUnavailable:
      return "Unavailable";
    case RpcCode::kDataLoss:
      return "DataLoss";
    case RpcCode::kUnauthenticated:
      return "Unauthenticated";
  }
  return "Unknown";
}

RpcCode CodeOf(const arrow::Status& status) {
  if (status.ok()) return RpcCode::kOk;
  // Compared by name: the same class may be compiled into two binaries.
  if (status.detail() != nullptr && std::string_view(status.detail()->type_id()) == "rushes::wire::RpcStatusDetail") {
    return static_cast<const RpcStatusDetail&>(*status.detail()).code();
  }
  switch (status.code()) {
    case arrow::StatusCode::KeyError:
      return RpcCode::kNotFound;
    case arrow::StatusCode::AlreadyExists:
      return RpcCode::kAlreadyExists;
    case arrow::StatusCode::Invalid:
    case arrow::StatusCode::TypeError:
    case arrow::StatusCode::IndexError:
      return RpcCode::kInvalidArgument;
    case arrow::StatusCode::NotImplemented:
      return RpcCode::kUnimplemented;
    case arrow::StatusCode::Cancelled:
      return RpcCode::kCancelled;
    case arrow::StatusCode::CapacityError:
    case arrow::StatusCode::OutOfMemory:
      return RpcCode::kResourceExhausted;
    default:
      return RpcCode::kInternal;
  }
}

std::string_view PayloadOf(const arrow::Status& status) {
  if (status.detail() == nullptr || std::string_view(status.detail()->type_id()) != "rushes::wire::RpcStatusDetail") return {};
  return static_cast<const RpcStatusDetail&>(*status.detail()).payload();
}

arrow::Status RevisionBehind(std::string message) {
  // google.rpc.Status {code = 1, message = 2, details = 3} with one Any {type_url = 1, value = 2} of
  // google.rpc.ErrorInfo {reason = 1, domain = 2}.
  rrd::ProtoWriter info, any, payload;
  info.Bytes(1, "DATASET_REVISION_BEHIND");
  info.Bytes(2, "rerun.io");
  any.Bytes(1, "type.googleapis.com/google.rpc.ErrorInfo");
  any.Bytes(2, info.Finish());
  payload.Varint(1, static_cast<uint64_t>(RpcCode::kFailedPrecondition));
  payload.Bytes(2, message);
  payload.Bytes(3, any.Finish());
  return arrow::Status(arrow::StatusCode::IOError, std::move(message),
                       std::make_shared<RpcStatusDetail>(RpcCode::kFailedPrecondition, payload.Finish()));
}

arrow::Status MakeStatus(RpcCode code, std::string message) {
  arrow::StatusCode arrow_code = arrow::StatusCode::IOError;
  switch (code) {
    case RpcCode::kOk:
      return arrow::Status::OK();
    case RpcCode::kNotFound:
      arrow_code = arrow::StatusCode::KeyError;
      break;
    case RpcCode::kAlreadyExists:
      arrow_code = arrow::StatusCode::AlreadyExists;
      break;
    case RpcCode::kInvalidArgument:
    case RpcCode::kOutOfRange:
      arrow_code = arrow::StatusCode::Invalid;
      break;
    case RpcCode::kUnimplemented:
      arrow_code = arrow::StatusCode::NotImplemented;
      break;
    case RpcCode::kCancelled:
      arrow_code = arrow::StatusCode::Cancelled;
      break;
    default:
      break;
  }
  return arrow::Status(arrow_code, std::move(message), std::make_shared<RpcStatusDetail>(code));
}

}  // namespace rushes::wire
