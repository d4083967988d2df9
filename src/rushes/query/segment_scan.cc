#include "rushes/query/segment_scan.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/type.h"
#include "arrow/util/bit_util.h"

namespace rushes {
namespace {

// The first group of a segment is small, so that its first rows come soon; the next ones grow.
constexpr int64_t kFirstGroupBytes = int64_t{512} << 10;
constexpr int64_t kMaxGroupBytes = int64_t{64} << 20;
// A window ends with a chunk rather than in the next one if it has this many rows: whole chunks are slices, not copies.
constexpr int64_t kMinWindowRows = 4096;
// Cells whose places are held at once.
constexpr int64_t kMaxWindowCells = int64_t{4} << 20;
// Columns whose cells are larger than this on average are measured cell by cell when batches are cut.
constexpr int64_t kSmallCellBytes = 64;

int CompareRowIds(const Chunk& a, int64_t a_row, const Chunk& b, int64_t b_row) {
  return std::memcmp(a.row_id_bytes() + a_row * RowId::kNumBytes, b.row_id_bytes() + b_row * RowId::kNumBytes, RowId::kNumBytes);
}

// First position in [begin, end) of ascending values that is not less than `value`, searched from `begin` outward.
int64_t Gallop(const int64_t* values, int64_t begin, int64_t end, int64_t value) {
  int64_t step = 1, low = begin;
  while (low + step < end && values[low + step] < value) {
    low += step;
    step *= 2;
  }
  return std::lower_bound(values + low, values + std::min(end, low + step + 1), value) - values;
}

}  // namespace

// How the chunks of one schema take part in the scan.
struct SegmentScan::Binding {
  const ChunkSchema* schema;
  std::shared_ptr<const ChunkSchema> keep_alive;
  int timeline = -1;
  std::vector<int> other_timelines;  // per plan timeline: position in the chunk, or -1
  struct Source {
    int view;       // position in the plan's view
    int column;     // position in the chunk
    bool is_exact;  // of the view's type already
  };
  std::vector<Source> sources;  // columns in view that are not static here
  std::vector<int> source_of;   // per column in view: position in `sources`, or -1
  int clear_column = -1;
  std::vector<int> flat_cleared;       // columns in view that a clear of this entity empties
  std::vector<int> recursive_cleared;  // and those that a recursive one does
};

// A temporal chunk in memory.
struct SegmentScan::Loaded {
  ChunkPtr chunk;
  const Binding* binding = nullptr;
  std::vector<std::shared_ptr<arrow::ListArray>> columns;  // per source of the binding, of the view's type
  // The rows that count, by time: `order` lists them if they are not simply all rows in order.
  const int64_t* times = nullptr;
  int64_t length = 0;
  std::vector<int64_t> sorted_times;
  std::vector<int32_t> order;
  bool is_strict = false;  // no time occurs twice
  int64_t next = 0;        // rows before it are out
  // The row of the group at which its first row of the group is, if all of those are rows of the group one by one; else -1.
  int64_t group_row = -1;
  int64_t group_begin = 0;  // `next` when the group began

  // The chunk's cells of a column in view, which it must have.
  const std::shared_ptr<arrow::ListArray>& column(size_t view) const { return columns[static_cast<size_t>(binding->source_of[view])]; }
  int64_t row(int64_t position) const { return order.empty() ? position : order[static_cast<size_t>(position)]; }
};

// The rows of a chunk that fall into a window.
struct SegmentScan::Part {
  uint32_t slot;
  int64_t begin, end;     // positions in the chunk's sorted rows
  bool is_dense = false;  // they are rows [offset, offset + end - begin) of the window, one by one
  int64_t offset = 0;
  std::vector<int32_t> map;  // otherwise: first row of the window at or after each
};

struct SegmentScan::ClearCell {
  int64_t window_row;  // the first at or after it; the number of rows if there is none
  int64_t time;
  bool is_exact;  // it is the time of that row
  uint32_t slot;
  int64_t row;
  bool is_recursive;
};

struct SegmentScan::Column {
  bool in_view = true;    // passes the view's rules in this segment
  bool has_rows = false;  // makes rows
  bool is_needed = false;
  bool has_large_cells = false;     // in a chunk loaded so far
  CellRef static_cell = kNullCell;  // its one value, in `static_column`
  std::shared_ptr<arrow::ListArray> static_column;
  CellRef carry = kNullCell;  // the latest logged value before the window
};

// Rows of consecutive index values, while their cells are looked up.
struct SegmentScan::Window {
  std::span<const int64_t> times;
  int64_t bound;
  std::vector<Part> parts;
  std::vector<std::vector<int>> parts_of;                // per column in view: positions in `parts`
  std::vector<std::vector<const ClearCell*>> clears_of;  // per column in view
  std::vector<ClearCell> clears;
  std::vector<std::vector<CellRef>> cells;  // per column in view that is computed
  // Per column in view: the first cell, if its cells are simply one chunk's neighbouring rows; `cells` is left empty then.
  std::vector<CellRef> whole;
  std::vector<CellRef> carry;  // per column in view: after the window
  // Bytes per row: of large cells (empty: none), and of static ones.
  std::vector<int64_t> row_bytes;
  int64_t static_bytes = 0;
  std::vector<int64_t> own_times;  // of rows picked from another window

