// The arrays and batches of a scan, made of the places of its cells.
#include <algorithm>
#include <cstring>
#include <limits>

#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/util/bit_util.h"
#include "rushes/chunk/repeat_texts.h"
#include "rushes/query/segment_scan_state.h"

namespace rushes {
namespace {

// Columns whose cells are larger than this on average are measured cell by cell when batches are cut.
constexpr int64_t kSmallCellBytes = 64;

}  // namespace

SegmentScan::RowsBehind SegmentScan::FindRowsBehind(const Window& window, int64_t begin, int64_t end) const {
  RowsBehind out;
  for (size_t view = 0; view < window.cells.size(); ++view) {
    if (!window.is_known(view)) continue;
    const CellSlice cells = window.slice(view, begin, end);
    const CellSlice::Piece first = *cells.begin();
    const bool is_one_piece = first.length >= end - begin;
    if (is_one_piece && first.is_null()) continue;
    if (!is_one_piece || first.step == 0) {
      out.others.push_back(cells);
      continue;
    }
    const RowsBehind::Whole whole{&slots_[CellSlot(first.first)], CellRow(first.first)};
    // The columns of a chunk are neighbours, mostly.
    if (out.wholes.empty() || out.wholes.back().loaded != whole.loaded || out.wholes.back().row != whole.row) out.wholes.push_back(whole);
  }
  return out;
}

// The times of another timeline, where the rows have them in one chunk as they are; else null.
std::shared_ptr<arrow::Array> SegmentScan::SliceOtherIndex(int position, const RowsBehind& rows, int64_t n) const {
  if (!rows.others.empty()) return nullptr;
  const RowsBehind::Whole* found = nullptr;
  const int64_t* times = nullptr;
  for (const RowsBehind::Whole& whole : rows.wholes) {
    const int timeline = whole.timeline(position);
    if (timeline < 0) continue;
    const int64_t* const own = whole.times(timeline);
    if (found == nullptr) {
      found = &whole;
      times = own;
    } else if (own != times && std::memcmp(own, times, static_cast<size_t>(n) * sizeof(int64_t)) != 0) {
      return nullptr;
    }
  }
  if (found == nullptr) return nullptr;
  const auto array = found->loaded->chunk->time_array(found->timeline(position));
  if (!array->type()->Equals(*ArrowType(plan_->other_timelines[static_cast<size_t>(position)].type))) return nullptr;
  return SliceOf(array, found->row, n);
}

// The latest time of the values of each row on another timeline.
arrow::Result<std::shared_ptr<arrow::Array>> SegmentScan::MakeOtherIndex(int position, const RowsBehind& rows, int64_t n) const {
  const auto& type = ArrowType(plan_->other_timelines[static_cast<size_t>(position)].type);
  // Columns that are rows of chunks with the same times say the same: each buffer of times is looked at once.
  std::vector<const int64_t*> seen;
  for (const RowsBehind::Whole& whole : rows.wholes) {
    const int timeline = whole.timeline(position);
    if (timeline < 0) continue;
    const int64_t* const times = whole.times(timeline);
    if (std::find(seen.begin(), seen.end(), times) == seen.end()) seen.push_back(times);
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(n * 8));
  auto* const out = reinterpret_cast<int64_t*>(values->mutable_data());
  constexpr int64_t kNone = std::numeric_limits<int64_t>::min();  // no legal time
  std::fill(out, out + n, kNone);
  for (const int64_t* const times : seen) {
    for (int64_t i = 0; i < n; ++i) out[i] = std::max(out[i], times[i]);
  }
  for (const CellSlice& cells : rows.others) {
    for (const CellSlice::Piece piece : cells) {
      if (piece.is_null()) continue;
      const Loaded& loaded = slots_[CellSlot(piece.first)];
      const int timeline = loaded.binding->other_timelines[static_cast<size_t>(position)];
      if (timeline < 0) continue;
      const int64_t* const times = loaded.chunk->times(timeline) + CellRow(piece.first);
      int64_t* const to = out + piece.begin;
      for (int64_t k = 0; k < piece.length; ++k) to[k] = std::max(to[k], times[piece.step * k]);
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
  for (const CellSlice::Piece piece : window.slice(view, begin, end)) {
    int64_t* const to = out + piece.begin;
    if (!piece.is_null()) {
      const Loaded& loaded = slots_[CellSlot(piece.first)];
      const int64_t* const times = loaded.chunk->times(loaded.binding->timeline) + CellRow(piece.first);
      for (int64_t k = 0; k < piece.length; ++k) to[k] = times[piece.step * k];
      continue;
    }
    if (validity == nullptr) {
      ARROW_ASSIGN_OR_RAISE(validity, arrow::AllocateBitmap(n));
      arrow::bit_util::SetBitsTo(validity->mutable_data(), 0, n, true);
    }
    arrow::bit_util::SetBitsTo(validity->mutable_data(), piece.begin, piece.length, false);
    std::fill_n(to, piece.length, 0);
    nulls += piece.length;
  }
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(values)}, nulls));
}

