// RemoteConnection: how far away the server is.
#include <chrono>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/client/remote_connection.h"

namespace rushes::client {

namespace cloud = ::rerun::cloud::v1alpha1;

arrow::Result<LinkSpeed> RemoteConnection::MeasureLink(uint64_t num_bytes, uint32_t num_pings) {
  ARROW_RETURN_NOT_OK(CheckLinkMeasure(num_bytes, num_pings));
  // The connection that Open has waited for; no second attempt, which would count as slowness.
  CallOptions options;
  options.on_first_connection = true;
  options.is_read = false;
  const auto download = [&](uint64_t wanted) -> arrow::Result<double> {
    cloud::DoBandwidthTestRequest request;
    request.set_num_bytes(wanted);
    cloud::DoBandwidthTestResponse response;
    uint64_t arrived = 0;
    const auto start = std::chrono::steady_clock::now();
    ARROW_RETURN_NOT_OK(session_->rpc().ReadAll("DoBandwidthTest", request, options, &response, [&] {
      arrived += response.payload().size();
      return arrow::Status::OK();
    }));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (arrived != wanted) {
      return arrow::Status::IOError("the catalog server at ", url(), " sent ", arrived, " of the ", wanted, " bytes that were asked for");
    }
    return elapsed.count();
  };
  LinkSpeed out;
  for (uint32_t i = 0; i < num_pings; ++i) {
    ARROW_ASSIGN_OR_RAISE(const double elapsed, download(1));
    if (i == 0 || elapsed < out.round_trip_s) out.round_trip_s = elapsed;
  }
  ARROW_ASSIGN_OR_RAISE(const double elapsed, download(num_bytes));
  if (elapsed > out.round_trip_s) out.bytes_per_s = static_cast<double>(num_bytes) / (elapsed - out.round_trip_s);
  return out;
}

}  // namespace rushes::client
