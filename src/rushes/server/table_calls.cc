#include "rushes/server/table_calls.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/table_writer.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/table.h"

namespace rushes {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;

// One WriteTable call. gRPC says the same to a reader when the client has sent its last message and when it is gone; what tells them
// apart for certain is whether headers can still be sent: a stream that was reset takes none. So the headers are sent at the end, and the
// change is made when they went out.
class WriteReactor final : public grpc::ServerReadReactor<cloud::WriteTableRequest> {
 public:
  WriteReactor(Catalog& catalog, const RpcEnvironment& environment, EntryHeaders headers) : environment_(environment) {
    environment_.pool->Submit([this, &catalog, headers = std::move(headers)] {
      environment_.Delay();
      const arrow::Status status = Begin(catalog, headers);
      if (!status.ok()) return End(status);
      StartRead(&request_);
    });
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      StartSendInitialMetadata();
      return;
    }
    environment_.pool->Submit([this] {
      const arrow::Status status = Take();
      request_.Clear();
      if (!status.ok()) return End(status);
      StartRead(&request_);
    });
  }
  void OnSendInitialMetadataDone(bool ok) override {
    if (!ok || is_cancelled_) return End(arrow::Status::Cancelled("the client went away; nothing was written"));
    // The writer lives as long as this reactor, which ends after the change.
    writer_->WaitForTurn([this] {
      environment_.pool->Submit([this] {
        if (is_cancelled_ || environment_.stopping) return End(arrow::Status::Cancelled("the call was ended; nothing was written"));
        End(writer_->Commit());
      });
    });
  }
  void OnCancel() override { is_cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  arrow::Status Begin(Catalog& catalog, const EntryHeaders& headers) {
    if (!headers.id_text) {
      if (!headers.name) return headers.Missing();
      return arrow::Status::KeyError("Entry name '", *headers.name, "' not found: a table is written by its id");
    }
    ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.ParseId());
    ARROW_ASSIGN_OR_RAISE(writer_, catalog.WriteTable(id));
    max_bytes_ = static_cast<size_t>(catalog.table_space().limits().max_batch_bytes);
    return arrow::Status::OK();
  }

  arrow::Status Take() {
    if (is_cancelled_ || environment_.stopping) return arrow::Status::Cancelled("the call was ended; nothing was written");
    if (!request_.has_dataframe_part()) return wire::MissingField("WriteTableRequest.dataframe_part");
    ARROW_ASSIGN_OR_RAISE(const TableInsertMode mode, wire::FromProto(request_.insert_mode()));
    const auto& part = request_.dataframe_part();
    // A decoded batch is a little smaller than the stream around it, which has the schema as well.
    const uint64_t bytes = std::max<uint64_t>(part.payload().size(), part.uncompressed_size());
    if (bytes > max_bytes_ + (uint64_t{1} << 20)) {
      return arrow::Status::Invalid("WriteTableRequest.dataframe_part: ", bytes, " bytes are more than the ", max_bytes_,
                                    " that this server takes at once; send the rows in parts");
    }
    ARROW_ASSIGN_OR_RAISE(const auto batch, wire::DecodePart(part, "WriteTableRequest.dataframe_part"));
    return writer_->Write(batch, mode);
  }

  void End(const arrow::Status& status) {
    writer_.reset();  // what was not committed is gone before the client hears of it
    Finish(status.ok() ? grpc::Status::OK : wire::ToGrpcStatus(status));
  }

  const RpcEnvironment& environment_;
  cloud::WriteTableRequest request_;
  std::unique_ptr<TableWriter> writer_;
  size_t max_bytes_ = 0;
  std::atomic<bool> is_cancelled_{false};
};

}  // namespace