  bool is_known(size_t view) const { return !cells[view].empty() || whole[view] != kNullCell; }
  CellRef cell(size_t view, int64_t row) const {
    return whole[view] != kNullCell ? whole[view] + row : cells[view][static_cast<size_t>(row)];
  }
};

struct SegmentScan::PendingFetch {
  std::vector<uint32_t> chunks;  // positions in the segment's chunks
  std::vector<uint8_t> is_part;  // per chunk: fetched without the values of some components
  int64_t bytes = 0;
  std::shared_ptr<std::vector<std::vector<ChunkPtr>>> results;  // per piece
  std::unique_ptr<WorkSet> work;                                // null: not begun
  std::vector<ComponentList> values;                            // then: per chunk, the components that are needed
};

SegmentScan::SegmentScan(std::shared_ptr<const ScanPlan> plan, SegmentChunks segment, int max_threads)
    : plan_(std::move(plan)), segment_(std::make_shared<const SegmentChunks>(std::move(segment))), max_threads_(max_threads) {}

SegmentScan::~SegmentScan() {
  if (prefetch_ == nullptr) return;
  prefetch_->work->Cancel();
  ARROW_UNUSED(prefetch_->work->Wait());
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> SegmentScan::Next() {
  if (!is_open_) {
    is_open_ = true;
    ARROW_RETURN_NOT_OK(Open());
  }
  while (true) {
    if (window_ != nullptr) {
      const int64_t rows = static_cast<int64_t>(window_->times.size());
      while (window_row_ < rows) {
        const int64_t begin = window_row_;
        window_row_ = BatchEnd(*window_, begin);
        ARROW_ASSIGN_OR_RAISE(auto batch, MakeBatch(*window_, begin, window_row_));
        if (batch != nullptr) return batch;
      }
      window_.reset();
    }
    if (!plan_->query.index) return nullptr;
    if (in_group_) {
      ARROW_RETURN_NOT_OK(next_row_ < group_times_.size() ? NextWindow() : EndGroup());
      continue;
    }
    const bool chunks_left = prefetch_ != nullptr || next_pending_ < pending_.size() || !active_.empty();
    if (!chunks_left && next_sample_ >= samples_.size()) return nullptr;
    ARROW_RETURN_NOT_OK(LoadGroup());
    ARROW_RETURN_NOT_OK(BeginGroup());
  }
}

// --- loading

// Begins to fetch, in pieces of about equal size.
std::unique_ptr<SegmentScan::PendingFetch> SegmentScan::StartFetch(std::vector<uint32_t> chunks) const {
  auto fetch = std::make_unique<PendingFetch>();
  fetch->chunks = std::move(chunks);
  if (max_threads_ == 1) {  // all at once, when it is waited for
    for (const uint32_t chunk : fetch->chunks) {
      fetch->values.push_back(NeededValues(chunk));
      fetch->is_part.push_back(fetch->values.back() != nullptr);
    }
    CountFetch(*fetch);
    return fetch;
  }
  int64_t bytes = 0;
  for (const uint32_t chunk : fetch->chunks) bytes += segment_->chunks[chunk].byte_size;
  fetch->bytes = bytes;
  constexpr int64_t kMinPieceBytes = int64_t{256} << 10;
  const int64_t pieces = std::clamp<int64_t>(bytes / kMinPieceBytes, 1, 2 * WorkParallelism());
  std::vector<std::vector<uint32_t>> groups(1);
  int64_t filled = 0;
  for (const uint32_t chunk : fetch->chunks) {
    if (filled > bytes / pieces && static_cast<int64_t>(groups.size()) < pieces) {
      groups.emplace_back();
      filled = 0;
    }
    groups.back().push_back(chunk);
    filled += segment_->chunks[chunk].byte_size;
  }
  fetch->results = std::make_shared<std::vector<std::vector<ChunkPtr>>>(groups.size());
  std::vector<WorkSet::Piece> work;
  for (size_t g = 0; g < groups.size(); ++g) {
    std::vector<ComponentList> values;
    for (const uint32_t chunk : groups[g]) {
      values.push_back(NeededValues(chunk));
      fetch->is_part.push_back(values.back() != nullptr);
    }
    work.push_back([source = plan_->source, segment = segment_, results = fetch->results, wanted = std::move(groups[g]),
                    values = std::move(values), g] { return source->FetchChunks(*segment, wanted, values).Value(&(*results)[g]); });
  }
  CountFetch(*fetch);
  fetch->work = std::make_unique<WorkSet>(std::move(work));
  fetch->work->Start(max_threads_);
  return fetch;
}

void SegmentScan::CountFetch(const PendingFetch& fetch) const {
  ScanStatistics* const statistics = plan_->options.statistics.get();
  if (statistics == nullptr) return;
  statistics->chunks_fetched += static_cast<int64_t>(fetch.chunks.size());
  statistics->chunks_in_part += std::count(fetch.is_part.begin(), fetch.is_part.end(), 1);
}

arrow::Result<std::vector<ChunkPtr>> SegmentScan::FinishFetch(PendingFetch* fetch) const {
  std::vector<ChunkPtr> out;
  if (fetch->work == nullptr) {
    ARROW_ASSIGN_OR_RAISE(out, plan_->source->FetchChunks(*segment_, fetch->chunks, fetch->values));
  } else {
    ARROW_RETURN_NOT_OK(fetch->work->Wait());
    for (auto& group : *fetch->results) std::move(group.begin(), group.end(), std::back_inserter(out));
  }
  const auto missing = static_cast<size_t>(std::count(out.begin(), out.end(), nullptr));
  if (out.size() != fetch->chunks.size() || missing > 0) {
    return arrow::Status::IOError("segment ", segment_->segment_id, " under-delivered: ", out.size() - missing, "/", fetch->chunks.size(),
                                  " announced chunks arrived");
  }
  if (ScanStatistics* const statistics = plan_->options.statistics.get()) {
    for (const ChunkPtr& chunk : out) statistics->bytes_fetched += chunk->byte_size();
  }
  return out;
}

// Whether a chunk may hold a value that is needed, or a clear.
bool SegmentScan::HoldsNeeded(uint32_t chunk) const {
  const auto needs = plan_->needs.find(segment_->entities[segment_->chunks[chunk].entity]);
  if (needs == plan_->needs.end()) return false;
  const auto components = plan_->source->ComponentsOf(*segment_, chunk);
  if (!components) return true;
  const std::vector<std::string>& values = *needs->second.values;
  return std::any_of(components->begin(), components->end(), [&](const ChunkComponent& component) {
    return std::find(values.begin(), values.end(), component.name) != values.end();
  });
}

// Whether a component may have values in a chunk. In one that was fetched in part its column may be a stand-in.
bool SegmentScan::IsLogged(uint32_t chunk, std::string_view component) const {
  const auto components = plan_->source->ComponentsOf(*segment_, chunk);
  return !components ||
         std::any_of(components->begin(), components->end(), [&](const ChunkComponent& known) { return known.name == component; });
}

// The components of a chunk whose values are needed, if it can do without the others: where it is known which of its rows count.
ComponentList SegmentScan::NeededValues(uint32_t chunk) const {
  const ScanPlan& plan = *plan_;
  const ChunkInfo& info = segment_->chunks[chunk];
  if (info.byte_size < plan.options.min_partial_bytes || info.num_rows <= 0) return nullptr;
  const EntityPath& entity = segment_->entities[info.entity];
  const auto needs = plan.needs.find(entity);
  const auto view = plan.view_index.find(entity);
  if (needs == plan.needs.end() || view == plan.view_index.end()) return nullptr;
  const auto components = plan.source->ComponentsOf(*segment_, chunk);
  if (!components) return nullptr;
  // A stand-in looks logged in every row. That is right if its component is, and harmless if another one's values make all rows count;
  // one of a component without any value is not used (IsLogged).
  bool all_rows_count = false, all_complete = true, has_others = false;
  const std::vector<std::string>& values = *needs->second.values;
  for (const ChunkComponent& component : *components) {
    if (component.name == kClearComponent) return nullptr;
    has_others |= std::find(values.begin(), values.end(), component.name) == values.end();
    const auto at = view->second.find(std::string(component.name));
    if (at == view->second.end()) continue;
    const Column& column = columns_[static_cast<size_t>(at->second)];
    if (info.is_static) {
      // One row is enough to be the static value.
      all_rows_count = true;
      continue;
    }
    if (!column.has_rows || column.static_cell != kNullCell) continue;
    const bool is_complete = component.num_rows == info.num_rows;
    all_rows_count |= is_complete;
    all_complete &= is_complete || column.is_needed;
  }
  if (!has_others || !all_rows_count || (plan.needs_every_cell() && !all_complete)) return nullptr;
  return needs->second.values;
}

arrow::Status SegmentScan::Open() {
  const ScanPlan& plan = *plan_;
  columns_.resize(plan.view.size());
  const auto shows = plan.ColumnsOfSegment(segment_->schema);
  for (size_t i = 0; i < columns_.size(); ++i) {
    Column& column = columns_[i];
    const ScanPlan::ViewColumn& view = plan.view[i];
    column.is_needed = view.is_needed;
    column.in_view = (*shows)[i];
    column.has_rows = column.in_view && view.has_rows;
  }

  is_sampled_ = plan.query.using_index_values.has_value();
  if (plan.filter != nullptr && plan.query.index) {
    const FilterBounds& bounds = plan.filter->bounds();
    row_start_ = bounds.start;
    row_end_ = bounds.end;
    if (bounds.points && !is_sampled_) {
      row_points_ = &*bounds.points;
      is_sampled_ = true;
    }
  }

  // Sources may offer more than was asked for.
  std::vector<uint8_t> is_wanted(segment_->entities.size());
  for (size_t i = 0; i < is_wanted.size(); ++i) {
    const EntityPath& entity = segment_->entities[i];
    is_wanted[i] =
        plan.query.contents.Matches(entity) && (!plan.entities || std::binary_search(plan.entities->begin(), plan.entities->end(), entity));
  }
  std::vector<uint32_t> static_chunks;
  std::unordered_set<ChunkId> seen;
  for (uint32_t i = 0; i < segment_->chunks.size(); ++i) {
    const ChunkInfo& info = segment_->chunks[i];
    if (info.entity >= segment_->entities.size())
      return arrow::Status::Invalid("segment ", segment_->segment_id, ": chunk without an entity");
    if (!is_wanted[info.entity] || !seen.insert(info.id).second) continue;
    if (plan.only_needed_make_rows && !HoldsNeeded(i)) continue;
    if (info.is_static) {
      static_chunks.push_back(i);
    } else if (plan.query.index && info.has_timeline) {
      if (info.start > row_end_ || (info.end < row_start_ && !plan.query.fill_latest_at)) continue;
      pending_.push_back(i);
    }
  }
  ARROW_ASSIGN_OR_RAISE(const bool has_static, OpenStatic(std::move(static_chunks)));
  if (!plan.query.index) {
    if (has_static) BeginStaticRow();
    return arrow::Status::OK();
  }
  KeepWhereNotNull();
  std::stable_sort(pending_.begin(), pending_.end(),
                   [&](uint32_t a, uint32_t b) { return segment_->chunks[a].start < segment_->chunks[b].start; });
  if (plan.query.using_index_values) {
    const auto it = plan.query.using_index_values->find(segment_->segment_id);
    if (it != plan.query.using_index_values->end()) samples_ = it->second;
    std::sort(samples_.begin(), samples_.end());
    samples_.erase(std::unique(samples_.begin(), samples_.end()), samples_.end());
    std::erase_if(samples_, [&](int64_t value) { return value < row_start_ || value > row_end_; });
    if (samples_.empty()) pending_.clear();
  }
  return arrow::Status::OK();
}

// Finds the static values; whether there are any data at all. Values that nobody reads are not fetched where it is known that they are
// there.
arrow::Result<bool> SegmentScan::OpenStatic(std::vector<uint32_t> chunks) {
  bool has_data = false;
  std::erase_if(chunks, [&](uint32_t chunk) {
    const EntityPath& entity = segment_->entities[segment_->chunks[chunk].entity];
    const auto needs = plan_->needs.find(entity);
    const auto view = plan_->view_index.find(entity);
    if (needs == plan_->needs.end() || view == plan_->view_index.end()) return false;
    const auto components = plan_->source->ComponentsOf(*segment_, chunk);
    if (!components || components->empty() || HoldsNeeded(chunk)) return false;
    for (const ChunkComponent& component : *components) {
      const auto at = view->second.find(std::string(component.name));
      if (at == view->second.end()) continue;
      Column& column = columns_[static_cast<size_t>(at->second)];
      if (column.in_view) column.static_cell = MakeCell(0, 0);
    }
    has_data = true;
    return true;
  });
  if (chunks.empty()) return has_data;
  const auto fetch = StartFetch(std::move(chunks));
  ARROW_ASSIGN_OR_RAISE(const auto fetched, FinishFetch(fetch.get()));
  ARROW_RETURN_NOT_OK(FindStaticCells(*fetch, fetched));
  // A chunk without rows or components is no data.
  return has_data || std::any_of(fetched.begin(), fetched.end(),
                                 [](const ChunkPtr& chunk) { return chunk->num_rows() > 0 && !chunk->schema().columns().empty(); });
}

// Where the filter wants a value in some column, chunks that do not overlap any that may hold one make no rows.
void SegmentScan::KeepWhereNotNull() {
  const ScanPlan& plan = *plan_;
  for (const int position : plan.not_null) {
    const Column& wanted = columns_[static_cast<size_t>(position)];
    if (wanted.static_cell != kNullCell) continue;
    const ComponentColumn& view = plan.view[static_cast<size_t>(position)].column;
    std::vector<std::pair<int64_t, int64_t>> spans;
    for (const uint32_t chunk : pending_) {
      const ChunkInfo& info = segment_->chunks[chunk];
      const EntityPath& entity = segment_->entities[info.entity];
      const auto needs = plan.needs.find(entity);
      const bool may_clear = needs != plan.needs.end() && needs->second.has_clears && IsLogged(chunk, kClearComponent);
      if (may_clear || (entity == view.entity && IsLogged(chunk, view.descriptor.component))) spans.emplace_back(info.start, info.end);
    }
    std::sort(spans.begin(), spans.end());
    // Joined, so that both ends ascend.
    std::vector<std::pair<int64_t, int64_t>> joined;
    for (const auto& span : spans) {
      if (!joined.empty() && span.first <= joined.back().second) {
        joined.back().second = std::max(joined.back().second, span.second);
      } else {
        joined.push_back(span);
      }
    }
    std::erase_if(pending_, [&](uint32_t chunk) {
      const ChunkInfo& info = segment_->chunks[chunk];
      const auto it = std::partition_point(joined.begin(), joined.end(), [&](const auto& span) { return span.second < info.start; });
      return it == joined.end() || it->first > info.end;
    });
  }
}

// Per column in view, the static value of the greatest row id.
arrow::Status SegmentScan::FindStaticCells(const PendingFetch& fetch, const std::vector<ChunkPtr>& chunks) {
  struct Winner {
    ChunkPtr chunk;
    int64_t row;
  };
  std::vector<std::optional<Winner>> winners(columns_.size());
  for (size_t i = 0; i < chunks.size(); ++i) {
    const ChunkPtr& chunk = chunks[i];
    const auto entity = plan_->view_index.find(chunk->entity());
    if (entity == plan_->view_index.end()) continue;
    for (size_t c = 0; c < chunk->schema().columns().size(); ++c) {
      const std::string& component = chunk->schema().columns()[c].descriptor.component;
      const auto view = entity->second.find(component);
      if (view == entity->second.end() || (fetch.is_part[i] && !IsLogged(fetch.chunks[i], component))) continue;
      auto& winner = winners[static_cast<size_t>(view->second)];
      const auto& cells = *chunk->column(static_cast<int>(c));
      for (int64_t row = chunk->num_rows() - 1; row >= 0; --row) {
        if (cells.IsNull(row)) continue;
        if (!winner || CompareRowIds(*chunk, row, *winner->chunk, winner->row) > 0) winner = Winner{chunk, row};
        break;
      }
    }
  }
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (!winners[i] || !columns_[i].in_view) continue;
    const auto& view = plan_->view[i].column;
    const int column = winners[i]->chunk->schema().ColumnIndex(view.descriptor.component);
    // One row of its own, so that the chunk can go.
    auto adapted = AdaptArray(winners[i]->chunk->column(column)->Slice(winners[i]->row, 1), view.type);
    if (!adapted.ok()) {
      return adapted.status().WithMessage("segment ", segment_->segment_id, ", column ", view.name(), ": ", adapted.status().message());
    }
    columns_[i].static_column = std::static_pointer_cast<arrow::ListArray>(*adapted);
    columns_[i].static_cell = MakeCell(0, 0);
  }
  return arrow::Status::OK();
}

arrow::Result<const SegmentScan::Binding*> SegmentScan::Bind(const ChunkPtr& chunk) {
  const ChunkSchema* const schema = &chunk->schema();
  if (const auto known = bindings_.find(schema); known != bindings_.end()) return known->second.get();
  auto binding = std::make_unique<Binding>();
  binding->schema = schema;
  binding->keep_alive = chunk->schema_ptr();
  binding->timeline = schema->TimelineIndex(*plan_->query.index);
  const Timeline* const dataset_timeline = plan_->dataset_schema->FindTimeline(*plan_->query.index);
  if (binding->timeline >= 0 && dataset_timeline != nullptr &&
      schema->timelines()[static_cast<size_t>(binding->timeline)].type != dataset_timeline->type) {
    return arrow::Status::Invalid("segment ", segment_->segment_id, ": timeline \"", *plan_->query.index, "\" is a ",
                                  ToString(schema->timelines()[static_cast<size_t>(binding->timeline)].type), " in a chunk of ",
                                  schema->entity().text(), " and a ", ToString(dataset_timeline->type), " in the dataset");
  }
  for (const Timeline& timeline : plan_->other_timelines) {
    const int at = schema->TimelineIndex(timeline.name);
    binding->other_timelines.push_back(at >= 0 && schema->timelines()[static_cast<size_t>(at)].type == timeline.type ? at : -1);
  }
  if (const auto entity = plan_->view_index.find(schema->entity()); entity != plan_->view_index.end()) {
    for (size_t c = 0; c < schema->columns().size(); ++c) {
      const auto view = entity->second.find(schema->columns()[c].descriptor.component);
      if (view == entity->second.end()) continue;
      const Column& column = columns_[static_cast<size_t>(view->second)];
      if (!column.has_rows || column.static_cell != kNullCell) continue;
      binding->sources.push_back({view->second, static_cast<int>(c),
                                  schema->columns()[c].type->Equals(*plan_->view[static_cast<size_t>(view->second)].column.type, true)});
    }
  }
  binding->source_of.assign(columns_.size(), -1);
  for (size_t s = 0; s < binding->sources.size(); ++s)
    binding->source_of[static_cast<size_t>(binding->sources[s].view)] = static_cast<int>(s);
  const int clear = schema->ColumnIndex(kClearComponent);
  const ComponentColumn* const own_clear = segment_->schema ? segment_->schema->FindColumn(schema->entity(), kClearComponent) : nullptr;
  if (clear >= 0 && (own_clear == nullptr || !own_clear->is_static)) {
    binding->clear_column = clear;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (!columns_[i].has_rows) continue;
      const EntityPath& entity = plan_->view[i].column.entity;
      if (entity == schema->entity()) binding->flat_cleared.push_back(static_cast<int>(i));
      if (entity.StartsWith(schema->entity())) binding->recursive_cleared.push_back(static_cast<int>(i));
    }
  }
  return bindings_.emplace(schema, std::move(binding)).first->second.get();
}

