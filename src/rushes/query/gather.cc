#include "rushes/query/gather.h"

#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "arrow/array/array_binary.h"
#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/type.h"
#include "arrow/util/bit_util.h"
#include "arrow/util/bitmap_ops.h"
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

// Cells of at most one number each, the common case of signals: one pass, and what is repeated, as fills are, is looked up once.
// nullptr if a cell has several instances or nulls among them.
template <typename Value>
arrow::Result<std::shared_ptr<arrow::Array>> GatherNumbers(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                           const SlotColumn& columns) {
  const int64_t n = static_cast<int64_t>(cells.size());
  if (n > kMaxOffset) return TooLarge(*type);
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offset_buffer, arrow::AllocateBuffer((n + 1) * 4));
  ARROW_ASSIGN_OR_RAISE(auto value_buffer, arrow::AllocateResizableBuffer(n * static_cast<int64_t>(sizeof(Value))));
  auto* offsets = reinterpret_cast<int32_t*>(offset_buffer->mutable_data());
  auto* const values = reinterpret_cast<Value*>(value_buffer->mutable_data());
  std::shared_ptr<arrow::Buffer> validity;  // made when the first null comes
  uint8_t* bits = nullptr;
  int64_t nulls = 0;
  int32_t total = 0;
  *offsets++ = 0;
  bool knows_slot = false;
  uint32_t slot = 0;
  const int32_t* rows = nullptr;
  const Value* items = nullptr;
  for (int64_t i = 0; i < n;) {
    const CellRef cell = cells[static_cast<size_t>(i)];
    if (cell == kNullCell || IsClear(cell)) {
      int64_t j = i + 1;
      while (j < n && cells[static_cast<size_t>(j)] == cell) ++j;
      if (cell == kNullCell) {
        if (bits == nullptr) {
          ARROW_ASSIGN_OR_RAISE(validity, arrow::AllocateBitmap(n));
          bits = validity->mutable_data();
          std::memset(bits, 0xff, static_cast<size_t>(validity->size()));
        }
        arrow::bit_util::SetBitsTo(bits, i, j - i, false);
        nulls += j - i;
      }
      for (; i < j; ++i) *offsets++ = total;
      continue;
    }
    if (!knows_slot || CellSlot(cell) != slot) {
      slot = CellSlot(cell);
      knows_slot = true;
      const arrow::ListArray& column = *columns(slot);
      const arrow::ArrayData& data = *column.values()->data();
      if (data.GetNullCount() != 0) return nullptr;
      rows = column.raw_value_offsets();
      items = data.GetValues<Value>(1);
    }
    const int64_t row = CellRow(cell);
    const int32_t at = rows[row], length = rows[row + 1] - at;
    if (length > 1) return nullptr;
    if (length == 0) {
      *offsets++ = total;
      ++i;
      continue;
    }
    const Value value = items[at];
    do {
      values[total++] = value;
      *offsets++ = total;
      ++i;
    } while (i < n && cells[static_cast<size_t>(i)] == cell);
  }
  if (total < n) ARROW_RETURN_NOT_OK(value_buffer->Resize(total * static_cast<int64_t>(sizeof(Value)), /*shrink_to_fit=*/total < n / 2));
  auto data = arrow::ArrayData::Make(type->field(0)->type(), total, {nullptr, std::shared_ptr<arrow::Buffer>(std::move(value_buffer))}, 0);
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(offset_buffer)}, {std::move(data)}, nulls));
}

// Neighbouring instances of an array.
struct InstanceRange {
  std::shared_ptr<arrow::ArrayData> source;
  int64_t begin;  // from the array's own start
  int64_t length;
};

arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherInstances(const std::shared_ptr<arrow::DataType>& type,
                                                                 const std::vector<InstanceRange>& ranges);

// Offsets of lists or text of the ranges, and what they hold: `held(source, begin, length)` is called with the positions they refer to.
template <typename Offset, typename Held>
arrow::Result<std::shared_ptr<arrow::Buffer>> GatherOffsets(const arrow::DataType& type, const std::vector<InstanceRange>& ranges,
                                                            int64_t total, const Held& held) {
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer, arrow::AllocateBuffer((total + 1) * static_cast<int64_t>(sizeof(Offset))));
  auto* to = reinterpret_cast<Offset*>(buffer->mutable_data());
  int64_t end = 0;
  *to++ = 0;
  for (const InstanceRange& range : ranges) {
    const Offset* const from = range.source->template GetValues<Offset>(1) + range.begin;
    const int64_t shift = end - from[0];
    const int64_t count = from[range.length] - from[0];
    end += count;
    if (end > std::numeric_limits<Offset>::max()) return TooLarge(type);
    for (int64_t k = 1; k <= range.length; ++k) *to++ = static_cast<Offset>(from[k] + shift);
    if (count > 0) held(range, static_cast<int64_t>(from[0]), count);
  }
  return buffer;
}

