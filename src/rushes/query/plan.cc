#include "rushes/query/plan.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "arrow/type.h"
#include "rushes/query/nearest.h"

namespace rushes {

bool IsInView(const ComponentColumn& column, const Query& query) {
  return (query.include_semantically_empty_columns || !column.is_semantically_empty) &&
         (query.include_tombstone_columns || !column.is_tombstone()) && (query.index.has_value() || column.is_static) &&
         query.contents.Matches(column.entity);
}

namespace {

// Fields of the dataframe and what they stand for, in the order of `MakeQuerySchema`.
struct Frame {
  const Query& query;
  const DatasetSchema& dataset;
  std::vector<const ComponentColumn*> components;  // in view
  std::unordered_map<std::string, int> position;   // name -> field; the first of equal names

  int num_before_components() const { return 1 + static_cast<int>(dataset.timelines().size()); }
  const ComponentColumn* component(int field) const {
    return field < num_before_components() ? nullptr : components[static_cast<size_t>(field - num_before_components())];
  }
  const Timeline* timeline(int field) const {
    return field == 0 || field >= num_before_components() ? nullptr : &dataset.timelines()[static_cast<size_t>(field - 1)];
  }
};

// The entities whose columns are named, if they alone decide the rows; nullopt: the view decides.
std::optional<std::set<EntityPath>> NarrowedEntities(const Frame& frame, const std::set<int>& named_fields) {
  const Query& query = frame.query;
  if (query.view_decides_rows || query.fill_latest_at || !query.index) return std::nullopt;
  std::set<EntityPath> named, all;
  bool any_temporal = false;
  for (const int field : named_fields) {
    const ComponentColumn* const column = frame.component(field);
    if (column == nullptr) continue;
    named.insert(column->entity);
    any_temporal |= !column->is_static;
  }
  for (const ComponentColumn* column : frame.components) all.insert(column->entity);
  if (!any_temporal || named.size() == all.size()) return std::nullopt;
  return named;
}

}  // namespace

arrow::Result<std::shared_ptr<const ScanPlan>> MakePlan(std::shared_ptr<ChunkSource> source, const Query& query,
                                                        const DatasetSchema& dataset, const std::shared_ptr<arrow::Schema>& schema,
                                                        const std::optional<std::vector<std::string>>& columns,
                                                        const std::optional<arrow::compute::Expression>& filter,
                                                        const ScanOptions& options) {
  if (options.max_batch_rows < 1 || options.max_batch_bytes < 1 || options.memory_budget < 1) {
    return arrow::Status::Invalid("the limits of a scan must be positive: max_batch_rows ", options.max_batch_rows, ", max_batch_bytes ",
                                  options.max_batch_bytes, ", memory_budget ", options.memory_budget);
  }
  auto plan = std::make_shared<ScanPlan>();
  plan->source = std::move(source);
  plan->query = query;
  plan->options = options;
  if (query.index) plan->index = *dataset.FindTimeline(*query.index);

  Frame frame{query, dataset, {}, {}};
  for (const ComponentColumn& column : dataset.columns()) {
    if (IsInView(column, query)) frame.components.push_back(&column);
  }
  for (int i = 0; i < schema->num_fields(); ++i) frame.position.emplace(schema->field(i)->name(), i);

  // What is returned and what is filtered on.
  std::vector<int> output_fields, filter_fields;
  if (columns) {
    arrow::FieldVector fields;
    for (const std::string& name : *columns) {
      const auto it = frame.position.find(name);
      if (it == frame.position.end()) {
        return arrow::Status::KeyError("Column '", name, "' does not exist.", DidYouMean(name, schema->field_names()));
      }
      output_fields.push_back(it->second);
      fields.push_back(schema->field(it->second));
    }
    plan->schema = arrow::schema(std::move(fields), schema->metadata());
  } else {
    for (int i = 0; i < schema->num_fields(); ++i) output_fields.push_back(i);
    plan->schema = schema;
  }
  if (filter) {
    ARROW_ASSIGN_OR_RAISE(plan->filter, RowFilter::Make(*filter, *schema, query.index, options.sql_filter_semantics));
    arrow::FieldVector fields;
    for (const std::string& name : plan->filter->columns()) {
      filter_fields.push_back(frame.position.at(name));
      fields.push_back(schema->field(filter_fields.back()));
    }
    plan->filter_schema = arrow::schema(std::move(fields));
  }
  std::set<int> named(output_fields.begin(), output_fields.end());
  named.insert(filter_fields.begin(), filter_fields.end());

  // The columns that decide rows, and the entities to read for them.
  const auto narrowed = NarrowedEntities(frame, named);
  const auto in_scope = [&](const EntityPath& entity) { return !narrowed || narrowed->contains(entity); };
  std::unordered_map<const ComponentColumn*, int> column_position;
  std::map<EntityPath, std::vector<int>> by_entity;
  for (size_t i = 0; i < frame.components.size(); ++i) {
    const ComponentColumn& column = *frame.components[i];
    if (!in_scope(column.entity)) continue;
    const int position = static_cast<int>(plan->columns.size());
    column_position.emplace(&column, position);
    by_entity[column.entity].push_back(position);
    plan->columns.push_back({column.entity, column.descriptor.component, column.type,
                             named.contains(frame.num_before_components() + static_cast<int>(i))});
  }
  if (query.index) {
    // Clears of entities in view take effect whether they are shown or not, if there is anything to clear.
    for (const ComponentColumn& column : dataset.columns()) {
      if (!column.is_tombstone() || by_entity.contains(column.entity)) continue;
      if (!query.contents.Matches(column.entity) || !in_scope(column.entity)) continue;
      const bool clears_any = std::any_of(plan->columns.begin(), plan->columns.end(),
                                          [&](const PlanColumn& other) { return other.entity.StartsWith(column.entity); });
      if (clears_any) by_entity[column.entity];
    }
  }
  for (auto& [path, positions] : by_entity) plan->entities.push_back({path, std::move(positions)});

  std::unordered_map<int, int> timeline_position;
  const auto to_frame_column = [&](int field) {
    FrameColumn out;
    out.type = schema->field(field)->type();
    if (field == 0) return out;
    if (const Timeline* timeline = frame.timeline(field)) {
      if (!query.index) {
        out.kind = FrameColumn::Kind::kNull;
      } else if (timeline->name == *query.index) {
        out.kind = FrameColumn::Kind::kIndex;
      } else {
        out.kind = FrameColumn::Kind::kTimeline;
        const auto [it, added] = timeline_position.emplace(field, static_cast<int>(plan->timelines.size()));
        if (added) plan->timelines.push_back(*timeline);
        out.position = it->second;
      }
      return out;
    }
    out.kind = FrameColumn::Kind::kComponent;
    out.position = column_position.at(frame.component(field));
    return out;
  };
  for (const int field : output_fields) plan->outputs.push_back(to_frame_column(field));
  for (const int field : filter_fields) plan->filter_columns.push_back(to_frame_column(field));
  return plan;
}

ChunkSelection MakeSelection(const ScanPlan& plan, std::vector<std::string> segments) {
  ChunkSelection out;
  out.entities.emplace();
  for (const PlanEntity& entity : plan.entities) out.entities->push_back(entity.path);
  out.segments = std::move(segments);
  if (!plan.index) {
    out.mode = ChunkSelection::Mode::kStatic;
    return out;
  }
  const FilterBounds bounds = plan.bounds();
  out.timeline = plan.index->name;
  if (plan.query.using_index_values) {
    out.mode = ChunkSelection::Mode::kSamples;
    out.latest_at = plan.query.fill_latest_at;
    for (const std::string& segment : out.segments) {
      const auto it = plan.query.using_index_values->find(segment);
      if (it == plan.query.using_index_values->end()) continue;
      auto& samples = out.samples[segment];
      for (const int64_t value : it->second) {
        if (value >= bounds.start && value <= bounds.end) samples.push_back(value);
      }
    }
    return out;
  }
  out.mode = ChunkSelection::Mode::kRange;
  out.start = std::max(bounds.start, kMinTime);
  out.end = bounds.end;
  out.latest_at = plan.query.fill_latest_at && out.start > kMinTime;
  return out;
}

}  // namespace rushes
