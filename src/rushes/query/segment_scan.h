// The scan of one segment: chunks in, aligned rows out.
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/query/chunk_source.h"
#include "rushes/query/gather.h"
#include "rushes/query/merge_times.h"
#include "rushes/query/scan_plan.h"
#include "rushes/query/work_pool.h"

namespace rushes {

// Streams the rows of one segment in ascending index order. Not thread safe; uses up to `max_threads` shared threads inside.
//
// Chunks are loaded in the order of their first time. All rows before the first time of the next chunk not yet loaded (the frontier) are
// final: they are emitted, and chunks that lie before it entirely are let go. What a fill needs later is one cell per column. So
// memory follows the overlap of chunks in time, not the length of the recording.
//
// Within a window of rows, each column is one pass over its chunks' sorted times that leaves the places of its cells, run by run.
class SegmentScan {
 public:
  SegmentScan(std::shared_ptr<const ScanPlan> plan, SegmentChunks segment, int max_threads);
  ~SegmentScan();

  // The next batch of at least one row, or null at the end. Not to be called again after an error.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next();
  // Whether no row so far had cells worth counting, such as images or long static values.
  bool has_light_rows() const { return has_light_rows_; }

 private:
  friend class SegmentScanProbe;  // the micro-benchmarks call stages one by one

  struct Binding;
  struct Loaded;
  struct Part;
  struct ClearCell;
  struct Column;
  struct Window;
  struct RowsBehind;
  struct PendingFetch;

  // The times of rows: a list of its own, or those of chunks that follow each other, as they lie there.
  class GroupTimes {
   public:
    void Clear() { *this = {}; }
    TimeVector& own() { return own_; }
    // Of at least one row, after those added before.
    void Add(std::span<const int64_t> times) { parts_.push_back({size(), times}); }
    size_t size() const { return parts_.empty() ? own_.size() : parts_.back().begin + parts_.back().times.size(); }
    bool empty() const { return size() == 0; }
    // From a row on; where they lie in parts, to the end of its part.
    std::span<const int64_t> From(size_t row) const {
      if (parts_.empty()) return std::span(own_).subspan(row);
      const auto after =
          std::upper_bound(parts_.begin(), parts_.end(), row, [](size_t value, const PartOfTimes& part) { return value < part.begin; });
      const PartOfTimes& part = *std::prev(after);
      return part.times.subspan(row - part.begin);
    }

   private:
    struct PartOfTimes {
      size_t begin;
      std::span<const int64_t> times;
    };
    TimeVector own_;
    std::vector<PartOfTimes> parts_;
  };

