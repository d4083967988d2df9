#include "rushes/query/aligned_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "arrow/array/array_primitive.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/util/bit_util.h"
#include "rushes/query/gather.h"
#include "rushes/query/segment_chunks.h"

namespace rushes {
namespace {

bool HaveEqualTimes(const Chunk& a, int a_timeline, const Chunk& b, int b_timeline) {
  const int64_t* const first = a.times(a_timeline);
  const int64_t* const second = b.times(b_timeline);
  return a.num_rows() == b.num_rows() &&
         (first == second || std::memcmp(first, second, static_cast<size_t>(a.num_rows()) * sizeof(int64_t)) == 0);
}

}  // namespace

AlignedRows::AlignedRows(std::shared_ptr<const ScanPlan> plan) : plan_(std::move(plan)), needs_all_(plan_->needs_all_values()) {}

bool AlignedRows::Serve(const ScanPlan& plan) {
  const Query& query = plan.query;
  return query.index && !query.using_index_values && plan.filter == nullptr && !query.include_origin_times && !query.include_row_ids &&
         plan.options.max_batch_bytes >= kMaxBytes;
}

const AlignedRows::Binding& AlignedRows::Bind(const ChunkPtr& chunk) {
  const auto [it, added] = bindings_.try_emplace(&chunk->schema());
  Binding& binding = it->second;
  if (!added) return binding;
  const ScanPlan& plan = *plan_;
  const ChunkSchema& schema = chunk->schema();
  binding.schema = chunk->schema_ptr();
  binding.timeline = schema.TimelineIndex(*plan.query.index);
  if (binding.timeline >= 0) {
    const Timeline* const known = plan.dataset_schema->FindTimeline(*plan.query.index);
    binding.is_plain = known != nullptr && known->type == schema.timelines()[static_cast<size_t>(binding.timeline)].type;
  }
  binding.other_timelines = plan.OtherTimelinesOf(schema);
  if (schema.ColumnIndex(kClearComponent) >= 0) binding.is_plain = false;
  const auto entity = plan.view_index.find(schema.entity());
  if (entity == plan.view_index.end()) return binding;
  for (size_t c = 0; c < schema.columns().size(); ++c) {
    const auto view = entity->second.find(schema.columns()[c].descriptor.component);
    if (view == entity->second.end()) continue;
    binding.sources.push_back({view->second, static_cast<int>(c)});
    binding.is_plain &= schema.columns()[c].type->Equals(*plan.view[static_cast<size_t>(view->second)].column.type, true);
  }
  return binding;
}

// Per column, the value of the greatest row id.
bool AlignedRows::TakeStatic(const ChunkPtr& chunk, const std::vector<uint8_t>& shows, Segment* out) {
  const Binding& binding = Bind(chunk);
  if (!binding.is_plain) return false;
  for (const auto& [view, column] : binding.sources) {
    if (!shows[static_cast<size_t>(view)]) continue;
    const arrow::ListArray& cells = *chunk->column(column);
    int64_t row = chunk->num_rows() - 1;
    while (row >= 0 && cells.IsNull(row)) --row;
    if (row < 0) continue;
    Cells& known = out->columns[static_cast<size_t>(view)];
    if (known.chunk == nullptr || chunk->row_id(row) > known.chunk->row_id(known.static_row)) known = {chunk, column, row};
  }
  return true;
}

// False: this chunk does not fit.
bool AlignedRows::TakeTemporal(const ChunkPtr& chunk, const std::vector<uint8_t>& shows, Segment* out) {
  const Binding& binding = Bind(chunk);
  if (!binding.is_plain) return false;
  if (binding.timeline < 0 || chunk->num_rows() == 0) return true;
  bool is_used = false;
  for (const auto& [view, column] : binding.sources) {
    const auto at = static_cast<size_t>(view);
    if (!shows[at] || !plan_->view[at].has_rows) continue;
    Cells& known = out->columns[at];
    if (known.chunk != nullptr && known.static_row >= 0) continue;
    if (known.chunk != nullptr || chunk->column(column)->null_count() != 0) return false;
    known = {chunk, column, -1};
    is_used = true;
  }
  if (!is_used) return true;
  if (out->index == nullptr) {
    if (!chunk->times_strict(binding.timeline)) return false;
    out->index = chunk;
    out->timeline = binding.timeline;
    out->num_rows = chunk->num_rows();
  } else if (!HaveEqualTimes(*out->index, out->timeline, *chunk, binding.timeline)) {
    return false;
  }
  for (size_t t = 0; t < binding.other_timelines.size(); ++t) {
    const int timeline = binding.other_timelines[t];
    if (timeline < 0) continue;
    Cells& known = out->other_indexes[t];
    if (known.chunk == nullptr) {
      known = {chunk, timeline, -1};
    } else if (!HaveEqualTimes(*known.chunk, known.column, *chunk, timeline)) {
      return false;
    }
  }
  return true;
}

arrow::Result<AlignedRows::Answer> AlignedRows::Add(const SegmentChunks& segment) {
  const ScanPlan& plan = *plan_;
  constexpr int64_t kMaxSegmentBytes = kMaxBytes / 4;  // the values of larger ones are not worth a copy
  int64_t bytes = 0;
  for (const ChunkInfo& info : segment.chunks) bytes += info.byte_size;
  if (bytes > kMaxSegmentBytes) return Answer::kNotAligned;
  ARROW_ASSIGN_OR_RAISE(std::vector<uint32_t> chunks, ChunksOfScan(plan, segment));
  // Static ones first, so that they hide what was logged with time.
  std::stable_partition(chunks.begin(), chunks.end(), [&](uint32_t chunk) { return segment.chunks[chunk].is_static; });
  const ChunkInfo* first = nullptr;
  for (const uint32_t chunk : chunks) {
    const ChunkInfo& info = segment.chunks[chunk];
    // Of such a chunk SegmentScan may leave out most.
    if (!needs_all_ && info.byte_size >= plan.options.min_partial_bytes) return Answer::kNotAligned;
    if (info.is_static) continue;
    if (first == nullptr) first = &info;
    if (info.num_rows != first->num_rows || info.start != first->start || info.end != first->end) return Answer::kNotAligned;
  }
  // Where it is not known how many rows there are, it can be looked at for nothing, or not at all.
  if (first == nullptr || (first->num_rows < 0 && !segment.is_fetched)) return Answer::kNotAligned;
  const int64_t max_rows = std::min(kMaxRows, plan.options.max_batch_rows);
  if (first->num_rows > max_rows) return Answer::kNotAligned;
  if (num_rows_ + first->num_rows > max_rows || num_bytes_ > kMaxBytes - kMaxSegmentBytes) return Answer::kFull;

  ARROW_ASSIGN_OR_RAISE(const auto fetched, plan.source->FetchChunks(segment, chunks));
  if (fetched.size() != chunks.size()) return Answer::kNotAligned;
  const auto shows = plan.ColumnsOfSegment(segment.schema);
  Segment out;
  out.columns.resize(plan.view.size());
  out.other_indexes.resize(plan.other_timelines.size());
  bytes = 0;
  for (const auto& [chunk, request] : fetched) {
    if (chunk == nullptr) return Answer::kNotAligned;
    bytes += chunk->byte_size();
    if (!(chunk->is_static() ? TakeStatic(chunk, *shows, &out) : TakeTemporal(chunk, *shows, &out))) return Answer::kNotAligned;
  }
  if (out.index == nullptr || out.num_rows > (first->num_rows < 0 ? max_rows : first->num_rows)) return Answer::kNotAligned;
  if (num_rows_ + out.num_rows > max_rows) return Answer::kFull;
  // Static values are repeated.
  int64_t size = bytes;
  for (const Cells& cells : out.columns) {
    if (cells.static_row >= 0) size += out.num_rows * CellBytes(*cells.chunk->column(cells.column), cells.static_row);
  }
  if (size > kMaxSegmentBytes) return Answer::kNotAligned;
  if (ScanStatistics* const statistics = plan.options.statistics.get()) {
    for (const uint32_t chunk : chunks) statistics->chunks_fetched += segment.chunks[chunk].num_chunks;
    statistics->bytes_fetched += bytes;
  }
  out.id = segment.segment_id;
  num_rows_ += out.num_rows;
  num_bytes_ += size;
  segments_.push_back(std::move(out));
  return Answer::kTaken;
}

arrow::Result<std::shared_ptr<arrow::Array>> AlignedRows::MakeSegmentIds() const {
  int64_t bytes = 0;
  for (const Segment& segment : segments_) bytes += segment.num_rows * static_cast<int64_t>(segment.id.size());
  if (bytes > std::numeric_limits<int32_t>::max()) return arrow::Status::CapacityError("segment ids too long");
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets, arrow::AllocateBuffer((num_rows_ + 1) * 4));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> data, arrow::AllocateBuffer(bytes));
  auto* offset = reinterpret_cast<int32_t*>(offsets->mutable_data());
  uint8_t* to = data->mutable_data();
  int32_t end = 0;
  *offset++ = 0;
  for (const Segment& segment : segments_) {
    for (int64_t i = 0; i < segment.num_rows; ++i) {
      std::memcpy(to, segment.id.data(), segment.id.size());
      to += segment.id.size();
      *offset++ = end += static_cast<int32_t>(segment.id.size());
    }
  }
  return arrow::MakeArray(arrow::ArrayData::Make(arrow::utf8(), num_rows_, {nullptr, std::move(offsets), std::move(data)}, 0));
}

