#include "rushes/query/gather.h"

#include <cstring>
#include <limits>
#include <optional>
#include <unordered_map>
#include <vector>

#include "arrow/array/array_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/compute/exec.h"
#include "arrow/datum.h"
#include "arrow/type.h"
#include "arrow/util/bit_util.h"
#include "arrow/util/byte_size.h"

namespace rushes {
namespace {

constexpr int64_t kMaxOffset = std::numeric_limits<int32_t>::max();

// Bytes of one instance of a type without variable parts: numbers, and fixed-size lists of them.
std::optional<int64_t> InstanceWidth(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
      const auto width = InstanceWidth(*list.value_type());
      if (!width) return std::nullopt;
      return *width * list.list_size();
    }
    case arrow::Type::FIXED_SIZE_BINARY:
      return static_cast<const arrow::FixedSizeBinaryType&>(type).byte_width();
    case arrow::Type::UINT8:
    case arrow::Type::INT8:
    case arrow::Type::UINT16:
    case arrow::Type::INT16:
    case arrow::Type::UINT32:
    case arrow::Type::INT32:
    case arrow::Type::UINT64:
    case arrow::Type::INT64:
    case arrow::Type::HALF_FLOAT:
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
    case arrow::Type::TIME32:
    case arrow::Type::TIME64:
    case arrow::Type::TIMESTAMP:
    case arrow::Type::DURATION:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DECIMAL256:
      return static_cast<const arrow::FixedWidthType&>(type).bit_width() / 8;
    default:
      return std::nullopt;
  }
}

bool HasNulls(const arrow::ArrayData& data) {
  if (data.GetNullCount() != 0) return true;
  for (const auto& child : data.child_data) {
    if (HasNulls(*child)) return true;
  }
  return false;
}

// The bytes of instance 0 of an array with an InstanceWidth.
const uint8_t* InstanceBytes(const arrow::ArrayData& data) {
  if (data.type->id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(*data.type);
    const uint8_t* inner = InstanceBytes(*data.child_data[0]);
    return inner == nullptr ? nullptr : inner + data.offset * list.list_size() * *InstanceWidth(*list.value_type());
  }
  if (data.buffers[1] == nullptr) return nullptr;
  return data.buffers[1]->data() + data.offset * *InstanceWidth(*data.type);
}

// An array of `length` instances over their bytes.
std::shared_ptr<arrow::ArrayData> MakeInstances(const std::shared_ptr<arrow::DataType>& type, int64_t length,
                                                std::shared_ptr<arrow::Buffer> bytes) {
  if (type->id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(*type);
    auto child = MakeInstances(list.value_type(), length * list.list_size(), std::move(bytes));
    return arrow::ArrayData::Make(type, length, {nullptr}, {std::move(child)}, 0);
  }
  return arrow::ArrayData::Make(type, length, {nullptr, std::move(bytes)}, 0);
}

// Consecutive cells that are neighbouring rows of one chunk.
struct Run {
  int64_t begin;  // in the cells
  int64_t length;
  const arrow::ListArray* source;  // null: nulls or clears
  int64_t row;
};

std::vector<Run> FindRuns(std::span<const CellRef> cells, const SlotColumn& columns) {
  std::vector<Run> runs;
  const int64_t n = static_cast<int64_t>(cells.size());
  uint32_t last_slot = 0;
  const arrow::ListArray* last_source = nullptr;
  for (int64_t i = 0; i < n;) {
    const CellRef cell = cells[i];
    int64_t j = i + 1;
    if (cell == kNullCell || IsClear(cell)) {
      while (j < n && (cells[j] == kNullCell || IsClear(cells[j]))) ++j;
      runs.push_back({i, j - i, nullptr, 0});
    } else {
      while (j < n && cells[j] == cell + (j - i)) ++j;
      const uint32_t slot = CellSlot(cell);
      if (last_source == nullptr || slot != last_slot) {
        last_source = columns(slot).get();
        last_slot = slot;
      }
      runs.push_back({i, j - i, last_source, CellRow(cell)});
    }
    i = j;
  }
  return runs;
}

// The validity of the output: null where the cell is.
arrow::Result<std::shared_ptr<arrow::Buffer>> Validity(std::span<const CellRef> cells, int64_t* null_count) {
  *null_count = 0;
  for (const CellRef cell : cells) *null_count += cell == kNullCell;
  if (*null_count == 0) return nullptr;
  ARROW_ASSIGN_OR_RAISE(auto bits, arrow::AllocateEmptyBitmap(static_cast<int64_t>(cells.size())));
  uint8_t* const out = bits->mutable_data();
  for (size_t i = 0; i < cells.size(); ++i) {
    if (cells[i] != kNullCell) arrow::bit_util::SetBit(out, static_cast<int64_t>(i));
  }
  return std::shared_ptr<arrow::Buffer>(std::move(bits));
}

