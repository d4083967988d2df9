// The calls about write grants: protobuf <-> UploadGrants.
#pragma once

#include "arrow/status.h"
#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/server/upload_grants.h"

namespace rushes {

// Invalid: a bad key, a location, an unknown number; NotImplemented: a request that is not signed.
arrow::Status GrantWriteAccess(UploadGrants& uploads, const rerun::cloud::v1alpha1::GetWriteAccessGrantRequest& request,
                               rerun::cloud::v1alpha1::GetWriteAccessGrantResponse* response);
arrow::Status GrantParts(UploadGrants& uploads, const rerun::cloud::v1alpha1::GetMultipartUploadPartGrantsRequest& request,
                         rerun::cloud::v1alpha1::GetMultipartUploadPartGrantsResponse* response);
arrow::Status CompleteUpload(UploadGrants& uploads, const rerun::cloud::v1alpha1::CompleteMultipartUploadRequest& request);

}  // namespace rushes