// Of the index, or of another timeline of the plan.
arrow::Result<std::shared_ptr<arrow::Array>> AlignedRows::MakeTimes(const std::shared_ptr<arrow::DataType>& type,
                                                                    std::optional<size_t> other) const {
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(num_rows_ * 8));
  std::shared_ptr<arrow::Buffer> validity;
  int64_t at = 0, nulls = 0;
  for (const Segment& segment : segments_) {
    const Chunk* const chunk = other ? segment.other_indexes[*other].chunk.get() : segment.index.get();
    uint8_t* const to = values->mutable_data() + at * 8;
    if (chunk != nullptr) {
      std::memcpy(to, chunk->times(other ? segment.other_indexes[*other].column : segment.timeline),
                  static_cast<size_t>(segment.num_rows) * 8);
    } else {
      std::memset(to, 0, static_cast<size_t>(segment.num_rows) * 8);
      if (validity == nullptr) {
        ARROW_ASSIGN_OR_RAISE(validity, arrow::AllocateBitmap(num_rows_));
        arrow::bit_util::SetBitsTo(validity->mutable_data(), 0, num_rows_, true);
      }
      arrow::bit_util::SetBitsTo(validity->mutable_data(), at, segment.num_rows, false);
      nulls += segment.num_rows;
    }
    at += segment.num_rows;
  }
  return arrow::MakeArray(arrow::ArrayData::Make(type, num_rows_, {std::move(validity), std::move(values)}, nulls));
}

