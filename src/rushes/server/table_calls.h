// The calls about tables, for the service to forward to. Private to this folder.
#pragma once

#include <memory>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/catalog/catalog.h"
#include "rushes/server/rpc_internal.h"

namespace rushes {

// Thread safe; `environment` must outlive it. Errors as the service reports them, see docs/protocol.md.
class TableCalls {
 public:
  TableCalls(std::shared_ptr<Catalog> catalog, const RpcEnvironment& environment)
      : catalog_(std::move(catalog)), environment_(environment) {}

  arrow::Status CreateTableEntry(const rerun::cloud::v1alpha1::CreateTableEntryRequest& request,
                                 rerun::cloud::v1alpha1::CreateTableEntryResponse* response) const;
  arrow::Status RegisterTable(const rerun::cloud::v1alpha1::RegisterTableRequest& request,
                              rerun::cloud::v1alpha1::RegisterTableResponse* response) const;
  arrow::Status ReadTableEntry(const EntryHeaders& headers, const rerun::cloud::v1alpha1::ReadTableEntryRequest& request,
                               rerun::cloud::v1alpha1::ReadTableEntryResponse* response) const;
  arrow::Status UpdateTableEntry(const EntryHeaders& headers, const rerun::cloud::v1alpha1::UpdateTableEntryRequest& request,
                                 rerun::cloud::v1alpha1::UpdateTableEntryResponse* response) const;
  arrow::Status GetTableSchema(const EntryHeaders& headers, const rerun::cloud::v1alpha1::GetTableSchemaRequest& request,
                               rerun::cloud::v1alpha1::GetTableSchemaResponse* response) const;

  // One message per stored batch; of an empty table none.
  using ScanNext = StreamReactor<rerun::cloud::v1alpha1::ScanTableResponse>::Next;
  arrow::Result<ScanNext> ScanTable(const EntryHeaders& headers, const rerun::cloud::v1alpha1::ScanTableRequest& request) const;

  // Takes messages one at a time and makes one change of them all when the client has sent its last; a client that goes away before
  // changes nothing. No thread is held while it sends nothing, nor while other writers of the table are at work.
  grpc::ServerReadReactor<rerun::cloud::v1alpha1::WriteTableRequest>* WriteTable(grpc::CallbackServerContext* context) const;

 private:
  const std::shared_ptr<Catalog> catalog_;
  const RpcEnvironment& environment_;
};

}  // namespace rushes
