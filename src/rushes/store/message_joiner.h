// Messages of recording files -> rows of their chunks, joined.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "arrow/result.h"
#include "rushes/chunk/chunk_joiner.h"
#include "rushes/rrd/similar_blocks.h"

namespace rushes {

// A ChunkJoiner that is given messages, whose payloads mostly begin alike. Not thread safe.
class MessageJoiner {
 public:
  // As for ChunkJoiner.
  explicit MessageJoiner(int64_t num_rows, ChunkJoiner::Into into = ChunkJoiner::Into::kChunk) : joiner_(num_rows, into) {}

  // Adds the chunk of an ArrowMsg; false, and nothing was added: it does not fit those before, or can only be decoded alone. `id`: the one
  // that the chunk must have.
  arrow::Result<bool> Add(const ChunkId& id, std::string_view message);

  int64_t num_rows() const { return joiner_.num_rows(); }
  arrow::Result<ChunkPtr> Finish() { return joiner_.Finish(); }
  arrow::Result<JoinedRows> FinishRows(int64_t num_rows) { return joiner_.FinishRows(num_rows); }

 private:
  ChunkJoiner joiner_;
  rrd::SimilarBlocks blocks_;
};

}  // namespace rushes
