#include "rushes/query/gather.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
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

// Neighbouring cells that lie in one chunk.
struct Run {
  int64_t begin;  // in the cells
  int64_t length;
  const arrow::ListArray* source;  // null: nulls or clears
  int64_t row;
  int64_t step;  // 0: `row` again and again; 1: rows from there on
};

std::vector<Run> FindRuns(const CellSlice& cells, const SlotColumn& columns) {
  std::vector<Run> runs;
  uint32_t last_slot = 0;
  const arrow::ListArray* last_source = nullptr;
  for (const CellSlice::Piece piece : cells) {
    if (piece.has_no_items()) {
      runs.push_back({piece.begin, piece.length, nullptr, 0, 0});
      continue;
    }
    const uint32_t slot = CellSlot(piece.first);
    if (last_source == nullptr || slot != last_slot) {
      last_source = columns(slot).get();
      last_slot = slot;
    }
    runs.push_back({piece.begin, piece.length, last_source, CellRow(piece.first), piece.step});
  }
  return runs;
}

// The validity of the output: null where the cell is.
arrow::Result<std::shared_ptr<arrow::Buffer>> Validity(const CellSlice& cells, int64_t* null_count) {
  *null_count = 0;
  for (const CellSlice::Piece piece : cells) *null_count += piece.is_null() ? piece.length : 0;
  if (*null_count == 0) return nullptr;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> bits, arrow::AllocateEmptyBitmap(cells.length()));
  for (const CellSlice::Piece piece : cells) {
    arrow::bit_util::SetBitsTo(bits->mutable_data(), piece.begin, piece.length, !piece.is_null());
  }
  return bits;
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
    if (run.step == 0) {
      const int64_t count = source[1] - source[0];
      if (total + count * run.length > kMaxOffset) return TooLarge(type);
      for (int64_t k = 1; k <= run.length; ++k) offsets[run.begin + k] = static_cast<int32_t>(total + count * k);
      total += count * run.length;
      continue;
    }
    const int64_t shift = total - source[0];
    total += source[run.length] - source[0];
    if (total > kMaxOffset) return TooLarge(type);
    for (int64_t k = 1; k <= run.length; ++k) offsets[run.begin + k] = static_cast<int32_t>(source[k] + shift);
  }
  return total;
}

arrow::Result<std::shared_ptr<arrow::Array>> GatherFixed(const std::shared_ptr<arrow::DataType>& type, const CellSlice& cells,
                                                         std::span<const Run> runs, int64_t width) {
  const int64_t n = cells.length();
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offset_buffer, arrow::AllocateBuffer((n + 1) * 4));
  auto* const offsets = reinterpret_cast<int32_t*>(offset_buffer->mutable_data());
  ARROW_ASSIGN_OR_RAISE(const int64_t total, FillOffsets(*type, runs, offsets));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(total * width));
  uint8_t* to = values->mutable_data();
  const arrow::ListArray* last = nullptr;
  const uint8_t* bytes = nullptr;
  for (const Run& run : runs) {
    if (run.source == nullptr) continue;
    if (run.source != last) {
      last = run.source;
      bytes = InstanceBytes(*last->values()->data());
    }
    const int32_t* const source = last->raw_value_offsets() + run.row;
    const int64_t rows = run.step == 0 ? 1 : run.length;
    const auto size = static_cast<size_t>((source[rows] - source[0]) * width);
    if (size == 0) continue;
    for (int64_t k = 0; k < run.length; k += rows, to += size) std::memcpy(to, bytes + source[0] * width, size);
  }
  int64_t null_count;
  ARROW_ASSIGN_OR_RAISE(auto validity, Validity(cells, &null_count));
  auto items = MakeInstances(type->field(0)->type(), total, std::move(values));
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(offset_buffer)}, {std::move(items)}, null_count));
}

