// The one seam between storage and the query engine: where chunks come from.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/array/array_binary.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/chunk_joiner.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/chunk/repeat_texts.h"

namespace rushes {

// Which chunks a query needs. All parts are conjunctive.
struct ChunkSelection {
  enum class Mode {
    kAll,      // every chunk of the entities, also static, superseded and on other timelines
    kStatic,   // static chunks only
    kRange,    // winning static chunks, and those with `timeline` that overlap [start, end]
    kSamples,  // winning static chunks, and those that hold or (latest_at) precede a sample of their segment
  };
  Mode mode = Mode::kAll;
  // Segments to look in, by id; unknown ids are harmless. In mode kSamples the keys of `samples` are the segments.
  std::vector<std::string> segments;
  // Entities to look in; nullopt: all.
  std::optional<std::vector<EntityPath>> entities;
  // Per element of `entities` (or empty): the only components that matter. A source may leave out chunks that have none of them.
  std::vector<ComponentList> components;
  // The timeline of start, end, samples and ChunkInfo::start/end. Empty in mode kStatic; optional in mode kAll.
  std::string timeline;
  int64_t start = kMinTime;  // inclusive
  int64_t end = kMaxTime;    // inclusive
  // Also the chunks that may hold, per component, the latest value at or before `start` or each sample.
  bool latest_at = false;
  std::map<std::string, std::vector<int64_t>> samples;
  // A source may let one ChunkInfo stand for several small chunks, none of more bytes than this, which it reads together, whole. 0: no.
  int64_t max_joined_bytes = 0;
};

// One chunk that was found, before it is fetched.
struct ChunkInfo {
  ChunkId id;
  uint32_t entity = 0;  // index into SegmentChunks::entities
  bool is_static = false;
  bool has_timeline = false;  // has the selection's timeline; start and end are meaningful
  int64_t start = 0;          // smallest time on it
  int64_t end = kMaxTime;     // greatest time on it, or kMaxTime when the source does not know
  int64_t num_rows = -1;      // -1: not known
  int64_t byte_size = 0;      // decoded size, estimated
  uint64_t locator = 0;       // meaning private to the source
  uint32_t num_chunks = 1;    // how many it stands for; then `id` is that of the first, and the rest is said of all together
};

// The chunks of one segment that a selection found. Order of `chunks` is unspecified; ids are unique.
struct SegmentChunks {
  std::string segment_id;
  // The segment's own schema (all layers merged): decides which columns are static or semantically empty in this segment.
  std::shared_ptr<const DatasetSchema> schema;
  std::shared_ptr<const std::vector<EntityPath>> entities;  // never null
  std::vector<ChunkInfo> chunks;
  // Private state of the source that the locators refer to.
  std::shared_ptr<const void> state;
  // FetchAhead brought the chunks that a scan needs: FetchChunks costs nothing.
  bool is_fetched = false;

  const EntityPath& entity_of(uint32_t chunk) const { return (*entities)[chunks[chunk].entity]; }
};

// A list of segment ids, shared since it may be long.
using SegmentIds = std::shared_ptr<const std::vector<std::string>>;

// A chunk that was fetched.
struct FetchedChunk {
  ChunkPtr chunk;
  uint32_t request = 0;  // position in the list of chunks that were asked for
};

// Chunks of neighbouring segments that were read as one: lane by lane, one chunk of each segment.
struct SegmentBundle {
  struct Lane {
    const JoinedRows* rows;
    std::span<const uint8_t> is_strict;  // per timeline: within each segment the times ascend strictly
  };
  size_t num_segments = 0;  // 0: the first one cannot be read so
  std::vector<Lane> lanes;  // in the order of the first segment's chunks
  // Where these segments are in the lanes, which may hold more: in temporal ones from `first_row` to the last of `row_ends`, in static
  // ones, of a row for each segment, from `first_segment` on.
  int64_t first_row = 0;
  size_t first_segment = 0;
  std::vector<int64_t> row_ends;                    // per segment
  std::shared_ptr<arrow::StringArray> segment_ids;  // of each row of temporal lanes
  int64_t byte_size = 0;                            // of these segments' part
  std::shared_ptr<const void> keep_alive;

