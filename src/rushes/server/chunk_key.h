// How clients name a chunk that they want to fetch. Private to the server: clients hand keys back as they got them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "arrow/result.h"
#include "rushes/chunk/tuid.h"

namespace rushes {

struct ChunkKey {
  Tuid layer;          // the registration, Layer::id
  uint32_t chunk = 0;  // position in its index
  ChunkId id;          // must be the id of that chunk
};

inline constexpr size_t kChunkKeyBytes = 38;

// Two bytes "R1", layer id, position (little endian), chunk id.
std::string EncodeChunkKey(const ChunkKey& key);
// Invalid "Failed to decode chunk key: …".
arrow::Result<ChunkKey> DecodeChunkKey(std::string_view bytes);

}  // namespace rushes