arrow::Result<std::shared_ptr<arrow::Array>> AlignedRows::MakeCells(const std::shared_ptr<arrow::DataType>& type, size_t view) const {
  CellRuns cells;
  cells.Reserve(static_cast<int64_t>(segments_.size()));
  int64_t end = 0;
  for (uint32_t slot = 0; slot < segments_.size(); ++slot) {
    const Cells& from = segments_[slot].columns[view];
    end += segments_[slot].num_rows;
    if (from.chunk == nullptr) {
      cells.Repeat(kNullCell, end);
    } else if (from.static_row >= 0) {
      cells.Repeat(MakeCell(slot, from.static_row), end);
    } else {
      cells.Follow(MakeCell(slot, 0), end);
    }
  }
  return GatherCells(type, CellSlice(cells, 0, num_rows_), [&](uint32_t slot) -> const std::shared_ptr<arrow::ListArray>& {
    const Cells& from = segments_[slot].columns[view];
    return from.chunk->column(from.column);
  });
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> AlignedRows::Finish() {
  arrow::ArrayVector columns;
  for (const ScanPlan::Output& output : plan_->outputs) {
    std::shared_ptr<arrow::Array> column;
    switch (output.kind) {
      case ScanPlan::OutputKind::kSegmentId: {
        ARROW_ASSIGN_OR_RAISE(column, MakeSegmentIds());
        break;
      }
      case ScanPlan::OutputKind::kIndex: {
        ARROW_ASSIGN_OR_RAISE(column, MakeTimes(output.field->type(), std::nullopt));
        break;
      }
      case ScanPlan::OutputKind::kOtherIndex: {
        ARROW_ASSIGN_OR_RAISE(column, MakeTimes(output.field->type(), static_cast<size_t>(output.position)));
        break;
      }
      case ScanPlan::OutputKind::kComponent: {
        ARROW_ASSIGN_OR_RAISE(column, MakeCells(output.field->type(), static_cast<size_t>(output.position)));
        break;
      }
      case ScanPlan::OutputKind::kOriginTime:
      case ScanPlan::OutputKind::kRowId:
        return arrow::Status::UnknownError("a column that AlignedRows does not serve: ", output.field->name());
    }
    columns.push_back(std::move(column));
  }
  auto batch = arrow::RecordBatch::Make(plan_->schema, num_rows_, std::move(columns));
  segments_.clear();
  num_rows_ = 0;
  num_bytes_ = 0;
  return batch;
}

}  // namespace rushes
