// One segment chunk by chunk: what there is, and the chunks themselves when they are wanted.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "arrow/type_fwd.h"
#include "rushes/api/connection.h"
#include "rushes/chunk/catalog_types.h"

namespace rushes {

// The chunks of a segment, and of the assets that apply to it, as they were when it was opened. Holds their manifest; chunks are read when
// asked for and not kept (a server in this process has its cache). Immutable and thread safe.
class SegmentStore {
 public:
  // Asks for the manifest and no chunk. KeyError: no such segment.
  static arrow::Result<std::shared_ptr<SegmentStore>> Open(const std::shared_ptr<Connection>& connection, EntryId dataset,
                                                           const std::string& segment_id, bool include_assets);

  struct StoredChunk : SegmentChunk {
    int64_t byte_size = 0;  // decoded, estimated
    size_t part = 0;        // which of parts_ has it
    uint32_t position = 0;  // in its `found.chunks`
  };
  // In the order of the manifest: that of the files, layer by layer. Those of assets follow.
  const std::vector<StoredChunk>& chunks() const { return chunks_; }
  // The columns of the segment, then those that only assets have.
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }

  // Reads `chunks` (positions in chunks()); the result is in their order. IOError, Invalid: as ChunkSource::FetchChunks.
  arrow::Result<std::vector<ChunkPtr>> Read(std::span<const uint32_t> chunks) const;

 private:
  // A segment, of the dataset or of its assets.
  struct Part {
    std::shared_ptr<ChunkSource> source;
    SegmentChunks found;
  };
  SegmentStore() = default;
  arrow::Status Add(Connection& connection, EntryId dataset, const std::string& segment_id);

  std::vector<Part> parts_;
  std::vector<StoredChunk> chunks_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace rushes
