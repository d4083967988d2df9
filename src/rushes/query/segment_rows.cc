// Which rows there are, and where each one's cells lie.
#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <set>

#include "arrow/array/concatenate.h"
#include "rushes/query/segment_scan_state.h"

namespace rushes {
namespace {

// A window ends with a chunk rather than in the next one if it has this many rows: whole chunks are slices, not copies.
constexpr int64_t kMinWindowRows = 4096;
// Cells whose places are held at once.
constexpr int64_t kMaxWindowCells = int64_t{4} << 20;

}  // namespace

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

}  // namespace rushes