// The greatest row id of the temporal values shown in each row.
arrow::Result<std::shared_ptr<arrow::Array>> SegmentScan::MakeRowIds(const Window& window, int64_t begin, int64_t end) const {
  const int64_t n = end - begin;
  std::vector<std::optional<RowId>> greatest(static_cast<size_t>(n));
  for (size_t view = 0; view < window.cells.size(); ++view) {
    if (!window.is_known(view)) continue;
    for (const CellSlice::Piece piece : window.slice(view, begin, end)) {
      if (piece.is_null()) continue;
      const Chunk& chunk = *slots_[CellSlot(piece.first)].chunk;
      for (int64_t k = 0; k < piece.length; ++k) {
        const RowId id = chunk.row_id(CellRow(piece.first) + piece.step * k);
        auto& known = greatest[static_cast<size_t>(piece.begin + k)];
        if (!known || id > *known) known = id;
      }
    }
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(n * RowId::kNumBytes));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> validity, arrow::AllocateEmptyBitmap(n));
  int64_t nulls = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint8_t* const to = values->mutable_data() + i * RowId::kNumBytes;
    if (const auto& id = greatest[static_cast<size_t>(i)]) {
      id->ToBytes(to);
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
      if (segment_ids_ != nullptr && segment_ids_->length() >= n) return SliceOf(segment_ids_, 0, n);
      ARROW_ASSIGN_OR_RAISE(auto ids, plan_->source->RepeatId(*segment_, n));
      return SliceOf(std::move(ids), 0, n);
    }
    case ScanPlan::OutputKind::kIndex: {
      if (window.same != nullptr) {
        const Loaded& loaded = slots_[window.same->slot];
        const auto times = loaded.chunk->time_array(loaded.binding->timeline);
        if (times->type()->Equals(*output.field->type())) return SliceOf(times, window.same->begin + begin, n);
      }
      ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(n * 8));
      if (n > 0) std::memcpy(values->mutable_data(), window.times.data() + begin, static_cast<size_t>(n) * 8);
      return arrow::MakeArray(arrow::ArrayData::Make(output.field->type(), n, {nullptr, std::move(values)}, 0));
    }
    case ScanPlan::OutputKind::kOtherIndex: {
      if (!plan_->query.index) return arrow::MakeArrayOfNull(output.field->type(), n);
      const RowsBehind rows = FindRowsBehind(window, begin, end);
      if (auto times = SliceOtherIndex(output.position, rows, n)) return times;
      return MakeOtherIndex(output.position, rows, n);
    }
    case ScanPlan::OutputKind::kOriginTime:
      return MakeOriginTimes(output, window, begin, end);
    case ScanPlan::OutputKind::kRowId:
      return MakeRowIds(window, begin, end);
    case ScanPlan::OutputKind::kComponent: {
      const size_t view = static_cast<size_t>(output.position);
      const Column& column = columns_[view];
      const auto& type = output.field->type();
      if (column.static_cell != kNullCell) {
        if (column.static_rows != nullptr && column.static_rows->length() >= n) return SliceOf(column.static_rows, 0, n);
        // A few rows are gathered, and doubled then.
        constexpr int64_t kGathered = 256;
        const int64_t few = std::min(n, kGathered);
        CellRuns cells;
        cells.Repeat(column.static_cell, few);
        const auto source = [&](uint32_t) -> const std::shared_ptr<arrow::ListArray>& { return column.static_column; };
        ARROW_ASSIGN_OR_RAISE(auto rows, GatherCells(type, {cells, 0, few}, source));
        while (rows->length() < n) {
          ARROW_ASSIGN_OR_RAISE(rows, arrow::Concatenate({rows, rows->Slice(0, std::min(rows->length(), n - rows->length()))}));
        }
        return rows;
      }
      if (!window.is_known(view)) return arrow::MakeArrayOfNull(type, n);
      const auto slot_column = [&](uint32_t slot) -> const std::shared_ptr<arrow::ListArray>& { return slots_[slot].column(view); };
      return GatherCells(type, window.slice(view, begin, end), slot_column);
    }
  }
  return arrow::Status::UnknownError("unknown kind of column");
}

