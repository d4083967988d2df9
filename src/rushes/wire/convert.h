// Protobuf messages <-> our value types: ids, entries, data sources.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/result.h"
#include "rushes/chunk/catalog_types.h"
#include "rushes/chunk/tuid.h"

namespace rerun::common::v1alpha1 {
class Tuid;
class EntryId;
class SegmentId;
enum IfDuplicateBehavior : int;
}  // namespace rerun::common::v1alpha1
namespace rerun::cloud::v1alpha1 {
class DatasetDetails;
class DatasetEntry;
class DataSource;
class EntryDetails;
class EntryFilter;
}  // namespace rerun::cloud::v1alpha1

namespace rushes::wire {

namespace common = ::rerun::common::v1alpha1;
namespace cloud = ::rerun::cloud::v1alpha1;

// Errors of the `From...` functions: Invalid "missing required field: '<full name of the field>'" and the like; on a server that is
// INVALID_ARGUMENT.

// "missing required field: 'rerun.cloud.v1alpha1.<field>'".
arrow::Status MissingField(std::string_view field);

void ToProto(const Tuid& id, common::Tuid* out);
arrow::Result<Tuid> FromProto(const common::Tuid& id, std::string_view field);
void ToProto(const EntryId& id, common::EntryId* out);
arrow::Result<EntryId> FromProto(const common::EntryId& id, std::string_view field);
arrow::Result<std::string> FromProto(const common::SegmentId& id, std::string_view field);

void ToProto(const EntryDetails& entry, cloud::EntryDetails* out);
arrow::Result<EntryDetails> FromProto(const cloud::EntryDetails& entry);

void ToProto(const DatasetDetails& details, cloud::DatasetDetails* out);
arrow::Result<DatasetDetails> FromProto(const cloud::DatasetDetails& details);

// The handle gets `entry.store_id` as its URL, or `memory:///<entry id>` if that is empty.
void ToProto(const DatasetEntry& entry, cloud::DatasetEntry* out);
arrow::Result<DatasetEntry> FromProto(const cloud::DatasetEntry& entry);

void ToProto(const DataSource& source, cloud::DataSource* out);
// Also INVALID: a kind other than RRD. An unset or empty layer is `base`.
arrow::Result<DataSource> FromProto(const cloud::DataSource& source);

common::IfDuplicateBehavior ToProto(IfDuplicate behavior);
// Unset is kSkip. Invalid for unknown numbers.
arrow::Result<IfDuplicate> FromProto(common::IfDuplicateBehavior behavior);

// What `FindEntries` selects. `kinds` empty: those that clients of before kinds expect, all but assets.
struct EntryQuery {
  std::optional<EntryId> id;
  std::optional<std::string> name;
  std::vector<EntryKind> kinds;

  // The legacy default when `kinds` is empty.
  bool MatchesKind(EntryKind kind) const;
};
// Sets both kind fields, so that servers of any age understand.
void ToProto(const EntryFilter& filter, cloud::EntryFilter* out);
// Invalid when a kind is given as "unspecified". Positive unknown kinds stay, and match nothing.
arrow::Result<EntryQuery> FromProto(const cloud::EntryFilter& filter);

}  // namespace rushes::wire
