#include "rushes/query/segment_scan.h"

#include <algorithm>

#include "arrow/array/util.h"
#include "rushes/query/segment_chunks.h"
#include "rushes/query/segment_scan_state.h"

namespace rushes {
namespace {

// The first group of a segment is small, so that its first rows come soon; the next ones grow.
constexpr int64_t kFirstGroupBytes = int64_t{512} << 10;
constexpr int64_t kMaxGroupBytes = int64_t{64} << 20;

}  // namespace

SegmentScan::SegmentScan(std::shared_ptr<const ScanPlan> plan, SegmentChunks segment, int max_threads)
    : plan_(std::move(plan)), segment_(std::make_shared<const SegmentChunks>(std::move(segment))), max_threads_(max_threads) {}

SegmentScan::~SegmentScan() {
  if (prefetch_ == nullptr || prefetch_->work == nullptr) return;
  prefetch_->work->Cancel();
  ARROW_UNUSED(prefetch_->work->Wait());
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> SegmentScan::Next() {
  if (!is_open_) {
    is_open_ = true;
    ARROW_RETURN_NOT_OK(Open());
  }
  while (true) {
    if (plan_->options.check) ARROW_RETURN_NOT_OK(plan_->options.check());
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
  for (const uint32_t chunk : fetch->chunks) {
    fetch->values.push_back(NeededValues(chunk));
    fetch->is_part.push_back(fetch->values.back() != nullptr);
  }
  CountFetch(*fetch);
  if (max_threads_ == 1) return fetch;  // all at once, when it is waited for
  fetch->found = plan_->source->FindKept(*segment_, fetch->chunks, fetch->values);
  if (fetch->found) return fetch;
  int64_t bytes = 0;
  for (const uint32_t chunk : fetch->chunks) bytes += segment_->chunks[chunk].byte_size;
  constexpr int64_t kMinPieceBytes = int64_t{256} << 10;
  const int64_t pieces = std::clamp<int64_t>(bytes / kMinPieceBytes, 1, 2 * WorkParallelism());
  fetch->piece_begin.push_back(0);
  int64_t filled = 0;
  for (uint32_t i = 0; i < fetch->chunks.size(); ++i) {
    if (filled > bytes / pieces && static_cast<int64_t>(fetch->piece_begin.size()) < pieces) {
      fetch->piece_begin.push_back(i);
      filled = 0;
    }
    filled += segment_->chunks[fetch->chunks[i]].byte_size;
  }
  const size_t num_pieces = fetch->piece_begin.size();
  fetch->results = std::make_shared<std::vector<std::vector<FetchedChunk>>>(num_pieces);
  std::vector<WorkSet::Piece> work;
  for (size_t p = 0; p < num_pieces; ++p) {
    const auto begin = static_cast<int64_t>(fetch->piece_begin[p]);
    const auto end = static_cast<int64_t>(p + 1 < num_pieces ? fetch->piece_begin[p + 1] : fetch->chunks.size());
    work.push_back([source = plan_->source, segment = segment_, results = fetch->results, p,
                    wanted = std::vector(fetch->chunks.begin() + begin, fetch->chunks.begin() + end),
                    values = std::vector(fetch->values.begin() + begin, fetch->values.begin() + end)] {
      return source->FetchChunks(*segment, wanted, values).Value(&(*results)[p]);
    });
  }
  fetch->work = std::make_unique<WorkSet>(std::move(work));
  fetch->work->Start(max_threads_);
  return fetch;
}

void SegmentScan::CountFetch(const PendingFetch& fetch) const {
  ScanStatistics* const statistics = plan_->options.statistics.get();
  if (statistics == nullptr) return;
  for (const uint32_t chunk : fetch.chunks) statistics->chunks_fetched += segment_->chunks[chunk].num_chunks;
  statistics->chunks_in_part += std::count(fetch.is_part.begin(), fetch.is_part.end(), 1);
}

arrow::Result<std::vector<FetchedChunk>> SegmentScan::FinishFetch(PendingFetch* fetch) const {
  std::vector<FetchedChunk> out;
  if (fetch->found) {
    out = std::move(*fetch->found);
  } else if (fetch->work == nullptr) {
    ARROW_ASSIGN_OR_RAISE(out, plan_->source->FetchChunks(*segment_, fetch->chunks, fetch->values));
  } else {
    ARROW_RETURN_NOT_OK(fetch->work->Wait());
    for (size_t piece = 0; piece < fetch->results->size(); ++piece) {
      for (FetchedChunk& fetched : (*fetch->results)[piece]) {
        fetched.request += fetch->piece_begin[piece];
        out.push_back(std::move(fetched));
      }
    }
  }
  size_t arrived = 0;
  int64_t bytes = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].chunk == nullptr) continue;
    arrived += i == 0 || out[i].request != out[i - 1].request;
    bytes += out[i].chunk->byte_size();
  }
  if (arrived != fetch->chunks.size()) {
    return arrow::Status::IOError("segment ", segment_->segment_id, " under-delivered: ", arrived, "/", fetch->chunks.size(),
                                  " announced chunks arrived");
  }
  if (plan_->options.statistics != nullptr) plan_->options.statistics->bytes_fetched += bytes;
  return out;
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
  if (info.byte_size < plan.options.min_partial_bytes || info.num_rows <= 0 || info.num_chunks > 1) return nullptr;
  const EntityPath& entity = segment_->entity_of(chunk);
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