// The offsets 0 … n of lists with one item each. Those of batches of the usual size are the same memory: every column of signals in every
// batch has them.
arrow::Result<std::shared_ptr<arrow::Buffer>> UnitOffsets(int64_t n) {
  static constexpr int64_t kShared = 64 * 1024;
  alignas(64) static std::array<int32_t, kShared + 1> shared;
  static const bool is_filled = (std::iota(shared.begin(), shared.end(), 0), true);
  const int64_t size = (n + 1) * static_cast<int64_t>(sizeof(int32_t));
  if (is_filled && n <= kShared) return std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(shared.data()), size);
  ARROW_ASSIGN_OR_RAISE(auto own, arrow::AllocateBuffer(size));
  auto* const offsets = reinterpret_cast<int32_t*>(own->mutable_data());
  std::iota(offsets, offsets + n + 1, 0);
  return std::shared_ptr<arrow::Buffer>(std::move(own));
}

// Cells of at most one number each, the common case of signals: one pass, and what is repeated, as fills are, is looked up once.
// nullptr if a cell has several instances or nulls among them.
template <typename Value>
arrow::Result<std::shared_ptr<arrow::Array>> GatherNumbers(const std::shared_ptr<arrow::DataType>& type, const CellSlice& cells,
                                                           const SlotColumn& columns) {
  const int64_t n = cells.length();
  if (n > kMaxOffset) return TooLarge(*type);
  ARROW_ASSIGN_OR_RAISE(auto value_buffer, arrow::AllocateResizableBuffer(n * static_cast<int64_t>(sizeof(Value))));
  auto* const values = reinterpret_cast<Value*>(value_buffer->mutable_data());
  int64_t total = 0;
  // Both are made when they are first needed: for a cell without a number, for a null.
  std::shared_ptr<arrow::Buffer> offset_buffer, validity;
  int32_t* offsets = nullptr;
  const auto make_offsets = [&]() -> arrow::Status {
    if (offsets != nullptr) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(offset_buffer, arrow::AllocateBuffer((n + 1) * 4));
    offsets = reinterpret_cast<int32_t*>(offset_buffer->mutable_data());
    std::iota(offsets, offsets + total + 1, 0);  // up to here every cell had one
    return arrow::Status::OK();
  };
  int64_t nulls = 0;
  uint32_t slot = 0;
  const int32_t* rows = nullptr;
  const Value* items = nullptr;
  for (const CellSlice::Piece piece : cells) {
    if (piece.has_no_items()) {
      ARROW_RETURN_NOT_OK(make_offsets());
      std::fill_n(offsets + piece.begin + 1, piece.length, static_cast<int32_t>(total));
      if (!piece.is_null()) continue;
      if (validity == nullptr) {
        ARROW_ASSIGN_OR_RAISE(validity, arrow::AllocateBitmap(n));
        std::memset(validity->mutable_data(), 0xff, static_cast<size_t>(validity->size()));
      }
      arrow::bit_util::SetBitsTo(validity->mutable_data(), piece.begin, piece.length, false);
      nulls += piece.length;
      continue;
    }
    if (rows == nullptr || CellSlot(piece.first) != slot) {
      slot = CellSlot(piece.first);
      const arrow::ListArray& column = *columns(slot);
      const arrow::ArrayData& data = *column.values()->data();
      if (data.GetNullCount() != 0) return nullptr;
      rows = column.raw_value_offsets();
      items = data.GetValues<Value>(1);
    }
    const int32_t* const source = rows + CellRow(piece.first);
    if (piece.step == 0) {
      const int32_t count = source[1] - source[0];
      if (count > 1) return nullptr;
      if (count == 0) ARROW_RETURN_NOT_OK(make_offsets());
      if (offsets != nullptr) {
        for (int64_t k = 1; k <= piece.length; ++k) offsets[piece.begin + k] = static_cast<int32_t>(total + count * k);
      }
      if (count == 0) continue;
      std::fill_n(values + total, piece.length, items[source[0]]);
      total += piece.length;
      continue;
    }
    const int64_t count = source[piece.length] - source[0];
    int32_t longest = 0;
    for (int64_t k = 0; k < piece.length; ++k) longest = std::max(longest, source[k + 1] - source[k]);
    if (longest > 1) return nullptr;
    if (count != piece.length) ARROW_RETURN_NOT_OK(make_offsets());
    if (offsets != nullptr) {
      for (int64_t k = 1; k <= piece.length; ++k) offsets[piece.begin + k] = static_cast<int32_t>(total + source[k] - source[0]);
    }
    if (count > 0) std::memcpy(values + total, items + source[0], static_cast<size_t>(count) * sizeof(Value));
    total += count;
  }
  if (offset_buffer == nullptr) {
    ARROW_ASSIGN_OR_RAISE(offset_buffer, UnitOffsets(n));
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
arrow::Result<std::shared_ptr<arrow::Array>> GatherAny(const std::shared_ptr<arrow::DataType>& type, const CellSlice& cells,
                                                       std::span<const Run> runs) {
  const int64_t n = cells.length();
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets, arrow::AllocateBuffer((n + 1) * 4));
  ARROW_RETURN_NOT_OK(FillOffsets(*type, runs, reinterpret_cast<int32_t*>(offsets->mutable_data())).status());
  std::vector<InstanceRange> ranges;
  for (const Run& run : runs) {
    if (run.source == nullptr) continue;
    const int64_t length = run.step == 0 ? 1 : run.length;
    const int32_t* const rows = run.source->raw_value_offsets() + run.row;
    if (rows[length] == rows[0]) continue;
    const InstanceRange range{run.source->values()->data(), rows[0], rows[length] - rows[0]};
    ranges.insert(ranges.end(), static_cast<size_t>(run.length / length), range);
  }
  ARROW_ASSIGN_OR_RAISE(auto items, GatherInstances(type->field(0)->type(), ranges));
  int64_t null_count;
  ARROW_ASSIGN_OR_RAISE(auto validity, Validity(cells, &null_count));
  return arrow::MakeArray(arrow::ArrayData::Make(type, n, {std::move(validity), std::move(offsets)}, {std::move(items)}, null_count));
}

using Gather = arrow::Result<std::shared_ptr<arrow::Array>> (*)(const std::shared_ptr<arrow::DataType>&, const CellSlice&,
                                                                const SlotColumn&);

// GatherNumbers for numbers of this width; null if `type` is not that of a number.
Gather NumberGather(const arrow::DataType& type) {
  if (!arrow::is_primitive(type.id()) || type.id() == arrow::Type::BOOL) return nullptr;
  switch (arrow::bit_width(type.id())) {
    case 8:
      return GatherNumbers<uint8_t>;
    case 16:
      return GatherNumbers<uint16_t>;
    case 32:
      return GatherNumbers<uint32_t>;
    case 64:
      return GatherNumbers<uint64_t>;
    default:
      return nullptr;
  }
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Array>> GatherCells(const std::shared_ptr<arrow::DataType>& type, const CellSlice& cells,
                                                         const SlotColumn& columns) {
  const int64_t n = cells.length();
  if (n > 0) {
    const CellSlice::Piece first = *cells.begin();
    if (first.length == n && first.is_null()) return arrow::MakeArrayOfNull(type, n);
    if (first.length == n && (first.step == 1 || n == 1) && !IsClear(first.first)) {
      return SliceOf(columns(CellSlot(first.first)), CellRow(first.first), n);
    }
  }
  const auto& item_type = type->field(0)->type();
  if (const Gather gather_numbers = NumberGather(*item_type)) {
    ARROW_ASSIGN_OR_RAISE(auto numbers, gather_numbers(type, cells, columns));
    if (numbers != nullptr) return numbers;
  }
  const std::vector<Run> runs = FindRuns(cells, columns);
  bool nested_nulls = false;
  const arrow::ListArray* last = nullptr;
  for (const Run& run : runs) {
    if (run.source == nullptr || run.source == last) continue;
    last = run.source;
    nested_nulls |= HasNulls(*last->values()->data());
  }
  if (!nested_nulls) {
    if (const auto width = InstanceWidth(*item_type)) return GatherFixed(type, cells, runs, *width);
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
