// Which rows there are, and where each one's cells lie.
#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <set>

#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "rushes/query/segment_scan_state.h"

namespace rushes {
namespace {

// A window ends with a chunk rather than in the next one if it has this many rows: whole chunks are slices, not copies.
constexpr int64_t kMinWindowRows = 2048;
// Cells whose places are held at once.
constexpr int64_t kMaxWindowCells = int64_t{4} << 20;

}  // namespace

// The distinct times of the rows that count, after what is out and up to `bound`, ascending; and which of them a chunk's are.
arrow::Status SegmentScan::CollectTimes(int64_t bound, GroupTimes* times) {
  // Each chunk is a sorted run. Chunks logged together have equal runs, which are taken once; runs that follow each other are joined;
  // the rest is merged.
  struct TimeRun {
    std::span<const int64_t> times;
    std::vector<uint32_t> slots;              // of chunks whose rows these are, one by one: one of theirs is `times`
    std::vector<const int64_t*> places = {};  // where else the same times were seen
  };
  std::vector<TimeRun> runs;
  std::deque<TimeVector> storage;
  for (const uint32_t slot : active_) {
    Loaded& loaded = slots_[slot];
    loaded.group_row = -1;
    loaded.group_rows = nullptr;
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
      if (known->slots.empty()) known->times = run.times;  // with slots they lie in a chunk
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
  group_rows_.reset();
  if (chains.size() == 1) {
    int64_t row = 0;
    bool lie_in_chunks = true;  // in pieces that are windows by themselves
    for (const TimeRun* run : chains[0]) {
      for (const uint32_t slot : run->slots) slots_[slot].group_row = row;
      row += static_cast<int64_t>(run->times.size());
      lie_in_chunks &= !run->slots.empty() && (run == chains[0].back() || run->times.size() >= static_cast<size_t>(kMinWindowRows));
    }
    if (lie_in_chunks) {
      for (const TimeRun* run : chains[0]) times->Add(run->times);
      return arrow::Status::OK();
    }
  }
  std::vector<TimeVector> joined;
  for (const auto& chain : chains) {
    size_t length = 0;
    for (const TimeRun* run : chain) length += run->times.size();
    auto& times_of_chain = joined.emplace_back();
    times_of_chain.reserve(length);
    for (const TimeRun* run : chain) times_of_chain.insert(times_of_chain.end(), run->times.begin(), run->times.end());
  }
  if (joined.size() <= 1) {
    if (!joined.empty()) times->own() = std::move(joined[0]);
    return arrow::Status::OK();
  }
  ARROW_ASSIGN_OR_RAISE(MergedTimes merged, MergeTimes({joined.begin(), joined.end()}, max_threads_));
  for (size_t c = 0; c < chains.size(); ++c) {
    const int32_t* rows = merged.rows[c].data();
    for (const TimeRun* run : chains[c]) {
      const auto length = static_cast<int64_t>(run->times.size());
      const bool is_dense = rows[length - 1] - rows[0] == length - 1;
      for (const uint32_t slot : run->slots) {
        slots_[slot].group_row = is_dense ? rows[0] : -1;
        slots_[slot].group_rows = is_dense ? nullptr : rows;
      }
      rows += length;
    }
  }
  times->own() = std::move(merged.times);
  group_rows_ = std::move(merged.storage);
  return arrow::Status::OK();
}

void SegmentScan::OrderActive() {
  first_active_ = 0;
  earliest_.resize(active_.size());
  int64_t earliest = std::numeric_limits<int64_t>::max();
  for (size_t i = active_.size(); i-- > 0;) {
    const Loaded& loaded = slots_[active_[i]];
    if (loaded.next < loaded.length) earliest = std::min(earliest, loaded.times[loaded.next]);
    earliest_[i] = earliest;
  }
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
  OrderActive();
  group_times_.Clear();
  rows_are_those_of_chunks_ = false;
  if (plan_->query.using_index_values) {
    const auto begin = samples_.begin() + static_cast<int64_t>(next_sample_);
    const auto end = std::upper_bound(begin, samples_.end(), group_bound_);
    group_times_.own().assign(begin, end);
    next_sample_ = static_cast<size_t>(end - samples_.begin());
  } else {
    if (emitted_bound_ < row_start_ - 1) {
      // What is before the first row leaves its values behind.
      const int64_t skipped = std::min(group_bound_, row_start_ - 1);
      ARROW_RETURN_NOT_OK(ProcessWindow({}, skipped));
      emitted_bound_ = std::max(emitted_bound_, skipped);
    }
    ARROW_RETURN_NOT_OK(CollectTimes(group_bound_, &group_times_));
    rows_are_those_of_chunks_ = row_points_ == nullptr;
    if (row_points_ != nullptr) {
      TimeVector chosen;
      for (size_t row = 0; row < group_times_.size();) {
        const auto part = group_times_.From(row);
        std::set_intersection(part.begin(), part.end(), row_points_->begin(), row_points_->end(), std::back_inserter(chosen));
        row += part.size();
      }
      group_times_.Clear();
      group_times_.own() = std::move(chosen);
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
  const std::span<const int64_t> times = group_times_.From(next_row_);
  int64_t rows = std::min<int64_t>(max_rows, static_cast<int64_t>(times.size()));
  if (rows > kMinWindowRows) {
    // End with the first chunk that ends well inside the window and whose rows are the window's.
    const int64_t earliest = times[static_cast<size_t>(kMinWindowRows) - 1];
    int64_t cut = times[static_cast<size_t>(rows) - 1];
    for (size_t i = first_active_; rows_are_those_of_chunks_ && i < active_.size() && earliest_[i] <= cut; ++i) {
      const Loaded& loaded = slots_[active_[i]];
      if (loaded.group_row < 0) continue;
      const int64_t last = loaded.times[loaded.length - 1];
      if (last >= earliest && last < cut) cut = last;
    }
    rows = std::upper_bound(times.begin(), times.begin() + rows, cut) - times.begin();
  }
  const size_t first_row = next_row_;
  next_row_ += static_cast<size_t>(rows);
  const bool is_final = next_row_ == group_times_.size();
  return ProcessWindow(times.first(static_cast<size_t>(rows)), is_final ? group_bound_ : times[static_cast<size_t>(rows) - 1], first_row);
}

arrow::Status SegmentScan::EndGroup() {
  in_group_ = false;
  emitted_bound_ = std::max(emitted_bound_, group_bound_);
  const bool is_last = prefetch_ == nullptr && next_pending_ >= pending_.size() && next_sample_ >= samples_.size();
  if (is_last) {  // nothing is left to fill
    for (Column& column : columns_) column.carry = kNullCell;
  } else {
    ARROW_RETURN_NOT_OK(KeepCarried());
  }
  ReleaseChunks();
  return arrow::Status::OK();
}

// Looks up the cells of rows with these times, the group's from `first_row` on; takes in all of the chunks' rows up to `bound`.
arrow::Status SegmentScan::ProcessWindow(std::span<const int64_t> times, int64_t bound, size_t first_row) {
  const ScanPlan& plan = *plan_;
  window_ = std::make_unique<Window>();
  window_row_ = 0;
  Window& window = *window_;
  window.times = times;
  window.first_row = static_cast<int64_t>(first_row);
  window.bound = bound;
  const int64_t n = static_cast<int64_t>(times.size());
  window.parts_of.resize(columns_.size());
  window.clears_of.resize(columns_.size());
  window.cells.resize(columns_.size());
  window.carry.resize(columns_.size(), kNullCell);

  const bool needs_all = plan.needs_every_cell();
  const auto is_computed = [&](size_t view) {
    const Column& column = columns_[view];
    return column.has_rows && column.static_cell == kNullCell && (needs_all || column.is_needed);
  };

  while (first_active_ < active_.size() && slots_[active_[first_active_]].next >= slots_[active_[first_active_]].length) ++first_active_;
  for (size_t i = first_active_; i < active_.size() && earliest_[i] <= bound; ++i) {
    const uint32_t slot = active_[i];
    Loaded& loaded = slots_[slot];
    Part part{slot, loaded.next, Gallop(loaded.times, loaded.next, loaded.length, bound)};
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

  // Places that are known are not worth a thread.
  int64_t unknown = 0;
  for (const Part& part : window.parts) unknown += HasGroupRows(slots_[part.slot]) ? 0 : part.length();
  ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(window.parts.size()), unknown < 16384 ? 1 : max_threads_, [&](int i) {
    PlacePart(window, &window.parts[static_cast<size_t>(i)]);
    return arrow::Status::OK();
  }));
  for (const Part& part : window.parts) {
    if (n > 0 && part.is_dense() && part.length() == n && slots_[part.slot].order.empty()) window.same = &part;
  }

  const bool ends_fill = plan.query.fill_latest_at && plan.query.fill_respects_clears;
  if (clears_possible_) {
    for (const Part& part : window.parts) {
      const Loaded& loaded = slots_[part.slot];
      if (loaded.binding->clear_column < 0) continue;
      const auto& clears = *loaded.chunk->column(loaded.binding->clear_column);
      for (int64_t k = part.begin; k < part.end; ++k) {
        const int64_t row = loaded.row(k);
        const int64_t window_row = part.window_row(k - part.begin);
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

  std::vector<int> computed;
  // Columns that are a few runs of rows are not worth a thread.
  int64_t scattered = 0;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (!is_computed(i)) continue;
    computed.push_back(static_cast<int>(i));
    const auto& parts = window.parts_of[i];
    scattered += is_sampled_ || !window.clears_of[i].empty() ||
                 !std::all_of(parts.begin(), parts.end(), [&](int p) { return window.parts[static_cast<size_t>(p)].is_dense(); });
  }
  ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(computed.size()), n * scattered < 16384 ? 1 : max_threads_, [&](int i) {
    ComputeColumn(computed[static_cast<size_t>(i)], &window);
    return arrow::Status::OK();
  }));
  MeasureRows(&window);
  for (const int i : computed) columns_[static_cast<size_t>(i)].carry = window.carry[static_cast<size_t>(i)];
  return arrow::Status::OK();
}

bool SegmentScan::HasGroupRows(const Loaded& loaded) const {
  return rows_are_those_of_chunks_ && (loaded.group_row >= 0 || loaded.group_rows != nullptr);
}

// Finds the rows of the window that a part's rows are at or before.
void SegmentScan::PlacePart(const Window& window, Part* part) const {
  const Loaded& loaded = slots_[part->slot];
  const std::span<const int64_t> times = window.times;
  const int64_t n = static_cast<int64_t>(times.size());
  const int64_t length = part->length();
  if (n > 0 && HasGroupRows(loaded)) {
    const int64_t window_begin = window.first_row;
    const int64_t from_group_begin = part->begin - loaded.group_begin;
    if (loaded.group_row >= 0) {
      part->offset = loaded.group_row + from_group_begin - window_begin;
      return;
    }
    const int32_t* const rows = loaded.group_rows + from_group_begin;
    if (rows[length - 1] - rows[0] == length - 1) {
      part->offset = rows[0] - window_begin;
    } else {
      part->offset = -window_begin;
      part->map = rows;
    }
    return;
  }
  const int64_t* const own = loaded.times + part->begin;
  const int64_t first = std::lower_bound(times.begin(), times.end(), own[0]) - times.begin();
  if (loaded.is_strict && length <= n - first && times[static_cast<size_t>(first + length) - 1] == own[length - 1] &&
      std::memcmp(times.data() + first, own, static_cast<size_t>(length) * sizeof(int64_t)) == 0) {
    part->offset = first;
    return;
  }
  part->own_map.resize(static_cast<size_t>(length));
  part->map = part->own_map.data();
  int64_t row = first;
  for (int64_t k = 0; k < length; ++k) {
    if (row < n && times[static_cast<size_t>(row)] < own[k]) row = Gallop(times.data(), row, n, own[k]);
    part->own_map[static_cast<size_t>(k)] = static_cast<int32_t>(row);
  }
}

// Per row of the window, the place of the column's cell; and the latest logged cell after the window.
void SegmentScan::ComputeColumn(int position, Window* window) const {
  const size_t view = static_cast<size_t>(position);
  window->carry[view] = kNullCell;
  if (is_sampled_ || window->times.empty() || !window->clears_of[view].empty() || !TakeTurns(window->parts_of[view], *window)) {
    ComputeCells(position, window);
  } else {
    FollowParts(position, window);
  }
}

// Whether all rows of each part come after those of the part before, each at a time of its own.
bool SegmentScan::TakeTurns(std::span<const int> parts, const Window& window) const {
  int64_t last_time = std::numeric_limits<int64_t>::min();
  for (const int p : parts) {
    const Part& part = window.parts[static_cast<size_t>(p)];
    const Loaded& loaded = slots_[part.slot];
    if (!loaded.is_strict || loaded.times[part.begin] <= last_time) return false;
    last_time = loaded.times[part.end - 1];
  }
  return true;
}

// ComputeColumn where no two cells are at the same time: takes a step per run of logged rows, not per row of the window.
void SegmentScan::FollowParts(int position, Window* window) const {
  const size_t view = static_cast<size_t>(position);
  const bool fill = plan_->query.fill_latest_at;
  const std::optional<int64_t>& max_age = plan_->query.fill_max_age;
  CellRuns& cells = window->cells[view];
  CellRef carry = columns_[view].carry;
  const auto fill_until = [&](int64_t end) {
    if (fill && carry != kNullCell) {
      cells.Repeat(carry, max_age ? FirstOlder(*window, carry, cells.length(), end) : end);
    }
    cells.Repeat(kNullCell, end);
  };
  int64_t scattered = 0;
  for (const int p : window->parts_of[view]) {
    const Part& part = window->parts[static_cast<size_t>(p)];
    if (!part.is_dense()) scattered += part.length();
  }
  cells.Reserve(scattered + 2);
  for (const int p : window->parts_of[view]) {
    const Part& part = window->parts[static_cast<size_t>(p)];
    const Loaded& loaded = slots_[part.slot];
    const arrow::ListArray& column = *loaded.column(view);
    const bool has_nulls = column.null_count() != 0;
    const bool is_plain = !has_nulls && loaded.order.empty();
    const int64_t length = part.length();
    for (int64_t k = 0; k < length;) {
      const int64_t row = loaded.row(part.begin + k);
      if (has_nulls && column.IsNull(row)) {
        ++k;
        continue;
      }
      const int64_t begin = part.window_row(k);
      // As far as rows of the chunk and of the window both follow each other.
      int64_t count = 1;
      if (is_plain && part.is_dense()) {
        count = length;
      } else {
        while (k + count < length && part.window_row(k + count) == begin + count &&
               (is_plain || (loaded.row(part.begin + k + count) == row + count && column.IsValid(row + count)))) {
          ++count;
        }
      }
      if (begin != cells.length()) fill_until(begin);
      carry = MakeCell(part.slot, row + count - 1);
      k += count;
      // A cell of its own and the rows it fills up to the next one are one run, the usual one of signals that take turns.
      const bool fills = fill && !max_age && k < length && count == 1 && is_plain;
      cells.Begin(MakeCell(part.slot, row), fills ? part.window_row(k) : begin + count, count == 1 ? 0 : 1);
    }
  }
  fill_until(static_cast<int64_t>(window->times.size()));
  if (fill) window->carry[view] = carry;
}

// The time of a cell that is not null.
int64_t SegmentScan::TimeOf(CellRef cell) const {
  const Loaded& loaded = slots_[CellSlot(cell)];
  return loaded.chunk->times(loaded.binding->timeline)[CellRow(cell)];
}

// Of rows [begin, end), which are not before the cell, the first one that it is too old for.
int64_t SegmentScan::FirstOlder(const Window& window, CellRef cell, int64_t begin, int64_t end) const {
  // Unsigned: the distance of two times may not fit a signed number.
  const auto start = static_cast<uint64_t>(TimeOf(cell));
  const auto max_age = static_cast<uint64_t>(*plan_->query.fill_max_age);
  const auto times = window.times;
  const auto older = std::partition_point(times.begin() + begin, times.begin() + end,
                                          [&](int64_t time) { return static_cast<uint64_t>(time) - start <= max_age; });
  return older - times.begin();
}

// ComputeColumn in general: with clears, chunks that overlap in time, times that occur twice, rows that were asked for.
void SegmentScan::ComputeCells(int position, Window* window) const {
  const bool fill = plan_->query.fill_latest_at;
  const int64_t n = static_cast<int64_t>(window->times.size());
  const bool sampled = is_sampled_ || n == 0;
  const auto& part_positions = window->parts_of[static_cast<size_t>(position)];
  const auto& clears = window->clears_of[static_cast<size_t>(position)];
  // One more, for what lies after the last row asked for.
  std::vector<CellRef> cells(static_cast<size_t>(n) + 1, kNullCell);
  CellRef* const out = cells.data();

  // A value wins its row by time (only when rows were asked for are there several), then by row id.
  const auto wins = [&](CellRef cell, CellRef over) {
    if (over == kNullCell) return true;
    if (sampled) {
      const int64_t a = TimeOf(cell), b = TimeOf(over);
      if (a != b) return a > b;
    }
    const auto order = CompareRowIds(*slots_[CellSlot(cell)].chunk, CellRow(cell), *slots_[CellSlot(over)].chunk, CellRow(over));
    // Of equal ids in one chunk the later row counts, of different chunks the one that starts first.
    return order > 0 || (order == 0 && CellSlot(cell) == CellSlot(over) && CellRow(cell) > CellRow(over));
  };

  int64_t last_time = std::numeric_limits<int64_t>::min();
  for (const int p : part_positions) {
    const Part& part = window->parts[static_cast<size_t>(p)];
    const Loaded& loaded = slots_[part.slot];
    const arrow::ListArray* const column = loaded.column(static_cast<size_t>(position)).get();
    const bool all_valid = column->null_count() == 0;
    const bool overlaps = sampled || loaded.times[part.begin] <= last_time;
    last_time = std::max(last_time, loaded.times[part.end - 1]);
    for (int64_t k = 0; k < part.length(); ++k) {
      const int64_t row = loaded.row(part.begin + k);
      if (!all_valid && column->IsNull(row)) continue;
      CellRef& to = out[part.window_row(k)];
      const CellRef cell = MakeCell(part.slot, row);
      if (!overlaps || wins(cell, to)) to = cell;
    }
  }

  // The latest value so far, and its time where the age of values matters.
  CellRef carry = columns_[static_cast<size_t>(position)].carry;
  const std::optional<int64_t>& max_age = plan_->query.fill_max_age;
  int64_t carry_time = max_age && carry != kNullCell ? TimeOf(carry) : 0;
  const auto keep = [&](CellRef cell) {
    carry = cell;
    if (max_age && cell != kNullCell) carry_time = TimeOf(cell);
  };
  const auto filled = [&](int64_t row) {
    if (!fill || carry == kNullCell) return kNullCell;
    // Unsigned: the distance of two times may not fit a signed number.
    const auto age = static_cast<uint64_t>(window->times[static_cast<size_t>(row)]) - static_cast<uint64_t>(carry_time);
    return max_age && age > static_cast<uint64_t>(*max_age) ? kNullCell : carry;
  };
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
    const bool is_last =
        clear != nullptr && (logged == kNullCell || clear->time > TimeOf(logged) ||
                             (clear->time == TimeOf(logged) &&
                              CompareRowIds(*slots_[clear->slot].chunk, clear->row, *slots_[CellSlot(logged)].chunk, CellRow(logged)) > 0));
    if (is_last && ends_fill) keep(kNullCell);
    if (i == n) break;  // only what is carried on
    const bool is_exact = logged != kNullCell && (!sampled || TimeOf(logged) == window->times[static_cast<size_t>(i)]);
    if (is_last && clear->is_exact) {
      out[i] = MakeCell(clear->slot, clear->row) | kClearFlag;
    } else {
      out[i] = is_exact ? logged : filled(i);
    }
  }
  window->cells[static_cast<size_t>(position)].Add({out, static_cast<size_t>(n)});
  if (fill) window->carry[static_cast<size_t>(position)] = carry;
}

// Copies the rows out of finished chunks that fill later ones, so that the chunks can go.
arrow::Status SegmentScan::KeepCarried() {
  // Chunks that are small stay: all columns' together a small part of the budget.
  const int64_t small_bytes = plan_->options.memory_budget / 64 / std::max<int64_t>(1, static_cast<int64_t>(columns_.size()));
  constexpr int64_t kFewRows = 16;
  std::map<CellRef, std::vector<size_t>> carried;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const CellRef cell = columns_[i].carry;
    if (cell == kNullCell) continue;
    const Loaded& loaded = slots_[CellSlot(cell)];
    if (loaded.next < loaded.length || loaded.chunk->num_rows() <= kFewRows || loaded.chunk->byte_size() <= small_bytes) continue;
    carried[cell].push_back(i);
  }
  for (const auto& [cell, columns] : carried) {
    const Loaded& source = slots_[CellSlot(cell)];
    const auto& schema = source.chunk->schema_ptr();
    arrow::ArrayVector arrays;
    const auto copy_row = [row = CellRow(cell), &arrays](const std::shared_ptr<arrow::Array>& array) {
      return arrow::Concatenate({array->Slice(row, 1)}).Value(&arrays.emplace_back());
    };
    for (size_t t = 0; t < schema->timelines().size(); ++t) ARROW_RETURN_NOT_OK(copy_row(source.chunk->time_array(static_cast<int>(t))));
    for (size_t c = 0; c < schema->columns().size(); ++c) ARROW_RETURN_NOT_OK(copy_row(source.chunk->column(static_cast<int>(c))));
    Loaded kept;
    ARROW_ASSIGN_OR_RAISE(kept.chunk,
                          Chunk::Make(source.chunk->id(), schema, RowIds(source.chunk->row_id(CellRow(cell))), std::move(arrays)));
    kept.binding = source.binding;
    for (size_t i = 0; i < source.columns.size(); ++i) {
      const auto& column = source.columns[i];
      const int at = source.binding->sources[i].column;
      if (column == source.chunk->column(at)) {
        kept.columns.push_back(kept.chunk->column(at));
        continue;
      }
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
