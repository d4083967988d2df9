// RemoteConnection: companions and properties of datasets, maintenance, uploads.
#include <algorithm>
#include <utility>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/client/remote_connection.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/status.h"

namespace rushes::client {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;

CallOptions About(const EntryId& entry, bool is_read = true) {
  CallOptions out;
  out.entry = entry;
  out.is_read = is_read;
  return out;
}

CallOptions Write() {
  CallOptions out;
  out.is_read = false;
  return out;
}

UploadGrant::Request FromProto(const cloud::HttpRequest& request) {
  UploadGrant::Request out{request.method(), request.url(), {}, request.same_origin()};
  for (const auto& header : request.headers()) out.headers.emplace_back(header.name(), header.value());
  return out;
}

}  // namespace

arrow::Status RemoteConnection::CancelTasks(const std::vector<std::string>& task_ids) {
  if (task_ids.empty()) return arrow::Status::OK();
  cloud::CancelTasksRequest request;
  for (const auto& id : task_ids) request.add_ids()->set_id(id);
  cloud::CancelTasksResponse response;
  return session_->rpc().Unary("CancelTasks", request, &response, Write());
}

arrow::Result<DatasetEntry> RemoteConnection::UpdateDataset(EntryId id, const DatasetDetails& details) {
  cloud::UpdateDatasetEntryRequest request;
  wire::ToProto(id, request.mutable_id());
  wire::ToProto(details, request.mutable_dataset_details());
  cloud::UpdateDatasetEntryResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("UpdateDatasetEntry", request, &response, About(id, false)));
  return wire::FromProto(response.dataset());
}

arrow::Result<std::vector<std::string>> RemoteConnection::AssetsForSegment(EntryId dataset, const std::string& segment_id) {
  cloud::GetAssetsForSegmentRequest request;
  request.mutable_segment_id()->set_id(segment_id);
  std::vector<std::string> out;
  cloud::GetAssetsForSegmentResponse response;
  const arrow::Status status = session_->rpc().ReadAll("GetAssetsForSegment", request, About(dataset), &response, [&]() -> arrow::Status {
    for (const auto& id : response.asset_segment_ids()) out.push_back(id.id());
    return arrow::Status::OK();
  });
  // Servers from before assets, and datasets that cannot have any.
  const auto code = wire::CodeOf(status);
  if (code == wire::RpcCode::kUnimplemented || code == wire::RpcCode::kInvalidArgument) return std::vector<std::string>();
  ARROW_RETURN_NOT_OK(status);
  std::sort(out.begin(), out.end());
  return out;
}

arrow::Result<std::vector<PropertiesOfSegment>> RemoteConnection::GetProperties(EntryId dataset, const std::vector<std::string>& segments) {
  std::vector<PropertiesOfSegment> out;
  if (segments.empty()) return out;
  cloud::GetSegmentPropertiesRequest request;
  for (const auto& id : segments) request.add_segment_ids()->set_id(id);
  cloud::GetSegmentPropertiesResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().ReadAll("GetSegmentProperties", request, About(dataset), &response, [&]() -> arrow::Status {
    for (const auto& segment : response.segments()) {
      ARROW_ASSIGN_OR_RAISE(auto row, wire::DecodePart(segment.properties(), "SegmentProperties.properties"));
      out.push_back({segment.segment_id().id(), std::move(row), segment.revision()});
    }
    return arrow::Status::OK();
  }));
  return out;
}

arrow::Result<uint64_t> RemoteConnection::SetProperties(EntryId dataset, const std::string& segment_id,
                                                        std::shared_ptr<arrow::RecordBatch> row,
                                                        std::optional<uint64_t> expected_revision) {
  cloud::SetSegmentPropertiesRequest request;
  request.mutable_segment_id()->set_id(segment_id);
  ARROW_RETURN_NOT_OK(wire::EncodePart(*row, request.mutable_properties()));
  if (expected_revision) request.set_expected_revision(*expected_revision);
  cloud::SetSegmentPropertiesResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("SetSegmentProperties", request, &response, About(dataset, false)));
  return response.revision();
}

