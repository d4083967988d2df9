#include "rushes/query/aligned_rows.h"

#include <algorithm>
#include <cstring>

#include "arrow/array/array_primitive.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/util/bit_util.h"
#include "rushes/chunk/repeat_texts.h"
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

AlignedRows::AlignedRows(std::shared_ptr<const ScanPlan> plan, Trials* trials, const ScanKind* kind)
    : plan_(std::move(plan)), needs_all_(plan_->needs_all_values()), trials_(trials), kind_(kind) {}

bool AlignedRows::Serve(const ScanPlan& plan) {
  const Query& query = plan.query;
  return query.index && !query.using_index_values && plan.filter == nullptr && !query.include_origin_times && !query.include_row_ids &&
         plan.options.max_batch_bytes >= kMaxBytes;
}

const AlignedRows::Binding& AlignedRows::Bind(const std::shared_ptr<const ChunkSchema>& shared) {
  const auto [it, added] = bindings_.try_emplace(shared.get());
  Binding& binding = it->second;
  if (!added) return binding;
  const ScanPlan& plan = *plan_;
  const ChunkSchema& schema = *shared;
  binding.schema = shared;
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

ScanKind AlignedRows::KindOf(const ScanPlan& plan) {
  const Query& query = plan.query;
  std::string words;
  const auto add = [&](const std::string& word) { words.append(std::to_string(word.size())).append(" ").append(word).append("\n"); };
  add(query.index.value_or(""));
  add(query.contents.ToString());
  for (const int64_t value : {int64_t{query.include_semantically_empty_columns}, int64_t{query.include_tombstone_columns},
                              int64_t{query.fill_latest_at}, int64_t{query.fill_respects_clears}, query.fill_max_age.value_or(-1),
                              int64_t{query.view_decides_rows}, plan.options.max_batch_rows, plan.options.min_partial_bytes}) {
    add(std::to_string(value));
  }
  for (const ScanPlan::Output& output : plan.outputs) add(output.field->name());
  return {std::move(words), plan.dataset_schema};
}

// Per column, the value of the greatest row id.
bool AlignedRows::TakeStatic(const ChunkPtr& chunk, const std::vector<uint8_t>& shows, Segment* out) {
  const Binding& binding = Bind(chunk->schema_ptr());
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
  const Binding& binding = Bind(chunk->schema_ptr());
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

arrow::Result<bool> AlignedRows::Examine(const SegmentChunks& segment, Shape* shape) {
  const ScanPlan& plan = *plan_;
  shape->num_bytes = 0;
  for (const ChunkInfo& info : segment.chunks) shape->num_bytes += info.byte_size;
  if (shape->num_bytes > kMaxSegmentBytes) return false;
  ARROW_ASSIGN_OR_RAISE(shape->chunks, ChunksOfScan(plan, segment, &wanted_));
  // Static ones first, so that they hide what was logged with time.
  const auto is_before = [&](uint32_t a, uint32_t b) {
    const ChunkInfo &x = segment.chunks[a], &y = segment.chunks[b];
    return x.is_static != y.is_static ? x.is_static : x.entity < y.entity;
  };
  if (!std::is_sorted(shape->chunks.begin(), shape->chunks.end(), is_before)) {
    std::stable_sort(shape->chunks.begin(), shape->chunks.end(), is_before);
  }
  const ChunkInfo* first = nullptr;
  for (const uint32_t chunk : shape->chunks) {
    const ChunkInfo& info = segment.chunks[chunk];
    // Of such a chunk SegmentScan may leave out most.
    if (!needs_all_ && info.byte_size >= plan.options.min_partial_bytes) return false;
    if (info.is_static) continue;
    if (first == nullptr) first = &info;
    if (info.num_rows != first->num_rows || info.start != first->start || info.end != first->end) return false;
  }
  if (first == nullptr) return false;
  shape->num_rows = first->num_rows;
  // Where it is not known how many rows there are, it can be looked at for nothing, or not at all.
  return shape->num_rows >= 0 ? shape->num_rows <= MaxRows() : segment.is_fetched;
}

arrow::Result<AlignedRows::Bundle> AlignedRows::TakeBundle(std::span<const SegmentChunks> segments) {
  const ScanPlan& plan = *plan_;
  Bundle out;
  if (!plan.reads_ahead() || !trials_->may_try()) return out;
  std::vector<std::vector<uint32_t>> chunks;
  std::shared_ptr<const DatasetSchema> schema;
  std::shared_ptr<const std::vector<uint8_t>> shows;
  int64_t rows = 0, bytes = 0;
  for (const SegmentChunks& segment : segments) {
    Shape shape;
    ARROW_ASSIGN_OR_RAISE(const bool is_aligned, Examine(segment, &shape));
    rows += shape.num_rows;
    bytes += shape.num_bytes;
    if (!is_aligned || shape.num_rows <= 0 || rows > MaxRows() || bytes > kMaxBundleBytes) break;
    if (shows == nullptr || segment.schema != schema) {
      const auto own = plan.ColumnsOfSegment(segment.schema);
      if (shows != nullptr && *own != *shows) break;
      shows = own;
      schema = segment.schema;
    }
    chunks.push_back(std::move(shape.chunks));
  }
  if (chunks.empty()) return out;
  ARROW_ASSIGN_OR_RAISE(const auto bundle, plan.source->FetchBundle(segments.first(chunks.size()), chunks));
  bool is_all_slices = false;
  // The source may have known too little of it.
  if (bundle.num_segments > 0 && bundle.num_rows() <= MaxRows()) {
    ARROW_ASSIGN_OR_RAISE(out.batch, MakeBatch(bundle, *shows, &is_all_slices));
  }
  trials_->Count(out.batch != nullptr);
  if (out.batch == nullptr) return out;
  out.num_segments = bundle.num_segments;
  const auto chunks_fetched = static_cast<int64_t>(bundle.num_segments * bundle.lanes.size());
  if (ScanStatistics* const statistics = plan.options.statistics.get()) {
    statistics->chunks_fetched += chunks_fetched;
    statistics->bytes_fetched += bundle.byte_size;
  }
  if (kind_ != nullptr && is_all_slices) {
    auto kept = std::make_shared<KeptBatch>();
    for (const SegmentChunks& segment : segments.first(out.num_segments)) {
      kept->ids.push_back(segment.segment_id);
      for (const ChunkInfo& chunk : segment.chunks) kept->chunks_found += chunk.num_chunks;
    }
    kept->batch = out.batch;
    kept->chunks_fetched = chunks_fetched;
    kept->bytes_fetched = bundle.byte_size;
    plan.source->Keep(*kind_, segments.first(out.num_segments), bundle, std::move(kept));
  }
  return out;
}

// Null: the rows are not plain to see.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> AlignedRows::MakeBatch(const SegmentBundle& bundle, const std::vector<uint8_t>& shows,
                                                                          bool* is_all_slices) {
  const ScanPlan& plan = *plan_;
  const int64_t first = bundle.first_row, rows = bundle.num_rows();
  struct Source {
    const JoinedRows* lane = nullptr;  // null: none
    int position = -1;                 // of the column, or the timeline
  };
  std::vector<Source> columns(plan.view.size()), other_indexes(plan.other_timelines.size());
  Source index;
  const auto have_equal_times = [&](const Source& a, const JoinedRows& b, int timeline) {
    const int64_t *x = a.lane->times_of(a.position), *y = b.times_of(timeline);
    return x == y || std::memcmp(x + first, y + first, static_cast<size_t>(rows) * sizeof(int64_t)) == 0;
  };
  for (const SegmentBundle::Lane& lane : bundle.lanes) {
    const JoinedRows& joined = *lane.rows;
    const Binding& binding = Bind(joined.schema);
    const bool is_static = joined.schema->is_static();
    if (!binding.is_plain || (!is_static && binding.timeline < 0)) return nullptr;
    bool is_used = false;
    for (const auto& [view, column] : binding.sources) {
      const auto at = static_cast<size_t>(view);
      if (!shows[at] || (!is_static && !plan.view[at].has_rows)) continue;
      const bool is_hidden = !is_static && columns[at].lane != nullptr && columns[at].lane->schema->is_static();
      if (is_hidden) continue;
      if (columns[at].lane != nullptr || joined.columns[static_cast<size_t>(column)]->null_count() != 0) return nullptr;
      columns[at] = {&joined, column};
      is_used = !is_static;
    }
    if (!is_used) continue;
    if (!lane.is_strict[static_cast<size_t>(binding.timeline)]) return nullptr;
    if (index.lane == nullptr) index = {&joined, binding.timeline};
    if (!have_equal_times(index, joined, binding.timeline)) return nullptr;
    for (size_t t = 0; t < binding.other_timelines.size(); ++t) {
      const int timeline = binding.other_timelines[t];
      if (timeline < 0) continue;
      if (other_indexes[t].lane == nullptr) other_indexes[t] = {&joined, timeline};
      if (!have_equal_times(other_indexes[t], joined, timeline)) return nullptr;
    }
  }
  if (index.lane == nullptr) return nullptr;

  const auto make_times = [&](const std::shared_ptr<arrow::DataType>& type,
                              const Source& source) -> arrow::Result<std::shared_ptr<arrow::Array>> {
    if (source.lane == nullptr) return arrow::MakeArrayOfNull(type, rows);
    const auto& times = source.lane->times[static_cast<size_t>(source.position)];
    return arrow::MakeArray(arrow::ArrayData::Make(type, rows, {nullptr, times}, 0, first));
  };
  const auto make_cells = [&](const std::shared_ptr<arrow::DataType>& type,
                              const Source& source) -> arrow::Result<std::shared_ptr<arrow::Array>> {
    if (source.lane == nullptr) return arrow::MakeArrayOfNull(type, rows);
    const auto& column = source.lane->columns[static_cast<size_t>(source.position)];
    if (!source.lane->schema->is_static()) return SliceOf(column, first, rows);
    CellRuns cells;
    cells.Reserve(static_cast<int64_t>(bundle.num_segments));
    for (size_t i = 0; i < bundle.num_segments; ++i) {
      cells.Repeat(MakeCell(0, static_cast<int64_t>(bundle.first_segment + i)), bundle.row_ends[i] - first);
    }
    return GatherCells(type, CellSlice(cells, 0, rows), [&](uint32_t) -> const std::shared_ptr<arrow::ListArray>& { return column; });
  };
  int64_t static_bytes = 0;
  for (const Source& source : columns) {
    if (source.lane == nullptr || !source.lane->schema->is_static()) continue;
    const auto& column = *source.lane->columns[static_cast<size_t>(source.position)];
    for (size_t i = 0; i < bundle.num_segments; ++i) {
      const int64_t length = bundle.row_ends[i] - (i == 0 ? first : bundle.row_ends[i - 1]);
      static_bytes += length * CellBytes(column, static_cast<int64_t>(bundle.first_segment + i));
    }
  }
  if (static_bytes > kMaxBundleBytes) return nullptr;
  *is_all_slices = true;
  arrow::ArrayVector arrays;
  for (const ScanPlan::Output& output : plan.outputs) {
    const auto& type = output.field->type();
    const auto position = static_cast<size_t>(output.position);
    std::shared_ptr<arrow::Array> array;
    switch (output.kind) {
      case ScanPlan::OutputKind::kSegmentId:
        array = SliceOf(bundle.segment_ids, first, rows);
        break;
      case ScanPlan::OutputKind::kIndex: {
        ARROW_ASSIGN_OR_RAISE(array, make_times(type, index));
        break;
      }
      case ScanPlan::OutputKind::kOtherIndex: {
        ARROW_ASSIGN_OR_RAISE(array, make_times(type, other_indexes[position]));
        *is_all_slices &= other_indexes[position].lane != nullptr;
        break;
      }
      case ScanPlan::OutputKind::kComponent: {
        ARROW_ASSIGN_OR_RAISE(array, make_cells(type, columns[position]));
        *is_all_slices &= columns[position].lane != nullptr && !columns[position].lane->schema->is_static();
        break;
      }
      case ScanPlan::OutputKind::kOriginTime:
      case ScanPlan::OutputKind::kRowId:
        return nullptr;
    }
    arrays.push_back(std::move(array));
  }
  return arrow::RecordBatch::Make(plan.schema, rows, std::move(arrays));
}

arrow::Result<AlignedRows::Answer> AlignedRows::Add(const SegmentChunks& segment) {
  const ScanPlan& plan = *plan_;
  Shape shape;
  ARROW_ASSIGN_OR_RAISE(const bool is_aligned, Examine(segment, &shape));
  if (!is_aligned) return Answer::kNotAligned;
  const std::vector<uint32_t>& chunks = shape.chunks;
  const int64_t max_rows = MaxRows();
  if (num_rows_ + shape.num_rows > max_rows || num_bytes_ > kMaxBytes - kMaxSegmentBytes) return Answer::kFull;

  ARROW_ASSIGN_OR_RAISE(const auto fetched, plan.source->FetchChunks(segment, chunks));
  if (fetched.size() != chunks.size()) return Answer::kNotAligned;
  const auto shows = plan.ColumnsOfSegment(segment.schema);
  Segment out;
  out.columns.resize(plan.view.size());
  out.other_indexes.resize(plan.other_timelines.size());
  int64_t bytes = 0;
  for (const auto& [chunk, request] : fetched) {
    if (chunk == nullptr) return Answer::kNotAligned;
    bytes += chunk->byte_size();
    if (!(chunk->is_static() ? TakeStatic(chunk, *shows, &out) : TakeTemporal(chunk, *shows, &out))) return Answer::kNotAligned;
  }
  if (out.index == nullptr || out.num_rows > (shape.num_rows < 0 ? max_rows : shape.num_rows)) return Answer::kNotAligned;
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
  std::vector<TextRun> runs;
  runs.reserve(segments_.size());
  for (const Segment& segment : segments_) runs.push_back({segment.id, segment.num_rows});
  return RepeatTexts(runs);
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
