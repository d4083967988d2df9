#include "rushes/query/scan_plan.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "rushes/query/nearest.h"

namespace rushes {

namespace {

arrow::Result<int64_t> DefaultMemoryBudget() {
  constexpr int64_t kDefault = int64_t{1} << 30;
  const char* const text = std::getenv("RUSHES_MEMORY_BUDGET");
  if (text == nullptr || *text == '\0') return kDefault;
  int64_t bytes = 0;
  const char* const end = text + std::strlen(text);
  const auto [parsed, error] = std::from_chars(text, end, bytes);
  if (error != std::errc() || parsed != end || bytes <= 0) {
    return arrow::Status::Invalid("RUSHES_MEMORY_BUDGET must be a positive number of bytes, not \"", text, "\"");
  }
  return bytes;
}

}  // namespace

std::vector<int> ColumnsInView(const DatasetSchema& schema, const Query& query) {
  std::vector<int> out;
  std::unordered_map<EntityPath, bool> matches;
  for (size_t i = 0; i < schema.columns().size(); ++i) {
    const ComponentColumn& column = schema.columns()[i];
    if (column.is_tombstone() && !query.include_tombstone_columns) continue;
    if (column.is_semantically_empty && !query.include_semantically_empty_columns) continue;
    if (!query.index && !column.is_static) continue;
    const auto [it, added] = matches.emplace(column.entity, false);
    if (added) it->second = query.contents.Matches(column.entity);
    if (it->second) out.push_back(static_cast<int>(i));
  }
  return out;
}

arrow::Result<std::shared_ptr<const ScanPlan>> ScanPlan::Make(std::shared_ptr<ChunkSource> source, const Query& query,
                                                              std::shared_ptr<const DatasetSchema> dataset_schema,
                                                              const std::shared_ptr<arrow::Schema>& query_schema,
                                                              const std::optional<std::vector<std::string>>& columns,
                                                              const std::optional<arrow::compute::Expression>& filter,
                                                              const ScanOptions& options) {
  auto plan = std::make_shared<ScanPlan>();
  plan->source = std::move(source);
  plan->query = query;
  plan->options = options;
  if (options.memory_budget <= 0) {
    ARROW_ASSIGN_OR_RAISE(plan->options.memory_budget, DefaultMemoryBudget());
  }
  // Rows of a batch are counted in 32 bits; sums with bytes stay far from 64.
  plan->options.max_batch_rows = std::clamp<int64_t>(options.max_batch_rows, 1, std::numeric_limits<int32_t>::max());
  plan->options.max_batch_bytes = std::clamp<int64_t>(options.max_batch_bytes, 1, int64_t{1} << 60);
  plan->dataset_schema = std::move(dataset_schema);
  const DatasetSchema& schema = *plan->dataset_schema;

  // The columns of the dataframe, by position: segment id, timelines, components in view.
  const size_t num_timelines = schema.timelines().size();
  for (const int at : ColumnsInView(schema, query)) {
    const ComponentColumn& column = schema.columns()[static_cast<size_t>(at)];
    plan->view_index[column.entity][column.descriptor.component] = static_cast<int>(plan->view.size());
    plan->view.push_back({column, false, true});
  }
  std::vector<int> origin_of;  // columns in view with an origin time
  for (size_t i = 0; i < plan->view.size(); ++i) {
    if (!plan->view[i].column.is_static) origin_of.push_back(static_cast<int>(i));
  }
  std::unordered_map<std::string, int> by_name;
  for (int i = 0; i < query_schema->num_fields(); ++i) by_name.emplace(query_schema->field(i)->name(), i);

  const auto resolve = [&](const std::string& name) -> arrow::Result<Output> {
    const auto it = by_name.find(name);
    if (it == by_name.end()) {
      return arrow::Status::KeyError("Column '", name, "' does not exist.", DidYouMean(name, query_schema->field_names()));
    }
    const int at = it->second;
    Output output{OutputKind::kSegmentId, 0, query_schema->field(at)};
    if (at == 0) return output;
    if (static_cast<size_t>(at) <= num_timelines) {
      const Timeline& timeline = schema.timelines()[static_cast<size_t>(at) - 1];
      if (query.index && timeline.name == *query.index) {
        output.kind = OutputKind::kIndex;
        return output;
      }
      output.kind = OutputKind::kOtherIndex;
      const auto known = std::find(plan->other_timelines.begin(), plan->other_timelines.end(), timeline);
      output.position = static_cast<int>(known - plan->other_timelines.begin());
      if (known == plan->other_timelines.end()) plan->other_timelines.push_back(timeline);
      return output;
    }
    if (name == kRowIdColumn && query.index && query.include_row_ids) {
      output.kind = OutputKind::kRowId;
      plan->has_row_ids = true;
      return output;
    }
    output.kind = OutputKind::kComponent;
    output.position = at - 1 - static_cast<int>(num_timelines);
    if (static_cast<size_t>(output.position) >= plan->view.size()) {
      output.kind = OutputKind::kOriginTime;
      output.position = origin_of[static_cast<size_t>(output.position) - plan->view.size()];
    }
    plan->view[static_cast<size_t>(output.position)].is_needed = true;
    return output;
  };

  const std::vector<std::string> names = columns ? *columns : query_schema->field_names();
  arrow::FieldVector fields;
  for (const std::string& name : names) {
    ARROW_ASSIGN_OR_RAISE(Output output, resolve(name));
    fields.push_back(output.field);
    plan->outputs.push_back(std::move(output));
  }
  const bool are_all = fields == query_schema->fields();
  plan->schema = are_all ? query_schema : arrow::schema(std::move(fields), query_schema->metadata());

  if (filter) {
    ARROW_ASSIGN_OR_RAISE(plan->filter, RowFilter::Make(*filter, *query_schema, query.index, options.sql_filter_semantics));
    arrow::FieldVector filter_fields;
    for (const std::string& name : plan->filter->columns()) {
      ARROW_ASSIGN_OR_RAISE(Output output, resolve(name));
      filter_fields.push_back(output.field);
      plan->filter_outputs.push_back(std::move(output));
    }
    plan->filter_schema = arrow::schema(std::move(filter_fields));
    plan->is_empty = plan->filter->bounds().is_empty();
  }

  // Which entities decide the rows (docs/query.md, "Projection").
  std::unordered_set<EntityPath> row_entities;
  size_t num_named = 0;
  bool all_static = true;
  for (const ViewColumn& column : plan->view) {
    if (!column.is_needed) continue;
    ++num_named;
    all_static &= column.column.is_static;
    row_entities.insert(column.column.entity);
  }
  const bool narrows =
      query.index && !query.fill_latest_at && !query.view_decides_rows && num_named > 0 && !all_static && num_named < plan->view.size();
  if (narrows) {
    for (ViewColumn& column : plan->view) column.has_rows = row_entities.contains(column.column.entity);
  }

  // Columns of temporal values that the filter wants: other rows do not pass.
  const bool fills = query.fill_latest_at;
  if (plan->filter != nullptr && query.index && !fills && !query.using_index_values) {
    for (size_t i = 0; i < plan->view.size(); ++i) {
      const ComponentColumn& column = plan->view[i].column;
      if (!column.is_static && plan->filter->bounds().not_null.contains(column.name())) plan->not_null.push_back(static_cast<int>(i));
    }
  }
  plan->only_needed_make_rows = !plan->needs_every_cell() && query.index &&
                                (query.using_index_values.has_value() || !plan->not_null.empty()) &&
                                !plan->needs_all_values();  // of all that is in view little else is left to leave out
  for (ViewColumn& column : plan->view) {
    column.has_rows &= column.is_needed || !plan->only_needed_make_rows;
  }
  std::unordered_map<EntityPath, std::vector<std::string>> values;
  for (const ViewColumn& column : plan->view) {
    if (column.is_needed) values[column.column.entity].push_back(column.column.descriptor.component);
  }
  for (const ComponentColumn& column : schema.columns()) {
    ScanPlan::Needs& needs = plan->needs[column.entity];
    if (!column.is_tombstone()) continue;
    needs.has_clears = true;
    values[column.entity].push_back(column.descriptor.component);
  }
  for (auto& [entity, needs] : plan->needs) needs.values = std::make_shared<const std::vector<std::string>>(values[entity]);

  // Entities without a visible column matter too: a clear on them may act on others.
  std::vector<EntityPath> entities;
  std::unordered_set<EntityPath> seen;
  bool all = true;
  for (const ComponentColumn& column : schema.columns()) {
    plan->has_clears |= column.is_tombstone();
    if (!seen.insert(column.entity).second) continue;
    const bool is_wanted = !plan->only_needed_make_rows || !plan->needs.at(column.entity).values->empty();
    if (query.contents.Matches(column.entity) && (!narrows || row_entities.contains(column.entity)) && is_wanted) {
      entities.push_back(column.entity);
    } else {
      all = false;
    }
  }
  std::sort(entities.begin(), entities.end());  // looked up by binary search
  if (!all || plan->only_needed_make_rows) plan->entities = std::move(entities);
  return plan;
}

std::shared_ptr<const std::vector<uint8_t>> ScanPlan::ColumnsOfSegment(const std::shared_ptr<const DatasetSchema>& schema) const {
  constexpr size_t kMaxKnown = 1024;
  {
    MutexLock lock(mutex_);
    if (const auto it = known_schemas_.find(schema.get()); it != known_schemas_.end()) return it->second.shows;
  }
  auto shows = std::make_shared<std::vector<uint8_t>>();
  shows->reserve(view.size());
  for (const ViewColumn& column : view) {
    const ComponentColumn* own = schema == nullptr ? nullptr : schema->FindColumn(column.column.entity, column.column.descriptor.component);
    shows->push_back(schema == nullptr || (own != nullptr && (!own->is_semantically_empty || query.include_semantically_empty_columns) &&
                                           (query.index || own->is_static)));
  }
  MutexLock lock(mutex_);
  if (known_schemas_.size() >= kMaxKnown) known_schemas_.clear();
  known_schemas_[schema.get()] = {schema, shows};
  return shows;
}

std::vector<int> ScanPlan::OtherTimelinesOf(const ChunkSchema& schema) const {
  std::vector<int> positions;
  for (const Timeline& timeline : other_timelines) {
    const int at = schema.TimelineIndex(timeline.name);
    positions.push_back(at >= 0 && schema.timelines()[static_cast<size_t>(at)].type == timeline.type ? at : -1);
  }
  return positions;
}

}  // namespace rushes
