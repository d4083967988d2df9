#include "rushes/client/connection.h"

#include "rushes/wire/headers.h"

namespace rushes {
namespace {

constexpr uint32_t kMaxPings = 10'000;

}  // namespace

arrow::Status CheckLinkMeasure(uint64_t num_bytes, uint32_t num_pings) {
  if (num_pings == 0 || num_pings > kMaxPings) {
    return arrow::Status::Invalid("num_pings must be between 1 and ", kMaxPings, ", got ", num_pings);
  }
  if (num_bytes > wire::kMaxBandwidthTestBytes) {
    return arrow::Status::Invalid("num_bytes must be at most ", wire::kMaxBandwidthTestBytes, ", got ", num_bytes);
  }
  return arrow::Status::OK();
}

}  // namespace rushes
