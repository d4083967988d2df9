#include "rushes/query/query.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <set>

#include "arrow/array/concatenate.h"
#include "arrow/type.h"
#include "arrow/util/byte_size.h"
#include "rushes/chunk/metadata.h"
#include "rushes/query/aligned_rows.h"
#include "rushes/query/nearest.h"
#include "rushes/query/scan_plan.h"
#include "rushes/query/segment_chunks.h"
#include "rushes/query/segment_scan.h"
#include "rushes/query/work_pool.h"

namespace rushes {

std::string OriginTimeColumn(const std::string& column, const std::string& index) { return column + "@" + index; }

arrow::Result<std::shared_ptr<arrow::Schema>> MakeQuerySchema(const DatasetSchema& schema, const Query& query) {
  if (query.index && schema.FindTimeline(*query.index) == nullptr) {
    std::vector<std::string> names;
    for (const Timeline& timeline : schema.timelines()) names.push_back(timeline.name);
    return arrow::Status::KeyError("Index '", *query.index, "' does not exist in the dataset.", DidYouMean(*query.index, names));
  }
  arrow::FieldVector fields = {arrow::field(kSegmentIdColumn, arrow::utf8(), /*nullable=*/false)};
  for (const Timeline& timeline : schema.timelines()) fields.push_back(IndexField(timeline));
  const std::vector<int> view = ColumnsInView(schema, query);
  for (const int at : view) fields.push_back(ComponentField(schema.columns()[static_cast<size_t>(at)]));
  const size_t num_plain = fields.size();
  if (query.index && query.include_origin_times) {
    for (const int at : view) {
      const ComponentColumn& column = schema.columns()[static_cast<size_t>(at)];
      if (column.is_static) continue;
      fields.push_back(arrow::field(OriginTimeColumn(column.name(), *query.index), ArrowType(schema.FindTimeline(*query.index)->type),
                                    /*nullable=*/true));
    }
  }
  if (query.index && query.include_row_ids) {
    fields.push_back(arrow::field(kRowIdColumn, arrow::fixed_size_binary(RowId::kNumBytes), /*nullable=*/true));
  }
  for (size_t i = num_plain; i < fields.size(); ++i) {
    for (size_t k = 0; k < num_plain; ++k) {
      if (fields[k]->name() == fields[i]->name()) {
        return arrow::Status::Invalid("the dataset has a column '", fields[i]->name(), "' already, the name of one that was asked for");
      }
    }
  }
  return arrow::schema(std::move(fields), DatasetSchema::ArrowMetadata());
}

namespace {

// Segments up to this size are scanned whole, several at a time; larger ones are streamed one after another, each by all threads. Where
// there are too few segments to give every thread some, also smaller ones are.
constexpr int64_t kSmallSegmentBytes = int64_t{8} << 20;
constexpr int64_t kSmallSegmentBytesOfFew = int64_t{512} << 10;
constexpr int64_t kMaxWaveBytes = int64_t{64} << 20;
// The first segments scanned together are few, so that the first rows come soon; the next ones grow to the above.
constexpr int64_t kFirstWaveBytes = int64_t{1} << 20;
constexpr size_t kMaxWaveSegments = 512;
// Small segments that one thread scans in a row.
constexpr size_t kMaxPieceSegments = 64;
// Batches that a small segment is ahead of the reader by; and where rows are light, up to so many rows of them.
constexpr size_t kMaxBatchesAhead = 2;
constexpr int64_t kMaxLightRowsAhead = 16384;
// Batches are joined up to this size. Joining copies, so it is for those that cost more as batches of their own than their bytes do.
constexpr int64_t kMaxJoinedRows = AlignedRows::kMaxRows;
constexpr int64_t kMaxJoinedBytes = AlignedRows::kMaxBytes;
constexpr int64_t kEnoughRows = 1024;
constexpr int64_t kEnoughKeptRows = 64;  // of a batch that is there already, and would be joined anew by each scan
// Segments whose chunks are looked up in one call: few at first, so that the first rows come soon.
constexpr size_t kFirstLookup = 4;
constexpr size_t kMaxLookup = 512;
// Index values of a filter that a lookup names one by one; beyond, it asks for the range they span.
constexpr size_t kMaxLookupPoints = 100'000;

arrow::Result<std::shared_ptr<arrow::RecordBatch>> JoinBatches(const std::shared_ptr<arrow::Schema>& schema,
                                                               const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) {
  if (batches.size() == 1) return batches[0];
  int64_t rows = 0;
  for (const auto& batch : batches) rows += batch->num_rows();
  arrow::ArrayVector columns(static_cast<size_t>(schema->num_fields()));
  ARROW_RETURN_NOT_OK(ParallelFor(schema->num_fields(), rows * schema->num_fields() < 65536 ? 1 : 0, [&](int c) -> arrow::Status {
    arrow::ArrayVector parts;
    for (const auto& batch : batches) parts.push_back(batch->column(c));
    return arrow::Concatenate(parts).Value(&columns[static_cast<size_t>(c)]);
  }));
  return arrow::RecordBatch::Make(schema, rows, std::move(columns));
}

// The stream of a whole scan: segments in byte order of their ids.
class ScanReader final : public arrow::RecordBatchReader {
 public:
  explicit ScanReader(std::shared_ptr<const ScanPlan> plan) : plan_(std::move(plan)) {}
  ~ScanReader() override { ARROW_UNUSED(Close()); }

