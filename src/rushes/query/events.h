// The cells of columns on the index: sorted, one per time. Private to query/.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rushes/query/gather.h"

namespace rushes {

// Cells by ascending, distinct times. A run of neighbouring rows of one chunk refers to the chunk's times without a copy.
// Move only: the spans may refer to the members.
class Events {
 public:
  Events() = default;
  Events(Events&&) = default;
  Events& operator=(Events&&) = default;
  Events(const Events&) = delete;

  // Rows `first_cell`, `first_cell + 1`, … at `times`, strictly ascending, which must outlive this.
  static Events Run(std::span<const int64_t> times, CellRef first_cell) {
    Events out;
    out.times_ = times;
    out.first_cell_ = first_cell;
    return out;
  }
  static Events Of(std::vector<int64_t> times, std::vector<CellRef> cells) {
    Events out;
    out.time_storage_ = std::move(times);
    out.cells_ = std::move(cells);
    out.times_ = out.time_storage_;
    out.is_run_ = false;
    return out;
  }

  bool empty() const { return times_.empty(); }
  int64_t size() const { return static_cast<int64_t>(times_.size()); }
  std::span<const int64_t> times() const { return times_; }
  CellRef cell(int64_t i) const { return is_run_ ? first_cell_ + i : cells_[static_cast<size_t>(i)]; }
  // Whether the cells are neighbours from cell(0) on.
  bool is_run() const { return is_run_; }
  std::span<const CellRef> cells() const { return cells_; }  // unless is_run()

 private:
  std::span<const int64_t> times_;
  bool is_run_ = true;
  CellRef first_cell_ = 0;
  std::vector<int64_t> time_storage_;
  std::vector<CellRef> cells_;
};

// Decides between two cells of one column and time.
class CellOrder {
 public:
  // The row ids of the chunk in each slot.
  explicit CellOrder(const std::vector<const uint8_t*>& row_ids) : row_ids_(row_ids) {}
  // True if `a` shows: the greater row id; then data before a clear; then the chunk in the lower slot (the earlier start).
  bool Wins(CellRef a, CellRef b) const;

 private:
  const std::vector<const uint8_t*>& row_ids_;
};

// One cell per time of any of the inputs. Disjoint inputs are concatenated; the others merged pairwise, smallest first.
Events MergeEvents(std::vector<Events> inputs, const CellOrder& order);

// The sorted union of ascending arrays of distinct times. Equal arrays are looked at once.
std::vector<int64_t> UniteTimes(std::vector<std::span<const int64_t>> arrays);

}  // namespace rushes
