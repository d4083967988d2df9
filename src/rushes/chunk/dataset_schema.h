// The schema of a segment or a dataset: its timelines and component columns.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arrow/result.h"
#include "arrow/status.h"
#include "arrow/type_fwd.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/component.h"
#include "rushes/chunk/timeline.h"

namespace rushes {

// One component column of a dataset.
struct ComponentColumn {
  EntityPath entity;
  ComponentDescriptor descriptor;
  std::shared_ptr<arrow::DataType> type;  // List(item: T, nullable)
  bool is_static = false;                 // static in at least one segment
  bool is_semantically_empty = false;     // some segment holds no instance of it: only nulls and empty lists

  bool is_tombstone() const { return descriptor.is_tombstone(); }
  std::string name() const { return ColumnName(entity, descriptor.component); }
};

// Which optional columns a view shows, and whether it shows temporal ones.
struct ViewOptions {
  bool include_semantically_empty = false;
  bool include_tombstones = false;
  bool only_static = false;  // index=None
};

// A value; immutable once shared. Timelines are sorted by name (bytes); columns by (entity path, archetype with none first,
// component, component type); columns first seen by a later Merge are appended.
class DatasetSchema {
 public:
  DatasetSchema() = default;

  const std::vector<Timeline>& timelines() const { return timelines_; }
  const std::vector<ComponentColumn>& columns() const { return columns_; }
  bool empty() const { return timelines_.empty() && columns_.empty(); }

  const Timeline* FindTimeline(std::string_view name) const;  // nullptr: none
  const ComponentColumn* FindColumn(const EntityPath& entity, std::string_view component) const;
  // Position in columns(), or -1.
  int ColumnIndex(const EntityPath& entity, std::string_view component) const;

  // Adds what `other` has and this has not, and unites flags and mergeable types (docs/query.md, "Types"). Invalid, naming the
  // column or timeline and both types, when they cannot be united; this is then unchanged.
  arrow::Status Merge(const DatasetSchema& other);

  // The schema as the catalog and the wire show it: row id, timelines, components, with the `rerun:*` field metadata and the
  // schema metadata `sorbet:version`. An empty schema gives no fields.
  std::shared_ptr<arrow::Schema> ToArrow() const;
  static std::shared_ptr<const arrow::KeyValueMetadata> ArrowMetadata();  // of that schema
  // The inverse; reads schemas of any server and of RRD manifests (old ones after MigrateSchema). Invalid names the field.
  static arrow::Result<DatasetSchema> FromArrow(const arrow::Schema& schema);
  // The schema of a set of chunks of one segment; decides static and semantically empty flags from the data.
  static arrow::Result<DatasetSchema> FromChunks(const std::vector<std::shared_ptr<const Chunk>>& chunks);

  // Builders, used while indexing. `Finish` sorts.
  arrow::Status AddTimeline(const Timeline& timeline);
  arrow::Status AddColumn(ComponentColumn column);
  void Finish();

 private:
  void Reindex();
  std::vector<Timeline> timelines_;
  std::vector<ComponentColumn> columns_;
  std::unordered_map<std::string, int> index_;  // "entity text\0component" -> position
};

// The Arrow field of a timeline or component column of a dataframe, with its metadata.
std::shared_ptr<arrow::Field> IndexField(const Timeline& timeline);
std::shared_ptr<arrow::Field> ComponentField(const ComponentColumn& column);

// The type both values of a column can be shown as: nulls widen to anything, struct children are united by name (order of `a`
// first), list items are united. Invalid with both types if there is none.
arrow::Result<std::shared_ptr<arrow::DataType>> UniteTypes(const std::shared_ptr<arrow::DataType>& a,
                                                           const std::shared_ptr<arrow::DataType>& b);
// Shows `array` as `type`, to which its type must have been united: adds missing struct children as nulls, types nulls, relabels
// nullability. No copy where nothing changes.
arrow::Result<std::shared_ptr<arrow::Array>> AdaptArray(const std::shared_ptr<arrow::Array>& array,
                                                        const std::shared_ptr<arrow::DataType>& type);

}  // namespace rushes
