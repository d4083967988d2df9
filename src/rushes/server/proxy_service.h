// The gRPC service for live logging: loggers write, viewers read. docs/protocol.md, "Live messages".
#pragma once

#include <memory>
#include <string_view>

#include <grpcpp/impl/codegen/service_type.h>

#include "arrow/result.h"
#include "rushes/server/message_history.h"

namespace rushes {

struct RpcEnvironment;

// `environment` must outlive the service. A logger is never made to wait for a reader.
std::unique_ptr<grpc::Service> MakeProxyService(std::shared_ptr<MessageHistory> history, const RpcEnvironment& environment);

// What a serialized WriteMessagesRequest is to the history. Invalid says which field is missing or malformed; payloads are not decoded.
arrow::Result<MessageKind> KindOfWriteMessagesRequest(std::string_view bytes);
// The table's id in a serialized WriteTableRequest; a view into `bytes`. Invalid as above.
arrow::Result<std::string_view> IdOfWriteTableRequest(std::string_view bytes);

}  // namespace rushes
