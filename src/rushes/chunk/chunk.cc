#include "rushes/chunk/chunk.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "arrow/array/util.h"
#include "arrow/buffer.h"
#include "arrow/builder.h"
#include "arrow/compute/exec.h"
#include "arrow/datum.h"
#include "rushes/chunk/metadata.h"

namespace rushes {
namespace {

// List(item: T, nullable), whatever the child was called.
std::shared_ptr<arrow::DataType> CanonicalListType(const arrow::DataType& list) {
  return arrow::list(arrow::field("item", list.field(0)->type(), /*nullable=*/true));
}

// Without a branch per row, so that several rows are compared at once.
bool TimesAscendStrictly(const int64_t* times, int64_t num_rows) {
  bool strict = true;
  for (int64_t i = 1; i < num_rows; ++i) strict &= times[i - 1] < times[i];
  return strict;
}

// Bytes of the buffers that were not seen before.
int64_t CountBuffers(const arrow::ArrayData& data, std::vector<const uint8_t*>* seen) {
  int64_t bytes = 0;
  for (const auto& buffer : data.buffers) {
    if (buffer == nullptr || std::find(seen->begin(), seen->end(), buffer->data()) != seen->end()) continue;
    seen->push_back(buffer->data());
    bytes += buffer->size();
  }
  for (const auto& child : data.child_data) bytes += CountBuffers(*child, seen);
  if (data.dictionary != nullptr) bytes += CountBuffers(*data.dictionary, seen);
  return bytes;
}

// In ascending row id order, stable.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> SortByRowId(const std::shared_ptr<arrow::RecordBatch>& batch, const RowIds& row_ids) {
  std::vector<int64_t> order(static_cast<size_t>(batch->num_rows()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return row_ids[a] < row_ids[b]; });
  arrow::Int64Builder builder;
  ARROW_RETURN_NOT_OK(builder.AppendValues(order));
  ARROW_ASSIGN_OR_RAISE(auto indices, builder.Finish());
  ARROW_ASSIGN_OR_RAISE(auto sorted, arrow::compute::CallFunction("take", {batch, indices}));
  return sorted.record_batch();
}

}  // namespace