arrow::Status TableCalls::CreateTableEntry(const cloud::CreateTableEntryRequest& request, cloud::CreateTableEntryResponse* response) const {
  ARROW_RETURN_NOT_OK(ValidateEntryName(request.name()));
  if (!request.has_schema()) return wire::MissingField("CreateTableEntryRequest.schema");
  ARROW_ASSIGN_OR_RAISE(const auto schema, wire::DecodeSchema(request.schema(), "CreateTableEntryRequest.schema"));
  std::optional<std::string> url;
  if (request.has_provider_details()) {
    ARROW_ASSIGN_OR_RAISE(url, wire::TableUrlFromProto(request.provider_details(), "CreateTableEntryRequest.provider_details"));
  }
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog_->CreateTable(request.name(), *schema, url));
  wire::ToProto(entry->ToTableEntry(), response->mutable_table());
  return arrow::Status::OK();
}

arrow::Status TableCalls::RegisterTable(const cloud::RegisterTableRequest& request, cloud::RegisterTableResponse* response) const {
  ARROW_RETURN_NOT_OK(ValidateEntryName(request.name()));
  if (!request.has_provider_details()) return wire::MissingField("RegisterTableRequest.provider_details");
  ARROW_ASSIGN_OR_RAISE(const std::string url,
                        wire::TableUrlFromProto(request.provider_details(), "RegisterTableRequest.provider_details"));
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog_->RegisterTable(request.name(), url));
  wire::ToProto(entry->ToTableEntry(), response->mutable_table_entry());
  return arrow::Status::OK();
}

arrow::Status TableCalls::ReadTableEntry(const EntryHeaders& headers, const cloud::ReadTableEntryRequest& request,
                                         cloud::ReadTableEntryResponse* response) const {
  ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.FindId(request.has_id() ? &request.id() : nullptr));
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog_->state()->GetTable(id));
  wire::ToProto(entry->ToTableEntry(), response->mutable_table());
  return arrow::Status::OK();
}

arrow::Status TableCalls::UpdateTableEntry(const EntryHeaders& headers, const cloud::UpdateTableEntryRequest& request,
                                           cloud::UpdateTableEntryResponse* response) const {
  ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.FindId(request.has_id() ? &request.id() : nullptr));
  ARROW_RETURN_NOT_OK(catalog_->state()->GetTable(id).status());
  if (!request.has_table_details()) return wire::MissingField("UpdateTableEntryRequest.table_details");
  ARROW_ASSIGN_OR_RAISE(TableDetails details, wire::FromProto(request.table_details()));
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, catalog_->UpdateTable(id, std::move(details)));
  wire::ToProto(entry->ToTableEntry(), response->mutable_table());
  return arrow::Status::OK();
}

arrow::Status TableCalls::GetTableSchema(const EntryHeaders& headers, const cloud::GetTableSchemaRequest& request,
                                         cloud::GetTableSchemaResponse* response) const {
  ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.FindId(request.has_table_id() ? &request.table_id() : nullptr));
  ARROW_ASSIGN_OR_RAISE(const auto schema, catalog_->GetTableSchema(id));
  return wire::EncodeSchema(*schema, response->mutable_schema());
}

arrow::Result<TableCalls::ScanNext> TableCalls::ScanTable(const EntryHeaders& headers, const cloud::ScanTableRequest& request) const {
  ARROW_ASSIGN_OR_RAISE(const EntryId id, headers.FindId(request.has_table_id() ? &request.table_id() : nullptr));
  ARROW_ASSIGN_OR_RAISE(auto reader, catalog_->ReadTable(id));
  return [reader = std::move(reader)](cloud::ScanTableResponse* out) -> arrow::Result<bool> {
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) return false;
    ARROW_RETURN_NOT_OK(wire::EncodePart(*batch, out->mutable_dataframe_part()));
    return true;
  };
}

grpc::ServerReadReactor<cloud::WriteTableRequest>* TableCalls::WriteTable(grpc::CallbackServerContext* context) const {
  AddResponseHeaders(context, environment_);
  return new WriteReactor(*catalog_, environment_, EntryHeaders::Read(*context));
}

}  // namespace rushes