template <typename Offset>
arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherLists(const std::shared_ptr<arrow::DataType>& type,
                                                             const std::vector<InstanceRange>& ranges, int64_t total) {
  std::vector<InstanceRange> items;
  ARROW_ASSIGN_OR_RAISE(auto offsets,
                        GatherOffsets<Offset>(*type, ranges, total, [&](const InstanceRange& range, int64_t begin, int64_t length) {
                          items.push_back({range.source->child_data[0], begin, length});
                        }));
  ARROW_ASSIGN_OR_RAISE(auto child, GatherInstances(type->field(0)->type(), items));
  return arrow::ArrayData::Make(type, total, {nullptr, std::move(offsets)}, {std::move(child)}, 0);
}

template <typename Offset>
arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherText(const std::shared_ptr<arrow::DataType>& type,
                                                            const std::vector<InstanceRange>& ranges, int64_t total) {
  std::vector<std::span<const uint8_t>> pieces;
  int64_t bytes = 0;
  ARROW_ASSIGN_OR_RAISE(auto offsets,
                        GatherOffsets<Offset>(*type, ranges, total, [&](const InstanceRange& range, int64_t begin, int64_t length) {
                          pieces.emplace_back(range.source->buffers[2]->data() + begin, static_cast<size_t>(length));
                          bytes += length;
                        }));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> data, arrow::AllocateBuffer(bytes));
  uint8_t* to = data->mutable_data();
  for (const auto& piece : pieces) {
    std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
  return arrow::ArrayData::Make(type, total, {nullptr, std::move(offsets), std::move(data)}, 0);
}

// Instances of any type, null where the source is. Each is copied once; only types that Rerun has no use for take Arrow's own way.
arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherInstances(const std::shared_ptr<arrow::DataType>& type,
                                                                 const std::vector<InstanceRange>& ranges) {
  int64_t total = 0;
  bool has_nulls = false;
  for (const InstanceRange& range : ranges) {
    total += range.length;
    has_nulls |= range.source->MayHaveNulls();
  }
  std::shared_ptr<arrow::ArrayData> out;
  switch (type->id()) {
    case arrow::Type::LIST: {
      ARROW_ASSIGN_OR_RAISE(out, GatherLists<int32_t>(type, ranges, total));
      break;
    }
    case arrow::Type::LARGE_LIST: {
      ARROW_ASSIGN_OR_RAISE(out, GatherLists<int64_t>(type, ranges, total));
      break;
    }
    case arrow::Type::STRING:
    case arrow::Type::BINARY: {
      ARROW_ASSIGN_OR_RAISE(out, GatherText<int32_t>(type, ranges, total));
      break;
    }
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY: {
      ARROW_ASSIGN_OR_RAISE(out, GatherText<int64_t>(type, ranges, total));
      break;
    }
    case arrow::Type::FIXED_SIZE_LIST: {
      const int64_t size = static_cast<const arrow::FixedSizeListType&>(*type).list_size();
      std::vector<InstanceRange> items;
      for (const InstanceRange& range : ranges) {
        items.push_back({range.source->child_data[0], (range.source->offset + range.begin) * size, range.length * size});
      }
      ARROW_ASSIGN_OR_RAISE(auto child, GatherInstances(type->field(0)->type(), items));
      out = arrow::ArrayData::Make(type, total, {nullptr}, {std::move(child)}, 0);
      break;
    }
    case arrow::Type::STRUCT: {
      out = arrow::ArrayData::Make(type, total, {nullptr}, 0);
      for (int f = 0; f < type->num_fields(); ++f) {
        std::vector<InstanceRange> items;
        for (const InstanceRange& range : ranges) {
          items.push_back({range.source->child_data[static_cast<size_t>(f)], range.source->offset + range.begin, range.length});
        }
        ARROW_ASSIGN_OR_RAISE(auto child, GatherInstances(type->field(f)->type(), items));
        out->child_data.push_back(std::move(child));
      }
      break;
    }
    default: {
      const auto width = InstanceWidth(*type);
      if (!width) {
        arrow::ArrayVector parts;
        for (const InstanceRange& range : ranges) parts.push_back(arrow::MakeArray(range.source)->Slice(range.begin, range.length));
        ARROW_ASSIGN_OR_RAISE(auto joined, parts.empty() ? arrow::MakeEmptyArray(type) : arrow::Concatenate(parts));
        return joined->data();
      }
      ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(total * *width));
      uint8_t* to = values->mutable_data();
      for (const InstanceRange& range : ranges) {
        const auto size = static_cast<size_t>(range.length * *width);
        if (size == 0) continue;
        std::memcpy(to, range.source->buffers[1]->data() + (range.source->offset + range.begin) * *width, size);
        to += size;
      }
      out = arrow::ArrayData::Make(type, total, {nullptr, std::move(values)}, 0);
    }
  }
  if (has_nulls) {
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> validity, arrow::AllocateEmptyBitmap(total));
    int64_t at = 0;
    for (const InstanceRange& range : ranges) {
      if (const auto& bits = range.source->buffers[0]; bits != nullptr) {
        arrow::internal::CopyBitmap(bits->data(), range.source->offset + range.begin, range.length, validity->mutable_data(), at);
      } else {
        arrow::bit_util::SetBitsTo(validity->mutable_data(), at, range.length, true);
      }
      at += range.length;
    }
    out->null_count = total - arrow::internal::CountSetBits(validity->data(), 0, total);
    out->buffers[0] = out->null_count == 0 ? nullptr : std::move(validity);
  }
  return out;
}