namespace {

// Whether cells of a column are worth measuring: by their average, or because their size is not plain to see.
bool HasLargeCells(const arrow::ListArray& column) {
  const int64_t items = column.value_offset(column.length()) - column.value_offset(0);
  return items / std::max<int64_t>(1, column.length()) > 8 || !arrow::is_primitive(column.values()->type_id());
}

// A clear's value: true empties the descendants too.
bool IsRecursive(const arrow::ListArray& column, int64_t row) {
  if (column.value_length(row) == 0 || column.values()->type_id() != arrow::Type::BOOL) return false;
  const auto& values = static_cast<const arrow::BooleanArray&>(*column.values());
  return values.IsValid(column.value_offset(row)) && values.Value(column.value_offset(row));
}

}  // namespace

// `part`: the chunk's position in the segment, if it was fetched in part.
arrow::Status SegmentScan::AddTemporal(ChunkPtr chunk, std::optional<uint32_t> part) {
  ARROW_ASSIGN_OR_RAISE(const Binding* const binding, Bind(chunk));
  if (binding->timeline < 0 || chunk->num_rows() == 0) return arrow::Status::OK();
  if (binding->sources.empty() && (binding->clear_column < 0 || binding->recursive_cleared.empty())) return arrow::Status::OK();
  Loaded loaded;
  loaded.binding = binding;
  const int64_t n = chunk->num_rows();

  // Rows that count: those with a cell in view, and clears of something in view.
  bool all_count = false;
  for (const Binding::Source& source : binding->sources) {
    auto column = chunk->column(source.column);
    const ComponentDescriptor& component = chunk->schema().columns()[static_cast<size_t>(source.column)].descriptor;
    if (part && !IsLogged(*part, component.component)) {
      ARROW_ASSIGN_OR_RAISE(auto nulls, arrow::MakeArrayOfNull(column->type(), n));
      column = std::static_pointer_cast<arrow::ListArray>(std::move(nulls));
    }
    all_count |= column->null_count() == 0;
    if (!source.is_exact) {
      const ComponentColumn& view = plan_->view[static_cast<size_t>(source.view)].column;
      auto adapted = AdaptArray(column, view.type);
      if (!adapted.ok()) {
        return adapted.status().WithMessage("segment ", segment_->segment_id, ", column ", view.name(), ": ", adapted.status().message());
      }
      column = std::static_pointer_cast<arrow::ListArray>(*adapted);
    }
    columns_[static_cast<size_t>(source.view)].has_large_cells |= HasLargeCells(*column);
    loaded.columns.push_back(std::move(column));
  }
  const int64_t* const times = chunk->times(binding->timeline);
  const bool sorted = chunk->times_sorted(binding->timeline);
  if (!all_count || !sorted) {
    loaded.order.reserve(static_cast<size_t>(n));
    for (int64_t row = 0; row < n; ++row) {
      bool counts = all_count;
      for (size_t c = 0; !counts && c < loaded.columns.size(); ++c) counts = loaded.columns[c]->IsValid(row);
      if (!counts && binding->clear_column >= 0) {
        const auto& clears = *chunk->column(binding->clear_column);
        counts = clears.IsValid(row) && !(IsRecursive(clears, row) ? binding->recursive_cleared : binding->flat_cleared).empty();
      }
      if (counts) loaded.order.push_back(static_cast<int32_t>(row));
    }
    if (loaded.order.empty()) return arrow::Status::OK();
    if (!sorted) {
      std::stable_sort(loaded.order.begin(), loaded.order.end(), [&](int32_t a, int32_t b) { return times[a] < times[b]; });
    }
    loaded.sorted_times.reserve(loaded.order.size());
    for (const int32_t row : loaded.order) loaded.sorted_times.push_back(times[row]);
    loaded.times = loaded.sorted_times.data();
    loaded.length = static_cast<int64_t>(loaded.order.size());
    if (sorted && loaded.length == n) loaded.order.clear();
  } else {
    loaded.times = times;
    loaded.length = n;
  }
  loaded.is_strict = chunk->times_strict(binding->timeline);
  if (!loaded.is_strict) {
    loaded.is_strict = true;
    for (int64_t i = 1; loaded.is_strict && i < loaded.length; ++i) loaded.is_strict = loaded.times[i - 1] < loaded.times[i];
  }
  // Rows that cannot pass the filter are not looked at, but for the values they leave behind.
  loaded.length = std::upper_bound(loaded.times, loaded.times + loaded.length, row_end_) - loaded.times;
  if (!plan_->query.fill_latest_at) loaded.next = std::lower_bound(loaded.times, loaded.times + loaded.length, row_start_) - loaded.times;
  if (loaded.next >= loaded.length) return arrow::Status::OK();
  if (loaded.times[loaded.next] <= emitted_bound_) {
    return arrow::Status::Invalid("segment ", segment_->segment_id, ": chunk ", chunk->id().ToHex(), " of ", chunk->entity().text(),
                                  " holds the time ", loaded.times[loaded.next], " on \"", *plan_->query.index,
                                  "\", before its announced start");
  }
  clears_possible_ |= binding->clear_column >= 0;
  active_bytes_ += chunk->byte_size();
  loaded.chunk = std::move(chunk);
  active_.push_back(static_cast<uint32_t>(slots_.size()));
  held_.push_back(active_.back());
  slots_.push_back(std::move(loaded));
  return arrow::Status::OK();
}

