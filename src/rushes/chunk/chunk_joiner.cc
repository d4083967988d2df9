#include "rushes/chunk/chunk_joiner.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "arrow/type.h"
#include "arrow/util/bit_util.h"
#include "arrow/util/bitmap_ops.h"
#include "rushes/chunk/ipc_layout.h"

namespace rushes {
namespace {

// Offsets from outside, of any alignment.
inline int32_t OffsetAt(const uint8_t* offsets, int64_t at) {
  int32_t offset;
  std::memcpy(&offset, offsets + 4 * at, 4);
  return offset;
}

}  // namespace

// Lists of plain values, or of fixed numbers of them.
bool ChunkJoiner::MakePlan(const arrow::DataType& list, Plan* plan) {
  const arrow::DataType* type = static_cast<const arrow::ListType&>(list).value_type().get();
  while (type->id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& fixed = static_cast<const arrow::FixedSizeListType&>(*type);
    if (fixed.list_size() <= 0 || plan->per_item.back() > (int64_t{1} << 20) / fixed.list_size()) return false;
    plan->per_item.push_back(plan->per_item.back() * fixed.list_size());
    type = fixed.value_type().get();
  }
  if (!arrow::is_primitive(type->id()) || type->id() == arrow::Type::BOOL) return false;
  plan->width = type->byte_width();
  return plan->width > 0;
}

arrow::Result<bool> ChunkJoiner::Begin(std::string_view payload, const ChunkDecoder::Head& head) {
  if (head.schema == nullptr || head.id_digits < 0 || (into_ == Into::kChunk && head.schema->is_static())) return false;
  std::vector<Column> columns(head.schema->columns().size());
  for (size_t i = 0; i < columns.size(); ++i) {
    if (!MakePlan(*head.schema->columns()[i].type, &columns[i].plan)) return false;
  }
  schema_ = head.schema;
  id_ = head.id;
  head_ = std::string(payload.substr(0, head.length));
  digits_ = head.id_digits;
  num_rows_ = 0;
  columns_ = std::move(columns);
  times_ = std::vector<arrow::BufferBuilder>(schema_->timelines().size());
  for (auto& times : times_) ARROW_RETURN_NOT_OK(times.Reserve(expected_rows_ * 8));
  for (Column& column : columns_) {
    // Of large items it is not known that they will come.
    constexpr int64_t kMaxReserved = int64_t{4} << 20;
    ARROW_RETURN_NOT_OK(column.values.Reserve(std::min(expected_rows_ * column.plan.bytes_per_item(), kMaxReserved)));
  }
  return true;
}

// Chunks of one writer have the same schema message, but for the id in it.
bool ChunkJoiner::IsLikeBefore(std::string_view payload, const Known& known) const {
  if (schema_ == nullptr || payload.size() <= head_.size()) return false;
  const auto digits = static_cast<size_t>(digits_), digits_end = digits + 2 * ChunkId::kNumBytes;
  if (known.num_bytes >= head_.size() &&
      (known.changes_begin == known.changes_end || (known.changes_begin >= digits && known.changes_end <= digits_end))) {
    return true;
  }
  return std::memcmp(payload.data(), head_.data(), digits) == 0 &&
         std::memcmp(payload.data() + digits_end, head_.data() + digits_end, head_.size() - digits_end) == 0;
}

arrow::Result<bool> ChunkJoiner::Add(const ChunkId& id, std::string_view payload, Known known) {
  const auto digits = static_cast<size_t>(digits_);
  const bool is_like_before = IsLikeBefore(payload, known);
  ChunkId found;
  bool is_first = false;
  if (is_like_before) {
    const auto parsed = ChunkId::FromHex(payload.substr(digits, 2 * ChunkId::kNumBytes));
    if (!parsed.ok()) return false;
    found = *parsed;
  } else {
    ARROW_ASSIGN_OR_RAISE(const auto head, decoder_.ReadHead(payload));
    found = head.id;
    if (schema_ == nullptr) {
      is_first = true;
      ARROW_ASSIGN_OR_RAISE(const bool fits, Begin(payload, head));
      if (!fits) return false;
    } else if (head.schema != schema_ || head.length != head_.size()) {
      return false;
    }
  }
  if (found != id) {
    if (is_first) schema_ = nullptr;
    return arrow::Status::Invalid("found chunk ", found.ToHex(), " where ", id.ToHex(), " was expected");
  }
  const std::string_view batch = payload.substr(head_.size());
  const bool is_plain = layout_.Read(batch);
  arrow::Result<bool> added = false;
  if (is_plain && static_cast<int64_t>(batch.size()) - layout_.metadata_length >= layout_.body_length) {
    added = AddRows(batch.substr(static_cast<size_t>(layout_.metadata_length)));
  }
  if (is_first && (!added.ok() || !*added)) schema_ = nullptr;
  return added;
}

// The rows of the chunk whose layout was read. Everything is checked before anything is added.
arrow::Result<bool> ChunkJoiner::AddRows(std::string_view body) {
  const int64_t n = layout_.num_rows;
  constexpr int64_t kMaxRows = int64_t{1} << 24;
  if (n > kMaxRows || num_rows_ + n > kMaxRows) return false;
  const auto data = [&](size_t buffer) { return reinterpret_cast<const uint8_t*>(body.data()) + layout_.buffers[buffer].offset; };
  const auto size = [&](size_t buffer) { return layout_.buffers[buffer].length; };
  size_t num_buffers = 2 * (1 + times_.size());
  for (const Column& column : columns_) num_buffers += 3 + column.plan.per_item.size();
  if (layout_.buffers.size() != num_buffers) return false;

  // Bitmaps are left out by most writers where nothing is null.
  const auto is_all_valid = [&](size_t buffer, int64_t count) {
    if (size(buffer) == 0) return true;
    return size(buffer) * 8 >= count && arrow::internal::CountSetBits(data(buffer), 0, count) == count;
  };
  for (size_t field = 0; field < 1 + times_.size(); ++field) {
    if (!is_all_valid(2 * field, n) || size(2 * field + 1) < n * (field == 0 ? RowId::kNumBytes : 8)) return false;
  }
  size_t at = 2 * (1 + times_.size());
  for (const Column& column : columns_) {
    const size_t validity = at, offsets = at + 1, values = at + 2 + column.plan.per_item.size();
    at = values + 1;
    if (n == 0) continue;
    if ((size(validity) > 0 && size(validity) * 8 < n) || size(offsets) < (n + 1) * 4) return false;
    // Without a branch per row, so that several are checked at once.
    const uint8_t* const ends = data(offsets);
    bool ascend = OffsetAt(ends, 0) >= 0;
    for (int64_t i = 1; i <= n; ++i) ascend &= OffsetAt(ends, i - 1) <= OffsetAt(ends, i);
    if (!ascend) return false;
    const int64_t items = OffsetAt(ends, n);
    if (column.num_items + items > std::numeric_limits<int32_t>::max()) return false;
    if (items > size(values) / column.plan.bytes_per_item()) return false;
    for (size_t level = 0; level < column.plan.per_item.size(); ++level) {
      if (!is_all_valid(offsets + 1 + level, items * column.plan.per_item[level])) return false;
    }
  }

  if (into_ == Into::kChunk) ARROW_RETURN_NOT_OK(row_ids_.Append(data(1), n));
  for (size_t t = 0; t < times_.size(); ++t) ARROW_RETURN_NOT_OK(times_[t].Append(data(2 * t + 3), n * 8));
  at = 2 * (1 + times_.size());
  for (Column& column : columns_) {
    const size_t validity = at, offsets = at + 1, values = at + 2 + column.plan.per_item.size();
    at = values + 1;
    if (n == 0) continue;
    if (size(validity) > 0 || column.validity.length() > 0) {
      if (column.validity.length() == 0) ARROW_RETURN_NOT_OK(column.validity.Append(num_rows_, true));
      ARROW_RETURN_NOT_OK(column.validity.Reserve(n));
      for (int64_t i = 0; i < n; ++i) {
        column.validity.UnsafeAppend(size(validity) == 0 || arrow::bit_util::GetBit(data(validity), i));
      }
    }
    const uint8_t* const ends = data(offsets);
    const int32_t first = OffsetAt(ends, 0), end = OffsetAt(ends, n);
    if (column.has_single_items) {
      bool are_single = true;
      for (int64_t i = 1; i <= n; ++i) are_single &= OffsetAt(ends, i) - first == i;
      if (!are_single) ARROW_RETURN_NOT_OK(BeginOffsets(&column));
    }
    if (!column.has_single_items) {
      ARROW_RETURN_NOT_OK(column.offsets.Reserve(n));
      const auto base = static_cast<int32_t>(column.num_items - first);
      int32_t* const to = column.offsets.mutable_data() + column.offsets.length();
      for (int64_t i = 1; i <= n; ++i) to[i - 1] = base + OffsetAt(ends, i);
      column.offsets.bytes_builder()->UnsafeAdvance(n * 4);
    }
    const int64_t bytes_per_item = column.plan.bytes_per_item();
    ARROW_RETURN_NOT_OK(column.values.Append(data(values) + first * bytes_per_item, (end - first) * bytes_per_item));
    column.num_items += end - first;
  }
  num_rows_ += n;
  return true;
}

// Those of the rows so far, of which each list has one item.
arrow::Status ChunkJoiner::BeginOffsets(Column* column) const {
  column->has_single_items = false;
  ARROW_RETURN_NOT_OK(column->offsets.Reserve(std::max(expected_rows_, num_rows_) + 1));
  for (int64_t row = 0; row <= num_rows_; ++row) column->offsets.UnsafeAppend(static_cast<int32_t>(row));
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::ArrayData>> ChunkJoiner::FinishColumn(const std::shared_ptr<arrow::DataType>& type, Column* column) {
  ARROW_ASSIGN_OR_RAISE(auto values, column->values.Finish());
  std::vector<std::shared_ptr<arrow::DataType>> levels = {static_cast<const arrow::ListType&>(*type).value_type()};
  while (levels.back()->id() == arrow::Type::FIXED_SIZE_LIST) {
    levels.push_back(static_cast<const arrow::FixedSizeListType&>(*levels.back()).value_type());
  }
  std::shared_ptr<arrow::ArrayData> child;
  for (size_t level = levels.size(); level-- > 0;) {
    const int64_t length = column->num_items * column->plan.per_item[level];
    child = child == nullptr ? arrow::ArrayData::Make(levels[level], length, {nullptr, std::move(values)}, 0)
                             : arrow::ArrayData::Make(levels[level], length, {nullptr}, {std::move(child)}, 0);
  }
  std::shared_ptr<arrow::Buffer> validity;
  const int64_t nulls = column->validity.false_count();
  if (nulls > 0) ARROW_RETURN_NOT_OK(column->validity.Finish(&validity));
  std::shared_ptr<arrow::Buffer> offsets = column->has_single_items ? AscendingOffsets(num_rows_) : nullptr;
  if (offsets == nullptr) {
    if (column->has_single_items) ARROW_RETURN_NOT_OK(BeginOffsets(column));
    ARROW_RETURN_NOT_OK(column->offsets.Finish(&offsets));
  }
  return arrow::ArrayData::Make(type, num_rows_, {std::move(validity), std::move(offsets)}, {std::move(child)}, nulls);
}

arrow::Result<ChunkPtr> ChunkJoiner::Finish() {
  const auto& fields = schema_->arrow_schema();
  arrow::ArrayVector arrays;
  const auto add = [&](std::shared_ptr<arrow::Buffer> values) {
    const auto& type = fields->field(static_cast<int>(arrays.size()) + 1)->type();
    arrays.push_back(arrow::MakeArray(arrow::ArrayData::Make(type, num_rows_, {nullptr, std::move(values)}, 0)));
  };
  for (auto& builder : times_) {
    ARROW_ASSIGN_OR_RAISE(auto times, builder.Finish());
    add(std::move(times));
  }
  for (Column& column : columns_) {
    ARROW_ASSIGN_OR_RAISE(auto data, FinishColumn(fields->field(static_cast<int>(arrays.size()) + 1)->type(), &column));
    arrays.push_back(arrow::MakeArray(std::move(data)));
  }
  ARROW_ASSIGN_OR_RAISE(auto row_ids, row_ids_.Finish());
  auto chunk = Chunk::Make(id_, schema_, std::move(row_ids), std::move(arrays));
  schema_ = nullptr;
  return chunk;
}

arrow::Result<JoinedRows> ChunkJoiner::FinishRows(int64_t num_rows) {
  JoinedRows rows;
  rows.num_rows = num_rows;
  for (auto& builder : times_) {
    ARROW_ASSIGN_OR_RAISE(auto times, builder.Finish());
    auto* const values = reinterpret_cast<int64_t*>(times->mutable_data());
    for (int64_t i = 0; i < num_rows; ++i) values[i] = std::max(values[i], kMinTime);  // below it is what means static
    rows.times.push_back(num_rows == num_rows_ ? std::move(times) : arrow::SliceBuffer(std::move(times), 0, num_rows * 8));
  }
  for (size_t i = 0; i < columns_.size(); ++i) {
    ARROW_ASSIGN_OR_RAISE(auto data, FinishColumn(schema_->columns()[i].type, &columns_[i]));
    auto column = arrow::MakeArray(std::move(data));
    if (num_rows != num_rows_) column = column->Slice(0, num_rows);
    rows.columns.push_back(std::static_pointer_cast<arrow::ListArray>(std::move(column)));
  }
  rows.schema = std::move(schema_);
  return rows;
}

}  // namespace rushes
