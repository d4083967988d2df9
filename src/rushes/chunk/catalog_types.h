// Value types of the catalog that storage, wire, server and clients share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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

enum class TaskState : int32_t { kPending, kRunning, kSuccess, kFailed };

// The state of one task, as `QueryTasks` reports it.
struct TaskInfo {
  std::string id;
  std::string kind;
  TaskState state = TaskState::kSuccess;
  std::string message;  // the error, if it failed
  int64_t created_at_ns = 0;
  int64_t updated_at_ns = 0;
};

// Selects entries; unset parts match all.
struct EntryFilter {
  std::optional<EntryId> id;
  std::optional<std::string> name;
  std::optional<EntryKind> kind;
};

}  // namespace rushes