// Takes the chunks to load next from those pending.
arrow::Result<std::vector<uint32_t>> SegmentScan::NextGroup() {
  group_bytes_ = group_bytes_ == 0 ? kFirstGroupBytes : std::min(group_bytes_ * 4, kMaxGroupBytes);
  const int64_t target = std::max<int64_t>(1, std::min(group_bytes_, plan_->options.memory_budget / 8));
  std::vector<uint32_t> group;
  int64_t bytes = 0;
  const int64_t first_start = segment_->chunks[pending_[next_pending_]].start;
  while (next_pending_ < pending_.size()) {
    const ChunkInfo& info = segment_->chunks[pending_[next_pending_]];
    // Rows at `first_start` are final only once every chunk that starts there is loaded.
    if (bytes >= target && info.start > first_start) break;
    bytes += info.byte_size;
    group.push_back(pending_[next_pending_++]);
  }
  if (active_bytes_ + bytes > plan_->options.memory_budget) {
    return arrow::Status::CapacityError("segment ", segment_->segment_id, ": chunks that overlap on \"", *plan_->query.index, "\" need ",
                                        active_bytes_ + bytes, " bytes at once, more than the scan's memory budget of ",
                                        plan_->options.memory_budget);
  }
  return group;
}

// Adds the next group of chunks, and begins to fetch the one after it.
arrow::Status SegmentScan::LoadGroup() {
  std::unique_ptr<PendingFetch> fetch = std::move(prefetch_);
  if (fetch == nullptr) {
    if (next_pending_ >= pending_.size()) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(auto group, NextGroup());
    fetch = StartFetch(std::move(group));
  }
  ARROW_ASSIGN_OR_RAISE(auto chunks, FinishFetch(fetch.get()));
  for (size_t i = 0; i < chunks.size(); ++i) {
    ARROW_RETURN_NOT_OK(AddTemporal(std::move(chunks[i]), fetch->is_part[i] ? std::optional(fetch->chunks[i]) : std::nullopt));
  }
  if (max_threads_ != 1 && plan_->reads_ahead() && next_pending_ < pending_.size() && active_bytes_ < plan_->options.memory_budget / 2) {
    ARROW_ASSIGN_OR_RAISE(auto group, NextGroup());
    prefetch_ = StartFetch(std::move(group));
  }
  return arrow::Status::OK();
}

// --- rows

// The distinct times of the rows that count, after what is out and up to `bound`, ascending.
void SegmentScan::CollectTimes(int64_t bound, std::vector<int64_t>* times) {
  // Each chunk is a sorted run. Chunks logged together have equal runs, which are taken once; runs that follow each other are joined;
  // the rest is merged pairwise.
  struct TimeRun {
    std::span<const int64_t> times;
    std::vector<uint32_t> slots;              // of chunks whose rows these are, one by one
    std::vector<const int64_t*> places = {};  // where else the same times were seen
  };
  std::vector<TimeRun> runs;
  std::deque<std::vector<int64_t>> storage;
  for (const uint32_t slot : active_) {
    Loaded& loaded = slots_[slot];
    loaded.group_row = -1;
    loaded.group_begin = loaded.next;
    const int64_t* const begin = loaded.times + loaded.next;
    const int64_t* const end = std::upper_bound(begin, loaded.times + loaded.length, bound);
    if (begin == end) continue;
    if (loaded.is_strict) {
      runs.push_back({{begin, end}, {slot}});
    } else {
      storage.emplace_back();
      std::unique_copy(begin, end, std::back_inserter(storage.back()));
      runs.push_back({storage.back(), {}});
    }
  }
  std::stable_sort(runs.begin(), runs.end(), [](const TimeRun& a, const TimeRun& b) {
    return a.times.front() != b.times.front() ? a.times.front() < b.times.front() : a.times.size() > b.times.size();
  });
  // Equal runs are neighbours now; those of one buffer are seen to be.
  const auto is_equal = [](TimeRun& known, std::span<const int64_t> times) {
    if (known.times.size() != times.size()) return false;
    if (known.times.data() == times.data()) return true;
    if (std::find(known.places.begin(), known.places.end(), times.data()) != known.places.end()) return true;
    if (known.times.back() != times.back() || std::memcmp(known.times.data(), times.data(), times.size_bytes()) != 0) return false;
    known.places.push_back(times.data());
    return true;
  };
  std::vector<TimeRun> distinct;
  for (TimeRun& run : runs) {
    TimeRun* known = nullptr;
    for (auto it = distinct.rbegin(); it != distinct.rend() && it->times.front() == run.times.front() && known == nullptr; ++it) {
      if (is_equal(*it, run.times)) known = &*it;
    }
    if (known != nullptr) {
      known->slots.insert(known->slots.end(), run.slots.begin(), run.slots.end());
    } else {
      distinct.push_back(std::move(run));
    }
  }
  // Chains of runs that do not overlap.
  std::vector<std::vector<const TimeRun*>> chains;
  for (const TimeRun& run : distinct) {
    bool placed = false;
    for (auto& chain : chains) {
      if (chain.back()->times.back() < run.times.front()) {
        chain.push_back(&run);
        placed = true;
        break;
      }
    }
    if (!placed) chains.push_back({&run});
  }
  std::deque<std::vector<int64_t>> sorted;
  for (const auto& chain : chains) {
    sorted.emplace_back();
    for (const TimeRun* run : chain) {
      if (chains.size() == 1) {
        for (const uint32_t slot : run->slots) slots_[slot].group_row = static_cast<int64_t>(sorted.back().size());
      }
      sorted.back().insert(sorted.back().end(), run->times.begin(), run->times.end());
    }
  }
  while (sorted.size() > 1) {
    std::vector<int64_t> merged;
    merged.reserve(sorted[0].size() + sorted[1].size());
    std::set_union(sorted[0].begin(), sorted[0].end(), sorted[1].begin(), sorted[1].end(), std::back_inserter(merged));
    sorted.pop_front();
    sorted.pop_front();
    sorted.push_back(std::move(merged));
  }
  if (!sorted.empty()) *times = std::move(sorted.front());
}