arrow::Result<std::shared_ptr<const ChunkSchema>> ChunkSchema::Make(std::shared_ptr<arrow::Schema> arrow_schema) {
  const auto entity = FindMetadata(arrow_schema->metadata(), kMetaEntityPath);
  if (!entity) return arrow::Status::Invalid("a chunk schema needs the metadata \"", kMetaEntityPath, "\"");
  std::shared_ptr<ChunkSchema> schema(new ChunkSchema());
  schema->entity_ = EntityPath::Parse(*entity);
  const std::string where = " in a chunk of " + schema->entity_.text();

  int row_id_columns = 0;
  std::set<std::string> names;
  arrow::FieldVector fields = arrow_schema->fields();
  bool renamed = false;
  for (auto& field : fields) {
    const auto kind = FieldKindOf(field->metadata());
    if (!kind) {
      return arrow::Status::Invalid("column \"", field->name(), "\"", where, " has the unknown kind \"",
                                    *FindMetadata(field->metadata(), kMetaKind), "\"");
    }
    switch (*kind) {
      case FieldKind::kRowId: {
        if (!schema->timelines_.empty() || !schema->columns_.empty()) {
          return arrow::Status::Invalid("the row id column \"", field->name(), "\"", where, " must come first");
        }
        const auto& type = *field->type();
        if (type.id() != arrow::Type::FIXED_SIZE_BINARY ||
            static_cast<const arrow::FixedSizeBinaryType&>(type).byte_width() != RowId::kNumBytes) {
          return arrow::Status::Invalid("the row id column", where, " must be fixed_size_binary[16], not ", type.ToString());
        }
        ++row_id_columns;
        break;
      }
      case FieldKind::kIndex: {
        if (!schema->columns_.empty()) {
          return arrow::Status::Invalid("index column \"", field->name(), "\"", where, " must come before the components");
        }
        Timeline timeline;
        timeline.name = FindMetadata(field->metadata(), kMetaIndexName).value_or(field->name());
        if (timeline.name.empty()) return arrow::Status::Invalid("an index column", where, " has no name");
        ARROW_ASSIGN_OR_RAISE(timeline.type, TimeTypeFromArrow(*field->type()));
        if (timeline.type != TimeType::kSequence) {
          const auto unit = timeline.type == TimeType::kDuration ? static_cast<const arrow::DurationType&>(*field->type()).unit()
                                                                 : static_cast<const arrow::TimestampType&>(*field->type()).unit();
          if (unit != arrow::TimeUnit::NANO) {
            return arrow::Status::Invalid("index column \"", timeline.name, "\"", where, " must count nanoseconds, not ",
                                          field->type()->ToString());
          }
        }
        if (!names.insert("\1" + timeline.name).second) {
          return arrow::Status::Invalid("index column \"", timeline.name, "\" appears twice", where);
        }
        schema->timelines_.push_back(std::move(timeline));
        break;
      }
      case FieldKind::kComponent: {
        ChunkColumn column;
        const auto& metadata = field->metadata();
        column.descriptor.component = FindMetadata(metadata, kMetaComponent).value_or("");
        if (column.descriptor.component.empty()) column.descriptor.component = field->name();
        if (column.descriptor.component.empty()) return arrow::Status::Invalid("a component column", where, " has no name");
        column.descriptor.archetype = FindMetadata(metadata, kMetaArchetype);
        column.descriptor.component_type = FindMetadata(metadata, kMetaComponentType);
        if (field->type()->id() != arrow::Type::LIST) {
          return arrow::Status::Invalid("component \"", column.descriptor.component, "\"", where, " must be a list, not ",
                                        field->type()->ToString());
        }
        if (!names.insert("\2" + column.descriptor.component).second) {
          return arrow::Status::Invalid("component \"", column.descriptor.component, "\" appears twice", where);
        }
        column.type = CanonicalListType(*field->type());
        if (!column.type->Equals(*field->type(), /*check_metadata=*/true)) {
          field = field->WithType(column.type);
          renamed = true;
        } else {
          column.type = field->type();
        }
        schema->columns_.push_back(std::move(column));
        break;
      }
    }
  }
  if (row_id_columns != 1) {
    return arrow::Status::Invalid("a chunk has one row id column, not ", row_id_columns, where);
  }
  if (renamed) arrow_schema = arrow::schema(std::move(fields), arrow_schema->metadata());
  schema->arrow_schema_ = std::move(arrow_schema);
  return schema;
}

int ChunkSchema::TimelineIndex(std::string_view name) const {
  for (size_t i = 0; i < timelines_.size(); ++i) {
    if (timelines_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

int ChunkSchema::ColumnIndex(std::string_view component) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].descriptor.component == component) return static_cast<int>(i);
  }
  return -1;
}

arrow::Result<ChunkPtr> Chunk::Make(ChunkId id, std::shared_ptr<const ChunkSchema> schema, std::shared_ptr<arrow::RecordBatch> batch) {
  const auto fail = [&](auto&&... words) {
    return arrow::Status::Invalid("chunk ", id.ToHex(), " of ", schema->entity().text(), ": ", words...);
  };
  if (batch->num_columns() != schema->arrow_schema()->num_fields()) {
    return fail("has ", batch->num_columns(), " columns where its schema has ", schema->arrow_schema()->num_fields());
  }
  const arrow::ArrayData& ids = *batch->column_data(0);
  if (ids.type->id() != arrow::Type::FIXED_SIZE_BINARY) return fail("row ids have type ", ids.type->ToString());
  // Offsets, validity bitmaps and text come from outside: nothing below may read beyond a buffer.
  if (const auto status = batch->column(0)->ValidateFull(); !status.ok()) return fail("row ids: ", status.message());
  RowIds row_ids;
  if (batch->num_rows() > 0) {
    row_ids = RowIds(arrow::SliceBuffer(ids.buffers[1], ids.offset * RowId::kNumBytes, ids.length * RowId::kNumBytes), ids.length);
  }
  return Make(id, std::move(schema), std::move(row_ids), {batch->columns().begin() + 1, batch->columns().end()});
}

