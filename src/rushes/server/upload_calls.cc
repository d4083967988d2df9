#include "rushes/server/upload_calls.h"

#include <optional>
#include <vector>

namespace rushes {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;

void ToProto(const UploadGrants::PartRequest& request, cloud::HttpRequest* out) {
  out->set_method("PUT");
  out->set_url(request.path);
  out->set_same_origin(true);
  if (request.must_be_new) {
    auto* header = out->add_headers();
    header->set_name("if-none-match");
    header->set_value("*");
  }
}

}  // namespace

arrow::Status GrantWriteAccess(UploadGrants& uploads, const cloud::GetWriteAccessGrantRequest& request,
                               cloud::GetWriteAccessGrantResponse* response) {
  if (request.has_location()) {
    return arrow::Status::Invalid(
        "'rerun.cloud.v1alpha1.GetWriteAccessGrantRequest.location' must not be set: uploads have one place here");
  }
  switch (request.signing()) {
    case cloud::URL_SIGNING_UNSPECIFIED:
    case cloud::URL_SIGNING_SIGNED:
      break;
    case cloud::URL_SIGNING_UNSIGNED:
      return arrow::Status::NotImplemented("uploads that are not signed are for object stores; this server keeps files of its own");
    default:
      return arrow::Status::Invalid("unknown number of URL signing: ", static_cast<int>(request.signing()));
  }
  bool can_single = request.supported_upload_methods().empty();
  bool can_multipart = false;
  for (const int method : request.supported_upload_methods()) {
    can_single |= method == cloud::UPLOAD_METHOD_SINGLE_REQUEST;
    can_multipart |= method == cloud::UPLOAD_METHOD_MULTIPART;
  }
  const auto size = request.has_size_bytes() ? std::optional<uint64_t>(request.size_bytes()) : std::nullopt;
  ARROW_ASSIGN_OR_RAISE(const auto grant, uploads.Make(request.key(), size, can_single, can_multipart));
  response->set_storage_url(grant.storage_url);
  auto* out = response->mutable_grant();
  out->mutable_expires_at()->set_seconds(grant.expires_at_ns / 1'000'000'000);
  out->mutable_expires_at()->set_nanos(static_cast<int32_t>(grant.expires_at_ns % 1'000'000'000));
  out->set_signing(cloud::URL_SIGNING_SIGNED);
  if (grant.single) {
    ToProto(*grant.single, out->mutable_http_request());
    return arrow::Status::OK();
  }
  auto* multipart = out->mutable_multipart_request();
  multipart->set_upload_token(grant.upload_token);
  multipart->set_part_size_bytes(grant.part_bytes);
  for (const auto& part : grant.parts) ToProto(part, multipart->add_part_requests());
  return arrow::Status::OK();
}

arrow::Status GrantParts(UploadGrants& uploads, const cloud::GetMultipartUploadPartGrantsRequest& request,
                         cloud::GetMultipartUploadPartGrantsResponse* response) {
  ARROW_ASSIGN_OR_RAISE(const auto parts,
                        uploads.MakeParts(request.upload_token(), {request.part_numbers().begin(), request.part_numbers().end()}));
  for (const auto& part : parts) ToProto(part, response->add_requests());
  return arrow::Status::OK();
}

arrow::Status CompleteUpload(UploadGrants& uploads, const cloud::CompleteMultipartUploadRequest& request) {
  std::vector<UploadGrants::UploadedPart> parts;
  for (const auto& part : request.parts()) parts.push_back({part.part_number(), part.etag()});
  return uploads.Complete(request.upload_token(), parts);
}

}  // namespace rushes
