#include "rushes/testing/naive_query.h"

#include <algorithm>
#include <map>
#include <set>

#include "arrow/array/builder_base.h"
#include "arrow/builder.h"
#include "arrow/compute/exec.h"
#include "arrow/compute/expression.h"
#include "arrow/datum.h"
#include "arrow/record_batch.h"

namespace rushes {
namespace {

// What a column shows in a row.
struct Cell {
  bool is_null = true;
  std::shared_ptr<arrow::Array> value;   // list of one row; empty list for a clear
  std::map<std::string, int64_t> times;  // of the row it was logged in
  int64_t time = 0;                      // on the index
  RowId row_id;
  bool is_clear = false;
};

// Cells by time, then row id.
bool Earlier(const Cell& a, const Cell& b) { return a.time != b.time ? a.time < b.time : a.row_id < b.row_id; }

std::map<std::string, int64_t> TimesOf(const Chunk& chunk, int64_t row) {
  std::map<std::string, int64_t> times;
  for (size_t t = 0; t < chunk.schema().timelines().size(); ++t) {
    times[chunk.schema().timelines()[t].name] = chunk.times(static_cast<int>(t))[row];
  }
  return times;
}

arrow::Result<std::shared_ptr<arrow::Array>> EmptyList(const std::shared_ptr<arrow::DataType>& type) {
  std::unique_ptr<arrow::ArrayBuilder> builder;
  ARROW_RETURN_NOT_OK(arrow::MakeBuilder(arrow::default_memory_pool(), type, &builder));
  ARROW_RETURN_NOT_OK(builder->AppendEmptyValue());
  return builder->Finish();
}

// Everything about one column of one segment.
struct Column {
  ComponentColumn description;
  std::optional<Cell> fixed;  // the static winner
  std::vector<Cell> logged;   // L: non-null temporal cells
  std::vector<Cell> clears;   // K
};

bool IsInView(const ComponentColumn& column, const Query& query) {
  return query.contents.Matches(column.entity) && (!column.is_tombstone() || query.include_tombstone_columns) &&
         (!column.is_semantically_empty || query.include_semantically_empty_columns) && (query.index || column.is_static);
}

// The cell of `column` at time `u`, by exact match: the greatest row id; a logged value before a clear of the same id.
std::optional<Cell> ExactCell(const Column& column, int64_t u) {
  std::optional<Cell> best;
  for (const Cell& cell : column.logged) {
    if (cell.time == u && (!best || cell.row_id >= best->row_id)) best = cell;
  }
  for (const Cell& cell : column.clears) {
    if (cell.time == u && (!best || cell.row_id > best->row_id)) best = cell;
  }
  return best;
}

std::optional<Cell> LatestCell(const Column& column, int64_t u) {
  std::optional<Cell> best;
  for (const Cell& cell : column.logged) {
    if (cell.time <= u && (!best || !Earlier(cell, *best))) best = cell;
  }
  return best;
}

struct Row {
  std::string segment_id;
  std::optional<int64_t> index;
  std::map<std::string, int64_t> others;
  std::vector<std::optional<Cell>> cells;  // per column of the schema in view
};

}  // namespace

arrow::Result<std::shared_ptr<arrow::Table>> NaiveQuery(const std::vector<MemorySegment>& segments, const Query& query,
                                                        const std::optional<std::vector<std::string>>& columns,
                                                        const std::optional<arrow::compute::Expression>& filter) {
  ARROW_ASSIGN_OR_RAISE(const DatasetSchema dataset, SchemaOf(segments));
  ARROW_ASSIGN_OR_RAISE(const auto schema, MakeQuerySchema(dataset, query));
  std::vector<ComponentColumn> view;
  for (const ComponentColumn& column : dataset.columns()) {
    if (IsInView(column, query)) view.push_back(column);
  }

  // The entities that decide the rows, if not all do.
  std::optional<std::set<EntityPath>> deciding;
  if (query.index && !query.fill_latest_at && !query.view_decides_rows) {
    std::set<std::string> named;
    for (const std::string& name : columns ? *columns : schema->field_names()) named.insert(name);
    if (filter) {
      for (const arrow::FieldRef& ref : arrow::compute::FieldsInExpression(*filter)) named.insert(*ref.name());
    }
    std::set<EntityPath> entities;
    size_t count = 0;
    bool all_static = true;
    for (const ComponentColumn& column : view) {
      // Who asks when a value was logged asks for the value.
      if (!named.contains(column.name()) && !(query.include_origin_times && named.contains(column.name() + "@" + *query.index))) continue;
      ++count;
      all_static &= column.is_static;
      entities.insert(column.entity);
    }
    if (count > 0 && !all_static && count < view.size()) deciding = entities;
  }
  const auto decides = [&](const EntityPath& entity) {
    return query.contents.Matches(entity) && (!deciding || deciding->contains(entity));
  };

  std::vector<MemorySegment> sorted = segments;
  std::sort(sorted.begin(), sorted.end(), [](const MemorySegment& a, const MemorySegment& b) { return a.id < b.id; });
  std::vector<Row> rows;
  for (const MemorySegment& segment : sorted) {
    if (query.segments && std::find(query.segments->begin(), query.segments->end(), segment.id) == query.segments->end()) continue;
    if (query.using_index_values && !query.using_index_values->contains(segment.id)) continue;
    const std::vector<ChunkPtr> chunks = segment.Chunks();
    ARROW_ASSIGN_OR_RAISE(const DatasetSchema own, segment.Schema());

    // The columns, each with its cells. nullopt: not in this segment's view.
    std::vector<std::optional<Column>> cells(view.size());
    for (size_t v = 0; v < view.size(); ++v) {
      const ComponentColumn* in_segment = own.FindColumn(view[v].entity, view[v].descriptor.component);
      if (in_segment == nullptr || !decides(view[v].entity)) continue;
      if (in_segment->is_semantically_empty && !query.include_semantically_empty_columns) continue;
      if (!query.index && !in_segment->is_static) continue;
      Column column{view[v], {}, {}, {}};
      for (const ChunkPtr& chunk : chunks) {
        if (chunk->entity() != view[v].entity) continue;
        const int at = chunk->schema().ColumnIndex(view[v].descriptor.component);
        if (at < 0) continue;
        const int timeline = query.index ? chunk->schema().TimelineIndex(*query.index) : -1;
        for (int64_t row = 0; row < chunk->num_rows(); ++row) {
          if (chunk->column(at)->IsNull(row)) continue;
          Cell cell;
          cell.is_null = false;
          ARROW_ASSIGN_OR_RAISE(cell.value, AdaptArray(chunk->column(at)->Slice(row, 1), view[v].type));
          cell.row_id = chunk->row_id(row);
          if (chunk->is_static()) {
            if (!column.fixed || cell.row_id >= column.fixed->row_id) column.fixed = cell;
          } else if (timeline >= 0) {
            cell.time = chunk->times(timeline)[row];
            cell.times = TimesOf(*chunk, row);
            column.logged.push_back(std::move(cell));
          }
        }
      }
      if (column.fixed) column.logged.clear();
      cells[v] = std::move(column);
    }

    // Clears. One that is static switches the temporal ones of its entity off.
    if (query.index) {
      std::set<EntityPath> without_clears;
      for (const ChunkPtr& chunk : chunks) {
        const int at = chunk->schema().ColumnIndex(kClearComponent);
        if (at >= 0 && chunk->is_static()) without_clears.insert(chunk->entity());
      }
      for (const ChunkPtr& chunk : chunks) {
        const int at = chunk->schema().ColumnIndex(kClearComponent);
        const int timeline = chunk->schema().TimelineIndex(*query.index);
        if (at < 0 || timeline < 0 || !decides(chunk->entity()) || without_clears.contains(chunk->entity())) continue;
        const auto& clears = *chunk->column(at);
        for (int64_t row = 0; row < chunk->num_rows(); ++row) {
          if (clears.IsNull(row)) continue;
          const auto& flags = static_cast<const arrow::BooleanArray&>(*clears.values());
          const bool recursive =
              clears.value_length(row) > 0 && flags.IsValid(clears.value_offset(row)) && flags.Value(clears.value_offset(row));
          for (auto& column : cells) {
            if (!column) continue;
            const EntityPath& entity = column->description.entity;
            if (entity != chunk->entity() && !(recursive && entity.StartsWith(chunk->entity()))) continue;
            Cell cell;
            cell.is_null = false;
            cell.is_clear = true;
            ARROW_ASSIGN_OR_RAISE(cell.value, EmptyList(column->description.type));
            cell.row_id = chunk->row_id(row);
            cell.time = chunk->times(timeline)[row];
            cell.times = TimesOf(*chunk, row);
            column->clears.push_back(std::move(cell));
          }
        }
      }
    }

    // The rows.
    std::set<int64_t> times;
    if (!query.index) {
      bool has_static_chunk = false;
      for (const ChunkPtr& chunk : chunks) {
        // A chunk without components is no data.
        has_static_chunk |= chunk->is_static() && !chunk->schema().columns().empty() && query.contents.Matches(chunk->entity());
      }
      if (has_static_chunk) times.insert(0);
    } else if (query.using_index_values) {
      const auto& values = query.using_index_values->at(segment.id);
      times.insert(values.begin(), values.end());
    } else {
      for (const auto& column : cells) {
        if (!column) continue;
        for (const Cell& cell : column->logged) times.insert(cell.time);
        for (const Cell& cell : column->clears) times.insert(cell.time);
      }
    }
    for (const int64_t u : times) {
      Row row;
      row.segment_id = segment.id;
      if (query.index) row.index = u;
      row.cells.resize(view.size());
      for (size_t v = 0; v < view.size(); ++v) {
        if (!cells[v]) continue;
        if (cells[v]->fixed) {
          row.cells[v] = cells[v]->fixed;
          continue;
        }
        if (!query.index) continue;
        row.cells[v] = ExactCell(*cells[v], u);
        if (!row.cells[v] && query.fill_latest_at) {
          row.cells[v] = LatestCell(*cells[v], u);
          // The distance of two times may not fit a signed number.
          const auto age = row.cells[v] ? static_cast<uint64_t>(u) - static_cast<uint64_t>(row.cells[v]->time) : 0;
          if (query.fill_max_age && age > static_cast<uint64_t>(*query.fill_max_age)) row.cells[v].reset();
          if (query.fill_respects_clears) {
            for (const Cell& clear : cells[v]->clears) {
              if (row.cells[v] && clear.time <= u && Earlier(*row.cells[v], clear)) row.cells[v].reset();
            }
          }
        }
        if (!row.cells[v]) continue;
        for (const auto& [timeline, time] : row.cells[v]->times) {
          const auto [it, added] = row.others.emplace(timeline, time);
          if (!added) it->second = std::max(it->second, time);
        }
      }
      rows.push_back(std::move(row));
    }
  }

  // As a table.
  arrow::ArrayVector arrays;
  for (int f = 0; f < schema->num_fields(); ++f) {
    const auto& field = schema->field(f);
    std::unique_ptr<arrow::ArrayBuilder> builder;
    ARROW_RETURN_NOT_OK(arrow::MakeBuilder(arrow::default_memory_pool(), field->type(), &builder));
    const int num_timelines = static_cast<int>(dataset.timelines().size());
    for (const Row& row : rows) {
      if (f == 0) {
        ARROW_RETURN_NOT_OK(static_cast<arrow::StringBuilder&>(*builder).Append(row.segment_id));
      } else if (f <= num_timelines) {
        const std::string& timeline = dataset.timelines()[static_cast<size_t>(f) - 1].name;
        std::optional<int64_t> time;
        if (query.index && timeline == *query.index) {
          time = row.index;
        } else if (const auto it = row.others.find(timeline); it != row.others.end()) {
          time = it->second;
        }
        if (!time) {
          ARROW_RETURN_NOT_OK(builder->AppendNull());
        } else {
          ARROW_ASSIGN_OR_RAISE(const auto scalar, arrow::MakeScalar(*time)->CastTo(field->type()));
          ARROW_RETURN_NOT_OK(builder->AppendScalar(*scalar));
        }
      } else if (field->name() == "rerun_row_id") {
        std::optional<RowId> greatest;
        for (size_t v = 0; v < view.size(); ++v) {
          const bool is_temporal = row.cells[v] && !row.cells[v]->times.empty();
          if (is_temporal && (!greatest || row.cells[v]->row_id > *greatest)) greatest = row.cells[v]->row_id;
        }
        auto& ids = static_cast<arrow::FixedSizeBinaryBuilder&>(*builder);
        const auto bytes = greatest.value_or(RowId()).bytes();
        ARROW_RETURN_NOT_OK(greatest ? ids.Append(bytes.data()) : ids.AppendNull());
      } else if (f > num_timelines + static_cast<int>(view.size())) {
        std::optional<int64_t> time;
        for (size_t v = 0; v < view.size(); ++v) {
          const bool is_temporal = row.cells[v] && !row.cells[v]->times.empty();
          if (field->name() == view[v].name() + "@" + *query.index && is_temporal) time = row.cells[v]->time;
        }
        if (!time) {
          ARROW_RETURN_NOT_OK(builder->AppendNull());
        } else {
          ARROW_ASSIGN_OR_RAISE(const auto scalar, arrow::MakeScalar(*time)->CastTo(field->type()));
          ARROW_RETURN_NOT_OK(builder->AppendScalar(*scalar));
        }
      } else {
        const auto& cell = row.cells[static_cast<size_t>(f - 1 - num_timelines)];
        if (!cell) {
          ARROW_RETURN_NOT_OK(builder->AppendNull());
        } else {
          ARROW_RETURN_NOT_OK(builder->AppendArraySlice(*cell->value->data(), 0, 1));
        }
      }
    }
    ARROW_ASSIGN_OR_RAISE(auto array, builder->Finish());
    arrays.push_back(std::move(array));
  }
  auto batch = arrow::RecordBatch::Make(schema, static_cast<int64_t>(rows.size()), std::move(arrays));
  if (filter) {
    ARROW_ASSIGN_OR_RAISE(const auto bound, filter->Bind(*schema));
    ARROW_ASSIGN_OR_RAISE(arrow::Datum mask, arrow::compute::ExecuteScalarExpression(bound, *schema, arrow::Datum(batch)));
    if (mask.is_scalar()) {
      ARROW_ASSIGN_OR_RAISE(auto repeated, arrow::MakeArrayFromScalar(*mask.scalar(), batch->num_rows()));
      mask = arrow::Datum(repeated);
    }
    ARROW_ASSIGN_OR_RAISE(const auto filtered, arrow::compute::CallFunction("filter", {arrow::Datum(batch), mask}));
    batch = filtered.record_batch();
  }
  if (columns) {
    std::vector<int> positions;
    for (const std::string& name : *columns) positions.push_back(schema->GetFieldIndex(name));
    const int64_t num_rows = batch->num_rows();
    if (positions.empty()) return arrow::Table::Make(arrow::schema({}, schema->metadata()), arrow::ArrayVector{}, num_rows);
    ARROW_ASSIGN_OR_RAISE(batch, batch->SelectColumns(positions));
  }
  return arrow::Table::FromRecordBatches(batch->schema(), {batch});
}

}  // namespace rushes
