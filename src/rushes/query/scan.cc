// The execution of a scan: finds chunks, reads ahead within the budget, and emits the rows of segment after segment.

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>

#include "arrow/record_batch.h"
#include "rushes/query/plan.h"
#include "rushes/query/segment_scan.h"
#include "rushes/query/work_pool.h"

namespace rushes {
namespace {

// Fetched at once; small enough to overlap fetching and computing, large enough to make a request worth it.
constexpr int64_t kUnitBytes = int64_t{8} << 20;
constexpr int64_t kFirstUnitBytes = int64_t{1} << 20;
constexpr int64_t kMinUnitBytes = int64_t{64} << 10;
constexpr size_t kMaxUnitsAhead = 4;
constexpr size_t kMaxPartsPerUnit = 64;
// The first batch is small so that it leaves soon.
constexpr int64_t kFirstBatchRows = 8192;

class ScanReader final : public arrow::RecordBatchReader {
 public:
  explicit ScanReader(std::shared_ptr<const ScanPlan> plan) : plan_(std::move(plan)) {
    threads_ = plan_->options.max_parallelism > 0 ? std::min(plan_->options.max_parallelism, WorkParallelism()) : WorkParallelism();
  }
  ~ScanReader() override { ARROW_UNUSED(Close()); }

  std::shared_ptr<arrow::Schema> schema() const override { return plan_->schema; }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    batch->reset();
    while (ready_.empty()) {
      ARROW_RETURN_NOT_OK(status_);
      if (is_finished_ && step_ == nullptr) return arrow::Status::OK();
      if (step_ != nullptr) {
        status_ = step_->Wait();
        step_.reset();
        std::move(stepped_.begin(), stepped_.end(), std::back_inserter(ready_));
        stepped_.clear();
      } else {
        std::vector<std::shared_ptr<arrow::RecordBatch>> made;
        status_ = Step(&made);
        std::move(made.begin(), made.end(), std::back_inserter(ready_));
      }
      // The next batches are made while the reader works on these.
      if (status_.ok() && !is_finished_ && threads_ > 1) {
        step_ = std::make_unique<WorkSet>(std::vector<WorkSet::Piece>{[this] { return Step(&stepped_); }});
        step_->Start(1);
      }
    }
    *batch = std::move(ready_.front());
    ready_.pop_front();
    return arrow::Status::OK();
  }

  arrow::Status Close() override {
    is_cancelled_ = true;
    if (step_ != nullptr) {
      step_->Cancel();
      ARROW_UNUSED(step_->Wait());
      step_.reset();
    }
    for (auto& unit : units_) Cancel(unit.get());
    units_.clear();
    pending_.clear();
    planning_.reset();
    found_.clear();
    ready_.clear();
    stepped_.clear();
    is_finished_ = true;
    return arrow::Status::OK();
  }

 private:
  // A load of a segment.
  struct Part {
    std::shared_ptr<SegmentScan> segment;
    SegmentScan::Load load;
    std::vector<ChunkPtr> chunks;
  };
  // What is fetched together: several small segments, or a piece of a large one.
  struct Unit {
    std::vector<Part> parts;
    int64_t bytes = 0;
    std::unique_ptr<WorkSet> fetch;
    bool is_started = false;
  };
  // A segment whose window is being emitted.
  struct Pending {
    std::shared_ptr<SegmentScan> segment;
    std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  };

  static void Cancel(Unit* unit) {
    if (unit->fetch == nullptr) return;
    unit->fetch->Cancel();
    ARROW_UNUSED(unit->fetch->Wait());
  }

  // Makes at least one batch, or finishes.
  arrow::Status Step(std::vector<std::shared_ptr<arrow::RecordBatch>>* out) {
    while (out->empty()) {
      if (is_cancelled_) return arrow::Status::Cancelled("the scan was cancelled");
      if (pending_.empty()) {
        ARROW_RETURN_NOT_OK(NextWindow());
        if (pending_.empty()) {
          is_finished_ = true;
          return arrow::Status::OK();
        }
      }
      Pending& first = pending_.front();
      if (!first.batches.empty()) {
        *out = std::move(first.batches);
        first.batches.clear();
      } else if (first.segment->rows_left() > 0) {
        const bool is_first = !has_emitted_;
        ARROW_RETURN_NOT_OK(first.segment->Emit(is_first ? 1 : 2 * threads_, is_first ? kFirstBatchRows : plan_->options.max_batch_rows,
                                                threads_, out));
      } else {
        ARROW_RETURN_NOT_OK(first.segment->EndWindow());
        pending_.pop_front();
      }
      has_emitted_ |= !out->empty();
    }
    return arrow::Status::OK();
  }