arrow::Status TooLarge(const arrow::DataType& type) {
  return arrow::Status::CapacityError("the values of a column of type ", type.ToString(),
                                      " exceed 2 GiB in one batch; ask for smaller batches");
}

// The offsets of the output lists; returns the number of items.
arrow::Result<int64_t> FillOffsets(const arrow::DataType& type, std::span<const Run> runs, int32_t* offsets) {
  int64_t total = 0;
  offsets[0] = 0;
  for (const Run& run : runs) {
    if (run.source == nullptr) {
      for (int64_t k = 1; k <= run.length; ++k) offsets[run.begin + k] = static_cast<int32_t>(total);
      continue;
    }
    const int32_t* const source = run.source->raw_value_offsets() + run.row;
    const int64_t shift = total - source[0];
    total += source[run.length] - source[0];
    if (total > kMaxOffset) return TooLarge(type);
    for (int64_t k = 1; k <= run.length; ++k) offsets[run.begin + k] = static_cast<int32_t>(source[k] + shift);
  }
  return total;
}

arrow::Result<std::shared_ptr<arrow::Array>> GatherFixed(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                         std::span<const Run> runs, int64_t width) {
  const int64_t n = static_cast<int64_t>(cells.size());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offset_buffer, arrow::AllocateBuffer((n + 1) * 4));
  auto* const offsets = reinterpret_cast<int32_t*>(offset_buffer->mutable_data());
  ARROW_ASSIGN_OR_RAISE(const int64_t total, FillOffsets(*type, runs, offsets));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(total * width));
  uint8_t* const out = values->mutable_data();
  const arrow::ListArray* last = nullptr;
  const uint8_t* bytes = nullptr;
  for (const Run& run : runs) {
    if (run.source == nullptr) continue;
    if (run.source != last) {
      last = run.source;
      bytes = InstanceBytes(*last->values()->data());
    }
    const int32_t* const source = last->raw_value_offsets() + run.row;
    const int64_t size = (source[run.length] - source[0]) * width;
    uint8_t* const to = out + offsets[run.begin] * width;
    const uint8_t* const from = bytes + source[0] * width;
    if (size == 8) {
      std::memcpy(to, from, 8);
    } else if (size == 4) {
      std::memcpy(to, from, 4);
    } else if (size != 0) {
      std::memcpy(to, from, static_cast<size_t>(size));
    }
  }
  int64_t null_count;
  ARROW_ASSIGN_OR_RAISE(auto validity, Validity(cells, &null_count));
  auto items = MakeInstances(type->field(0)->type(), total, std::move(values));
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(offset_buffer)}, {std::move(items)}, null_count));
}

// Lists of text or of binary with 32-bit offsets.
arrow::Result<std::shared_ptr<arrow::Array>> GatherBinary(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                          std::span<const Run> runs) {
  const int64_t n = static_cast<int64_t>(cells.size());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offset_buffer, arrow::AllocateBuffer((n + 1) * 4));
  auto* const offsets = reinterpret_cast<int32_t*>(offset_buffer->mutable_data());
  ARROW_ASSIGN_OR_RAISE(const int64_t total, FillOffsets(*type, runs, offsets));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> item_buffer, arrow::AllocateBuffer((total + 1) * 4));
  auto* const item_offsets = reinterpret_cast<int32_t*>(item_buffer->mutable_data());
  item_offsets[0] = 0;
  int64_t bytes = 0, items = 0;
  for (const Run& run : runs) {
    if (run.source == nullptr) continue;
    const int32_t* const rows = run.source->raw_value_offsets() + run.row;
    const auto& values = static_cast<const arrow::BinaryArray&>(*run.source->values());
    const int32_t* const source = values.raw_value_offsets() + rows[0];
    const int64_t count = rows[run.length] - rows[0];
    for (int64_t k = 1; k <= count; ++k) item_offsets[items + k] = static_cast<int32_t>(bytes + source[k] - source[0]);
    items += count;
    bytes += source[count] - source[0];
    if (bytes > kMaxOffset) return TooLarge(*type);
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> data, arrow::AllocateBuffer(bytes));
  uint8_t* to = data->mutable_data();
  for (const Run& run : runs) {
    if (run.source == nullptr) continue;
    const int32_t* const rows = run.source->raw_value_offsets() + run.row;
    const auto& values = static_cast<const arrow::BinaryArray&>(*run.source->values());
    const int32_t* const source = values.raw_value_offsets();
    const int64_t size = source[rows[run.length]] - source[rows[0]];
    if (size > 0) std::memcpy(to, values.raw_data() + source[rows[0]], static_cast<size_t>(size));
    to += size;
  }
  int64_t null_count;
  ARROW_ASSIGN_OR_RAISE(auto validity, Validity(cells, &null_count));
  auto item_data = arrow::ArrayData::Make(type->field(0)->type(), total, {nullptr, std::move(item_buffer), std::move(data)}, 0);
  return arrow::MakeArray(
      arrow::ArrayData::Make(type, n, {std::move(validity), std::move(offset_buffer)}, {std::move(item_data)}, null_count));
}

