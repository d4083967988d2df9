// RemoteConnection: the calls about tables.
#include <algorithm>
#include <utility>

#include "arrow/array/array_base.h"
#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/client/remote_connection.h"
#include "rushes/client/table_batches.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/table.h"

namespace rushes::client {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;

CallOptions About(const EntryId& entry, bool is_read) {
  CallOptions out;
  out.entry = entry;
  out.is_read = is_read;
  return out;
}

// The answer of ScanTable, message by message.
class RemoteTableReader final : public arrow::RecordBatchReader {
 public:
  RemoteTableReader(std::shared_ptr<Session> session, std::unique_ptr<ServerStream> stream, std::shared_ptr<arrow::Schema> schema)
      : session_(std::move(session)), stream_(std::move(stream)), schema_(std::move(schema)) {}

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* out) override {
    *out = nullptr;
    for (;;) {
      message_.Clear();
      ARROW_ASSIGN_OR_RAISE(const bool more, stream_->Read(&message_));
      if (!more) return arrow::Status::OK();
      ARROW_ASSIGN_OR_RAISE(const auto batch, wire::DecodePart(message_.dataframe_part(), "ScanTableResponse.dataframe_part"));
      if (batch->num_rows() == 0) continue;
      arrow::ArrayVector columns;
      for (const auto& field : schema_->fields()) {
        auto column = batch->GetColumnByName(field->name());
        if (column == nullptr || !column->type()->Equals(field->type())) {
          return arrow::Status::Invalid("ScanTable: column '", field->name(), "' is ", column ? column->type()->ToString() : "missing",
                                        " in a batch and ", field->type()->ToString(), " in the schema of the table");
        }
        columns.push_back(std::move(column));
      }
      *out = arrow::RecordBatch::Make(schema_, batch->num_rows(), std::move(columns));
      return arrow::Status::OK();
    }
  }

 private:
  const std::shared_ptr<Session> session_;
  const std::unique_ptr<ServerStream> stream_;
  const std::shared_ptr<arrow::Schema> schema_;
  cloud::ScanTableResponse message_;
};

}  // namespace

arrow::Result<TableEntry> RemoteConnection::CreateTable(const std::string& name, const arrow::Schema& schema,
                                                        const std::optional<std::string>& url) {
  cloud::CreateTableEntryRequest request;
  request.set_name(name);
  ARROW_RETURN_NOT_OK(wire::EncodeSchema(schema, request.mutable_schema()));
  if (url) wire::TableUrlToProto(*url, request.mutable_provider_details());
  cloud::CreateTableEntryResponse response;
  CallOptions options;
  options.is_read = false;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("CreateTableEntry", request, &response, options));
  return wire::FromProto(response.table());
}

arrow::Result<TableEntry> RemoteConnection::RegisterTable(const std::string& name, const std::string& url) {
  cloud::RegisterTableRequest request;
  request.set_name(name);
  wire::TableUrlToProto(url, request.mutable_provider_details());
  cloud::RegisterTableResponse response;
  CallOptions options;
  options.is_read = false;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("RegisterTable", request, &response, options));
  return wire::FromProto(response.table_entry());
}

arrow::Result<TableEntry> RemoteConnection::ReadTableEntry(EntryId id) {
  cloud::ReadTableEntryRequest request;
  wire::ToProto(id, request.mutable_id());
  cloud::ReadTableEntryResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("ReadTableEntry", request, &response, About(id, true)));
  return wire::FromProto(response.table());
}

arrow::Result<TableEntry> RemoteConnection::UpdateTable(EntryId id, const TableDetails& details) {
  cloud::UpdateTableEntryRequest request;
  wire::ToProto(id, request.mutable_id());
  wire::ToProto(details, request.mutable_table_details());
  cloud::UpdateTableEntryResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("UpdateTableEntry", request, &response, About(id, false)));
  return wire::FromProto(response.table());
}

arrow::Result<std::shared_ptr<arrow::Schema>> RemoteConnection::GetTableSchema(EntryId id) {
  cloud::GetTableSchemaRequest request;
  wire::ToProto(id, request.mutable_table_id());
  cloud::GetTableSchemaResponse response;
  ARROW_RETURN_NOT_OK(session_->rpc().Unary("GetTableSchema", request, &response, About(id, true)));
  return wire::DecodeSchema(response.schema(), "GetTableSchemaResponse.schema");
}

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> RemoteConnection::ScanTable(
    EntryId id, const std::optional<std::vector<std::string>>& columns) {
  ARROW_ASSIGN_OR_RAISE(auto schema, GetTableSchema(id));
  if (columns) {
    arrow::FieldVector fields;
    for (const std::string& name : *columns) {
      auto field = schema->GetFieldByName(name);
      if (field == nullptr) return arrow::Status::Invalid("column '", name, "' not found in the table");
      if (std::find(fields.begin(), fields.end(), field) != fields.end()) {
        return arrow::Status::Invalid("column '", name, "' is named twice");
      }
      fields.push_back(std::move(field));
    }
    schema = arrow::schema(std::move(fields), schema->metadata());
  }
  cloud::ScanTableRequest request;
  wire::ToProto(id, request.mutable_table_id());
  ARROW_ASSIGN_OR_RAISE(auto stream, session_->rpc().Stream("ScanTable", request, About(id, true)));
  return std::make_shared<RemoteTableReader>(session_, std::move(stream), std::move(schema));
}

arrow::Status RemoteConnection::WriteTable(EntryId id, TableInsertMode mode, arrow::RecordBatchReader* rows) {
  ARROW_ASSIGN_OR_RAISE(const auto stream, session_->rpc().OpenClientStream("WriteTable", About(id, false)));
  cloud::WriteTableRequest request;
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(rows->ReadNext(&batch));
    if (batch == nullptr) break;
    ARROW_ASSIGN_OR_RAISE(const auto parts, SplitForWriting(std::move(batch), mode));
    for (const auto& part : parts) {
      ARROW_RETURN_NOT_OK(wire::EncodePart(*part, request.mutable_dataframe_part()));
      request.set_insert_mode(wire::ToProto(mode));
      ARROW_RETURN_NOT_OK(stream->Write(request));
      // On the official server each message of an overwrite drops the ones before.
      if (mode == TableInsertMode::kOverwrite) mode = TableInsertMode::kAppend;
    }
  }
  return stream->Finish();
}

}  // namespace rushes::client