  arrow::Status Open();
  arrow::Result<bool> OpenStatic(std::vector<uint32_t> chunks);
  void KeepWhereNotNull();
  ComponentList NeededValues(uint32_t chunk) const;
  std::unique_ptr<PendingFetch> StartFetch(std::vector<uint32_t> chunks) const;
  void CountFetch(const PendingFetch& fetch) const;
  arrow::Result<std::vector<FetchedChunk>> FinishFetch(PendingFetch* fetch) const;
  arrow::Result<std::vector<uint32_t>> NextGroup();
  arrow::Status LoadGroup();
  arrow::Status AddTemporal(ChunkPtr chunk, std::optional<uint32_t> part);
  arrow::Result<const Binding*> Bind(const ChunkPtr& chunk);
  arrow::Status FindStaticCells(const PendingFetch& fetch, const std::vector<FetchedChunk>& chunks);
  bool IsLogged(uint32_t chunk, std::string_view component) const;
  arrow::Status CollectTimes(int64_t bound, GroupTimes* times);
  void OrderActive();
  arrow::Status BeginGroup();
  arrow::Status NextWindow();
  arrow::Status EndGroup();
  arrow::Status ProcessWindow(std::span<const int64_t> times, int64_t bound, size_t first_row = 0);
  bool HasGroupRows(const Loaded& loaded) const;
  void PlacePart(const Window& window, Part* part) const;
  void ComputeColumn(int position, Window* window) const;
  bool TakeTurns(std::span<const int> parts, const Window& window) const;
  void FollowParts(int position, Window* window) const;
  void ComputeCells(int position, Window* window) const;
  int64_t TimeOf(CellRef cell) const;
  int64_t FirstOlder(const Window& window, CellRef cell, int64_t begin, int64_t end) const;
  void MeasureRows(Window* window);
  void BeginStaticRow();
  arrow::Result<std::shared_ptr<arrow::Array>> MakeOutput(const ScanPlan::Output& output, const Window& window, int64_t begin,
                                                          int64_t end) const;
  RowsBehind FindRowsBehind(const Window& window, int64_t begin, int64_t end) const;
  std::shared_ptr<arrow::Array> SliceOtherIndex(int position, const RowsBehind& rows, int64_t n) const;
  arrow::Result<std::shared_ptr<arrow::Array>> MakeOtherIndex(int position, const RowsBehind& rows, int64_t n) const;
  arrow::Result<std::shared_ptr<arrow::Array>> MakeOriginTimes(const ScanPlan::Output& output, const Window& window, int64_t begin,
                                                               int64_t end) const;
  arrow::Result<std::shared_ptr<arrow::Array>> MakeRowIds(const Window& window, int64_t begin, int64_t end) const;
  int64_t BatchEnd(const Window& window, int64_t begin) const;
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeBatch(const Window& window, int64_t begin, int64_t end);
  arrow::Status KeepCarried();
  void ReleaseChunks();

  const std::shared_ptr<const ScanPlan> plan_;
  const std::shared_ptr<const SegmentChunks> segment_;
  const int max_threads_;
  bool is_open_ = false;
  bool has_light_rows_ = true;

  std::vector<Column> columns_;  // one per column in view
  std::unordered_map<const ChunkSchema*, std::unique_ptr<Binding>> bindings_;
  std::vector<Loaded> slots_;     // every chunk loaded so far; those let go are empty
  std::vector<uint32_t> active_;  // slots that have rows to come
  // Of `active_`, in the group at work: those before `first_active_` have none any more; `earliest_[i]` is the least time of any row to
  // come of the i-th and those after it, as it was when the group began. So a window looks at few of them.
  size_t first_active_ = 0;
  std::vector<int64_t> earliest_;
  std::vector<uint32_t> held_;     // slots with a chunk, the active ones among them
  std::vector<uint32_t> pending_;  // positions of temporal chunks to load, by first time
  size_t next_pending_ = 0;
  int64_t group_bytes_ = 0;
  int64_t active_bytes_ = 0;
  bool clears_possible_ = false;

  std::unique_ptr<PendingFetch> prefetch_;  // the next group, on its way

  std::vector<int64_t> samples_;  // of using_index_values
  size_t next_sample_ = 0;
  // Rows outside cannot pass the filter; nor can those whose times are not among the points.
  int64_t row_start_ = kMinTime;
  int64_t row_end_ = kMaxTime;
  const std::vector<int64_t>* row_points_ = nullptr;
  // Rows are a choice among the times of the data: a row may come after several cells, of which the latest counts.
  bool is_sampled_ = false;
  int64_t emitted_bound_ = kMinTime - 1;  // rows up to here are out

  // The rows of the chunks loaded so far, cut into windows; the window at work, of which batches are made as they are asked for.
  bool in_group_ = false;
  GroupTimes group_times_;
  bool rows_are_those_of_chunks_ = false;      // Loaded::group_row and group_rows hold
  std::shared_ptr<arrow::Buffer> group_rows_;  // what the latter point into
  int64_t group_bound_ = 0;
  size_t next_row_ = 0;
  std::unique_ptr<Window> window_;
  int64_t window_row_ = 0;
  std::shared_ptr<arrow::Array> segment_ids_;  // as many as a batch had at most
};

}  // namespace rushes