  std::shared_ptr<arrow::Schema> schema() const override { return plan_->schema; }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    *batch = nullptr;
    if (status_.ok() && rows_left_ != 0) status_ = Advance(batch);
    if (*batch == nullptr || !status_.ok()) return status_;
    if (rows_left_ >= 0) {
      if ((*batch)->num_rows() > rows_left_) *batch = (*batch)->Slice(0, rows_left_);
      rows_left_ -= (*batch)->num_rows();
      if (rows_left_ == 0) ARROW_UNUSED(Close());
    }
    if (plan_->options.statistics != nullptr) plan_->options.statistics->rows += (*batch)->num_rows();
    return status_;
  }

  // Nothing of the scan runs any more when this returns.
  arrow::Status Close() override {
    for (const auto& wave : waves_) {
      wave->is_cancelled = true;
      if (wave->work != nullptr) wave->work->Cancel();
    }
    for (const auto& wave : waves_) {
      if (wave->work != nullptr) ARROW_UNUSED(wave->work->Wait());
    }
    waves_.clear();
    ready_.clear();
    found_.clear();
    ids_ = std::make_shared<const std::vector<std::string>>();
    next_id_ = 0;
    is_open_ = true;
    return arrow::Status::OK();
  }

 private:
  using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

  // What a piece of work makes of one or several segments.
  struct Item {
    Batches batches;                    // the first ones
    std::unique_ptr<SegmentScan> rest;  // null: they are all
    bool is_measured = false;           // whether their bytes matter when they are joined
    bool is_kept = false;               // by an earlier scan
  };
  // Neighbouring small segments, scanned one after another.
  struct Piece {
    std::vector<SegmentChunks> segments;
    std::deque<Item> items;
  };
  // Either several pieces, run by the shared threads, or what earlier scans have left, or one large segment that is streamed.
  struct Wave {
    std::deque<Piece> pieces;
    std::atomic<bool> is_cancelled = false;
    std::unique_ptr<WorkSet> work;  // null: nothing is to be done
    std::unique_ptr<SegmentScan> stream;
    size_t next_piece = 0;
  };