arrow::Result<ChunkPtr> Chunk::Make(ChunkId id, std::shared_ptr<const ChunkSchema> schema, RowIds row_ids, arrow::ArrayVector columns) {
  const auto fail = [&](auto&&... words) {
    return arrow::Status::Invalid("chunk ", id.ToHex(), " of ", schema->entity().text(), ": ", words...);
  };
  const auto& fields = schema->arrow_schema()->fields();
  if (columns.size() + 1 != fields.size()) return fail("has ", columns.size() + 1, " columns where its schema has ", fields.size());
  const int64_t num_rows = row_ids.num_rows();
  for (size_t i = 0; i < columns.size(); ++i) {
    const auto& name = fields[i + 1]->name();
    if (columns[i]->length() != num_rows) return fail("column \"", name, "\" has ", columns[i]->length(), " rows, not ", num_rows);
    if (const auto status = columns[i]->ValidateFull(); !status.ok()) return fail("column \"", name, "\": ", status.message());
  }
  if (!row_ids.Ascend()) {
    columns.insert(columns.begin(), row_ids.ToArray());
    ARROW_ASSIGN_OR_RAISE(auto sorted,
                          SortByRowId(arrow::RecordBatch::Make(schema->arrow_schema(), num_rows, std::move(columns)), row_ids));
    return Make(id, std::move(schema), std::move(sorted));
  }

  std::shared_ptr<Chunk> chunk(new Chunk());
  chunk->id_ = id;
  chunk->num_rows_ = num_rows;
  chunk->row_ids_ = std::move(row_ids);
  size_t position = 0;
  for (const Timeline& timeline : schema->timelines()) {
    std::shared_ptr<arrow::Array>& array = columns[position++];
    const auto& data = array->data();
    if (data->type->id() != fields[position]->type()->id()) {
      return fail("index column \"", timeline.name, "\" has type ", data->type->ToString());
    }
    if (data->GetNullCount() != 0) return fail("index column \"", timeline.name, "\" has nulls");
    const int64_t* times = num_rows == 0 ? nullptr : data->GetValues<int64_t>(1);
    bool strict = TimesAscendStrictly(times, num_rows), sorted = true, has_static_marker = num_rows > 0 && times[0] < kMinTime;
    for (int64_t i = 1; !strict && i < num_rows; ++i) {
      sorted &= times[i - 1] <= times[i];
      has_static_marker |= times[i] < kMinTime;
    }
    if (has_static_marker) {
      strict = false;  // two times may have become equal
      ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> clamped, arrow::AllocateBuffer(num_rows * 8));
      auto* out = reinterpret_cast<int64_t*>(clamped->mutable_data());
      for (int64_t i = 0; i < num_rows; ++i) out[i] = std::max(times[i], kMinTime);
      array = arrow::MakeArray(arrow::ArrayData::Make(data->type, num_rows, {nullptr, clamped}, 0));
      times = out;
    }
    chunk->times_.push_back(times);
    chunk->times_order_.push_back(strict ? TimeOrder::kStrict : sorted ? TimeOrder::kSorted : TimeOrder::kNone);
    chunk->time_arrays_.push_back(std::move(array));
  }
  for (const ChunkColumn& column : schema->columns()) {
    std::shared_ptr<arrow::Array>& array = columns[position++];
    const auto& data = array->data();
    if (data->type->id() != arrow::Type::LIST) return fail("component \"", column.descriptor.component, "\" is not a list");
    if (data->type.get() != column.type.get() && !data->type->Equals(*column.type, /*check_metadata=*/true)) {
      const auto& child = static_cast<const arrow::ListType&>(*data->type).value_type();
      if (!child->Equals(*static_cast<const arrow::ListType&>(*column.type).value_type())) {
        return fail("component \"", column.descriptor.component, "\" has type ", data->type->ToString(), " where its schema has ",
                    column.type->ToString());
      }
      auto copy = data->Copy();
      copy->type = column.type;
      array = arrow::MakeArray(copy);
    }
    chunk->columns_.push_back(std::static_pointer_cast<arrow::ListArray>(std::move(array)));
  }
  chunk->schema_ = std::move(schema);
  chunk->byte_size_ = chunk->CountBytes();
  return chunk;
}

// All but the row ids.
arrow::ArrayVector Chunk::Columns() const {
  arrow::ArrayVector columns = time_arrays_;
  columns.insert(columns.end(), columns_.begin(), columns_.end());
  return columns;
}

int64_t Chunk::CountBytes() const {
  int64_t bytes = row_ids_.byte_size();
  std::vector<const uint8_t*> seen = {AscendingOffsets(0)->data()};
  for (const auto& array : time_arrays_) bytes += CountBuffers(*array->data(), &seen);
  for (const auto& column : columns_) bytes += CountBuffers(*column->data(), &seen);
  return bytes;
}