// Any other type, by Arrow's own kernel over the chunks put together.
arrow::Result<std::shared_ptr<arrow::Array>> GatherAny(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                       const SlotColumn& columns) {
  arrow::ArrayVector parts;
  std::unordered_map<uint32_t, int64_t> base;
  int64_t rows = 0, empty_row = -1;
  arrow::Int64Builder indices;
  ARROW_RETURN_NOT_OK(indices.Reserve(static_cast<int64_t>(cells.size())));
  for (const CellRef cell : cells) {
    if (cell == kNullCell) {
      indices.UnsafeAppendNull();
    } else if (IsClear(cell)) {
      if (empty_row < 0) {
        std::unique_ptr<arrow::ArrayBuilder> builder;
        ARROW_RETURN_NOT_OK(arrow::MakeBuilder(arrow::default_memory_pool(), type, &builder));
        ARROW_RETURN_NOT_OK(builder->AppendEmptyValue());
        ARROW_ASSIGN_OR_RAISE(auto empty, builder->Finish());
        parts.push_back(std::move(empty));
        empty_row = rows++;
      }
      indices.UnsafeAppend(empty_row);
    } else {
      const auto [it, added] = base.emplace(CellSlot(cell), rows);
      if (added) {
        const auto& column = columns(CellSlot(cell));
        parts.push_back(column);
        rows += column->length();
      }
      indices.UnsafeAppend(it->second + CellRow(cell));
    }
  }
  ARROW_ASSIGN_OR_RAISE(auto index_array, indices.Finish());
  std::shared_ptr<arrow::Array> values;
  if (parts.size() == 1) {
    values = parts[0];
  } else {
    ARROW_ASSIGN_OR_RAISE(values, arrow::Concatenate(parts));
  }
  ARROW_ASSIGN_OR_RAISE(const auto taken, arrow::compute::CallFunction("take", {values, index_array}));
  return taken.make_array();
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Array>> GatherCells(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                         const SlotColumn& columns) {
  const int64_t n = static_cast<int64_t>(cells.size());
  const std::vector<Run> runs = FindRuns(cells, columns);
  if (runs.size() == 1 && runs[0].source != nullptr) {
    return columns(CellSlot(cells[0]))->Slice(runs[0].row, n);
  }
  bool any = false, nested_nulls = false;
  const arrow::ListArray* last = nullptr;
  for (const Run& run : runs) {
    if (run.source == nullptr || run.source == last) continue;
    last = run.source;
    any = true;
    nested_nulls |= HasNulls(*last->values()->data());
  }
  if (!any) {
    bool all_null = true;
    for (const CellRef cell : cells) all_null &= cell == kNullCell;
    if (all_null) return arrow::MakeArrayOfNull(type, n);
  }
  const auto& item_type = *type->field(0)->type();
  if (!nested_nulls) {
    if (const auto width = InstanceWidth(item_type)) return GatherFixed(type, cells, runs, *width);
    if (item_type.id() == arrow::Type::STRING || item_type.id() == arrow::Type::BINARY) return GatherBinary(type, cells, runs);
  }
  return GatherAny(type, cells, columns);
}

int64_t CellBytes(const arrow::ListArray& column, int64_t row) {
  const int64_t count = column.value_length(row);
  const auto& items = *column.values();
  if (const auto width = InstanceWidth(*items.type())) return count * *width;
  if (items.type_id() == arrow::Type::STRING || items.type_id() == arrow::Type::BINARY) {
    const int32_t* const offsets = static_cast<const arrow::BinaryArray&>(items).raw_value_offsets();
    return offsets[column.value_offset(row) + count] - offsets[column.value_offset(row)];
  }
  return items.length() == 0 ? 0 : count * (arrow::util::TotalBufferSize(items) / items.length());
}

}  // namespace rushes