  arrow::Status Advance(std::shared_ptr<arrow::RecordBatch>* batch) {
    if (!is_open_) {
      is_open_ = true;
      if (!plan_->is_empty) ARROW_RETURN_NOT_OK(ListSegments());
      recalls_ = AlignedRows::Serve(*plan_) && plan_->reads_ahead();
      if (recalls_) kind_ = AlignedRows::KindOf(*plan_);
    }
    while (true) {
      if (plan_->options.check) ARROW_RETURN_NOT_OK(plan_->options.check());
      if (!ready_.empty()) {
        *batch = std::move(ready_.front());
        ready_.pop_front();
        return arrow::Status::OK();
      }
      // A wave that runs while the reader is busy with the one before; not when the first one may be all that is needed.
      while (waves_.size() < (plan_->reads_ahead() ? 2 : 1)) {
        ARROW_ASSIGN_OR_RAISE(const bool more, StartWave());
        if (!more) break;
      }
      if (waves_.empty()) return arrow::Status::OK();
      Wave& wave = *waves_.front();
      if (wave.stream != nullptr) {
        ARROW_ASSIGN_OR_RAISE(*batch, wave.stream->Next());
        if (*batch != nullptr) return arrow::Status::OK();
        waves_.pop_front();
        continue;
      }
      if (wave.work != nullptr) ARROW_RETURN_NOT_OK(wave.work->Wait());
      ARROW_RETURN_NOT_OK(Take(&wave));
      if (wave.next_piece == wave.pieces.size() && ready_.empty()) waves_.pop_front();
    }
  }

  arrow::Status ListSegments() {
    const Query& query = plan_->query;
    const auto* const wanted = plan_->filter != nullptr && plan_->filter->bounds().segments ? &*plan_->filter->bounds().segments : nullptr;
    if (!query.using_index_values && !query.segments) {
      ARROW_ASSIGN_OR_RAISE(ids_, plan_->source->ListSegments());
      if (wanted == nullptr) return arrow::Status::OK();
    }
    std::vector<std::string> ids;
    if (query.using_index_values) {
      for (const auto& [id, values] : *query.using_index_values) {
        if (!query.index || !values.empty()) ids.push_back(id);
      }
      if (query.segments) {
        const std::set<std::string> named(query.segments->begin(), query.segments->end());
        std::erase_if(ids, [&](const std::string& id) { return !named.contains(id); });
      }
    } else {
      ids = query.segments ? *query.segments : *ids_;
      std::sort(ids.begin(), ids.end());
      ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    }
    if (wanted != nullptr) std::erase_if(ids, [&](const std::string& id) { return !wanted->contains(id); });
    ids_ = std::make_shared<const std::vector<std::string>>(std::move(ids));
    return arrow::Status::OK();
  }

  // Looks up the chunks of the next segments. False at the end.
  arrow::Result<bool> Lookup() {
    while (found_.empty()) {
      if (next_id_ >= ids_->size()) return false;
      lookup_size_ = lookup_size_ == 0 ? kFirstLookup : std::min(lookup_size_ * 4, kMaxLookup);
      size_t end = std::min(ids_->size(), next_id_ + lookup_size_);
      // Where something was recalled there will be more.
      for (size_t at = next_id_ + 1; at < end; ++at) {
        if (MayRecall(at)) end = at;
      }
      const std::vector<std::string> ids(ids_->begin() + static_cast<int64_t>(next_id_), ids_->begin() + static_cast<int64_t>(end));
      next_id_ = end;
      const Query& query = plan_->query;
      ChunkSelection selection;
      selection.segments = ids;
      selection.entities = plan_->entities;
      selection.max_joined_bytes = plan_->max_joined_bytes();
      if (plan_->only_needed_make_rows) {
        for (const EntityPath& entity : *selection.entities) selection.components.push_back(plan_->needs.at(entity).values);
      }
      if (!query.index) {
        selection.mode = ChunkSelection::Mode::kStatic;
      } else {
        selection.timeline = *query.index;
        // Every clear counts then, also those before the rows that are asked for.
        const bool needs_all_clears = query.fill_latest_at && query.fill_respects_clears && plan_->has_clears;
        const FilterBounds bounds = plan_->filter ? plan_->filter->bounds() : FilterBounds();
        if (needs_all_clears) {
          selection.mode = ChunkSelection::Mode::kAll;
        } else if (query.using_index_values) {
          selection.mode = ChunkSelection::Mode::kSamples;
          selection.latest_at = query.fill_latest_at;
          for (const std::string& id : ids) selection.samples[id] = query.using_index_values->at(id);
        } else if (bounds.points && bounds.points->size() * ids.size() <= kMaxLookupPoints) {
          selection.mode = ChunkSelection::Mode::kSamples;
          selection.latest_at = query.fill_latest_at;
          for (const std::string& id : ids) selection.samples[id] = *bounds.points;
        } else if (bounds.start > kMinTime || bounds.end < kMaxTime) {
          selection.mode = ChunkSelection::Mode::kRange;
          selection.start = bounds.start;
          selection.end = bounds.end;
          selection.latest_at = query.fill_latest_at && bounds.start > kMinTime;
        } else {
          selection.mode = ChunkSelection::Mode::kAll;
        }
      }
      ARROW_ASSIGN_OR_RAISE(auto found, plan_->source->FindChunks(selection));
      if (ScanStatistics* const statistics = plan_->options.statistics.get()) {
        statistics->segments += static_cast<int64_t>(found.size());
        for (const SegmentChunks& segment : found) {
          for (const ChunkInfo& chunk : segment.chunks) statistics->chunks_found += chunk.num_chunks;
        }
      }
      for (SegmentChunks& segment : found) found_.push_back(std::move(segment));
    }
    return true;
  }

