// Value types of the catalog that storage, wire, server and clients share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrow/type_fwd.h"
#include "rushes/chunk/entity_path.h"
#include "rushes/chunk/tuid.h"

namespace rushes {

// Kinds of catalog entries. Values are those of the wire.
enum class EntryKind : int32_t {
  kUnspecified = 0,
  kDataset = 1,
  kDatasetView = 2,
  kTable = 3,
  kTableView = 4,
  kBlueprintDataset = 5,
  kAssetDataset = 6,
};

// One entry of the catalog.
struct EntryDetails {
  EntryId id;
  std::string name;
  EntryKind kind = EntryKind::kDataset;
  int64_t created_at_ns = 0;  // since the Unix epoch
  int64_t updated_at_ns = 0;
};

// What a dataset entry says beyond its name.
struct DatasetDetails {
  std::optional<EntryId> blueprint_dataset;
  std::optional<std::string> default_blueprint_segment;
  std::optional<std::string> default_segment_table_blueprint_segment;
  std::optional<EntryId> asset_dataset;
  std::vector<std::string> default_asset_segments;
};

struct DatasetEntry {
  EntryDetails entry;
  DatasetDetails details;
  std::string store_id;  // the handle's URL or name; informational
};

// What a table entry says beyond its name.
struct TableDetails {
  std::optional<EntryId> blueprint_dataset;
  std::optional<std::string> default_blueprint_segment;
};

struct TableEntry {
  EntryDetails entry;
  TableDetails details;
  std::string url;  // of its storage; empty for tables of the system
};

// What a batch that is written to a table does. Values are those of the wire.
enum class TableInsertMode : int32_t { kAppend = 1, kOverwrite = 2, kReplace = 3, kUpdate = 4 };

// What to do when a (segment, layer) to be registered exists already.
enum class IfDuplicate : int32_t { kOverwrite = 1, kSkip = 2, kError = 3 };

// The layer of a registration that names none.
inline constexpr char kBaseLayer[] = "base";

// One source of a registration request.
struct DataSource {
  std::string url;  // file:// URL, path, or object store URL
  std::string layer = kBaseLayer;
  bool is_prefix = false;  // a directory: every recording below it
};

// One row of the answer to a registration: a (segment, layer) and the task that registers it.
struct RegisteredSource {
  std::string segment_id;
  std::string layer;
  std::string url;
  std::string task_id;
};

enum class TaskState : int32_t { kPending, kRunning, kSuccess, kFailed, kCancelled };

// The state of one task, as `QueryTasks` reports it.
struct TaskInfo {
  std::string id;
  std::string kind;
  TaskState state = TaskState::kSuccess;
  std::string message;  // why, if it failed or was cancelled
  int64_t created_at_ns = 0;
  int64_t updated_at_ns = 0;
  // What a task that succeeded changed: a dataset, and its revision since; 0: nothing is known of it.
  EntryId dataset;
  uint64_t dataset_revision = 0;
};

// What maintenance of a dataset is to do; all unset: nothing.
struct MaintenanceOptions {
  bool compact = false;           // write layers of many small chunks anew, with larger ones, into the server's own files
  bool optimize_indexes = false;  // there is nothing to do for these two
  bool retrain_indexes = false;
  // Remove the server's own files, uploads among them, that are older (since the Unix epoch) and that no dataset uses.
  std::optional<int64_t> cleanup_before_ns;
  bool unsafe_allow_recent_cleanup = false;  // less than one hour old
};

// Properties of a segment that clients set.
struct PropertiesOfSegment {
  std::string segment_id;
  std::shared_ptr<arrow::RecordBatch> row;
  uint64_t revision = 0;
};

// How an object is uploaded by HTTP.
struct UploadGrant {
  struct Request {
    std::string method;
    std::string url;  // a path if `same_origin`
    std::vector<std::pair<std::string, std::string>> headers;
    bool same_origin = false;
  };
  std::string storage_url;
  // One request for all; or, with a token, one for each part.
  std::vector<Request> requests;
  std::string upload_token;
  uint64_t part_bytes = 0;
};

// One chunk of a segment, as the segment's manifest tells of it.
struct SegmentChunk {
  ChunkId id;
  EntityPath entity;
  bool is_static = false;
  int64_t num_rows = 0;
  std::vector<std::string> timelines;   // sorted
  std::vector<std::string> components;  // that have a value in it; sorted
};

// An entry came or went. Companions of entries give no events of their own.
struct CatalogEvent {
  bool created = false;  // else deleted
  EntryId id;
};

// How far away a catalog is.
struct LinkSpeed {
  double round_trip_s = 0;
  std::optional<double> bytes_per_s;  // nullopt: too fast to be measured, or nothing travels
};

// Selects entries; unset parts match all.
struct EntryFilter {
  std::optional<EntryId> id;
  std::optional<std::string> name;
  std::optional<EntryKind> kind;
};

}  // namespace rushes
