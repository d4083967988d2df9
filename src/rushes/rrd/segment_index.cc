#include "rushes/rrd/segment_index.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "arrow/array.h"
#include "arrow/status.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

std::span<const SegmentIndex::Column> SegmentIndex::ColumnsOf(uint32_t entity) const {
  return std::span<const Column>(columns_).subspan(entity_columns_[entity], entity_columns_[entity + 1] - entity_columns_[entity]);
}

std::optional<TimeSpan> SegmentIndex::EntrySpan(const ColumnEntry& entry, int timeline) const {
  const auto span = Span(entry.chunk, timeline);
  if (!span || entry.spans < 0) return span;
  const TimeSpan& own = entry_spans_[static_cast<size_t>(entry.spans) + static_cast<size_t>(timeline)];
  return own.start > own.end ? std::nullopt : std::optional<TimeSpan>(own);
}

int SegmentIndex::TimelineIndex(std::string_view name) const {
  const auto it =
      std::lower_bound(timelines_.begin(), timelines_.end(), name, [](const Timeline& t, std::string_view n) { return t.name < n; });
  return it != timelines_.end() && it->name == name ? static_cast<int>(it - timelines_.begin()) : -1;
}

int SegmentIndex::EntityIndex(const EntityPath& entity) const {
  const auto it = entities_->positions.find(entity);
  return it == entities_->positions.end() ? -1 : static_cast<int>(it->second);
}

int64_t SegmentIndex::FindChunk(const ChunkId& id) const {
  const auto it = std::lower_bound(by_id_.begin(), by_id_.end(), id, [&](uint32_t chunk, const ChunkId& key) { return ids_[chunk] < key; });
  return it != by_id_.end() && ids_[*it] == id ? static_cast<int64_t>(*it) : -1;
}

std::optional<TimeSpan> SegmentIndex::TotalSpan(int timeline) const {
  std::optional<TimeSpan> total;
  for (size_t chunk = 0; chunk < num_chunks(); ++chunk) {
    const auto span = Span(chunk, timeline);
    if (!span || num_rows_[chunk] == 0) continue;
    if (!total) {
      total = span;
    } else {
      total->start = std::min(total->start, span->start);
      total->end = std::max(total->end, span->end);
    }
  }
  return total;
}

arrow::Status SegmentIndexBuilder::Add(Entry entry) {
  for (const Timeline& timeline : entry.timelines) {
    const auto [it, added] = timelines_.emplace(timeline.name, timeline.type);
    if (!added && it->second != timeline.type) {
      return arrow::Status::Invalid("timeline \"", timeline.name, "\" is a ", ToString(it->second), " and, in chunk ", entry.id.ToHex(),
                                    " of ", entry.entity.text(), ", a ", ToString(timeline.type));
    }
  }
  if (!seen_.emplace(entry.id, static_cast<uint32_t>(rows_.size())).second) return arrow::Status::OK();
  rows_.push_back(std::move(entry));
  return arrow::Status::OK();
}

SegmentIndexBuilder::Entry SegmentIndexBuilder::Describe(const Chunk& chunk, const ChunkPlace& place) {
  Entry entry;
  entry.id = chunk.id();
  entry.entity = chunk.entity();
  entry.is_static = chunk.is_static();
  entry.num_rows = chunk.num_rows();
  entry.place = place;
  entry.timelines = chunk.schema().timelines();
  const int64_t rows = chunk.num_rows();
  const auto span_of = [&](int timeline, auto&& counts) -> TimeSpan {
    const int64_t* times = chunk.times(timeline);
    TimeSpan span{kMaxTime, kMinTime};
    for (int64_t row = 0; row < rows; ++row) {
      if (!counts(row)) continue;
      span.start = std::min(span.start, times[row]);
      span.end = std::max(span.end, times[row]);
    }
    return span;
  };
  const int num_timelines = static_cast<int>(entry.timelines.size());
  for (int timeline = 0; timeline < num_timelines; ++timeline) {
    // A chunk without rows stands for everything, as in files of others.
    entry.spans.push_back(rows == 0 ? TimeSpan{kMinTime, kMaxTime} : span_of(timeline, [](int64_t) { return true; }));
  }
  for (size_t i = 0; i < chunk.schema().columns().size(); ++i) {
    const auto& column = *chunk.column(static_cast<int>(i));
    Component component;
    component.descriptor = chunk.schema().columns()[i].descriptor;
    component.num_rows = rows - column.null_count();
    if (component.num_rows == 0) {
      entry.components.push_back(std::move(component));
      continue;
    }
    if (entry.is_static) {
      int64_t row = rows - 1;
      while (column.IsNull(row)) --row;
      component.last_row_id = chunk.row_id(row);
    } else if (column.null_count() > 0) {
      for (int timeline = 0; timeline < num_timelines; ++timeline) {
        component.spans.push_back(span_of(timeline, [&](int64_t row) { return column.IsValid(row); }));
      }
    }
    entry.components.push_back(std::move(component));
  }
  return entry;
}

