// Names of catalog entries.
#pragma once

#include <string>
#include <string_view>

#include "arrow/status.h"
#include "rushes/chunk/tuid.h"

namespace rushes {

inline constexpr size_t kMaxEntryNameBytes = 180;
// The system table that lists all entries.
inline constexpr char kEntriesTableName[] = "__entries";

// Invalid unless `name` has 1 to 180 bytes of ASCII letters, digits, `_`, `-`, `.`, space, `[`, `]`, `:`.
arrow::Status ValidateEntryName(std::string_view name);

// An id as the ecosystem prints it: 16 upper-case digits of the time, 16 lower-case digits of the counter.
std::string EntryIdText(EntryId id);

// The hidden companions of a dataset.
std::string BlueprintDatasetName(EntryId owner);  // __bp_<id>
std::string AssetDatasetName(EntryId owner);      // __as_<id>

}  // namespace rushes
