// The encoding of gRPC-Web: gRPC's messages and trailers as the body of an HTTP/1.1 request or response. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/result.h"

namespace rushes::grpc_web {

enum class Encoding { kBinary, kText };

// Of `application/grpc-web`, `application/grpc-web-text` and both with `+proto`, in any case, with or without parameters; nothing for
// other types.
std::optional<Encoding> EncodingOf(std::string_view content_type);
// What the answer shall be: the first of the two encodings that `accept` names, else that of the request.
Encoding AnswerEncoding(std::string_view accept, Encoding request);
const char* ContentType(Encoding encoding);

// Base64 in one piece or several, each with its own padding or none; both alphabets. Invalid says which character is wrong.
arrow::Result<std::string> Base64Decode(std::string_view text);
std::string Base64Encode(std::string_view bytes);

// The messages of a request's body, views into it. Invalid says which frame is cut, flagged wrongly or compressed.
arrow::Result<std::vector<std::string_view>> SplitFrames(std::string_view body);

inline constexpr uint8_t kMessageFlag = 0;
inline constexpr uint8_t kTrailersFlag = 0x80;
// The five bytes before a frame's contents.
std::string FrameHead(uint8_t flag, size_t length);

// How a call ended.
struct Trailers {
  int code = 0;
  std::string message;
  std::string details;  // bytes of grpc-status-details-bin; may be empty
  std::multimap<std::string, std::string> metadata;
};
// The last frame of an answer.
std::string TrailersFrame(const Trailers& trailers);

// `grpc-message` as it is in a header.
std::string PercentEncodeMessage(std::string_view message);

// The value of `grpc-timeout`: at most 8 digits and one of H, M, S, m, u, n.
arrow::Result<std::chrono::nanoseconds> ParseTimeout(std::string_view text);

// What gRPC takes as metadata: it aborts the process for anything else.
bool IsMetadataKey(std::string_view key);
bool IsMetadataValue(std::string_view value);
// `/package.Service/Method`.
bool IsMethodPath(std::string_view path);

}  // namespace rushes::grpc_web