  arrow::Status NextWindow() {
    ARROW_RETURN_NOT_OK(ReadAhead(0));
    if (units_.empty()) return arrow::Status::OK();
    std::unique_ptr<Unit> unit = std::move(units_.front());
    units_.pop_front();
    const auto status = unit->fetch->Wait();
    if (!status.ok()) return status;
    ARROW_RETURN_NOT_OK(ReadAhead(unit->bytes));

    std::vector<Pending> begun(unit->parts.size());
    ARROW_RETURN_NOT_OK(ParallelFor(static_cast<int>(unit->parts.size()), threads_, [&](int i) -> arrow::Status {
      Part& part = unit->parts[static_cast<size_t>(i)];
      Pending& pending = begun[static_cast<size_t>(i)];
      pending.segment = part.segment;
      if (is_cancelled_ || part.segment->is_done()) return arrow::Status::OK();
      ARROW_RETURN_NOT_OK(part.segment->BeginWindow(part.load, std::move(part.chunks)));
      if (part.segment->held_bytes() > plan_->options.memory_budget) {
        return arrow::Status::CapacityError("the memory budget of the scan, ", plan_->options.memory_budget,
                                            " bytes, is too small for segment \"", part.segment->found().segment_id,
                                            "\": its chunks that overlap in time need ", part.segment->held_bytes(), " bytes");
      }
      if (unit->parts.size() > 1) {
        ARROW_RETURN_NOT_OK(part.segment->Emit(2, plan_->options.max_batch_rows, 1, &pending.batches));
        if (part.segment->rows_left() == 0) ARROW_RETURN_NOT_OK(part.segment->EndWindow());
      }
      return arrow::Status::OK();
    }));
    for (Pending& pending : begun) pending_.push_back(std::move(pending));
    return arrow::Status::OK();
  }

  // Starts fetching as far ahead as the budget allows; `bytes` are in other hands.
  arrow::Status ReadAhead(int64_t bytes) {
    int64_t held = bytes;
    for (const Pending& pending : pending_) held += pending.segment->held_bytes();
    for (const auto& unit : units_) held += unit->bytes;
    while (true) {
      if (!units_.empty() && !units_.back()->is_started) {
        // It has been planned, but there was no room for it. The first one is needed in any case.
        if (units_.size() > 1 && held > plan_->options.memory_budget) return arrow::Status::OK();
        Start(units_.back().get());
      }
      if (units_.size() >= kMaxUnitsAhead) return arrow::Status::OK();
      if (held > plan_->options.memory_budget / 2 && !(units_.empty() && bytes == 0)) return arrow::Status::OK();
      ARROW_ASSIGN_OR_RAISE(auto unit, NextUnit());
      if (unit == nullptr) return arrow::Status::OK();
      held += unit->bytes;
      units_.push_back(std::move(unit));
    }
  }

  void Start(Unit* unit) {
    unit->is_started = true;
    std::vector<WorkSet::Piece> pieces;
    for (Part& part : unit->parts) {
      if (part.load.chunks.empty()) continue;
      pieces.push_back([&part, source = plan_->source, this]() -> arrow::Status {
        if (is_cancelled_) return arrow::Status::OK();
        ARROW_ASSIGN_OR_RAISE(part.chunks, source->FetchChunks(part.segment->found(), part.load.chunks));
        return arrow::Status::OK();
      });
    }
    unit->fetch = std::make_unique<WorkSet>(std::move(pieces));
    if (threads_ > 1) unit->fetch->StartReading();
  }

