// The index of the chunks of one store: what is known of each chunk without reading it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/component.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/chunk/entity_path.h"
#include "rushes/chunk/timeline.h"
#include "rushes/chunk/tuid.h"

namespace rushes {

// An inclusive range of times.
struct TimeSpan {
  int64_t start = 0;
  int64_t end = 0;

  bool Contains(int64_t time) const { return start <= time && time <= end; }
  bool Overlaps(int64_t first, int64_t last) const { return start <= last && first <= end; }
  friend bool operator==(const TimeSpan&, const TimeSpan&) = default;
};

// Where a chunk's message lies: the bytes of its ArrowMsg, without the frame header of 16 bytes before it.
struct ChunkPlace {
  uint64_t offset = 0;             // from the start of the file
  uint64_t size = 0;               // bytes of the message
  uint64_t size_uncompressed = 0;  // bytes of the payload once decompressed
};

// Immutable columnar metadata of the chunks of one store, in file order; chunk ids are unique. Thread safe.
//
// Two views of the same chunks: per chunk (id, entity, rows, place, time spans), and per column, that is per entity and component,
// the chunks that hold a value of it, with the span of the rows that do. Chunks that hold nothing but nulls are in no column.
class SegmentIndex {
 public:
  // One chunk that holds a component.
  struct ColumnEntry {
    uint32_t chunk = 0;     // position
    int32_t spans = -1;     // private: -1 if the spans are those of the chunk
    int64_t num_rows = -1;  // rows in which the component is not null; -1: not known
    RowId last_row_id;      // static chunks: the greatest row id with a value; zero: not known
  };
  struct Column {
    uint32_t entity = 0;     // position in entities()
    uint32_t component = 0;  // position in components()
    bool has_static = false;
    bool has_temporal = false;
    uint32_t begin = 0;  // entries() [begin, end), in the order of the chunks
    uint32_t end = 0;
  };

  size_t num_chunks() const { return ids_.size(); }
  // Sorted. One list for all stores with the same entities, as long as one of them lives.
  const std::vector<EntityPath>& entities() const { return entities_->paths; }
  std::shared_ptr<const std::vector<EntityPath>> shared_entities() const { return {entities_, &entities_->paths}; }
  const std::vector<Timeline>& timelines() const { return timelines_; }  // sorted by name
  const std::vector<ComponentDescriptor>& components() const { return components_; }

  // Per chunk.
  const ChunkId& id(size_t chunk) const { return ids_[chunk]; }
  uint32_t entity(size_t chunk) const { return entity_of_[chunk]; }
  bool is_static(size_t chunk) const { return flags_[chunk] & kStatic; }
  // All its components have static data in this store, which hides the chunk from every query.
  bool is_shadowed(size_t chunk) const { return flags_[chunk] & kShadowed; }
  int64_t num_rows(size_t chunk) const { return num_rows_[chunk]; }
  const ChunkPlace& place(size_t chunk) const { return places_[chunk]; }
  // The least and greatest time of the chunk on a timeline (position in timelines()); nullopt if it has none.
  std::optional<TimeSpan> Span(size_t chunk, int timeline) const {
    const size_t at = static_cast<size_t>(timeline) * ids_.size() + chunk;
    return spans_present_[at] ? std::optional<TimeSpan>(spans_[at]) : std::nullopt;
  }
  // Chunks of an entity (position in entities()), in file order.
  std::span<const uint32_t> ChunksOf(uint32_t entity) const {
    return std::span<const uint32_t>(by_entity_).subspan(entity_begin_[entity], entity_begin_[entity + 1] - entity_begin_[entity]);
  }

  // Per column: sorted by entity position, then component position.
  const std::vector<Column>& columns() const { return columns_; }
  // The columns of an entity, consecutive.
  std::span<const Column> ColumnsOf(uint32_t entity) const;
  std::span<const ColumnEntry> Entries(const Column& column) const {
    return std::span<const ColumnEntry>(entries_).subspan(column.begin, column.end - column.begin);
  }
  // The span of the rows of the entry's chunk in which the component is not null.
  std::optional<TimeSpan> EntrySpan(const ColumnEntry& entry, int timeline) const;

  // Positions, or -1.
  int TimelineIndex(std::string_view name) const;
  int EntityIndex(const EntityPath& entity) const;
  // Position of a chunk, or -1.
  int64_t FindChunk(const ChunkId& id) const;

  // First and last time of all chunks on a timeline; nullopt if no chunk has it.
  std::optional<TimeSpan> TotalSpan(int timeline) const;
  // Encoded size of all chunks, each with its frame header of 16 bytes.
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t size_bytes_uncompressed() const { return size_bytes_uncompressed_; }

 private:
  friend class SegmentIndexBuilder;
  static constexpr uint8_t kStatic = 1;
  static constexpr uint8_t kShadowed = 2;

  // What stores with the same entities share.
  struct Entities {
    std::vector<EntityPath> paths;  // sorted
    std::unordered_map<EntityPath, uint32_t> positions;
  };
  static std::shared_ptr<const Entities> Share(Entities entities);

  std::shared_ptr<const Entities> entities_ = std::make_shared<const Entities>();
  std::vector<Timeline> timelines_;
  std::vector<ComponentDescriptor> components_;

  std::vector<ChunkId> ids_;
  std::vector<uint32_t> entity_of_;
  std::vector<uint8_t> flags_;
  std::vector<int64_t> num_rows_;
  std::vector<ChunkPlace> places_;
  std::vector<uint8_t> spans_present_;  // [timeline][chunk]
  std::vector<TimeSpan> spans_;         // [timeline][chunk]
  std::vector<uint32_t> entity_begin_;
  std::vector<uint32_t> by_entity_;
  std::vector<uint32_t> by_id_;  // positions sorted by id

  std::vector<Column> columns_;
  std::vector<ColumnEntry> entries_;
  std::vector<uint32_t> entity_columns_;  // first column of each entity, one more at the end
  std::vector<TimeSpan> entry_spans_;     // [ColumnEntry::spans + timeline]; start > end: none
  uint64_t size_bytes_ = 0;
  uint64_t size_bytes_uncompressed_ = 0;
};

using SegmentIndexPtr = std::shared_ptr<const SegmentIndex>;

// Collects chunks one after another. Not thread safe.
class SegmentIndexBuilder {
 public:
  // One component of a chunk.
  struct Component {
    ComponentDescriptor descriptor;
    int64_t num_rows = -1;
    RowId last_row_id;
    // Per timeline of the chunk; empty: those of the chunk.
    std::vector<TimeSpan> spans;
  };
  struct Entry {
    ChunkId id;
    EntityPath entity;
    bool is_static = false;
    int64_t num_rows = 0;
    ChunkPlace place;
    std::vector<Timeline> timelines;  // of the chunk
    std::vector<TimeSpan> spans;      // one per timeline
    std::vector<Component> components;
  };

  // Invalid if a timeline was seen with another type before. A chunk whose id was added before is left out: equal ids mean equal
  // chunks.
  arrow::Status Add(Entry entry);
  // The entry of a decoded chunk.
  static Entry Describe(const Chunk& chunk, const ChunkPlace& place);
  // The finished index; the builder is empty afterwards.
  arrow::Result<SegmentIndexPtr> Finish();

 private:
  std::vector<Entry> rows_;
  std::unordered_map<ChunkId, uint32_t> seen_;
  std::unordered_map<std::string, TimeType> timelines_;
};

}  // namespace rushes