// Lists of instances of any type.
arrow::Result<std::shared_ptr<arrow::Array>> GatherAny(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                       std::span<const Run> runs) {
  const int64_t n = static_cast<int64_t>(cells.size());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets, arrow::AllocateBuffer((n + 1) * 4));
  ARROW_RETURN_NOT_OK(FillOffsets(*type, runs, reinterpret_cast<int32_t*>(offsets->mutable_data())).status());
  std::vector<InstanceRange> ranges;
  for (const Run& run : runs) {
    if (run.source == nullptr) continue;
    const int32_t* const rows = run.source->raw_value_offsets() + run.row;
    if (rows[run.length] > rows[0]) ranges.push_back({run.source->values()->data(), rows[0], rows[run.length] - rows[0]});
  }
  ARROW_ASSIGN_OR_RAISE(auto items, GatherInstances(type->field(0)->type(), ranges));
  int64_t null_count;
  ARROW_ASSIGN_OR_RAISE(auto validity, Validity(cells, &null_count));
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(offsets)}, {std::move(items)}, null_count));
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Array>> GatherCells(const std::shared_ptr<arrow::DataType>& type, std::span<const CellRef> cells,
                                                         const SlotColumn& columns) {
  const int64_t n = static_cast<int64_t>(cells.size());
  if (n > 0 && cells[0] != kNullCell && !IsClear(cells[0])) {
    // The length of the first run; a run of everything is a slice.
    int64_t length = 1;
    while (length < n && cells[static_cast<size_t>(length)] == cells[0] + length) ++length;
    if (length == n) return columns(CellSlot(cells[0]))->Slice(CellRow(cells[0]), n);
  }
  if (const auto& item_type = *type->field(0)->type(); arrow::is_primitive(item_type.id()) && item_type.id() != arrow::Type::BOOL) {
    std::shared_ptr<arrow::Array> numbers;
    switch (arrow::bit_width(item_type.id())) {
      case 8: {
        ARROW_ASSIGN_OR_RAISE(numbers, GatherNumbers<uint8_t>(type, cells, columns));
        break;
      }
      case 16: {
        ARROW_ASSIGN_OR_RAISE(numbers, GatherNumbers<uint16_t>(type, cells, columns));
        break;
      }
      case 32: {
        ARROW_ASSIGN_OR_RAISE(numbers, GatherNumbers<uint32_t>(type, cells, columns));
        break;
      }
      case 64: {
        ARROW_ASSIGN_OR_RAISE(numbers, GatherNumbers<uint64_t>(type, cells, columns));
        break;
      }
      default:
        break;
    }
    if (numbers != nullptr) return numbers;
  }
  const std::vector<Run> runs = FindRuns(cells, columns);
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
  if (!nested_nulls) {
    if (const auto width = InstanceWidth(*type->field(0)->type())) return GatherFixed(type, cells, runs, *width);
  }
  return GatherAny(type, cells, runs);
}

int64_t CellBytes(const arrow::ListArray& column, int64_t row) {
  const int64_t count = column.value_length(row);
  const auto& items = *column.values();
  if (const auto width = InstanceWidth(*items.type())) return count * *width;
  if (items.type_id() == arrow::Type::STRING || items.type_id() == arrow::Type::BINARY) {
    const int32_t* const offsets = static_cast<const arrow::BinaryArray&>(items).raw_value_offsets();
    return offsets[column.value_offset(row) + count] - offsets[column.value_offset(row)];
  }
  if (items.type_id() == arrow::Type::LIST) {
    const auto& lists = static_cast<const arrow::ListArray&>(items);
    if (const auto width = InstanceWidth(*lists.value_type())) {
      const int32_t* const offsets = lists.raw_value_offsets() + column.value_offset(row);
      return (offsets[count] - offsets[0]) * *width;
    }
  }
  return items.length() == 0 ? 0 : count * (arrow::util::TotalBufferSize(items) / items.length());
}

}  // namespace rushes