  // The next unit to fetch, or null.
  arrow::Result<std::unique_ptr<Unit>> NextUnit() {
    const int64_t target =
        std::max(kMinUnitBytes, std::min(has_planned_ ? kUnitBytes : kFirstUnitBytes, plan_->options.memory_budget / 16));
    has_planned_ = true;
    auto unit = std::make_unique<Unit>();
    const auto add = [&](std::shared_ptr<SegmentScan> segment, SegmentScan::Load load) {
      unit->bytes += load.bytes;
      unit->parts.push_back({std::move(segment), std::move(load), {}});
    };
    while (planning_ == nullptr) {
      if (found_.empty()) {
        ARROW_ASSIGN_OR_RAISE(const bool any, FindMore());
        if (!any) break;
        continue;
      }
      auto segment = std::make_shared<SegmentScan>(plan_, std::move(found_.front()));
      found_.pop_front();
      const bool is_small = segment->remaining_bytes() <= target;
      if (is_small && unit->bytes + segment->remaining_bytes() <= target && unit->parts.size() < kMaxPartsPerUnit) {
        auto load = segment->NextLoad(kMaxTime / 8);
        add(std::move(segment), std::move(*load));
        continue;
      }
      planning_ = std::move(segment);
    }
    if (!unit->parts.empty()) return unit;
    if (planning_ == nullptr) return nullptr;
    auto load = planning_->NextLoad(target);
    const bool is_last = load->is_last;
    add(planning_, std::move(*load));
    if (is_last) planning_.reset();
    return unit;
  }

  arrow::Result<bool> FindMore() {
    if (!has_listed_) {
      has_listed_ = true;
      const Query& query = plan_->query;
      if (query.segments) {
        ids_ = *query.segments;
      } else if (query.using_index_values) {
        for (const auto& [id, values] : *query.using_index_values) ids_.push_back(id);
      } else {
        ARROW_ASSIGN_OR_RAISE(ids_, plan_->source->ListSegments());
      }
      const FilterBounds bounds = plan_->bounds();
      std::erase_if(ids_, [&](const std::string& id) {
        return (bounds.segments && !bounds.segments->contains(id)) ||
               (query.using_index_values && !query.using_index_values->contains(id));
      });
      if (bounds.is_empty() || plan_->entities.empty()) {
        // Without columns only asked-for rows can exist.
        if (bounds.is_empty() || !query.using_index_values || !query.index) ids_.clear();
      }
      std::sort(ids_.begin(), ids_.end());
      ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
    }
    if (next_id_ >= ids_.size()) return false;
    const size_t end = std::min(ids_.size(), next_id_ + find_count_);
    find_count_ = std::min<size_t>(find_count_ * 4, 256);
    std::vector<std::string> wanted(ids_.begin() + static_cast<int64_t>(next_id_), ids_.begin() + static_cast<int64_t>(end));
    next_id_ = end;
    ARROW_ASSIGN_OR_RAISE(auto found, plan_->source->FindChunks(MakeSelection(*plan_, wanted)));
    std::map<std::string, SegmentChunks> by_id;
    for (SegmentChunks& segment : found) {
      if (!std::binary_search(wanted.begin(), wanted.end(), segment.segment_id)) continue;
      std::string id = segment.segment_id;
      by_id.emplace(std::move(id), std::move(segment));
    }
    for (auto& [id, segment] : by_id) found_.push_back(std::move(segment));
    return true;
  }

  const std::shared_ptr<const ScanPlan> plan_;
  int threads_ = 1;
  std::atomic<bool> is_cancelled_ = false;

  // Of the thread that reads.
  std::deque<std::shared_ptr<arrow::RecordBatch>> ready_;
  arrow::Status status_;
  std::unique_ptr<WorkSet> step_;

  // Of the step: of the thread that reads while there is none.
  std::vector<std::shared_ptr<arrow::RecordBatch>> stepped_;
  bool is_finished_ = false;
  bool has_emitted_ = false, has_planned_ = false, has_listed_ = false;
  std::vector<std::string> ids_;
  size_t next_id_ = 0, find_count_ = 16;
  std::deque<SegmentChunks> found_;
  std::shared_ptr<SegmentScan> planning_;
  std::deque<std::unique_ptr<Unit>> units_;
  std::deque<Pending> pending_;
};

}  // namespace

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> StartScan(std::shared_ptr<const ScanPlan> plan) {
  return std::make_shared<ScanReader>(std::move(plan));
}

}  // namespace rushes
