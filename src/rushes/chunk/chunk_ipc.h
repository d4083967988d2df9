// Arrow IPC bytes of one chunk <-> Chunk.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/result.h"
#include "rushes/chunk/chunk.h"

namespace rushes {

// Decodes chunk payloads (an Arrow IPC stream of one schema and one batch). Keeps a bounded cache of schemas keyed by the schema
// message with the chunk id masked out, which makes a small chunk 2.5 times cheaper to decode. Thread safe.
//
// Schemas and batches of older writers are migrated to the current form first (docs/format.md, "Migrations").
class ChunkDecoder {
 public:
  explicit ChunkDecoder(size_t max_cached_schemas = 4096);
  ~ChunkDecoder();
  ChunkDecoder(const ChunkDecoder&) = delete;

  // `payload` must be uncompressed IPC; the chunk refers to it, without a copy. Invalid says what is wrong; never reads out of bounds.
  arrow::Result<ChunkPtr> Decode(std::shared_ptr<arrow::Buffer> payload);

  // What the schema message at the start of a payload says.
  struct Head {
    std::shared_ptr<const ChunkSchema> schema;  // null: the chunk must be migrated, or has dictionaries
    ChunkId id;
    size_t length = 0;       // bytes of the message
    int64_t id_digits = -1;  // where the 32 digits of the id are in it; -1: not plain to see
  };
  arrow::Result<Head> ReadHead(std::string_view payload);

  // Decodes row ids, times and the values of some components only, from the first bytes of a payload.
  //
  // How many bytes that takes: `start` are its first ones. `kMore`: they do not hold its metadata. `kWhole`: it can only be decoded whole
  // (an older version, dictionaries, or `num_bytes` would be as many).
  struct PartSize {
    enum class Kind { kPart, kMore, kWhole } kind = Kind::kWhole;
    int64_t num_bytes = 0;
  };
  arrow::Result<PartSize> MeasurePart(std::string_view start, const std::vector<std::string>& components);
  // `start` must have as many bytes as measured. The chunk refers to it; other components have stand-ins.
  arrow::Result<ChunkPtr> DecodePart(const std::shared_ptr<arrow::Buffer>& start, const std::vector<std::string>& components);

  // One decoder for the process.
  static ChunkDecoder& Default();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A record batch with chunk metadata, of any supported version, as a Chunk.
arrow::Result<ChunkPtr> ChunkFromRecordBatch(const std::shared_ptr<arrow::RecordBatch>& batch);
// The payload bytes of a chunk: an IPC stream of a schema, one batch and the end marker.
arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeChunk(const Chunk& chunk);

}  // namespace rushes