// The rows that the chunks loaded so far complete.
arrow::Status SegmentScan::BeginGroup() {
  // Everything before the first time of the next chunk is final.
  const bool is_last = prefetch_ == nullptr && next_pending_ >= pending_.size();
  const uint32_t next = is_last ? 0 : prefetch_ != nullptr ? prefetch_->chunks[0] : pending_[next_pending_];
  group_bound_ = is_last ? kMaxTime : std::max(segment_->chunks[next].start, kMinTime) - 1;
  if (group_bound_ <= emitted_bound_ && !is_last) return arrow::Status::OK();
  in_group_ = true;
  next_row_ = 0;
  group_times_.clear();
  rows_are_those_of_chunks_ = false;
  if (plan_->query.using_index_values) {
    const auto begin = samples_.begin() + static_cast<int64_t>(next_sample_);
    const auto end = std::upper_bound(begin, samples_.end(), group_bound_);
    group_times_.assign(begin, end);
    next_sample_ = static_cast<size_t>(end - samples_.begin());
  } else {
    if (emitted_bound_ < row_start_ - 1) {
      // What is before the first row leaves its values behind.
      const int64_t skipped = std::min(group_bound_, row_start_ - 1);
      ARROW_RETURN_NOT_OK(ProcessWindow({}, skipped));
      emitted_bound_ = std::max(emitted_bound_, skipped);
    }
    CollectTimes(group_bound_, &group_times_);
    rows_are_those_of_chunks_ = row_points_ == nullptr;
    if (row_points_ != nullptr) {
      std::vector<int64_t> chosen;
      std::set_intersection(group_times_.begin(), group_times_.end(), row_points_->begin(), row_points_->end(), std::back_inserter(chosen));
      group_times_ = std::move(chosen);
    }
  }
  // Without rows there may be values to carry all the same.
  if (group_times_.empty()) return ProcessWindow({}, group_bound_);
  return arrow::Status::OK();
}

arrow::Status SegmentScan::NextWindow() {
  int64_t num_computed = 1;
  for (const Column& column : columns_) num_computed += column.has_rows || column.is_needed;
  const int64_t max_rows =
      std::max<int64_t>(1, std::min<int64_t>(plan_->options.max_batch_rows, std::max<int64_t>(1024, kMaxWindowCells / num_computed)));
  const std::span<const int64_t> times = std::span<const int64_t>(group_times_).subspan(next_row_);
  int64_t rows = std::min<int64_t>(max_rows, static_cast<int64_t>(times.size()));
  if (rows > kMinWindowRows) {
    // End with the first chunk that ends well inside the window.
    const int64_t earliest = times[static_cast<size_t>(kMinWindowRows) - 1];
    int64_t cut = times[static_cast<size_t>(rows) - 1];
    for (const uint32_t slot : active_) {
      const int64_t last = slots_[slot].times[slots_[slot].length - 1];
      if (last >= earliest && last < cut) cut = last;
    }
    rows = std::upper_bound(times.begin(), times.begin() + rows, cut) - times.begin();
  }
  next_row_ += static_cast<size_t>(rows);
  const bool is_final = next_row_ == group_times_.size();
  return ProcessWindow(times.first(static_cast<size_t>(rows)), is_final ? group_bound_ : times[static_cast<size_t>(rows) - 1]);
}

arrow::Status SegmentScan::EndGroup() {
  in_group_ = false;
  emitted_bound_ = std::max(emitted_bound_, group_bound_);
  ARROW_RETURN_NOT_OK(KeepCarried());
  ReleaseChunks();
  return arrow::Status::OK();
}

// Looks up the cells of rows with these times; takes in all of the chunks' rows up to `bound`.
arrow::Status SegmentScan::ProcessWindow(std::span<const int64_t> times, int64_t bound) {
  const ScanPlan& plan = *plan_;
  window_ = std::make_unique<Window>();
  window_row_ = 0;
  Window& window = *window_;
  window.times = times;
  window.bound = bound;
  const int64_t n = static_cast<int64_t>(times.size());
  window.parts_of.resize(columns_.size());
  window.clears_of.resize(columns_.size());
  window.cells.resize(columns_.size());
  window.carry.resize(columns_.size(), kNullCell);
  window.whole.resize(columns_.size(), kNullCell);

  const bool needs_all = plan.needs_every_cell();
  const auto is_computed = [&](size_t view) {
    const Column& column = columns_[view];
    return column.has_rows && column.static_cell == kNullCell && (needs_all || column.is_needed);
  };

  for (const uint32_t slot : active_) {
    Loaded& loaded = slots_[slot];
    Part part{slot, loaded.next, Gallop(loaded.times, loaded.next, loaded.length, bound), false, 0, {}};
    while (part.end < loaded.length && loaded.times[part.end] <= bound) ++part.end;
    if (part.begin == part.end) continue;
    loaded.next = part.end;
    const bool has_clears = loaded.binding->clear_column >= 0;
    bool is_used = has_clears;
    for (const Binding::Source& source : loaded.binding->sources) is_used |= is_computed(static_cast<size_t>(source.view));
    if (!is_used) continue;
    const int at = static_cast<int>(window.parts.size());
    for (const Binding::Source& source : loaded.binding->sources) {
      if (is_computed(static_cast<size_t>(source.view))) window.parts_of[static_cast<size_t>(source.view)].push_back(at);
    }
    window.parts.push_back(std::move(part));
  }

  // Places that are known, as of chunks whose rows are the window's, are not worth a thread.
  int64_t unknown = 0;
  for (const Part& part : window.parts) {
    if (!rows_are_those_of_chunks_ || slots_[part.slot].group_row < 0) unknown += part.end - part.begin;
  }
  ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(window.parts.size()), unknown < 16384 ? 1 : max_threads_, [&](int i) {
    Part& part = window.parts[static_cast<size_t>(i)];
    const Loaded& loaded = slots_[part.slot];
    const int64_t* const own = loaded.times + part.begin;
    const int64_t length = part.end - part.begin;
    if (rows_are_those_of_chunks_ && n > 0 && loaded.group_row >= 0) {
      part.is_dense = true;
      part.offset = loaded.group_row + part.begin - loaded.group_begin - (times.data() - group_times_.data());
      return arrow::Status::OK();
    }
    const int64_t first = std::lower_bound(times.begin(), times.end(), own[0]) - times.begin();
    if (loaded.is_strict && length <= n - first && times[static_cast<size_t>(first + length) - 1] == own[length - 1] &&
        std::memcmp(times.data() + first, own, static_cast<size_t>(length) * sizeof(int64_t)) == 0) {
      part.is_dense = true;
      part.offset = first;
      return arrow::Status::OK();
    }
    part.map.resize(static_cast<size_t>(length));
    int64_t row = first;
    for (int64_t k = 0; k < length; ++k) {
      if (row < n && times[static_cast<size_t>(row)] < own[k]) row = Gallop(times.data(), row, n, own[k]);
      part.map[static_cast<size_t>(k)] = static_cast<int32_t>(row);
    }
    return arrow::Status::OK();
  }));

  const bool ends_fill = plan.query.fill_latest_at && plan.query.fill_respects_clears;
  if (clears_possible_) {
    for (const Part& part : window.parts) {
      const Loaded& loaded = slots_[part.slot];
      if (loaded.binding->clear_column < 0) continue;
      const auto& clears = *loaded.chunk->column(loaded.binding->clear_column);
      for (int64_t k = part.begin; k < part.end; ++k) {
        const int64_t row = loaded.row(k);
        const int64_t window_row = part.is_dense ? part.offset + k - part.begin : part.map[static_cast<size_t>(k - part.begin)];
        if (clears.IsNull(row)) continue;
        const bool is_exact = window_row < n && times[static_cast<size_t>(window_row)] == loaded.times[k];
        if (!is_exact && !ends_fill) continue;
        window.clears.push_back({window_row, loaded.times[k], is_exact, part.slot, row, IsRecursive(clears, row)});
      }
    }
    for (const ClearCell& clear : window.clears) {
      const Binding& binding = *slots_[clear.slot].binding;
      for (const int view : clear.is_recursive ? binding.recursive_cleared : binding.flat_cleared) {
        if (is_computed(static_cast<size_t>(view))) window.clears_of[static_cast<size_t>(view)].push_back(&clear);
      }
    }
  }

  std::vector<int> computed, long_ones;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (!is_computed(i)) continue;
    computed.push_back(static_cast<int>(i));
    if (!IsWhole(static_cast<int>(i), &window)) long_ones.push_back(static_cast<int>(i));
  }
  ARROW_RETURN_NOT_OK(
      ParallelFor(static_cast<int>(long_ones.size()), n * static_cast<int64_t>(long_ones.size()) < 16384 ? 1 : max_threads_, [&](int i) {
        ComputeColumn(long_ones[static_cast<size_t>(i)], &window);
        return arrow::Status::OK();
      }));
  MeasureRows(&window);
  for (const int i : computed) columns_[static_cast<size_t>(i)].carry = window.carry[static_cast<size_t>(i)];
  return arrow::Status::OK();
}

