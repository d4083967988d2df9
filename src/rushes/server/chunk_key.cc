#include "rushes/server/chunk_key.h"

#include <cstring>

namespace rushes {
namespace {
constexpr std::string_view kMagic = "R1";
}

std::string EncodeChunkKey(const ChunkKey& key) {
  std::string bytes(kChunkKeyBytes, '\0');
  std::memcpy(bytes.data(), kMagic.data(), 2);
  key.layer.ToBytes(bytes.data() + 2);
  std::memcpy(bytes.data() + 18, &key.chunk, 4);
  key.id.ToBytes(bytes.data() + 22);
  return bytes;
}

arrow::Result<ChunkKey> DecodeChunkKey(std::string_view bytes) {
  if (bytes.size() != kChunkKeyBytes || !bytes.starts_with(kMagic)) {
    return arrow::Status::Invalid("Failed to decode chunk key: not a key of this server (", bytes.size(), " bytes)");
  }
  ChunkKey key;
  key.layer = Tuid::FromBytes(bytes.data() + 2);
  std::memcpy(&key.chunk, bytes.data() + 18, 4);
  key.id = ChunkId::FromBytes(bytes.data() + 22);
  return key;
}

}  // namespace rushes
