#include <cstdio>

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
    if (auto value = FindHeader(*context, key)) context->AddInitialMetadata(key, *value);
  }
}

EntryHeaders EntryHeaders::Read(const grpc::CallbackServerContext& context) {
  EntryHeaders headers;
  headers.id_text = FindHeader(context, wire::kEntryIdHeader);
  headers.name = FindHeader(context, wire::kEntryNameHeader);
  headers.narrow_components = FindHeader(context, wire::kNarrowHeader) == wire::kNarrowComponents;
  headers.revision_text = FindHeader(context, wire::kDatasetRevisionHeader);
  return headers;
}

}  // namespace rushes