// Whether the column's cells in the window are simply one chunk's neighbouring rows; then notes which.
bool SegmentScan::IsWhole(int position, Window* window) const {
  const size_t view = static_cast<size_t>(position);
  const int64_t n = static_cast<int64_t>(window->times.size());
  const auto& parts = window->parts_of[view];
  if (parts.size() != 1 || n == 0 || is_sampled_ || !window->clears_of[view].empty()) return false;
  const Part& part = window->parts[static_cast<size_t>(parts[0])];
  const Loaded& loaded = slots_[part.slot];
  if (!part.is_dense || part.end - part.begin != n || !loaded.order.empty() || loaded.column(view)->null_count() != 0) return false;
  window->whole[view] = MakeCell(part.slot, part.begin);
  window->carry[view] = plan_->query.fill_latest_at ? MakeCell(part.slot, part.end - 1) : kNullCell;
  return true;
}

// Per row of the window, the place of the column's cell; and the latest logged cell after the window.
void SegmentScan::ComputeColumn(int position, Window* window) const {
  const bool fill = plan_->query.fill_latest_at;
  const int64_t n = static_cast<int64_t>(window->times.size());
  const bool sampled = is_sampled_ || n == 0;
  const auto& part_positions = window->parts_of[static_cast<size_t>(position)];
  const auto& clears = window->clears_of[static_cast<size_t>(position)];
  auto& cells = window->cells[static_cast<size_t>(position)];
  // One more, for what lies after the last row asked for.
  cells.assign(static_cast<size_t>(n) + 1, kNullCell);
  CellRef* const out = cells.data();

  // A value wins its row by time (only when rows were asked for are there several), then by row id.
  const auto time_of = [&](CellRef cell) {
    const Loaded& loaded = slots_[CellSlot(cell)];
    return loaded.chunk->times(loaded.binding->timeline)[CellRow(cell)];
  };
  const auto wins = [&](CellRef cell, CellRef over) {
    if (over == kNullCell) return true;
    if (sampled) {
      const int64_t a = time_of(cell), b = time_of(over);
      if (a != b) return a > b;
    }
    const int order = CompareRowIds(*slots_[CellSlot(cell)].chunk, CellRow(cell), *slots_[CellSlot(over)].chunk, CellRow(over));
    // Of equal ids in one chunk the later row counts, of different chunks the one that starts first.
    return order > 0 || (order == 0 && CellSlot(cell) == CellSlot(over) && CellRow(cell) > CellRow(over));
  };

  int64_t last_time = std::numeric_limits<int64_t>::min();
  for (const int p : part_positions) {
    const Part& part = window->parts[static_cast<size_t>(p)];
    const Loaded& loaded = slots_[part.slot];
    const arrow::ListArray* const column = loaded.column(static_cast<size_t>(position)).get();
    const bool all_valid = column->null_count() == 0;
    const bool in_order = loaded.order.empty();
    const bool overlaps = sampled || loaded.times[part.begin] <= last_time;
    last_time = std::max(last_time, loaded.times[part.end - 1]);
    const int64_t length = part.end - part.begin;
    if (part.is_dense && !overlaps) {
      CellRef* const to = out + part.offset;
      if (in_order && all_valid) {
        const CellRef first = MakeCell(part.slot, part.begin);
        for (int64_t k = 0; k < length; ++k) to[k] = first + k;
      } else {
        for (int64_t k = 0; k < length; ++k) {
          const int64_t row = loaded.row(part.begin + k);
          if (all_valid || column->IsValid(row)) to[k] = MakeCell(part.slot, row);
        }
      }
      continue;
    }
    for (int64_t k = 0; k < length; ++k) {
      const int64_t row = loaded.row(part.begin + k);
      if (!all_valid && column->IsNull(row)) continue;
      CellRef& to = out[part.is_dense ? part.offset + k : part.map[static_cast<size_t>(k)]];
      const CellRef cell = MakeCell(part.slot, row);
      if (!overlaps || wins(cell, to)) to = cell;
    }
  }

  // The latest value so far, and its time where the age of values matters.
  CellRef carry = columns_[static_cast<size_t>(position)].carry;
  const std::optional<int64_t>& max_age = plan_->query.fill_max_age;
  int64_t carry_time = max_age && carry != kNullCell ? time_of(carry) : 0;
  const auto keep = [&](CellRef cell) {
    carry = cell;
    if (max_age && cell != kNullCell) carry_time = time_of(cell);
  };
  const auto filled = [&](int64_t row) {
    if (!fill || carry == kNullCell) return kNullCell;
    // Unsigned: the distance of two times may not fit a signed number.
    const auto age = static_cast<uint64_t>(window->times[static_cast<size_t>(row)]) - static_cast<uint64_t>(carry_time);
    return max_age && age > static_cast<uint64_t>(*max_age) ? kNullCell : carry;
  };
  if (clears.empty() && !sampled) {
    if (fill) {
      for (int64_t i = 0; i < n; ++i) {
        if (out[i] == kNullCell) {
          out[i] = filled(i);
        } else {
          keep(out[i]);
        }
      }
    }
    // Values after the last row that was asked for are the latest ones of the next window.
    if (fill && out[n] != kNullCell) keep(out[n]);
  } else {
    // Per row, the last of its clears.
    std::map<int64_t, const ClearCell*> clear_at;
    for (const ClearCell* clear : clears) {
      const auto [it, added] = clear_at.emplace(clear->window_row, clear);
      if (added) continue;
      const ClearCell& known = *it->second;
      if (clear->time > known.time ||
          (clear->time == known.time && CompareRowIds(*slots_[clear->slot].chunk, clear->row, *slots_[known.slot].chunk, known.row) > 0)) {
        it->second = clear;
      }
    }
    const bool ends_fill = fill && plan_->query.fill_respects_clears;
    for (int64_t i = 0; i <= n; ++i) {
      const CellRef logged = out[i];  // the latest after the row before
      if (logged != kNullCell) keep(logged);
      const auto it = clear_at.find(i);
      const ClearCell* const clear = it == clear_at.end() ? nullptr : it->second;
      // A logged value of the same row id counts before the clear.
      const bool is_last = clear != nullptr &&
                           (logged == kNullCell || clear->time > time_of(logged) ||
                            (clear->time == time_of(logged) &&
                             CompareRowIds(*slots_[clear->slot].chunk, clear->row, *slots_[CellSlot(logged)].chunk, CellRow(logged)) > 0));
      if (is_last && ends_fill) keep(kNullCell);
      if (i == n) break;  // only what is carried on
      const bool is_exact = logged != kNullCell && (!sampled || time_of(logged) == window->times[static_cast<size_t>(i)]);
      if (is_last && clear->is_exact) {
        out[i] = MakeCell(clear->slot, clear->row) | kClearFlag;
      } else {
        out[i] = is_exact ? logged : filled(i);
      }
    }
  }
  cells.pop_back();
  window->carry[static_cast<size_t>(position)] = fill ? carry : kNullCell;
}

// Copies the rows out of finished chunks that fill later ones, so that the chunks can go.
arrow::Status SegmentScan::KeepCarried() {
  constexpr int64_t kWorthKeeping = 16;  // rows: smaller chunks stay
  std::map<CellRef, std::vector<size_t>> carried;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const CellRef cell = columns_[i].carry;
    if (cell == kNullCell) continue;
    const Loaded& loaded = slots_[CellSlot(cell)];
    if (loaded.next >= loaded.length && loaded.chunk->num_rows() > kWorthKeeping) carried[cell].push_back(i);
  }
  for (const auto& [cell, columns] : carried) {
    const Loaded& source = slots_[CellSlot(cell)];
    const auto batch = source.chunk->ToRecordBatch();
    arrow::ArrayVector arrays;
    for (const auto& array : batch->columns()) {
      ARROW_ASSIGN_OR_RAISE(auto copy, arrow::Concatenate({array->Slice(CellRow(cell), 1)}));
      arrays.push_back(std::move(copy));
    }
    const auto& schema = source.chunk->schema_ptr();
    Loaded kept;
    ARROW_ASSIGN_OR_RAISE(kept.chunk,
                          Chunk::Make(source.chunk->id(), schema, arrow::RecordBatch::Make(schema->arrow_schema(), 1, std::move(arrays))));
    kept.binding = source.binding;
    for (const auto& column : source.columns) {
      ARROW_ASSIGN_OR_RAISE(auto copy, arrow::Concatenate({column->Slice(CellRow(cell), 1)}));
      kept.columns.push_back(std::static_pointer_cast<arrow::ListArray>(copy));
    }
    active_bytes_ += kept.chunk->byte_size();
    const auto slot = static_cast<uint32_t>(slots_.size());
    for (const size_t column : columns) columns_[column].carry = MakeCell(slot, 0);
    held_.push_back(slot);
    slots_.push_back(std::move(kept));
  }
  return arrow::Status::OK();
}