arrow::Status RemoteConnection::DeleteProperties(EntryId dataset, const std::vector<std::string>& segments) {
  cloud::DeleteSegmentPropertiesRequest request;
  for (const auto& id : segments) request.add_segments()->mutable_segment_id()->set_id(id);
  cloud::DeleteSegmentPropertiesResponse response;
  return session_->rpc().Unary("DeleteSegmentProperties", request, &response, About(dataset, false));
}

arrow::Result<std::string> RemoteConnection::Maintain(EntryId dataset, const MaintenanceOptions& options) {
  cloud::DoMaintenanceRequest request;
  request.set_compact_fragments(options.compact);
  request.set_optimize_indexes(options.optimize_indexes);
  request.set_retrain_indexes(options.retrain_indexes);
  request.set_unsafe_allow_recent_cleanup(options.unsafe_allow_recent_cleanup);
  if (options.cleanup_before_ns) {
    request.mutable_cleanup_before()->set_seconds(*options.cleanup_before_ns / 1'000'000'000);
    request.mutable_cleanup_before()->set_nanos(static_cast<int32_t>(*options.cleanup_before_ns % 1'000'000'000));
  }
  cloud::DoMaintenanceResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("DoMaintenance", request, &response, About(dataset, false)));
  return response.report();
}

arrow::Status RemoteConnection::MaintainAll() {
  cloud::DoGlobalMaintenanceResponse response;
  return session_->rpc().Unary("DoGlobalMaintenance", cloud::DoGlobalMaintenanceRequest(), &response, Write());
}

arrow::Result<UploadGrant> RemoteConnection::GetWriteGrant(const std::string& key, std::optional<uint64_t> size) {
  cloud::GetWriteAccessGrantRequest request;
  request.set_key(key);
  if (size) request.set_size_bytes(*size);
  request.add_supported_upload_methods(cloud::UPLOAD_METHOD_SINGLE_REQUEST);
  // Parts need a size, to know how many there will be.
  if (size) request.add_supported_upload_methods(cloud::UPLOAD_METHOD_MULTIPART);
  request.set_signing(cloud::URL_SIGNING_SIGNED);
  cloud::GetWriteAccessGrantResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("GetWriteAccessGrant", request, &response, Write()));
  UploadGrant out;
  out.storage_url = response.storage_url();
  const auto& grant = response.grant();
  if (grant.has_http_request()) {
    out.requests.push_back(FromProto(grant.http_request()));
    return out;
  }
  if (!grant.has_multipart_request() || grant.multipart_request().upload_token().empty() ||
      grant.multipart_request().part_size_bytes() == 0) {
    return arrow::Status::Invalid("the server gave a grant without a way to use it");
  }
  out.upload_token = grant.multipart_request().upload_token();
  out.part_bytes = grant.multipart_request().part_size_bytes();
  for (const auto& part : grant.multipart_request().part_requests()) out.requests.push_back(FromProto(part));
  return out;
}

arrow::Result<UploadGrant::Request> RemoteConnection::GetPartGrant(const std::string& upload_token, uint32_t number) {
  cloud::GetMultipartUploadPartGrantsRequest request;
  request.set_upload_token(upload_token);
  request.add_part_numbers(number);
  cloud::GetMultipartUploadPartGrantsResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("GetMultipartUploadPartGrants", request, &response, Write()));
  if (response.requests_size() != 1) return arrow::Status::Invalid("the server gave no request for part ", number);
  return FromProto(response.requests(0));
}

arrow::Status RemoteConnection::CompleteUpload(const std::string& upload_token, const std::vector<std::string>& etags) {
  cloud::CompleteMultipartUploadRequest request;
  request.set_upload_token(upload_token);
  for (size_t i = 0; i < etags.size(); ++i) {
    auto* part = request.add_parts();
    part->set_part_number(static_cast<uint32_t>(i + 1));
    part->set_etag(etags[i]);
  }
  cloud::CompleteMultipartUploadResponse response;
  return session_->rpc().Unary("CompleteMultipartUpload", request, &response, Write());
}

arrow::Status RemoteConnection::AbortUpload(const std::string& upload_token) {
  cloud::AbortMultipartUploadRequest request;
  request.set_upload_token(upload_token);
  cloud::AbortMultipartUploadResponse response;
  return session_->rpc().Unary("AbortMultipartUpload", request, &response, Write());
}

}  // namespace rushes::client
