// What a catalog holds at one moment: immutable values that readers share.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/array.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type.h"
#include "rushes/catalog/property_columns.h"
#include "rushes/catalog/table_storage.h"
#include "rushes/chunk/catalog_types.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/chunk/timeline.h"
#include "rushes/store/recording.h"

namespace rushes {

// First and last time on a timeline, over all chunks of a layer or segment.
struct TimelineRange {
  Timeline timeline;
  int64_t start = 0;
  int64_t end = 0;
};

// One recording, registered under a segment and layer name. Immutable.
struct Layer {
  Tuid id;  // of this registration; part of the keys of its chunks
  std::string segment_id;
  std::string name;
  std::string url;  // as registered
  int64_t registered_at_ns = 0;
  int64_t updated_at_ns = 0;
  uint64_t num_chunks = 0;
  uint64_t size_bytes = 0;    // of the encoded chunks, each with its message header
  std::string schema_sha256;  // 32 bytes: identifies `schema`
  std::shared_ptr<const DatasetSchema> schema;
  std::shared_ptr<arrow::Schema> arrow_schema;  // the same, as it was registered
  std::vector<TimelineRange> ranges;            // sorted by timeline name
  std::vector<PropertyColumn> properties;       // sorted by name
  RecordingStorePtr store;                      // index and chunks; after maintenance those of a file of the server
};
using LayerPtr = std::shared_ptr<const Layer>;

// One segment: its layers in order of registration, never none. Immutable.
struct Segment {
  std::string id;
  std::vector<LayerPtr> layers;
  std::shared_ptr<const DatasetSchema> schema;  // of all layers
  std::vector<TimelineRange> ranges;            // united, sorted by timeline name

  const Layer* FindLayer(std::string_view name) const;
};
using SegmentPtr = std::shared_ptr<const Segment>;
// Builds a segment from its layers. Invalid if their schemas do not unite.
arrow::Result<SegmentPtr> MakeSegment(std::string id, std::vector<LayerPtr> layers);

// The data of a dataset: its segments and what follows from them. Immutable; the tables are made when first asked for.
class DatasetContent {
 public:
  using Segments = std::map<std::string, SegmentPtr, std::less<>>;

  DatasetContent();
  // `schema` must be the union over `segments`.
  DatasetContent(Segments segments, std::shared_ptr<const DatasetSchema> schema);
  // Computes the schema as well.
  static arrow::Result<std::shared_ptr<const DatasetContent>> Make(Segments segments);

  const Segments& segments() const { return segments_; }  // in byte order of the ids
  const Segment* FindSegment(std::string_view id) const;
  const std::vector<std::string>& segment_ids() const { return segment_ids_; }  // the same
  // The union over all layers. Never null.
  const std::shared_ptr<const DatasetSchema>& schema() const { return schema_; }
  // Whether all its recordings are in memory or files of this machine.
  bool is_on_this_machine() const { return is_on_this_machine_; }

  // One row per segment, in byte order of the ids.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> SegmentTable() const;
  // One row per layer: segments in byte order, their layers in order of registration.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Manifest() const;

 private:
  Segments segments_;
  std::vector<std::string> segment_ids_;
  std::shared_ptr<const DatasetSchema> schema_;
  bool is_on_this_machine_ = true;
  mutable std::once_flag segment_table_once_;
  mutable arrow::Result<std::shared_ptr<arrow::RecordBatch>> segment_table_;
  mutable std::once_flag manifest_once_;
  mutable arrow::Result<std::shared_ptr<arrow::RecordBatch>> manifest_;
};

// Properties of a segment that clients set: one row, as it was sent.
struct SegmentProperties {
  std::shared_ptr<arrow::RecordBatch> row;
  uint64_t revision = 0;  // never 0, another one after each change
};

// A dataset or table. Immutable.
struct Entry {
  EntryDetails entry;
  DatasetDetails details;  // of a table: the blueprint dataset and its default segment
  // For tables, but not `__entries`.
  std::shared_ptr<Table> table;
  std::string table_url;
  // The rest is for datasets.
  std::optional<std::string> default_segment_table_blueprint;
  std::shared_ptr<const DatasetContent> content;
  // Grows with each change of the content, also over a dataset of the same id that was deleted; never 0. Not a count.
  uint64_t revision = 0;
  std::map<std::string, SegmentProperties, std::less<>> properties;

  bool is_dataset() const { return content != nullptr; }
  DatasetEntry ToDatasetEntry() const;
  TableEntry ToTableEntry() const;
};
using EntryPtr = std::shared_ptr<const Entry>;
// An empty dataset of any kind.
std::shared_ptr<Entry> MakeDatasetEntry(EntryId id, std::string name, EntryKind kind, int64_t now_ns);

// All entries. Immutable once published; writers copy it.
class CatalogState {
 public:
  const std::map<EntryId, EntryPtr>& entries() const { return entries_; }
  // nullptr: none.
  EntryPtr Find(EntryId id) const;
  EntryPtr Find(std::string_view name) const;
  // KeyError "Entry id '…' not found", also for a table.
  arrow::Result<EntryPtr> GetDataset(EntryId id) const;
  // KeyError "Entry name '…' not found", also for a table.
  arrow::Result<EntryPtr> GetDataset(std::string_view name) const;
  // KeyError "Entry id '…' not found", also for a dataset. The entry of `__entries` has no `table`.
  arrow::Result<EntryPtr> GetTable(EntryId id) const;

  // The `__entries` table: id, name, entry_kind, created_at, updated_at.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> EntriesTable() const;
  static const std::shared_ptr<arrow::Schema>& EntriesSchema();

  // Adds or replaces an entry. The name must be free or the entry's own.
  void Put(EntryPtr entry);
  void Erase(EntryId id);

 private:
  std::map<EntryId, EntryPtr> entries_;
  std::map<std::string, EntryId, std::less<>> names_;
};

}  // namespace rushes
