// Names and numbers of the protocol that no .proto file holds: metadata keys, capabilities, limits. docs/protocol.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "arrow/result.h"
#include "rushes/chunk/tuid.h"

namespace rushes::wire {

// --- metadata keys

// Request and, echoed, response: the entry a call is about, as 32 hex digits.
inline constexpr char kEntryIdHeader[] = "x-rerun-entry-id";
// Request: the same by name; UTF-8 (gRPC does the base64 of `-bin` keys). Only looked at when there is no id.
inline constexpr char kEntryNameHeader[] = "x-rerun-entry-name-bin";
// Request and, echoed, response: `<name>/<version>` of the client.
inline constexpr char kClientVersionHeader[] = "x-rerun-client-version";
// Request: one Tuid per client connection, for logs.
inline constexpr char kClientIdHeader[] = "x-rerun-client-id";
// Request: decimal; the lowest dataset revision that the answer may be based on.
inline constexpr char kDatasetRevisionHeader[] = "x-rerun-dataset-revision";
// Response: `<name>/<version>` of the server, on every answer.
inline constexpr char kServerVersionHeader[] = "x-rerun-server-version";
// Response: 32 lower-case hex digits that an operator can search the logs for.
inline constexpr char kTraceIdHeader[] = "x-request-trace-id";
inline constexpr char kAuthorizationHeader[] = "authorization";
inline constexpr char kBearerPrefix[] = "Bearer ";

// Request of `FindChunks`, to a server with kCapabilityNarrowComponents: "components" asks that an explicit list of components leaves out
// the chunks that have none of them. Without it the list is a hint, since official clients take the rows from all chunks of an entity.
inline constexpr char kNarrowHeader[] = "x-rushes-narrow";
inline constexpr char kNarrowComponents[] = "components";

// --- what servers say they can do

// WhoAmI capabilities.
inline constexpr char kCapabilityFindChunks[] = "dataset:find_chunks";
inline constexpr char kCapabilityNarrowComponents[] = "rushes:find_chunks:narrow_components";
inline constexpr char kCapabilityStaging[] = "catalog:write:staging";
// Followed by a URL scheme.
inline constexpr char kCapabilityRegisterPrefix[] = "catalog:write:register:";
// Version features.
inline constexpr char kFeaturePerSegmentValues[] = "per_segment_index_values";

// --- names of RPC methods: `/rerun.cloud.v1alpha1.RerunCloudService/<Rpc>`

inline constexpr char kServiceName[] = "rerun.cloud.v1alpha1.RerunCloudService";
inline constexpr char kProxyServiceName[] = "rerun.sdk_comms.v1alpha1.MessageProxyService";

// Prefix of `Any.type_url` of table providers. Official readers compare whole URLs, so the customary `type.googleapis.com` is wrong here.
inline constexpr char kAnyUrlPrefix[] = "";

// --- limits

// The port of a catalog server on this machine when an address names none; 443 or 80 elsewhere.
inline constexpr int kDefaultPort = 51234;
// A reader refuses compressed payloads that claim to be larger than this, or than 255 times their length.
inline constexpr uint64_t kMaxUncompressedSize = uint64_t{16} << 30;
// `GetSchemas` takes at most this many ids.
inline constexpr int kMaxSchemaIds = 1024;
// `DoBandwidthTest`: at most this much, in messages of kBandwidthMessageBytes.
inline constexpr uint64_t kMaxBandwidthTestBytes = uint64_t{32} << 20;
inline constexpr uint64_t kBandwidthMessageBytes = uint64_t{1} << 20;
// Clients ping idle connections this often and give up after the timeout; servers must tolerate it.
inline constexpr int kKeepaliveTimeMs = 30'000;
inline constexpr int kKeepaliveTimeoutMs = 20'000;
// How long one `FetchChunks` may take.
inline constexpr int kFetchDeadlineSeconds = 300;
// Segments and chunk ids per message are not limited; names of entries are.
inline constexpr int kMaxEntryNameLength = 180;

// --- text forms

// An entry id as the protocol writes it: 16 upper-case digits, then 16 lower-case ones.
std::string TuidToText(const Tuid& id);
// Parses 32 hex digits of either case. Invalid names the text.
arrow::Result<Tuid> TuidFromText(std::string_view text);

// Undoes `%XX`; Invalid for a broken escape.
arrow::Result<std::string> PercentDecode(std::string_view text);
// Escapes everything outside `A-Z a-z 0-9 - . _ ~` and `keep`.
std::string PercentEncode(std::string_view text, std::string_view keep = "");

}  // namespace rushes::wire