  bool MayRecall(size_t first_id) const {
    return has_recalled_ && first_id < ids_->size() && !plan_->source->Recall(kind_, std::span(*ids_).subspan(first_id), 0).empty();
  }

  // What earlier scans have left of the next segments, if anything.
  std::unique_ptr<Wave> RecallWave() {
    const auto all = plan_->source->Recall(kind_, std::span(*ids_).subspan(next_id_), kMaxWaveBytes);
    if (all.empty()) return nullptr;
    has_recalled_ = true;
    auto wave = std::make_unique<Wave>();
    Piece& piece = wave->pieces.emplace_back();
    for (const auto& kept : all) {
      next_id_ += kept->ids.size();
      if (ScanStatistics* const statistics = plan_->options.statistics.get()) {
        statistics->segments += static_cast<int64_t>(kept->ids.size());
        statistics->chunks_found += kept->chunks_found;
        statistics->chunks_fetched += kept->chunks_fetched;
        statistics->bytes_fetched += kept->bytes_fetched;
      }
      Item& item = piece.items.emplace_back();
      item.batches.push_back(kept->batch);
      item.is_kept = true;
    }
    return wave;
  }

  static int64_t BytesOf(const SegmentChunks& segment) {
    int64_t bytes = 0;
    for (const ChunkInfo& chunk : segment.chunks) bytes += chunk.byte_size;
    return bytes;
  }

  arrow::Result<bool> StartWave() {
    if (recalls_ && found_.empty()) {
      if (auto wave = RecallWave()) {
        waves_.push_back(std::move(wave));
        return true;
      }
    }
    ARROW_ASSIGN_OR_RAISE(const bool any, Lookup());
    if (!any) return false;
    auto wave = std::make_unique<Wave>();
    const bool are_few = ids_->size() < 2 * static_cast<size_t>(WorkParallelism());
    const int64_t small = std::min(are_few ? kSmallSegmentBytesOfFew : kSmallSegmentBytes, plan_->options.memory_budget / 8);
    if (BytesOf(found_.front()) > small) {
      wave->stream = std::make_unique<SegmentScan>(plan_, std::move(found_.front()), plan_->options.max_parallelism);
      found_.pop_front();
      waves_.push_back(std::move(wave));
      return true;
    }
    wave_bytes_ = wave_bytes_ == 0 ? kFirstWaveBytes : std::min(wave_bytes_ * 4, kMaxWaveBytes);
    const int64_t max_bytes = std::min(wave_bytes_, plan_->options.memory_budget / 8);
    std::vector<SegmentChunks> segments;
    int64_t bytes = 0;
    while (segments.size() < kMaxWaveSegments) {
      if (found_.empty()) {
        if (!plan_->reads_ahead() || MayRecall(next_id_)) break;
        ARROW_ASSIGN_OR_RAISE(const bool more, Lookup());
        if (!more) break;
      }
      const int64_t size = BytesOf(found_.front());
      if (size > small || (!segments.empty() && bytes + size > max_bytes)) break;
      bytes += size;
      segments.push_back(std::move(found_.front()));
      found_.pop_front();
    }
    // Enough pieces for all threads, of neither too many segments nor too few.
    const size_t per_piece = std::clamp<size_t>(segments.size() / (4 * static_cast<size_t>(WorkParallelism())), 1, kMaxPieceSegments);
    for (size_t i = 0; i < segments.size(); ++i) {
      if (i % per_piece == 0) wave->pieces.emplace_back();
      wave->pieces.back().segments.push_back(std::move(segments[i]));
    }
    std::vector<WorkSet::Piece> work;
    for (size_t i = 0; i < wave->pieces.size(); ++i) {
      // The wave outlives its pieces: closing waits for them.
      work.push_back([this, wave = wave.get(), i] { return Run(&wave->pieces[i], wave->is_cancelled); });
    }
    wave->work = std::make_unique<WorkSet>(std::move(work));
    wave->work->Start(plan_->options.max_parallelism);
    waves_.push_back(std::move(wave));
    return true;
  }