void SegmentScan::ReleaseChunks() {
  std::set<uint32_t> carried;
  for (const Column& column : columns_) {
    if (column.carry != kNullCell) carried.insert(CellSlot(column.carry));
  }
  active_.clear();
  std::vector<uint32_t> still_held;
  for (const uint32_t slot : held_) {
    Loaded& loaded = slots_[slot];
    const bool is_active = loaded.next < loaded.length;
    if (is_active) active_.push_back(slot);
    if (is_active || carried.contains(slot)) {
      still_held.push_back(slot);
      continue;
    }
    active_bytes_ -= loaded.chunk->byte_size();
    loaded = Loaded();
  }
  held_ = std::move(still_held);
}

// --- output

arrow::Result<std::shared_ptr<arrow::Array>> SegmentScan::MakeOtherIndex(int position, const Window& window, int64_t begin,
                                                                         int64_t end) const {
  const int64_t n = end - begin;
  const auto& type = ArrowType(plan_->other_timelines[static_cast<size_t>(position)].type);
  // Columns that are rows of chunks with the same times say the same: each buffer of times is looked at once.
  struct Whole {
    const Chunk* chunk;
    int timeline;
    int64_t row;
  };
  std::vector<Whole> wholes;
  std::vector<const int64_t*> seen;
  bool only_wholes = true;
  for (size_t view = 0; view < window.cells.size(); ++view) {
    if (!window.is_known(view)) continue;
    if (window.whole[view] == kNullCell) {
      only_wholes = false;
      continue;
    }
    const Loaded& loaded = slots_[CellSlot(window.whole[view])];
    const int timeline = loaded.binding->other_timelines[static_cast<size_t>(position)];
    if (timeline < 0) continue;
    const Whole whole{loaded.chunk.get(), timeline, CellRow(window.whole[view]) + begin};
    const int64_t* const times = whole.chunk->times(timeline) + whole.row;
    if (std::find(seen.begin(), seen.end(), times) != seen.end()) continue;
    const bool is_new = std::none_of(seen.begin(), seen.end(), [&](const int64_t* known) {
      return std::memcmp(known, times, static_cast<size_t>(n) * sizeof(int64_t)) == 0;
    });
    if (is_new) wholes.push_back(whole);
    seen.push_back(times);
  }
  if (only_wholes && wholes.size() == 1) {
    const auto times = wholes[0].chunk->time_array(wholes[0].timeline);
    if (times->type()->Equals(*type)) return times->Slice(wholes[0].row, n);
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(n * 8));
  auto* const out = reinterpret_cast<int64_t*>(values->mutable_data());
  constexpr int64_t kNone = std::numeric_limits<int64_t>::min();  // no legal time
  std::fill(out, out + n, kNone);
  for (const Whole& whole : wholes) {
    const int64_t* const times = whole.chunk->times(whole.timeline) + whole.row;
    for (int64_t i = 0; i < n; ++i) out[i] = std::max(out[i], times[i]);
  }
  for (size_t view = 0; view < window.cells.size(); ++view) {
    if (!window.is_known(view) || window.whole[view] != kNullCell) continue;
    const CellRef* const from = window.cells[view].data() + begin;
    for (int64_t i = 0; i < n;) {
      if (from[i] == kNullCell) {
        ++i;
        continue;
      }
      int64_t j = i + 1;
      while (j < n && from[j] == from[i] + (j - i)) ++j;
      const Loaded& loaded = slots_[CellSlot(from[i])];
      const int timeline = loaded.binding->other_timelines[static_cast<size_t>(position)];
      if (timeline >= 0) {
        const int64_t* const times = loaded.chunk->times(timeline) + CellRow(from[i]);
        for (int64_t k = i; k < j; ++k) out[k] = std::max(out[k], times[k - i]);
      }
      i = j;
    }
  }
  int64_t nulls = 0;
  for (int64_t i = 0; i < n; ++i) nulls += out[i] == kNone;
  std::shared_ptr<arrow::Buffer> validity;
  if (nulls > 0) {
    ARROW_ASSIGN_OR_RAISE(validity, arrow::AllocateEmptyBitmap(n));
    for (int64_t i = 0; i < n; ++i) {
      if (out[i] != kNone) {
        arrow::bit_util::SetBit(validity->mutable_data(), i);
      } else {
        out[i] = 0;
      }
    }
  }
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(values)}, nulls));
}

// When the values shown were logged.
arrow::Result<std::shared_ptr<arrow::Array>> SegmentScan::MakeOriginTimes(const ScanPlan::Output& output, const Window& window,
                                                                          int64_t begin, int64_t end) const {
  const int64_t n = end - begin;
  const size_t view = static_cast<size_t>(output.position);
  const auto& type = output.field->type();
  if (columns_[view].static_cell != kNullCell || !window.is_known(view)) return arrow::MakeArrayOfNull(type, n);
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(n * 8));
  auto* const out = reinterpret_cast<int64_t*>(values->mutable_data());
  std::shared_ptr<arrow::Buffer> validity;
  int64_t nulls = 0;
  for (int64_t i = 0; i < n; ++i) {
    const CellRef cell = window.cell(view, begin + i);
    if (cell != kNullCell) {
      const Loaded& loaded = slots_[CellSlot(cell)];
      out[i] = loaded.chunk->times(loaded.binding->timeline)[CellRow(cell)];
      continue;
    }
    if (validity == nullptr) {
      ARROW_ASSIGN_OR_RAISE(validity, arrow::AllocateBitmap(n));
      arrow::bit_util::SetBitsTo(validity->mutable_data(), 0, n, true);
    }
    arrow::bit_util::ClearBit(validity->mutable_data(), i);
    out[i] = 0;
    ++nulls;
  }
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(values)}, nulls));
}

// The greatest row id of the temporal values shown in each row.
arrow::Result<std::shared_ptr<arrow::Array>> SegmentScan::MakeRowIds(const Window& window, int64_t begin, int64_t end) const {
  const int64_t n = end - begin;
  std::vector<const uint8_t*> greatest(static_cast<size_t>(n), nullptr);
  for (size_t view = 0; view < window.cells.size(); ++view) {
    if (!window.is_known(view)) continue;
    for (int64_t i = 0; i < n; ++i) {
      const CellRef cell = window.cell(view, begin + i);
      if (cell == kNullCell) continue;
      const uint8_t* const id = slots_[CellSlot(cell)].chunk->row_id_bytes() + CellRow(cell) * RowId::kNumBytes;
      const uint8_t*& known = greatest[static_cast<size_t>(i)];
      if (known == nullptr || std::memcmp(id, known, RowId::kNumBytes) > 0) known = id;
    }
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(n * RowId::kNumBytes));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> validity, arrow::AllocateEmptyBitmap(n));
  int64_t nulls = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint8_t* const to = values->mutable_data() + i * RowId::kNumBytes;
    if (const uint8_t* const id = greatest[static_cast<size_t>(i)]; id != nullptr) {
      std::memcpy(to, id, RowId::kNumBytes);
      arrow::bit_util::SetBit(validity->mutable_data(), i);
    } else {
      std::memset(to, 0, RowId::kNumBytes);
      ++nulls;
    }
  }
  return arrow::MakeArray(
      arrow::ArrayData::Make(arrow::fixed_size_binary(RowId::kNumBytes), n, {std::move(validity), std::move(values)}, nulls));
}