// How large the rows are, where it matters for the size of a batch.
void SegmentScan::MeasureRows(Window* window) {
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
    for (const CellSlice::Piece piece : window->slice(view, 0, n)) {
      if (piece.has_no_items()) continue;
      if (!is_known || CellSlot(piece.first) != known_slot) {
        is_known = true;
        known_slot = CellSlot(piece.first);
        column = slots_[known_slot].column(view).get();
        is_large = HasLargeCells(*column);
      }
      if (!is_large) continue;
      for (int64_t k = 0; k < piece.length; ++k) {
        const int64_t bytes = CellBytes(*column, CellRow(piece.cell(k)));
        if (bytes <= kSmallCellBytes) continue;
        if (window->row_bytes.empty()) window->row_bytes.resize(static_cast<size_t>(n));
        window->row_bytes[static_cast<size_t>(piece.begin + k)] += bytes;
      }
    }
  };
  for (const ScanPlan::Output& output : plan.outputs) measure(output);
  for (const ScanPlan::Output& output : plan.filter_outputs) measure(output);
  constexpr int64_t kLightStaticBytes = 256;
  has_light_rows_ &= window->row_bytes.empty() && window->static_bytes <= kLightStaticBytes;
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
  // Every batch has a part of the same segment ids and static values.
  for (const auto* outputs : {&plan.outputs, &plan.filter_outputs}) {
    for (const ScanPlan::Output& output : *outputs) {
      std::shared_ptr<arrow::Array>* repeated = nullptr;
      if (output.kind == ScanPlan::OutputKind::kSegmentId) {
        repeated = &segment_ids_;
      } else if (output.kind == ScanPlan::OutputKind::kComponent) {
        Column& column = columns_[static_cast<size_t>(output.position)];
        if (column.static_cell != kNullCell) repeated = &column.static_rows;
      }
      if (repeated == nullptr || (*repeated != nullptr && (*repeated)->length() >= end - begin)) continue;
      ARROW_ASSIGN_OR_RAISE(*repeated, MakeOutput(output, window, begin, end));
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
      std::vector<std::pair<int64_t, int64_t>> ranges;  // of rows that follow each other
      for (const int32_t row : *selected) {
        if (ranges.empty() || ranges.back().second != begin + row) ranges.emplace_back(begin + row, begin + row);
        ++ranges.back().second;
      }
      for (size_t view = 0; view < columns_.size(); ++view) {
        if (window.is_known(view)) picked.cells[view] = window.cells[view].Pick(ranges);
      }
      from = &picked;
      begin = 0;
      end = static_cast<int64_t>(selected->size());
    }
  }
  const int64_t n = end - begin;
  arrow::ArrayVector columns(plan.outputs.size());
  std::optional<RowsBehind> rows;
  if (!plan.other_timelines.empty() && plan.query.index) rows = FindRowsBehind(*from, begin, end);
  // Slices are not worth a thread.
  int64_t num_gathered = 0;
  for (size_t i = 0; i < columns.size(); ++i) {
    const ScanPlan::Output& output = plan.outputs[i];
    for (size_t f = 0; f < filtered_on.size() && columns[i] == nullptr; ++f) {
      const ScanPlan::Output& known = plan.filter_outputs[f];
      if (known.kind == output.kind && known.position == output.position) columns[i] = filtered_on[f];
    }
    if (columns[i] != nullptr) continue;
    const auto view = static_cast<size_t>(output.position);
    if (output.kind == ScanPlan::OutputKind::kOtherIndex && rows) {
      columns[i] = SliceOtherIndex(output.position, *rows, n);
      num_gathered += columns[i] == nullptr;
    } else {
      num_gathered += output.kind == ScanPlan::OutputKind::kOriginTime || output.kind == ScanPlan::OutputKind::kRowId ||
                      (output.kind == ScanPlan::OutputKind::kComponent && from->is_known(view) && from->cells[view].runs().size() > 1);
    }
  }
  const int threads = n * num_gathered < 16384 && window.row_bytes.empty() ? 1 : max_threads_;
  ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(columns.size()), threads, [&](int i) {
    std::shared_ptr<arrow::Array>& column = columns[static_cast<size_t>(i)];
    if (column != nullptr) return arrow::Status::OK();
    const ScanPlan::Output& output = plan.outputs[static_cast<size_t>(i)];
    if (output.kind == ScanPlan::OutputKind::kOtherIndex && rows) return MakeOtherIndex(output.position, *rows, n).Value(&column);
    return MakeOutput(output, *from, begin, end).Value(&column);
  }));
  return arrow::RecordBatch::Make(plan.schema, n, std::move(columns));
}

// Without an index: one row of static values.
void SegmentScan::BeginStaticRow() {
  if (plan_->query.using_index_values && !plan_->query.using_index_values->contains(segment_->segment_id)) return;
  window_ = std::make_unique<Window>();
  window_row_ = 0;
  window_->own_times = {0};
  window_->times = window_->own_times;
  window_->cells.resize(columns_.size());
  MeasureRows(window_.get());
}

}  // namespace rushes
