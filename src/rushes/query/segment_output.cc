// The arrays and batches of a scan, made of the places of its cells.
#include <algorithm>
#include <cstring>
#include <limits>

#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/util/bit_util.h"
#include "rushes/query/segment_scan_state.h"

namespace rushes {
namespace {

// Columns whose cells are larger than this on average are measured cell by cell when batches are cut.
constexpr int64_t kSmallCellBytes = 64;

}  // namespace

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
