// `FetchChunks`: chunks from files to the wire, undecoded.
#pragma once

#include <memory>
#include <vector>

#include <grpcpp/support/byte_buffer.h>

#include "arrow/result.h"
#include "rushes/catalog/catalog.h"

namespace rushes {

// The answer to one request, message by message. Not thread safe.
class ChunkFetcher {
 public:
  // Resolves all keys of a serialized `FetchChunksRequest`. Invalid: bad request or key; KeyError: a key of a chunk that is gone.
  // Once, before anything else.
  arrow::Status Open(const Catalog& catalog, const grpc::ByteBuffer& request);

  // The next serialized `FetchChunksResponse`, made of slices of what was read; false: no more. Chunks come in the order of the request,
  // small ones several a message. Reads at most a few megabytes, or one chunk, ahead.
  arrow::Result<bool> Next(grpc::ByteBuffer* response);

  // Whether the next call of `Next` reads from a file, which may take its time.
  bool must_read() const { return next_ready_ == ready_.size() && run_ < runs_.size(); }

 private:
  struct Run {  // consecutive chunks of one layer
    LayerPtr layer;
    std::vector<uint32_t> chunks;
  };
  arrow::Status ReadAhead();

  std::vector<Run> runs_;
  size_t run_ = 0;
  size_t chunk_ = 0;
  int64_t read_bytes_ = 1 << 20;  // of the next read; doubles
  std::vector<ChunkMessage> ready_;
  size_t next_ready_ = 0;
};

}  // namespace rushes
