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
  // `payload`: a serialized google.rpc.Status that goes with it as `grpc-status-details-bin`, or empty.
  explicit RpcStatusDetail(RpcCode code, std::string payload = "") : code_(code), payload_(std::move(payload)) {}
  const char* type_id() const override { return "rushes::wire::RpcStatusDetail"; }
  std::string ToString() const override { return std::string(wire::ToString(code_)); }
  RpcCode code() const { return code_; }
  const std::string& payload() const { return payload_; }

 private:
  RpcCode code_;
  std::string payload_;
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

// FAILED_PRECONDITION that clients take as "ask again soon": the server has not reached the revision of a dataset that a read needs.
arrow::Status RevisionBehind(std::string message);
// The payload of RpcStatusDetail, or empty.
std::string_view PayloadOf(const arrow::Status& status);

}  // namespace rushes::wire
