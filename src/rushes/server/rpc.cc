#include <cstdio>

#include "rerun/common/v1alpha1/common.pb.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/server/grpc_web.h"
#include "rushes/server/rpc_internal.h"
#include "rushes/wire/convert.h"
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
  EntryHeaders headers;
  headers.id_text = FindHeader(context, wire::kEntryIdHeader);
  headers.name = FindHeader(context, wire::kEntryNameHeader);
  headers.narrow_components = FindHeader(context, wire::kNarrowHeader) == wire::kNarrowComponents;
  headers.revision_text = FindHeader(context, wire::kDatasetRevisionHeader);
  return headers;
}

arrow::Status EntryHeaders::Missing() const {
  return arrow::Status::Invalid("missing mandatory header: one of '", wire::kEntryIdHeader, "' and '", wire::kEntryNameHeader,
                                "' must name the entry");
}

arrow::Result<EntryId> EntryHeaders::ParseId() const {
  auto id = EntryId::FromHex(*id_text);
  if (!id.ok()) return arrow::Status::Invalid("header '", wire::kEntryIdHeader, "' is not an entry id of 32 hex digits: '", *id_text, "'");
  return id;
}

arrow::Result<EntryId> EntryHeaders::FindId(const rerun::common::v1alpha1::EntryId* body) const {
  std::optional<EntryId> from_header, from_body;
  if (id_text) {
    ARROW_ASSIGN_OR_RAISE(from_header, ParseId());
  }
  if (body) {
    ARROW_ASSIGN_OR_RAISE(from_body, wire::FromProto(*body, "EntryId.id"));
  }
  if (!from_header && !from_body) return arrow::Status::Invalid("missing entry id in request header and body");
  if (from_header && from_body && *from_header != *from_body) {
    return arrow::Status::Invalid("mismatched entry id: '", EntryIdText(*from_header), "' in the header, '", EntryIdText(*from_body),
                                  "' in the body");
  }
  return from_header ? *from_header : *from_body;
}

}  // namespace rushes