  arrow::Status Run(Piece* piece, const std::atomic<bool>& is_cancelled) const {
    if (piece->segments.size() > 1 && plan_->reads_ahead()) {
      ARROW_RETURN_NOT_OK(
          plan_->source->FetchAhead(piece->segments, [this](const SegmentChunks& segment) -> arrow::Result<std::vector<uint32_t>> {
            ARROW_ASSIGN_OR_RAISE(auto chunks, ChunksOfScan(*plan_, segment));
            std::erase_if(chunks, [&](uint32_t chunk) { return !MattersInBounds(*plan_, segment.chunks[chunk]); });
            return chunks;
          }));
    }
    const bool may_be_aligned = AlignedRows::Serve(*plan_);
    AlignedRows aligned(plan_, &bundle_trials_, recalls_ ? &kind_ : nullptr);
    const auto flush = [&]() -> arrow::Status {
      if (aligned.num_rows() == 0) return arrow::Status::OK();
      ARROW_ASSIGN_OR_RAISE(auto batch, aligned.Finish());
      piece->items.emplace_back().batches.push_back(std::move(batch));
      return arrow::Status::OK();
    };
    for (size_t next = 0; next < piece->segments.size() && !is_cancelled;) {
      if (may_be_aligned) {
        ARROW_ASSIGN_OR_RAISE(auto bundle, aligned.TakeBundle(std::span(piece->segments).subspan(next)));
        if (bundle.num_segments > 0) {
          ARROW_RETURN_NOT_OK(flush());
          piece->items.emplace_back().batches.push_back(std::move(bundle.batch));
          next += bundle.num_segments;
          continue;
        }
      }
      SegmentChunks& segment = piece->segments[next++];
      if (may_be_aligned) {
        ARROW_ASSIGN_OR_RAISE(auto answer, aligned.Add(segment));
        if (answer == AlignedRows::Answer::kFull) {
          ARROW_RETURN_NOT_OK(flush());
          ARROW_ASSIGN_OR_RAISE(answer, aligned.Add(segment));
        }
        if (answer == AlignedRows::Answer::kTaken) continue;
      }
      ARROW_RETURN_NOT_OK(flush());
      Item item;
      item.is_measured = BytesOf(segment) > kMaxJoinedBytes / 4;
      item.rest = std::make_unique<SegmentScan>(plan_, std::move(segment), /*max_threads=*/1);
      // A few batches; what static and filled values make large beyond that is left to the reader.
      int64_t rows = 0;
      const auto may_go_on = [&](size_t batches) {
        return batches < kMaxBatchesAhead || (rows < kMaxLightRowsAhead && item.rest->has_light_rows());
      };
      for (size_t n = 0; !is_cancelled && may_go_on(n); ++n) {
        ARROW_ASSIGN_OR_RAISE(auto batch, item.rest->Next());
        if (batch == nullptr) {
          item.rest.reset();
          break;
        }
        rows += batch->num_rows();
        item.batches.push_back(std::move(batch));
      }
      piece->items.push_back(std::move(item));
    }
    piece->segments.clear();
    return flush();
  }

