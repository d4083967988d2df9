// Where the values of output cells lie.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace rushes {

// The place of the value of one output cell: a row of a chunk, named by the slot the scan loaded it into.
using CellRef = int64_t;
inline constexpr CellRef kNullCell = -1;
// Set for the cell of a clear: its place is that of the clear's row, its value is `[]`.
inline constexpr CellRef kClearFlag = CellRef{1} << 62;

inline CellRef MakeCell(uint32_t slot, int64_t row) { return (CellRef{slot} << 32) | row; }
inline bool IsClear(CellRef cell) { return (cell & kClearFlag) != 0; }
inline uint32_t CellSlot(CellRef cell) { return static_cast<uint32_t>((cell & ~kClearFlag) >> 32); }
inline int64_t CellRow(CellRef cell) { return cell & 0xFFFFFFFF; }

// Neighbouring output rows: the same cell repeated, as nulls, fills and static values are, or the rows of a chunk one after another.
struct CellRun {
  CellRef first;
  int32_t end;   // the row after its last one; it begins where the run before it ends
  int32_t step;  // from each cell to the next: 0 or 1
};

// The cells of a column, row by row. Of signals that take turns and are filled it holds one run per logged value, not per output row.
class CellRuns {
 public:
  bool empty() const { return runs_.empty(); }
  int64_t length() const { return runs_.empty() ? 0 : runs_.back().end; }
  std::span<const CellRun> runs() const { return runs_; }

  void Reserve(int64_t num_runs) { runs_.reserve(static_cast<size_t>(num_runs)); }
  // Adds the rows up to `end`, all with the same cell.
  void Repeat(CellRef cell, int64_t end) { Append(cell, end, 0); }
  // Adds the rows up to `end`: rows of a chunk, from that of `first` on.
  void Follow(CellRef first, int64_t end) { Append(first, end, 1); }
  // Adds single cells.
  void Add(std::span<const CellRef> cells) {
    int64_t end = length();
    for (const CellRef cell : cells) Append(cell, ++end, 0);
  }

  // The rows of the ranges [begin, end), ascending, as a column of their own.
  CellRuns Pick(std::span<const std::pair<int64_t, int64_t>> ranges) const;

  // Joins what continues the last run: cells in a chunk's order are one run however they were added.
  void Append(CellRef first, int64_t end, int32_t step) {
    const int64_t begin = length();
    if (end == begin) return;
    if (!runs_.empty()) {
      CellRun& last = runs_.back();
      const int64_t last_length = begin - last_begin_;
      const int64_t step_to_first = first - (last.first + last.step * (last_length - 1));
      const bool is_step = step_to_first == 0 || (step_to_first == 1 && last.first != kNullCell);
      if (is_step && (last_length == 1 || last.step == step_to_first) && (end - begin == 1 || step == step_to_first)) {
        last.step = static_cast<int32_t>(step_to_first);
        last.end = static_cast<int32_t>(end);
        return;
      }
    }
    Begin(first, end, step);
  }
  // Adds a run that is not looked at for whether it continues the last one.
  void Begin(CellRef first, int64_t end, int32_t step) {
    last_begin_ = length();
    runs_.push_back({first, static_cast<int32_t>(end), step});
  }

 private:
  std::vector<CellRun> runs_;
  int64_t last_begin_ = 0;
};

// Rows [begin, end) of a column, to be gone through run by run.
class CellSlice {
 public:
  struct Piece {
    int64_t begin;  // from the start of the slice
    int64_t length;
    CellRef first;
    int64_t step;

    bool is_null() const { return first == kNullCell; }
    bool has_no_items() const { return first == kNullCell || IsClear(first); }
    CellRef cell(int64_t position) const { return first + step * position; }
  };

  CellSlice(const CellRuns& cells, int64_t begin, int64_t end) : runs_(cells.runs()), begin_(begin), end_(end) {
    const auto is_before = [](const CellRun& run, int64_t row) { return run.end <= row; };
    const auto first = std::lower_bound(runs_.begin(), runs_.end(), begin, is_before);
    first_begin_ = first == runs_.begin() ? 0 : (first - 1)->end;
    runs_ = {first, runs_.end()};
  }

  int64_t length() const { return end_ - begin_; }

  class Iterator {
   public:
    Piece operator*() const {
      const CellRun& run = *run_;
      return {row_ - slice_->begin_, std::min<int64_t>(run.end, slice_->end_) - row_, run.first + run.step * (row_ - run_begin_), run.step};
    }
    Iterator& operator++() {
      row_ = run_begin_ = run_->end;
      ++run_;
      return *this;
    }
    bool operator!=(int64_t end) const { return row_ < end; }

   private:
    friend class CellSlice;
    Iterator(const CellSlice* slice, const CellRun* run, int64_t run_begin)
        : slice_(slice), run_(run), run_begin_(run_begin), row_(slice->begin_) {}
    const CellSlice* slice_;
    const CellRun* run_;
    int64_t run_begin_;
    int64_t row_;
  };
  Iterator begin() const { return {this, runs_.data(), first_begin_}; }
  int64_t end() const { return end_; }

 private:
  std::span<const CellRun> runs_;  // from the one that holds row `begin` on
  int64_t begin_, end_;
  int64_t first_begin_;
};

inline CellRuns CellRuns::Pick(std::span<const std::pair<int64_t, int64_t>> ranges) const {
  CellRuns picked;
  int64_t end = 0;
  for (const auto& [from, to] : ranges) {
    for (const CellSlice::Piece piece : CellSlice(*this, from, to)) {
      picked.Append(piece.first, end += piece.length, static_cast<int32_t>(piece.step));
    }
  }
  return picked;
}

}  // namespace rushes