  int64_t num_rows() const { return row_ends.back() - first_row; }
};

// What decides which rows a scan makes of segments. Scans of one kind make the same rows of the same segments.
struct ScanKind {
  std::string words;
  std::shared_ptr<const DatasetSchema> schema;
  friend bool operator==(const ScanKind&, const ScanKind&) = default;
};

// A batch that a scan made of a bundle, of slices.
struct KeptBatch {
  std::vector<std::string> ids;  // of the segments whose rows these are
  std::shared_ptr<arrow::RecordBatch> batch;
  // What ScanStatistics count.
  int64_t chunks_found = 0;
  int64_t chunks_fetched = 0;
  int64_t bytes_fetched = 0;
};

// A component of a chunk that was found. The name lives as long as the SegmentChunks.
struct ChunkComponent {
  std::string_view name;
  int64_t num_rows = -1;  // rows in which it is not null; -1: at least one
};

// The first and last time of a segment on a timeline, over all layers and entities.
struct IndexRange {
  std::string segment_id;
  int64_t start = 0;
  int64_t end = 0;
};

// A dataset to query: in process (LocalChunkSource) or behind a connection (RemoteChunkSource). Thread safe: every method may be
// called from several threads at once. Errors are arrow::Status with words for the user: KeyError for an unknown timeline, IOError
// for unreadable storage and lost connections, Invalid for bad data; each names dataset, segment or file.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;

  // Whether it knows its schema and segments without asking anybody, so that a caller need not fear to wait.
  virtual bool is_local() const { return false; }
  // Whether it fetches from memory and files of this machine alone, so that no call takes long.
  virtual bool FetchesLocally() { return false; }
  // The merged schema of all segments.
  virtual arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() = 0;
  // All segment ids in byte order; never null.
  virtual arrow::Result<SegmentIds> ListSegments() = 0;
  // Ranges of all segments that have the timeline, in byte order of the segment ids.
  virtual arrow::Result<std::vector<IndexRange>> GetIndexRanges(const std::string& timeline) = 0;

  // One element per segment of the selection that exists, in byte order of the segment ids, also when no chunk was found. A source may
  // return more chunks than asked within the entities and segments, never fewer; readers must not let extra chunks change results.
  virtual arrow::Result<std::vector<SegmentChunks>> FindChunks(const ChunkSelection& selection) = 0;

  // What is known of a chunk's components before it is fetched: all that have a value in it. nullopt: nothing is known. Cheap.
  virtual std::optional<std::vector<ChunkComponent>> ComponentsOf(const SegmentChunks& segment, uint32_t chunk) { return std::nullopt; }

  // Reads and decodes `chunks` (positions in `segment.chunks`); the result is in their order, one chunk for each, or several for one that
  // stands for several. `values`, one per chunk or empty, says which
  // components' values are needed (null: all); a source may leave the others out (ComponentList), or not. Blocking.
  virtual arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                               std::span<const ComponentList> values) = 0;
  arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks) {
    return FetchChunks(segment, chunks, {});
  }

  // What FetchChunks would give, if it is all in memory: without a wait that were worth a thread. nullopt: FetchChunks has to be called.
  virtual std::optional<std::vector<FetchedChunk>> FindKept(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                            std::span<const ComponentList> values) {
    return std::nullopt;
  }

  // Reads `chunks` (per segment positions in its `chunks`) of the segments from the first one on as one, as many as will go together: where
  // what FetchChunks costs for each counts. Blocking. Of errors there are none but of memory: what cannot be read is not in the bundle.
  virtual arrow::Result<SegmentBundle> FetchBundle(std::span<const SegmentChunks> segments, std::span<const std::vector<uint32_t>> chunks) {
    return SegmentBundle{};
  }

  // Scans of one kind need to put a bundle together once. A source that keeps bundles may keep what was made of one, as long as it keeps
  // the bundle and the segments are the same; `segments` are those of the batch.
  virtual void Keep(const ScanKind& kind, std::span<const SegmentChunks> segments, const SegmentBundle& bundle,
                    std::shared_ptr<const KeptBatch> batch) {}
  // What was kept of the segments that `ids` begins with, one batch's after another's, until they have `max_bytes`; at least one if there
  // is any. Cheap.
  virtual std::vector<std::shared_ptr<const KeptBatch>> Recall(const ScanKind& kind, std::span<const std::string> ids, int64_t max_bytes) {
    return {};
  }

  // The segment's id for at least so many rows. A source that keeps decoded chunks may keep it with them. Cheap.
  virtual arrow::Result<std::shared_ptr<arrow::StringArray>> RepeatId(const SegmentChunks& segment, int64_t num_rows) {
    const TextRun run{segment.segment_id, num_rows};
    return RepeatTexts({&run, 1});
  }

  // Which chunks of a segment a scan will ask for.
  using ChunksWanted = std::function<arrow::Result<std::vector<uint32_t>>(const SegmentChunks&)>;
  // Brings what FetchChunks will be asked for, where that is cheaper for several segments at once than for each by itself; else nothing
  // happens. The chunks stay in memory as long as the segments. Blocking; errors as for FetchChunks.
  virtual arrow::Status FetchAhead(std::span<SegmentChunks> segments, const ChunksWanted& wanted) { return arrow::Status::OK(); }
};

}  // namespace rushes
