// Small segments whose rows are plain to see, put together without a SegmentScan for each.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/query/chunk_source.h"
#include "rushes/query/scan_plan.h"
#include "rushes/query/segment_chunks.h"

namespace rushes {

// Collects segments in which everything was logged at the same times: each column is one chunk's, without nulls, and the rows are those of
// the chunks, one by one. Thousands of short episodes are of that kind, and what a SegmentScan costs would be most of their price. Whether
// rows are right is seen by comparing with SegmentScan, which must give the same (tests/cpp/query/random_test.cc). Not thread safe.
class AlignedRows {
 public:
  // Shared by all threads of a scan: whether it is worth to ask for bundles, of which those that turn out not to be aligned were read in
  // vain. Thread safe; of two counts at once one may be lost, which costs a trial.
  class Trials {
   public:
    bool may_try() const { return credit_.load(std::memory_order_relaxed) > 0; }
    void Count(bool success) {
      const int credit = credit_.load(std::memory_order_relaxed);
      credit_.store(success ? std::min(credit + 1, kMost) : credit - 1, std::memory_order_relaxed);
    }

   private:
    static constexpr int kMost = 4;
    std::atomic<int> credit_ = 2;
  };
  // `kind`: that of the plan, whose bundles are kept; null: none are.
  AlignedRows(std::shared_ptr<const ScanPlan> plan, Trials* trials, const ScanKind* kind = nullptr);

  // Whether a scan asks for nothing that only a SegmentScan does: filters, chosen index values, origin times, row ids.
  static bool Serve(const ScanPlan& plan);
  // Of one batch, but for the scan's own bounds.
  static constexpr int64_t kMaxRows = 8192;
  static constexpr int64_t kMaxBytes = int64_t{1} << 20;
  // Of a bundle: what its chunks take before they are decoded.
  static constexpr int64_t kMaxBundleBytes = int64_t{2} << 20;

  // Of a plan that is served: equal kinds take the same bundles and make the same batches.
  static ScanKind KindOf(const ScanPlan& plan);

  // Segments whose chunks the source reads as one (ChunkSource::FetchBundle), made into a batch of slices.
  struct Bundle {
    size_t num_segments = 0;
    std::shared_ptr<arrow::RecordBatch> batch;
  };
  // As many of the segments, from the first one on, as will do; none if the first must be added, or scanned, by itself.
  arrow::Result<Bundle> TakeBundle(std::span<const SegmentChunks> segments);

  enum class Answer {
    kTaken,
    kFull,        // not before those taken are finished
    kNotAligned,  // it is for SegmentScan
  };
  // Takes the segment, if it is of that kind; where the source knows sizes and times, that is seen before anything is fetched. Errors are
  // those of the source.
  arrow::Result<Answer> Add(const SegmentChunks& segment);

  // Of the segments taken since the last Finish.
  int64_t num_rows() const { return num_rows_; }
  // Their rows, in the order in which they were added; there must be one.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Finish();

 private:
  // How the chunks of one schema take part.
  struct Binding {
    std::shared_ptr<const ChunkSchema> schema;
    bool is_plain = true;  // has no clears and no types that must be adapted
    int timeline = -1;
    std::vector<int> other_timelines;  // per plan timeline: position in the chunk, or -1
    struct Source {
      int view;    // position in the plan's view
      int column;  // position in the chunk
    };
    std::vector<Source> sources;
  };
  struct Cells {
    ChunkPtr chunk;  // null: none
    int column = -1;
    int64_t static_row = -1;  // -1: all rows, one by one
  };
  struct Segment {
    std::string id;
    int64_t num_rows = 0;
    ChunkPtr index;                    // any chunk: its times are those of the rows
    int timeline = -1;                 // in that chunk
    std::vector<Cells> columns;        // per column in view
    std::vector<Cells> other_indexes;  // per plan timeline: `column` is the position of the timeline
  };

  // What is known of a segment before anything is fetched.
  struct Shape {
    std::vector<uint32_t> chunks;  // static ones first, then by entity
    int64_t num_bytes = 0;         // of all chunks that were found
    int64_t num_rows = -1;         // -1: not known
  };
  // The values of larger segments are not worth a copy.
  static constexpr int64_t kMaxSegmentBytes = kMaxBytes / 4;
  int64_t MaxRows() const { return std::min(kMaxRows, plan_->options.max_batch_rows); }
  // False: it is for SegmentScan.
  arrow::Result<bool> Examine(const SegmentChunks& segment, Shape* shape);
  const Binding& Bind(const std::shared_ptr<const ChunkSchema>& schema);
  bool TakeStatic(const ChunkPtr& chunk, const std::vector<uint8_t>& shows, Segment* out);
  bool TakeTemporal(const ChunkPtr& chunk, const std::vector<uint8_t>& shows, Segment* out);
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeBatch(const SegmentBundle& bundle, const std::vector<uint8_t>& shows,
                                                               bool* is_all_slices);
  arrow::Result<std::shared_ptr<arrow::Array>> MakeSegmentIds() const;
  arrow::Result<std::shared_ptr<arrow::Array>> MakeTimes(const std::shared_ptr<arrow::DataType>& type, std::optional<size_t> other) const;
  arrow::Result<std::shared_ptr<arrow::Array>> MakeCells(const std::shared_ptr<arrow::DataType>& type, size_t view) const;

  const std::shared_ptr<const ScanPlan> plan_;
  const bool needs_all_;  // every column in view
  Trials* const trials_;
  const ScanKind* const kind_;
  WantedEntities wanted_;
  std::unordered_map<const ChunkSchema*, Binding> bindings_;
  std::vector<Segment> segments_;
  int64_t num_rows_ = 0;
  int64_t num_bytes_ = 0;
};

}  // namespace rushes
