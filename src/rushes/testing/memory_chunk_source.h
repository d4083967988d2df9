// Chunks in memory as a dataset, for tests.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "rushes/query/chunk_source.h"

namespace rushes {

// One segment: its layers, each a list of chunks.
struct MemorySegment {
  std::string id;
  std::map<std::string, std::vector<ChunkPtr>> layers;

  // All chunks, each id once.
  std::vector<ChunkPtr> Chunks() const;
  // The schemas of the layers, merged as a catalog merges them.
  arrow::Result<DatasetSchema> Schema() const;
};

// The merged schema of all segments.
arrow::Result<DatasetSchema> SchemaOf(const std::vector<MemorySegment>& segments);

// How a source answers: only with the chunks that matter, and all that is known of them; or as loosely as it may, with chunks of the
// entities and segments that were asked for, whether or not they lie in the range; or as one behind a network, that knows the first time
// of a chunk and its size alone, and brings what FetchAhead says, and then nothing else.
enum class Answers : uint8_t { kExact, kGenerous, kRemote };

// Thread safe.
class MemoryChunkSource : public ChunkSource {
 public:
  static arrow::Result<std::shared_ptr<MemoryChunkSource>> Make(std::vector<MemorySegment> segments, Answers answers = Answers::kExact);

  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override { return schema_; }
  arrow::Result<SegmentIds> ListSegments() override;
  arrow::Result<std::vector<IndexRange>> GetIndexRanges(const std::string& timeline) override;
  arrow::Result<std::vector<SegmentChunks>> FindChunks(const ChunkSelection& selection) override;
  std::optional<std::vector<ChunkComponent>> ComponentsOf(const SegmentChunks& segment, uint32_t chunk) override;
  // Gives no values that were not asked for. Invalid: a chunk that FetchAhead was not told of.
  arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                       std::span<const ComponentList> values) override;
  arrow::Status FetchAhead(std::span<SegmentChunks> segments, const ChunksWanted& wanted) override;
  // Only of a source that answers exactly. The lanes begin with rows that are nobody's.
  arrow::Result<SegmentBundle> FetchBundle(std::span<const SegmentChunks> segments, std::span<const std::vector<uint32_t>> chunks) override;
  // Segments that FetchAhead brought.
  int64_t num_ahead() const { return num_ahead_; }
  // Segments in bundles.
  int64_t num_bundled() const { return num_bundled_; }

 private:
  struct Segment {
    std::vector<ChunkPtr> chunks;
    std::shared_ptr<const DatasetSchema> schema;
  };
  MemoryChunkSource() = default;
  static bool IsSelected(const ChunkSelection& selection, const std::string& segment_id, const Segment& segment, const Chunk& chunk);

  std::map<std::string, Segment> segments_;
  std::shared_ptr<const DatasetSchema> schema_;
  Answers answers_ = Answers::kExact;
  std::atomic<int64_t> num_ahead_ = 0;
  std::atomic<int64_t> num_bundled_ = 0;
};

}  // namespace rushes
