#include "rushes/server/proxy_service.h"

#include <cstring>
#include <optional>

#include <grpcpp/support/byte_buffer.h>

#include "rerun/sdk_comms/v1alpha1/sdk_comms.grpc.pb.h"
#include "rushes/rrd/messages.h"
#include "rushes/rrd/proto_bytes.h"
#include "rushes/server/rpc_internal.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/status.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace {

using Context = grpc::CallbackServerContext;
using Service = ::rerun::sdk_comms::v1alpha1::MessageProxyService;

// Ids of tables are kept beside the tables.
constexpr size_t kMaxTableIdBytes = 4096;

// The bytes of a message in memory of their own: what gRPC received them in may be larger and hold other messages as well.
arrow::Result<grpc::Slice> CopyOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> pieces;
  if (!buffer.Dump(&pieces).ok()) return wire::MakeStatus(wire::RpcCode::kInternal, "a message could not be taken from gRPC");
  const grpc::Slice copy(buffer.Length());
  size_t at = 0;
  for (const grpc::Slice& piece : pieces) {
    // Nobody else has seen the copy yet.
    if (piece.size() > 0) std::memcpy(const_cast<uint8_t*>(copy.begin()) + at, piece.begin(), piece.size());
    at += piece.size();
  }
  return copy;
}

std::string_view View(const grpc::Slice& slice) { return {reinterpret_cast<const char*>(slice.begin()), slice.size()}; }

grpc::ByteBuffer EmptyMessage() {
  const grpc::Slice empty;
  return grpc::ByteBuffer(&empty, 1);
}

// Takes messages until the logger ends its stream.
class WriteReactor final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  WriteReactor(std::shared_ptr<MessageHistory> history, grpc::ByteBuffer* response) : history_(std::move(history)) {
    *response = EmptyMessage();
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    const arrow::Status status = Take();
    ++num_messages_;
    message_.Clear();
    if (status.ok()) {
      StartRead(&message_);
    } else {
      Finish(wire::ToGrpcStatus(status.WithMessage("message ", num_messages_, " of WriteMessages: ", status.message())));
    }
  }
  void OnDone() override { delete this; }

 private:
  arrow::Status Take() {
    ARROW_ASSIGN_OR_RAISE(grpc::Slice message, CopyOf(message_));
    ARROW_ASSIGN_OR_RAISE(const MessageKind kind, KindOfWriteMessagesRequest(View(message)));
    return history_->Append(kind, std::move(message));
  }

  const std::shared_ptr<MessageHistory> history_;
  grpc::ByteBuffer message_;
  uint64_t num_messages_ = 0;
};

// Sends messages of some kinds until the viewer leaves: one at a time, the next when gRPC has room.
class ReadReactor final : public PushReactor<grpc::ByteBuffer> {
 public:
  ReadReactor(const std::shared_ptr<MessageHistory>& history, std::vector<MessageKind> kinds) {
    Start([&] { reader_ = MessageHistory::Read(history, std::move(kinds), Notifier<ReadReactor>([](ReadReactor&) {})); });
  }
  ~ReadReactor() override {
    if (reader_->num_lost() > 0) spdlog::warn("a viewer of live messages was too slow and missed {}", reader_->num_lost());
  }

 private:
  arrow::Result<Step> Next(grpc::ByteBuffer* message) override {
    const std::optional<grpc::Slice> next = reader_->Next();
    if (!next) return Step::kWait;
    *message = grpc::ByteBuffer(&*next, 1);
    return Step::kWrite;
  }

  std::unique_ptr<MessageHistory::Reader> reader_;
};

using RawWrites = Service::WithRawCallbackMethod_WriteMessages<Service::WithRawCallbackMethod_WriteTable<Service::CallbackService>>;
using RawService = Service::WithRawCallbackMethod_ReadMessages<Service::WithRawCallbackMethod_ReadTables<RawWrites>>;

// Messages are handed on as bytes: what is written and what is read are the same on the wire.
class ProxyService final : public RawService {
 public:
  ProxyService(std::shared_ptr<MessageHistory> history, const RpcEnvironment& environment)
      : history_(std::move(history)), environment_(environment) {}

