// What a SegmentScan holds while it runs, shared by the files that implement it: loading (segment_scan.cc), which rows there are and where
// their cells lie (segment_rows.cc), and the arrays made of them (segment_output.cc).
#pragma once

#include <algorithm>
#include <compare>
#include <memory>
#include <span>
#include <vector>

#include "arrow/array/array_nested.h"
#include "arrow/array/array_primitive.h"
#include "arrow/type_traits.h"
#include "rushes/query/segment_scan.h"

namespace rushes {

// How a row stands to another by their row ids.
inline std::strong_ordering CompareRowIds(const Chunk& a, int64_t a_row, const Chunk& b, int64_t b_row) {
  return a.row_id(a_row) <=> b.row_id(b_row);
}

// First position in [begin, end) of ascending values that is not less than `value`, searched from `begin` outward.
inline int64_t Gallop(const int64_t* values, int64_t begin, int64_t end, int64_t value) {
  int64_t step = 1, low = begin;
  while (low + step < end && values[low + step] < value) {
    low += step;
    step *= 2;
  }
  return std::lower_bound(values + low, values + std::min(end, low + step + 1), value) - values;
}

// Whether cells of a column are worth measuring: by their average, or because their size is not plain to see.
inline bool HasLargeCells(const arrow::ListArray& column) {
  const int64_t items = column.value_offset(column.length()) - column.value_offset(0);
  return items / std::max<int64_t>(1, column.length()) > 8 || !arrow::is_primitive(column.values()->type_id());
}

// A clear's value: true empties the descendants too.
inline bool IsRecursive(const arrow::ListArray& column, int64_t row) {
  if (column.value_length(row) == 0 || column.values()->type_id() != arrow::Type::BOOL) return false;
  const auto& values = static_cast<const arrow::BooleanArray&>(*column.values());
  return values.IsValid(column.value_offset(row)) && values.Value(column.value_offset(row));
}

// How the chunks of one schema take part in the scan.
struct SegmentScan::Binding {
  const ChunkSchema* schema;
  std::shared_ptr<const ChunkSchema> keep_alive;
  int timeline = -1;
  std::vector<int> other_timelines;  // per plan timeline: position in the chunk, or -1
  struct Source {
    int view;       // position in the plan's view
    int column;     // position in the chunk
    bool is_exact;  // of the view's type already
  };
  std::vector<Source> sources;  // columns in view that are not static here
  std::vector<int> source_of;   // per column in view: position in `sources`, or -1
  int clear_column = -1;
  std::vector<int> flat_cleared;       // columns in view that a clear of this entity empties
  std::vector<int> recursive_cleared;  // and those that a recursive one does
};

// A temporal chunk in memory.
struct SegmentScan::Loaded {
  ChunkPtr chunk;
  const Binding* binding = nullptr;
  std::vector<std::shared_ptr<arrow::ListArray>> columns;  // per source of the binding, of the view's type
  // The rows that count, by time: `order` lists them if they are not simply all rows in order.
  const int64_t* times = nullptr;
  int64_t length = 0;
  std::vector<int64_t> sorted_times;
  std::vector<int32_t> order;
  bool is_strict = false;  // no time occurs twice
  int64_t next = 0;        // rows before it are out
  // Which rows of the group its rows from `group_begin` on are, if that is known: from `group_row` on one by one, or as `group_rows` says.
  int64_t group_begin = 0;
  int64_t group_row = -1;               // -1: not so
  const int32_t* group_rows = nullptr;  // null: not so

  // The chunk's cells of a column in view, which it must have.
  const std::shared_ptr<arrow::ListArray>& column(size_t view) const { return columns[static_cast<size_t>(binding->source_of[view])]; }
  int64_t row(int64_t position) const { return order.empty() ? position : order[static_cast<size_t>(position)]; }
};

// The rows of a chunk that fall into a window.
struct SegmentScan::Part {
  uint32_t slot;
  int64_t begin, end;  // positions in the chunk's sorted rows
  // The first row of the window at or after each of them is `offset` further than the map says; without a map they are rows
  // [offset, offset + end - begin), one by one.
  int64_t offset = 0;
  const int32_t* map = nullptr;
  std::vector<int32_t> own_map = {};

  int64_t length() const { return end - begin; }
  bool is_dense() const { return map == nullptr; }
  int64_t window_row(int64_t k) const { return offset + (is_dense() ? k : map[k]); }
};

struct SegmentScan::ClearCell {
  int64_t window_row;  // the first at or after it; the number of rows if there is none
  int64_t time;
  bool is_exact;  // it is the time of that row
  uint32_t slot;
  int64_t row;
  bool is_recursive;
};

struct SegmentScan::Column {
  bool in_view = true;    // passes the view's rules in this segment
  bool has_rows = false;  // makes rows
  bool is_needed = false;
  bool has_large_cells = false;     // in a chunk loaded so far
  CellRef static_cell = kNullCell;  // its one value, in `static_column`
  std::shared_ptr<arrow::ListArray> static_column;
  std::shared_ptr<arrow::Array> static_rows;  // that value again and again, as many as a batch had at most
  CellRef carry = kNullCell;                  // the latest logged value before the window
};

// Rows of consecutive index values, while their cells are looked up.
struct SegmentScan::Window {
  std::span<const int64_t> times;
  int64_t first_row = 0;  // in the group
  int64_t bound;
  std::vector<Part> parts;
  std::vector<std::vector<int>> parts_of;                // per column in view: positions in `parts`
  std::vector<std::vector<const ClearCell*>> clears_of;  // per column in view
  std::vector<ClearCell> clears;
  std::vector<CellRuns> cells;  // per column in view that is computed
  std::vector<CellRef> carry;   // per column in view: after the window
  const Part* same = nullptr;   // a part whose rows are those of the window, one by one, and neighbours in their chunk
  // Bytes per row: of large cells (empty: none), and of static ones.
  std::vector<int64_t> row_bytes;
  int64_t static_bytes = 0;
  std::vector<int64_t> own_times;  // of rows picked from another window

  bool is_known(size_t view) const { return !cells[view].empty(); }
  CellSlice slice(size_t view, int64_t begin, int64_t end) const { return {cells[view], begin, end}; }
};

// Where the times of neighbouring rows on other timelines come from: the logged rows behind their cells.
struct SegmentScan::RowsBehind {
  // Rows of a chunk, one after another, as many as there are.
  struct Whole {
    const Loaded* loaded;
    int64_t row;  // the first

    int timeline(int position) const { return loaded->binding->other_timelines[static_cast<size_t>(position)]; }
    const int64_t* times(int timeline) const { return loaded->chunk->times(timeline) + row; }
  };
  std::vector<Whole> wholes;
  std::vector<CellSlice> others;  // columns of another kind
};

struct SegmentScan::PendingFetch {
  std::vector<uint32_t> chunks;                                     // positions in the segment's chunks
  std::vector<uint8_t> is_part;                                     // per chunk: fetched without the values of some components
  std::shared_ptr<std::vector<std::vector<FetchedChunk>>> results;  // per piece
  std::vector<uint32_t> piece_begin;                                // per piece, the first of `chunks`
  std::unique_ptr<WorkSet> work;                                    // null: not begun
  std::optional<std::vector<FetchedChunk>> found;                   // nothing had to be begun
  std::vector<ComponentList> values;                                // then: per chunk, the components that are needed
};

}  // namespace rushes
