// gRPC status codes on arrow::Status, without gRPC.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "arrow/status.h"

namespace rushes::wire {

// gRPC's codes, with its numbers.
enum class RpcCode : int32_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "NotFound", "Unavailable", ...; "Unknown" for other numbers.
std::string_view ToString(RpcCode code);

// Rides on an arrow::Status whose code alone would not say which gRPC code it is (or was).
class RpcStatusDetail : public arrow::StatusDetail {
 public:
  explicit RpcStatusDetail(RpcCode code) : code_(code) {}
  const char* type_id() const override { return "rushes::wire::RpcStatusDetail"; }
  std::string ToString() const override { return std::string(wire::ToString(code_)); }
  RpcCode code() const { return code_; }

 private:
  RpcCode code_;
};

// The gRPC code of a status: that of its RpcStatusDetail, else
//   KeyError                       NOT_FOUND
//   AlreadyExists                  ALREADY_EXISTS
//   Invalid, TypeError, IndexError INVALID_ARGUMENT
//   NotImplemented                 UNIMPLEMENTED
//   Cancelled                      CANCELLED
//   CapacityError, OutOfMemory     RESOURCE_EXHAUSTED
//   all others                     INTERNAL
RpcCode CodeOf(const arrow::Status& status);

// The inverse, with a detail so that nothing is lost:
//   NOT_FOUND                      KeyError
//   ALREADY_EXISTS                 AlreadyExists
//   INVALID_ARGUMENT, OUT_OF_RANGE Invalid
//   UNIMPLEMENTED                  NotImplemented
//   CANCELLED                      Cancelled
//   all others                     IOError
// kOk gives OK.
arrow::Status MakeStatus(RpcCode code, std::string message);

}  // namespace rushes::wire