  grpc::ServerReadReactor<grpc::ByteBuffer>* WriteMessages(Context* context, grpc::ByteBuffer* response) override {
    AddResponseHeaders(context, environment_);
    return new WriteReactor(history_, response);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* ReadMessages(Context* context, const grpc::ByteBuffer*) override {
    AddResponseHeaders(context, environment_);
    return new ReadReactor(history_, {MessageKind::kStore, MessageKind::kStatic, MessageKind::kTemporal});
  }

  grpc::ServerUnaryReactor* WriteTable(Context* context, const grpc::ByteBuffer* request, grpc::ByteBuffer* response) override {
    return Unary(context, environment_, [this, request, response]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(grpc::Slice message, CopyOf(*request));
      ARROW_ASSIGN_OR_RAISE(const std::string_view id, IdOfWriteTableRequest(View(message)));
      const std::string table_id(id);
      *response = EmptyMessage();
      return history_->Append(MessageKind::kTable, std::move(message), table_id);
    });
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* ReadTables(Context* context, const grpc::ByteBuffer*) override {
    AddResponseHeaders(context, environment_);
    return new ReadReactor(history_, {MessageKind::kTable});
  }

 private:
  const std::shared_ptr<MessageHistory> history_;
  const RpcEnvironment& environment_;
};

}  // namespace

arrow::Result<MessageKind> KindOfWriteMessagesRequest(std::string_view bytes) {
  rrd::ProtoReader request(bytes);
  std::optional<std::string_view> log_msg;
  while (request.Next()) {
    if (request.is_bytes(1)) log_msg = request.bytes();
  }
  if (!request.ok()) return arrow::Status::Invalid("malformed WriteMessagesRequest");
  if (!log_msg) return wire::MissingField("WriteMessagesRequest.log_msg");
  rrd::ProtoReader message(*log_msg);
  std::optional<MessageKind> kind;
  while (message.Next()) {
    if (message.is_bytes(1)) {
      ARROW_RETURN_NOT_OK(rrd::ParseSetStoreInfo(message.bytes()));
      kind = MessageKind::kStore;
    } else if (message.is_bytes(2)) {
      ARROW_ASSIGN_OR_RAISE(const auto arrow, rrd::ParseArrowMessage(message.bytes()));
      kind = arrow.store_id.kind == StoreKind::kBlueprint ? MessageKind::kStore
             : arrow.is_static.value_or(false)            ? MessageKind::kStatic
                                                          : MessageKind::kTemporal;
    } else if (message.is_bytes(3)) {
      ARROW_RETURN_NOT_OK(rrd::ParseBlueprintActivation(message.bytes()));
      kind = MessageKind::kStore;
    }
  }
  if (!message.ok()) return arrow::Status::Invalid("malformed LogMsg");
  if (!kind) return wire::MissingField("LogMsg.msg");
  return *kind;
}

arrow::Result<std::string_view> IdOfWriteTableRequest(std::string_view bytes) {
  rrd::ProtoReader request(bytes);
  std::optional<std::string_view> table, data;
  while (request.Next()) {
    if (request.is_bytes(1)) table = request.bytes();
    if (request.is_bytes(2)) data = request.bytes();
  }
  if (!request.ok()) return arrow::Status::Invalid("malformed WriteTableRequest");
  if (!table) return wire::MissingField("WriteTableRequest.id");
  if (!data) return wire::MissingField("WriteTableRequest.data");
  rrd::ProtoReader table_id(*table);
  std::string_view id;
  while (table_id.Next()) {
    if (table_id.is_bytes(1)) id = table_id.bytes();
  }
  if (!table_id.ok()) return arrow::Status::Invalid("malformed TableId");
  if (id.size() > kMaxTableIdBytes) {
    return arrow::Status::Invalid("a table id has at most ", kMaxTableIdBytes, " bytes, this one has ", id.size());
  }
  rrd::ProtoReader part(*data);
  while (part.Next()) {
  }
  if (!part.ok()) return arrow::Status::Invalid("malformed DataframePart");
  return id;
}

std::unique_ptr<grpc::Service> MakeProxyService(std::shared_ptr<MessageHistory> history, const RpcEnvironment& environment) {
  return std::make_unique<ProxyService>(std::move(history), environment);
}

}  // namespace rushes