  // Moves batches of a wave to the ready ones, the small ones joined.
  arrow::Status Take(Wave* wave) {
    Batches group;
    int64_t rows = 0;
    const int64_t max_join = std::min<int64_t>(plan_->options.max_batch_rows, kMaxJoinedRows);
    const auto flush = [&]() -> arrow::Status {
      if (group.empty()) return arrow::Status::OK();
      ARROW_ASSIGN_OR_RAISE(auto joined, JoinBatches(plan_->schema, group));
      ready_.push_back(std::move(joined));
      group.clear();
      rows = 0;
      return arrow::Status::OK();
    };
    for (; wave->next_piece < wave->pieces.size(); ++wave->next_piece) {
      auto& items = wave->pieces[wave->next_piece].items;
      for (; !items.empty(); items.pop_front()) {
        Item& item = items.front();
        for (auto& batch : item.batches) {
          bool stands_alone = batch->num_rows() >= (item.is_kept ? kEnoughKeptRows : kEnoughRows);
          if (!stands_alone && item.is_measured) {
            ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
            stands_alone = bytes > kMaxJoinedBytes;
          }
          if (rows + batch->num_rows() > max_join || stands_alone) ARROW_RETURN_NOT_OK(flush());
          rows += batch->num_rows();
          group.push_back(std::move(batch));
          if (stands_alone) ARROW_RETURN_NOT_OK(flush());
        }
        item.batches.clear();
        if (item.rest == nullptr) continue;
        // A long one: the rest as it is asked for.
        ARROW_RETURN_NOT_OK(flush());
        if (!ready_.empty()) return arrow::Status::OK();
        ARROW_ASSIGN_OR_RAISE(auto batch, item.rest->Next());
        if (batch != nullptr) {
          ready_.push_back(std::move(batch));
          return arrow::Status::OK();
        }
      }
    }
    return flush();
  }

  const std::shared_ptr<const ScanPlan> plan_;
  bool is_open_ = false;
  int64_t rows_left_ = plan_->options.limit;                             // negative: any number
  SegmentIds ids_ = std::make_shared<const std::vector<std::string>>();  // segments to scan
  bool recalls_ = false;                                                 // batches of earlier scans will do
  ScanKind kind_;                                                        // then
  bool has_recalled_ = false;
  size_t next_id_ = 0;
  size_t lookup_size_ = 0;
  int64_t wave_bytes_ = 0;
  mutable AlignedRows::Trials bundle_trials_;
  std::deque<SegmentChunks> found_;
  std::deque<std::unique_ptr<Wave>> waves_;
  std::deque<std::shared_ptr<arrow::RecordBatch>> ready_;
  arrow::Status status_;  // the first error
};

}  // namespace

arrow::Result<std::shared_ptr<const PreparedQuery>> PreparedQuery::Make(std::shared_ptr<ChunkSource> source, Query query) {
  if (query.fill_max_age && *query.fill_max_age < 0) {
    return arrow::Status::Invalid("the maximal age for filling must not be negative: ", *query.fill_max_age);
  }
  if (query.index && query.using_index_values) {
    for (const auto& [segment, values] : *query.using_index_values) {
      for (const int64_t value : values) {
        if (value < kMinTime)
          return arrow::Status::Invalid("index value ", value, " of segment ", segment, " is not a time: it means static");
      }
    }
  }
  std::shared_ptr<PreparedQuery> prepared(new PreparedQuery());
  ARROW_ASSIGN_OR_RAISE(prepared->dataset_schema_, source->GetSchema());
  ARROW_ASSIGN_OR_RAISE(prepared->schema_, MakeQuerySchema(*prepared->dataset_schema_, query));
  prepared->source_ = std::move(source);
  prepared->query_ = std::move(query);
  return prepared;
}

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> PreparedQuery::Scan(std::optional<std::vector<std::string>> columns,
                                                                             std::optional<arrow::compute::Expression> filter,
                                                                             const ScanOptions& options) const {
  ARROW_ASSIGN_OR_RAISE(auto plan, ScanPlan::Make(source_, query_, dataset_schema_, schema_, columns, filter, options));
  return std::make_shared<ScanReader>(std::move(plan));
}

}  // namespace rushes