arrow::Result<std::shared_ptr<arrow::Array>> SegmentScan::MakeOutput(const ScanPlan::Output& output, const Window& window, int64_t begin,
                                                                     int64_t end) const {
  const int64_t n = end - begin;
  switch (output.kind) {
    case ScanPlan::OutputKind::kSegmentId: {
      if (segment_ids_ != nullptr && segment_ids_->length() >= n) return segment_ids_->Slice(0, n);
      const std::string& id = segment_->segment_id;
      ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets, arrow::AllocateBuffer((n + 1) * 4));
      ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> data, arrow::AllocateBuffer(n * static_cast<int64_t>(id.size())));
      if (n * static_cast<int64_t>(id.size()) > std::numeric_limits<int32_t>::max())
        return arrow::Status::CapacityError("segment id too long");
      auto* const to = reinterpret_cast<int32_t*>(offsets->mutable_data());
      for (int64_t i = 0; i <= n; ++i) to[i] = static_cast<int32_t>(i * static_cast<int64_t>(id.size()));
      for (int64_t i = 0; i < n; ++i) std::memcpy(data->mutable_data() + to[i], id.data(), id.size());
      return arrow::MakeArray(arrow::ArrayData::Make(arrow::utf8(), n, {nullptr, std::move(offsets), std::move(data)}, 0));
    }
    case ScanPlan::OutputKind::kIndex: {
      // Where a column is the rows of one chunk, so are the times.
      for (const CellRef first : window.whole) {
        if (first == kNullCell) continue;
        const Loaded& loaded = slots_[CellSlot(first)];
        const auto times = loaded.chunk->time_array(loaded.binding->timeline);
        if (!times->type()->Equals(*output.field->type())) break;
        return times->Slice(CellRow(first) + begin, n);
      }
      ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(n * 8));
      if (n > 0) std::memcpy(values->mutable_data(), window.times.data() + begin, static_cast<size_t>(n) * 8);
      return arrow::MakeArray(arrow::ArrayData::Make(output.field->type(), n, {nullptr, std::move(values)}, 0));
    }
    case ScanPlan::OutputKind::kOtherIndex:
      if (!plan_->query.index) return arrow::MakeArrayOfNull(output.field->type(), n);
      return MakeOtherIndex(output.position, window, begin, end);
    case ScanPlan::OutputKind::kOriginTime:
      return MakeOriginTimes(output, window, begin, end);
    case ScanPlan::OutputKind::kRowId:
      return MakeRowIds(window, begin, end);
    case ScanPlan::OutputKind::kComponent: {
      const size_t view = static_cast<size_t>(output.position);
      const Column& column = columns_[view];
      const auto& type = output.field->type();
      if (column.static_cell != kNullCell) {
        const std::vector<CellRef> cells(static_cast<size_t>(n), column.static_cell);
        return GatherCells(type, cells, [&](uint32_t) -> const std::shared_ptr<arrow::ListArray>& { return column.static_column; });
      }
      if (!window.is_known(view)) return arrow::MakeArrayOfNull(type, n);
      if (const CellRef first = window.whole[view]; first != kNullCell) {
        return slots_[CellSlot(first)].column(view)->Slice(CellRow(first) + begin, n);
      }
      const auto& cells = window.cells[view];
      const auto slot_column = [&](uint32_t slot) -> const std::shared_ptr<arrow::ListArray>& { return slots_[slot].column(view); };
      return GatherCells(type, std::span<const CellRef>(cells).subspan(static_cast<size_t>(begin), static_cast<size_t>(n)), slot_column);
    }
  }
  return arrow::Status::UnknownError("unknown kind of column");
}

// How large the rows are, where it matters for the size of a batch.
void SegmentScan::MeasureRows(Window* window) const {
  const ScanPlan& plan = *plan_;
  const int64_t n = static_cast<int64_t>(window->times.size());
  std::vector<bool> is_measured(columns_.size(), false);
  const auto measure = [&](const ScanPlan::Output& output) {
    if (output.kind != ScanPlan::OutputKind::kComponent) return;
    const size_t view = static_cast<size_t>(output.position);
    if (is_measured[view]) return;
    is_measured[view] = true;
    if (columns_[view].static_cell != kNullCell) {
      window->static_bytes += CellBytes(*columns_[view].static_column, 0);
      return;
    }
    if (!window->is_known(view) || !columns_[view].has_large_cells) return;
    bool is_large = false, is_known = false;
    uint32_t known_slot = 0;
    const arrow::ListArray* column = nullptr;
    for (int64_t i = 0; i < n; ++i) {
      const CellRef cell = window->cell(view, i);
      if (cell == kNullCell || IsClear(cell)) continue;
      if (!is_known || CellSlot(cell) != known_slot) {
        is_known = true;
        known_slot = CellSlot(cell);
        column = slots_[known_slot].column(view).get();
        is_large = HasLargeCells(*column);
      }
      if (!is_large) continue;
      const int64_t bytes = CellBytes(*column, CellRow(cell));
      if (bytes <= kSmallCellBytes) continue;
      if (window->row_bytes.empty()) window->row_bytes.resize(static_cast<size_t>(n));
      window->row_bytes[static_cast<size_t>(i)] += bytes;
    }
  };
  for (const ScanPlan::Output& output : plan.outputs) measure(output);
  for (const ScanPlan::Output& output : plan.filter_outputs) measure(output);
}

// Where a batch from `begin` on ends.
int64_t SegmentScan::BatchEnd(const Window& window, int64_t begin) const {
  const ScanOptions& options = plan_->options;
  int64_t end = std::min(static_cast<int64_t>(window.times.size()), begin + options.max_batch_rows);
  if (window.static_bytes > 0) end = std::min(end, begin + std::max<int64_t>(1, options.max_batch_bytes / window.static_bytes));
  if (window.row_bytes.empty()) return end;
  int64_t bytes = 0;
  for (int64_t i = begin; i < end; ++i) {
    bytes += window.row_bytes[static_cast<size_t>(i)] + window.static_bytes;
    if (bytes > options.max_batch_bytes && i > begin) return i;
  }
  return end;
}

// Rows [begin, end) of the window as a batch, without those that do not pass the filter; null if none does.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> SegmentScan::MakeBatch(const Window& window, int64_t begin, int64_t end) {
  const ScanPlan& plan = *plan_;
  // Every batch has a part of the same segment ids.
  for (const auto* outputs : {&plan.outputs, &plan.filter_outputs}) {
    for (const ScanPlan::Output& output : *outputs) {
      if (output.kind != ScanPlan::OutputKind::kSegmentId || (segment_ids_ != nullptr && segment_ids_->length() >= end - begin)) continue;
      ARROW_ASSIGN_OR_RAISE(segment_ids_, MakeOutput(output, window, begin, end));
    }
  }
  const Window* from = &window;
  Window picked;
  std::vector<std::shared_ptr<arrow::Array>> filtered_on;
  if (plan.filter != nullptr) {
    for (const ScanPlan::Output& output : plan.filter_outputs) {
      ARROW_ASSIGN_OR_RAISE(auto column, MakeOutput(output, window, begin, end));
      filtered_on.push_back(std::move(column));
    }
    ARROW_ASSIGN_OR_RAISE(const auto selected,
                          plan.filter->Select(*arrow::RecordBatch::Make(plan.filter_schema, end - begin, filtered_on)));
    if (selected) {
      if (selected->empty()) return nullptr;
      filtered_on.clear();
      picked.own_times.reserve(selected->size());
      for (const int32_t row : *selected) picked.own_times.push_back(window.times[static_cast<size_t>(begin + row)]);
      picked.times = picked.own_times;
      picked.cells.resize(columns_.size());
      picked.whole.resize(columns_.size(), kNullCell);
      for (size_t view = 0; view < columns_.size(); ++view) {
        if (!window.is_known(view)) continue;
        auto& cells = picked.cells[view];
        cells.reserve(selected->size());
        for (const int32_t row : *selected) cells.push_back(window.cell(view, begin + row));
      }
      from = &picked;
      begin = 0;
      end = static_cast<int64_t>(selected->size());
    }
  }
  arrow::ArrayVector columns(plan.outputs.size());
  // Slices are not worth a thread.
  int64_t num_gathered = 0;
  for (const ScanPlan::Output& output : plan.outputs) {
    const auto view = static_cast<size_t>(output.position);
    num_gathered += output.kind == ScanPlan::OutputKind::kOtherIndex || output.kind == ScanPlan::OutputKind::kOriginTime ||
                    output.kind == ScanPlan::OutputKind::kRowId ||
                    (output.kind == ScanPlan::OutputKind::kComponent && from->is_known(view) && from->whole[view] == kNullCell);
  }
  const int threads = (end - begin) * num_gathered < 16384 && window.row_bytes.empty() ? 1 : max_threads_;
  ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(columns.size()), threads, [&](int i) {
    const ScanPlan::Output& output = plan.outputs[static_cast<size_t>(i)];
    for (size_t f = 0; f < filtered_on.size(); ++f) {
      if (plan.filter_outputs[f].kind == output.kind && plan.filter_outputs[f].position == output.position) {
        columns[static_cast<size_t>(i)] = filtered_on[f];
        return arrow::Status::OK();
      }
    }
    return MakeOutput(output, *from, begin, end).Value(&columns[static_cast<size_t>(i)]);
  }));
  return arrow::RecordBatch::Make(plan.schema, end - begin, std::move(columns));
}

// Without an index: one row of static values.
void SegmentScan::BeginStaticRow() {
  if (plan_->query.using_index_values && !plan_->query.using_index_values->contains(segment_->segment_id)) return;
  window_ = std::make_unique<Window>();
  window_row_ = 0;
  window_->own_times = {0};
  window_->times = window_->own_times;
  window_->cells.resize(columns_.size());
  window_->whole.resize(columns_.size(), kNullCell);
  MeasureRows(window_.get());
}

}  // namespace rushes