std::shared_ptr<arrow::RecordBatch> Chunk::ToRecordBatch() const {
  auto metadata = schema_->arrow_schema()->metadata() ? schema_->arrow_schema()->metadata()->Copy() : arrow::key_value_metadata({}, {});
  const std::string id = "chunk_" + id_.ToHex();
  if (const int at = metadata->FindKey(kMetaChunkId); at >= 0) {
    ARROW_UNUSED(metadata->Set(kMetaChunkId, id));
  } else {
    metadata->Append(kMetaChunkId, id);
  }
  arrow::ArrayVector columns = Columns();
  columns.insert(columns.begin(), row_ids_.ToArray());
  return arrow::RecordBatch::Make(schema_->arrow_schema()->WithMetadata(metadata), num_rows_, std::move(columns));
}

ChunkPtr Chunk::WithTimes(const std::vector<std::shared_ptr<arrow::Buffer>>& times) const {
  std::shared_ptr<Chunk> chunk(new Chunk(*this));
  for (size_t i = 0; i < times.size(); ++i) {
    if (times[i] == nullptr) continue;
    auto& array = chunk->time_arrays_[i];
    array = arrow::MakeArray(arrow::ArrayData::Make(array->type(), num_rows_, {nullptr, times[i]}, 0));
    chunk->times_[i] = reinterpret_cast<const int64_t*>(times[i]->data());
  }
  chunk->byte_size_ = chunk->CountBytes();
  return chunk;
}

std::shared_ptr<arrow::Buffer> AscendingOffsets(int64_t num_lists) {
  constexpr int64_t kMaxLists = int64_t{1} << 16;
  static const std::shared_ptr<arrow::Buffer> kOffsets = [] {
    std::vector<int32_t> offsets(kMaxLists + 1);
    std::iota(offsets.begin(), offsets.end(), 0);
    return arrow::Buffer::FromVector(std::move(offsets));
  }();
  return num_lists > kMaxLists ? nullptr : arrow::SliceBuffer(kOffsets, 0, (num_lists + 1) * static_cast<int64_t>(sizeof(int32_t)));
}

std::shared_ptr<arrow::Array> MakeStandIn(const std::shared_ptr<arrow::DataType>& list_type, int64_t num_rows) {
  // Zeros are the offsets of empty lists; the buffers are shared between stand-ins, of which a chunk may have many.
  constexpr int64_t kSharedRows = 16 * 1024;
  static const std::shared_ptr<arrow::Buffer> kZeros = arrow::Buffer::FromString(std::string((kSharedRows + 1) * sizeof(int32_t), '\0'));
  const int64_t bytes = (num_rows + 1) * static_cast<int64_t>(sizeof(int32_t));
  const std::shared_ptr<arrow::Buffer> offsets = num_rows <= kSharedRows
                                                     ? arrow::SliceBuffer(kZeros, 0, bytes)
                                                     : arrow::Buffer::FromString(std::string(static_cast<size_t>(bytes), '\0'));
  const auto values = arrow::MakeEmptyArray(static_cast<const arrow::ListType&>(*list_type).value_type()).ValueOrDie();
  return arrow::MakeArray(arrow::ArrayData::Make(list_type, num_rows, {nullptr, offsets}, {values->data()}, 0));
}

arrow::Result<ChunkPtr> KeepComponents(const Chunk& chunk, const std::vector<std::string>& components) {
  const ChunkSchema& schema = chunk.schema();
  const auto batch = chunk.ToRecordBatch();
  arrow::ArrayVector columns = batch->columns();
  const size_t first = columns.size() - schema.columns().size();
  for (size_t i = 0; i < schema.columns().size(); ++i) {
    const ChunkColumn& column = schema.columns()[i];
    if (std::find(components.begin(), components.end(), column.descriptor.component) != components.end()) continue;
    columns[first + i] = MakeStandIn(column.type, chunk.num_rows());
  }
  return Chunk::Make(chunk.id(), chunk.schema_ptr(), arrow::RecordBatch::Make(schema.arrow_schema(), chunk.num_rows(), std::move(columns)));
}

}  // namespace rushes
