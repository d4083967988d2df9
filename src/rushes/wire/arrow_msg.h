// `ArrowMsg` and `FetchChunksResponse` by hand: chunk payloads are the bulk of all traffic, and protobuf would copy them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/result.h"
#include "rushes/chunk/tuid.h"

namespace rushes::wire {

// A message that came in pieces: a sequence of bytes, not necessarily contiguous. The pieces must outlive readers.
using BytePieces = std::vector<std::span<const uint8_t>>;

// An `ArrowMsg` without its payload's contents. Unset fields have the protobuf default.
struct ArrowMsgHead {
  int32_t compression = 0;  // 0 and 1 none, 2 LZ4 block
  uint64_t uncompressed_size = 0;
  int32_t encoding = 0;      // 1: Arrow IPC
  int32_t store_kind = 0;    // 1 recording, 2 blueprint
  std::string recording_id;  // the segment id
  std::string application_id;
  std::optional<Tuid> chunk_id;
  std::optional<bool> is_static;
};

// One chunk of a response: envelope and uncompressed payload, in a buffer of its own (64-byte aligned).
struct ReceivedChunk {
  ArrowMsgHead head;
  std::shared_ptr<arrow::Buffer> payload;
};

// The chunks of a serialized `FetchChunksResponse`. Copies or decompresses each payload exactly once. Invalid: not protobuf, an encoding
// other than Arrow IPC, LZ4 that does not give its announced size.
arrow::Result<std::vector<ReceivedChunk>> ParseFetchChunksResponse(const BytePieces& message);
// The same for one serialized `ArrowMsg`.
arrow::Result<ReceivedChunk> ParseArrowMsg(const BytePieces& message);

// What precedes `payload_size` payload bytes so that both together are a serialized `FetchChunksResponse` with one chunk. The payload is
// written last, so a server sends this and then the payload as it lies in memory.
std::string FetchChunksPrefix(const ArrowMsgHead& head, uint64_t payload_size);

}  // namespace rushes::wire
