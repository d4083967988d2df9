// From the places of cells to arrays of their values.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "arrow/array/array_nested.h"
#include "arrow/result.h"
#include "arrow/type_fwd.h"

namespace rushes {

// Where the value of one output cell lies: a row of a chunk, named by the slot the scan loaded it into.
using CellRef = int64_t;
inline constexpr CellRef kNullCell = -1;
// Set for the cell of a clear: its place is that of the clear's row, its value is `[]`.
inline constexpr CellRef kClearFlag = CellRef{1} << 62;

inline CellRef MakeCell(uint32_t slot, int64_t row) { return (CellRef{slot} << 32) | row; }
inline bool IsClear(CellRef cell) { return (cell & kClearFlag) != 0; }
inline uint32_t CellSlot(CellRef cell) { return static_cast<uint32_t>((cell & ~kClearFlag) >> 32); }
inline int64_t CellRow(CellRef cell) { return cell & 0xFFFFFFFF; }

// The list column of the chunk in a slot, of the type that is gathered. Cells refer to its valid rows only.
using SlotColumn = std::function<const std::shared_ptr<arrow::ListArray>&(uint32_t slot)>;

// The cells as one array of `type` (List). A run of neighbouring rows of one chunk is a slice, everything else is copied, once.
// CapacityError if the values exceed what 32-bit offsets can address.
arrow::Result<std::shared_ptr<arrow::Array>> GatherCells(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                         const SlotColumn& columns);

// Bytes the values of a cell take, about; nested values are estimated by the average of their chunk.
int64_t CellBytes(const arrow::ListArray& column, int64_t row);

}  // namespace rushes
