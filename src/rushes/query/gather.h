// From the places of cells to arrays of their values.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "arrow/array/array_nested.h"
#include "arrow/result.h"
#include "arrow/type_fwd.h"
#include "rushes/query/cell_runs.h"

namespace rushes {

// The list column of the chunk in a slot, of the type that is gathered. Cells refer to its valid rows only.
using SlotColumn = std::function<const std::shared_ptr<arrow::ListArray>&(uint32_t slot)>;

// The cells as one array of `type` (List). A run of neighbouring rows of one chunk is a slice, everything else is copied, once.
// CapacityError if the values exceed what 32-bit offsets can address.
arrow::Result<std::shared_ptr<arrow::Array>> GatherCells(const std::shared_ptr<arrow::DataType>& type, const CellSlice& cells,
                                                         const SlotColumn& columns);

// Rows of an array: the array itself if they are all of it, since a slice costs some allocations.
template <typename Array>
std::shared_ptr<arrow::Array> SliceOf(const std::shared_ptr<Array>& array, int64_t begin, int64_t length) {
  return length == array->length() ? array : array->Slice(begin, length);
}

// Bytes the values of a cell take, about; nested values are estimated by the average of their chunk.
int64_t CellBytes(const arrow::ListArray& column, int64_t row);

}  // namespace rushes
