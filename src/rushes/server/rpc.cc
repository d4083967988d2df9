#include <cstdio>

#include "rushes/server/grpc_web.h"
#include "rushes/server/rpc_internal.h"
#include "rushes/wire/headers.h"

namespace rushes {
namespace {

std::optional<std::string> FindHeader(const grpc::CallbackServerContext& context, const char* key) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find(key);
  if (it == metadata.end()) return std::nullopt;
  return std::string(it->second.data(), it->second.size());
}

}  // namespace

void AddResponseHeaders(grpc::CallbackServerContext* context, const RpcEnvironment& environment) {
  context->AddInitialMetadata(wire::kServerVersionHeader, environment.server_version);
  const Tuid trace = Tuid::New();
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(trace.time_ns),
                static_cast<unsigned long long>(trace.counter));
  context->AddInitialMetadata(wire::kTraceIdHeader, text);
  for (const char* key : {wire::kEntryIdHeader, wire::kClientVersionHeader}) {
    // gRPC takes more than it sends: it would abort for a value that is not printable.
    if (auto value = FindHeader(*context, key); value && grpc_web::IsMetadataValue(*value)) context->AddInitialMetadata(key, *value);
  }
}

EntryHeaders EntryHeaders::Read(const grpc::CallbackServerContext& context) {
  return {FindHeader(context, wire::kEntryIdHeader), FindHeader(context, wire::kEntryNameHeader)};
}

}  // namespace rushes