  std::vector<uint32_t> static_chunks;
  ARROW_ASSIGN_OR_RAISE(const auto chunks, ChunksOfScan(plan, *segment_));
  for (const uint32_t chunk : chunks) {
    const ChunkInfo& info = segment_->chunks[chunk];
    if (MattersInBounds(plan, info)) (info.is_static ? static_chunks : pending_).push_back(chunk);
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
    const EntityPath& entity = segment_->entity_of(chunk);
    const auto needs = plan_->needs.find(entity);
    const auto view = plan_->view_index.find(entity);
    if (needs == plan_->needs.end() || view == plan_->view_index.end()) return false;
    const auto components = plan_->source->ComponentsOf(*segment_, chunk);
    if (!components || components->empty() || HoldsNeeded(*plan_, *segment_, chunk)) return false;
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
  return has_data || std::any_of(fetched.begin(), fetched.end(), [](const FetchedChunk& fetched) {
           return fetched.chunk->num_rows() > 0 && !fetched.chunk->schema().columns().empty();
         });
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
      const EntityPath& entity = segment_->entity_of(chunk);
      bool may_clear = false;
      if (plan.has_clears) {
        const auto needs = plan.needs.find(entity);
        may_clear = needs != plan.needs.end() && needs->second.has_clears && IsLogged(chunk, kClearComponent);
      }
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
arrow::Status SegmentScan::FindStaticCells(const PendingFetch& fetch, const std::vector<FetchedChunk>& chunks) {
  struct Winner {
    ChunkPtr chunk;
    int64_t row;
  };
  std::vector<std::optional<Winner>> winners(columns_.size());
  for (const auto& [chunk, request] : chunks) {
    const auto entity = plan_->view_index.find(chunk->entity());
    if (entity == plan_->view_index.end()) continue;
    for (size_t c = 0; c < chunk->schema().columns().size(); ++c) {
      const std::string& component = chunk->schema().columns()[c].descriptor.component;
      const auto view = entity->second.find(component);
      if (view == entity->second.end() || (fetch.is_part[request] && !IsLogged(fetch.chunks[request], component))) continue;
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
  binding->other_timelines = plan_->OtherTimelinesOf(*schema);
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
  for (auto& [chunk, request] : chunks) {
    ARROW_RETURN_NOT_OK(AddTemporal(std::move(chunk), fetch->is_part[request] ? std::optional(fetch->chunks[request]) : std::nullopt));
  }
  if (max_threads_ != 1 && plan_->reads_ahead() && next_pending_ < pending_.size() && active_bytes_ < plan_->options.memory_budget / 2) {
    ARROW_ASSIGN_OR_RAISE(auto group, NextGroup());
    prefetch_ = StartFetch(std::move(group));
  }
  return arrow::Status::OK();
}

}  // namespace rushes