// Those that another store has, if it has the same.
std::shared_ptr<const SegmentIndex::Entities> SegmentIndex::Share(Entities entities) {
  static Mutex mutex;
  static auto& known = *new std::unordered_multimap<size_t, std::weak_ptr<const Entities>>();
  static size_t next_sweep = 1024;
  size_t hash = entities.paths.size();
  for (const EntityPath& entity : entities.paths) hash = hash * 0x9E3779B97F4A7C15ull + entity.hash();
  MutexLock lock(mutex);
  for (auto [it, end] = known.equal_range(hash); it != end; ++it) {
    if (auto same = it->second.lock(); same != nullptr && same->paths == entities.paths) return same;
  }
  if (known.size() >= next_sweep) {
    std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
    next_sweep = std::max<size_t>(1024, 2 * known.size());
  }
  auto shared = std::make_shared<const Entities>(std::move(entities));
  known.emplace(hash, shared);
  return shared;
}

arrow::Result<SegmentIndexPtr> SegmentIndexBuilder::Finish() {
  auto index = std::make_shared<SegmentIndex>();
  const size_t n = rows_.size();
  if (n > 0x7fffffff) return arrow::Status::Invalid("more than 2 billion chunks");
  for (const auto& [name, type] : timelines_) index->timelines_.push_back({name, type});
  std::sort(index->timelines_.begin(), index->timelines_.end());
  const size_t num_timelines = index->timelines_.size();

  index->ids_.reserve(n);
  index->entity_of_.reserve(n);
  index->flags_.reserve(n);
  index->num_rows_.reserve(n);
  index->places_.reserve(n);
  index->spans_present_.assign(num_timelines * n, 0);
  index->spans_.assign(num_timelines * n, {});
  std::map<ComponentDescriptor, uint32_t> component_index;
  std::unordered_map<std::string, int> timeline_index;
  for (size_t t = 0; t < num_timelines; ++t) timeline_index.emplace(index->timelines_[t].name, static_cast<int>(t));

  // (entity, component) of each value, later sorted into columns.
  struct Cell {
    uint32_t entity, component;
    SegmentIndex::ColumnEntry entry;
  };
  std::vector<Cell> cells;
  SegmentIndex::Entities entities;
  for (const Entry& row : rows_) {
    if (entities.positions.emplace(row.entity, 0).second) entities.paths.push_back(row.entity);
  }
  std::sort(entities.paths.begin(), entities.paths.end());
  for (uint32_t i = 0; i < entities.paths.size(); ++i) entities.positions[entities.paths[i]] = i;
  index->entities_ = SegmentIndex::Share(std::move(entities));
  for (size_t chunk = 0; chunk < n; ++chunk) {
    Entry& row = rows_[chunk];
    const uint32_t entity = index->entities_->positions.at(row.entity);
    index->ids_.push_back(row.id);
    index->entity_of_.push_back(entity);
    index->flags_.push_back(row.is_static ? SegmentIndex::kStatic : 0);
    index->num_rows_.push_back(row.num_rows);
    index->places_.push_back(row.place);
    index->size_bytes_ += row.place.size + 16;
    index->size_bytes_uncompressed_ += row.place.size_uncompressed;
    std::vector<int> positions;
    for (size_t t = 0; t < row.timelines.size(); ++t) {
      const int position = timeline_index.at(row.timelines[t].name);
      positions.push_back(position);
      const size_t at = static_cast<size_t>(position) * n + chunk;
      index->spans_present_[at] = 1;
      index->spans_[at] = row.spans[t];
    }
    for (Component& component : row.components) {
      const auto [it, added] = component_index.emplace(component.descriptor, static_cast<uint32_t>(index->components_.size()));
      if (added) index->components_.push_back(component.descriptor);
      if (component.num_rows == 0) continue;
      SegmentIndex::ColumnEntry entry;
      entry.chunk = static_cast<uint32_t>(chunk);
      entry.num_rows = component.num_rows;
      entry.last_row_id = component.last_row_id;
      if (!component.spans.empty() && component.spans != row.spans) {
        entry.spans = static_cast<int32_t>(index->entry_spans_.size());
        index->entry_spans_.resize(index->entry_spans_.size() + num_timelines, TimeSpan{1, 0});
        for (size_t t = 0; t < positions.size(); ++t) {
          index->entry_spans_[static_cast<size_t>(entry.spans) + static_cast<size_t>(positions[t])] = component.spans[t];
        }
      }
      cells.push_back({entity, it->second, entry});
    }
  }
  std::stable_sort(cells.begin(), cells.end(),
                   [](const Cell& a, const Cell& b) { return std::tie(a.entity, a.component) < std::tie(b.entity, b.component); });
  std::vector<uint32_t> visible(n, 0), total(n, 0);
  index->entity_columns_.assign(index->entities().size() + 1, 0);
  for (size_t i = 0; i < cells.size();) {
    SegmentIndex::Column column;
    column.entity = cells[i].entity;
    column.component = cells[i].component;
    column.begin = static_cast<uint32_t>(i);
    for (; i < cells.size() && cells[i].entity == column.entity && cells[i].component == column.component; ++i) {
      index->entries_.push_back(cells[i].entry);
      (index->is_static(cells[i].entry.chunk) ? column.has_static : column.has_temporal) = true;
    }
    column.end = static_cast<uint32_t>(i);
    index->columns_.push_back(column);
    ++index->entity_columns_[column.entity + 1];
  }
  // Descriptors that share an identifier are one column for static precedence.
  for (uint32_t entity = 0; entity < index->entities().size(); ++entity) {
    index->entity_columns_[entity + 1] += index->entity_columns_[entity];
    std::unordered_map<std::string_view, bool> has_static;
    for (const auto& column : index->ColumnsOf(entity)) has_static[index->components_[column.component].component] |= column.has_static;
    for (const auto& column : index->ColumnsOf(entity)) {
      for (const auto& entry : index->Entries(column)) {
        ++total[entry.chunk];
        if (!has_static[index->components_[column.component].component]) ++visible[entry.chunk];
      }
    }
  }
  for (size_t chunk = 0; chunk < n; ++chunk) {
    if (!index->is_static(chunk) && total[chunk] > 0 && visible[chunk] == 0) index->flags_[chunk] |= SegmentIndex::kShadowed;
  }

  index->entity_begin_.assign(index->entities().size() + 1, 0);
  for (const uint32_t entity : index->entity_of_) ++index->entity_begin_[entity + 1];
  std::partial_sum(index->entity_begin_.begin(), index->entity_begin_.end(), index->entity_begin_.begin());
  std::vector<uint32_t> next(index->entity_begin_.begin(), index->entity_begin_.end() - (index->entity_begin_.empty() ? 0 : 1));
  index->by_entity_.resize(n);
  for (uint32_t chunk = 0; chunk < n; ++chunk) index->by_entity_[next[index->entity_of_[chunk]]++] = chunk;
  index->by_id_.resize(n);
  std::iota(index->by_id_.begin(), index->by_id_.end(), 0);
  std::sort(index->by_id_.begin(), index->by_id_.end(), [&](uint32_t a, uint32_t b) { return index->ids_[a] < index->ids_[b]; });

  rows_.clear();
  seen_.clear();
  timelines_.clear();
  return SegmentIndexPtr(std::move(index));
}

}  // namespace rushes
