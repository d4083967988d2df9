#include "rushes/wire/layouts.h"

#include <array>
#include <charconv>
#include <utility>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_dict.h"
#include "arrow/array/array_primitive.h"
#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/array/builder_time.h"
#include "arrow/array/util.h"
#include "arrow/type.h"
#include "arrow/util/key_value_metadata.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"

namespace rushes::wire {
namespace {

std::shared_ptr<arrow::Field> Field(const char* name, std::shared_ptr<arrow::DataType> type, bool nullable, const char* kind = nullptr) {
  std::shared_ptr<const arrow::KeyValueMetadata> metadata;
  if (kind != nullptr) metadata = arrow::key_value_metadata({"rerun:kind"}, {kind});
  return arrow::field(name, std::move(type), nullable, std::move(metadata));
}

template <typename ArrayType>
std::string_view View(const std::shared_ptr<arrow::Array>& array, int64_t i) {
  return static_cast<const ArrayType&>(*array).GetView(i);
}

arrow::Result<std::shared_ptr<arrow::Array>> FindBytes(const arrow::RecordBatch& batch, std::string_view name, std::string_view what) {
  return FindColumn(batch, name, arrow::utf8(), false, what);
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Array>> FindColumn(const arrow::RecordBatch& batch, std::string_view name,
                                                        const std::shared_ptr<arrow::DataType>& type, bool nullable,
                                                        std::string_view what) {
  const int index = batch.schema()->GetFieldIndex(std::string(name));
  if (index < 0) return arrow::Status::Invalid(what, ": there is no column '", name, "'");
  auto column = batch.column(index);
  if (!column->type()->Equals(*type)) {
    return arrow::Status::Invalid(what, ": column '", name, "' must be ", type->ToString(), ", not ", column->type()->ToString());
  }
  if (!nullable && column->null_count() > 0) return arrow::Status::Invalid(what, ": column '", name, "' has nulls");
  return column;
}

std::shared_ptr<arrow::Schema> ChunkRowsLayout::ToSchema() const {
  arrow::FieldVector fields = {
      Field(kChunkIdColumn, arrow::fixed_size_binary(16), false, "control"),
      Field(kChunkSegmentIdColumn, arrow::utf8(), false, "control"),
      Field(kChunkLayerColumn, arrow::utf8(), false),
      Field(kChunkKeyColumn, arrow::binary(), false),
      Field(kChunkEntityPathColumn, arrow::utf8(), false, "control"),
      Field(kChunkIsStaticColumn, arrow::boolean(), false, "control"),
      Field(kChunkByteLenColumn, arrow::uint64(), false),
      Field(kChunkUncompressedColumn, arrow::uint64(), true),
  };
  if (find_chunks) fields.push_back(Field(kChunkTimelineStartColumn, arrow::int64(), true, "index"));
  fields.push_back(Field(kDirectUrlColumn, arrow::dictionary(arrow::int32(), arrow::utf8()), true));
  fields.push_back(Field(kDirectUrlExpiresColumn, arrow::dictionary(arrow::int32(), arrow::int64()), true));
  if (!find_chunks) {
    for (const auto& timeline : start_timelines) {
      fields.push_back(
          arrow::field(timeline + ":start", arrow::int64(), true,
                       arrow::key_value_metadata({"rerun:index", "rerun:index_marker", "rerun:kind"}, {timeline, "start", "index"})));
    }
  }
  return arrow::schema(std::move(fields));
}

struct ChunkRowsBuilder::Impl {
  arrow::FixedSizeBinaryBuilder ids{arrow::fixed_size_binary(16)};
  arrow::StringBuilder segments;
  arrow::StringBuilder layers;
  arrow::BinaryBuilder keys;
  arrow::StringBuilder entities;
  arrow::BooleanBuilder statics;
  arrow::UInt64Builder byte_lens;
  arrow::UInt64Builder sizes;
  std::vector<std::unique_ptr<arrow::Int64Builder>> starts;
};

ChunkRowsBuilder::ChunkRowsBuilder(ChunkRowsLayout layout) : layout_(std::move(layout)), impl_(std::make_unique<Impl>()) {
  const size_t count = layout_.find_chunks ? 1 : layout_.start_timelines.size();
  for (size_t i = 0; i < count; ++i) impl_->starts.push_back(std::make_unique<arrow::Int64Builder>());
}

ChunkRowsBuilder::~ChunkRowsBuilder() = default;

arrow::Status ChunkRowsBuilder::Append(const ChunkRow& row, const std::vector<std::optional<int64_t>>& starts) {
  const auto id = row.id.bytes();
  ARROW_RETURN_NOT_OK(impl_->ids.Append(id.data()));
  ARROW_RETURN_NOT_OK(impl_->segments.Append(row.segment_id));
  ARROW_RETURN_NOT_OK(impl_->layers.Append(row.layer));
  ARROW_RETURN_NOT_OK(impl_->keys.Append(row.key));
  ARROW_RETURN_NOT_OK(impl_->entities.Append(row.entity_path));
  ARROW_RETURN_NOT_OK(impl_->statics.Append(row.is_static));
  ARROW_RETURN_NOT_OK(impl_->byte_lens.Append(row.byte_len));
  ARROW_RETURN_NOT_OK(impl_->sizes.AppendOrNull(row.byte_size_uncompressed));
  for (size_t i = 0; i < impl_->starts.size(); ++i) {
    const bool own = layout_.find_chunks || starts.empty();
    if (!own && i >= starts.size()) return arrow::Status::Invalid("a row has ", starts.size(), " starts, not ", impl_->starts.size());
    ARROW_RETURN_NOT_OK(impl_->starts[i]->AppendOrNull(own ? row.timeline_start : starts[i]));
  }
  ++num_rows_;
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ChunkRowsBuilder::Finish() {
  arrow::ArrayVector columns;
  const auto finish = [&](arrow::ArrayBuilder& builder) -> arrow::Status {
    std::shared_ptr<arrow::Array> array;
    ARROW_RETURN_NOT_OK(builder.Finish(&array));
    columns.push_back(std::move(array));
    return arrow::Status::OK();
  };
  ARROW_RETURN_NOT_OK(finish(impl_->ids));
  ARROW_RETURN_NOT_OK(finish(impl_->segments));
  ARROW_RETURN_NOT_OK(finish(impl_->layers));
  ARROW_RETURN_NOT_OK(finish(impl_->keys));
  ARROW_RETURN_NOT_OK(finish(impl_->entities));
  ARROW_RETURN_NOT_OK(finish(impl_->statics));
  ARROW_RETURN_NOT_OK(finish(impl_->byte_lens));
  ARROW_RETURN_NOT_OK(finish(impl_->sizes));
  if (layout_.find_chunks) ARROW_RETURN_NOT_OK(finish(*impl_->starts.front()));
  // No URL, no expiry: dictionaries without values.
  for (const auto& values : {arrow::utf8(), arrow::int64()}) {
    ARROW_ASSIGN_OR_RAISE(auto nulls, arrow::MakeArrayOfNull(arrow::int32(), num_rows_));
    ARROW_ASSIGN_OR_RAISE(auto dictionary, arrow::MakeEmptyArray(values));
    ARROW_ASSIGN_OR_RAISE(auto array, arrow::DictionaryArray::FromArrays(arrow::dictionary(arrow::int32(), values), nulls, dictionary));
    columns.push_back(std::move(array));
  }
  if (!layout_.find_chunks) {
    for (auto& builder : impl_->starts) ARROW_RETURN_NOT_OK(finish(*builder));
  }
  const int64_t rows = std::exchange(num_rows_, 0);
  return arrow::RecordBatch::Make(layout_.ToSchema(), rows, std::move(columns));
}

arrow::Result<ChunkRows> ChunkRows::Make(std::shared_ptr<arrow::RecordBatch> batch, const std::string& timeline) {
  constexpr char kWhat[] = "chunk list";
  ChunkRows out;
  ARROW_ASSIGN_OR_RAISE(out.ids_, FindColumn(*batch, kChunkIdColumn, arrow::fixed_size_binary(16), false, kWhat));
  ARROW_ASSIGN_OR_RAISE(out.segments_, FindBytes(*batch, kChunkSegmentIdColumn, kWhat));
  ARROW_ASSIGN_OR_RAISE(out.layers_, FindBytes(*batch, kChunkLayerColumn, kWhat));
  ARROW_ASSIGN_OR_RAISE(out.keys_, FindColumn(*batch, kChunkKeyColumn, arrow::binary(), false, kWhat));
  ARROW_ASSIGN_OR_RAISE(out.entities_, FindBytes(*batch, kChunkEntityPathColumn, kWhat));
  ARROW_ASSIGN_OR_RAISE(out.statics_, FindColumn(*batch, kChunkIsStaticColumn, arrow::boolean(), false, kWhat));
  ARROW_ASSIGN_OR_RAISE(out.byte_lens_, FindColumn(*batch, kChunkByteLenColumn, arrow::uint64(), false, kWhat));
  if (batch->schema()->GetFieldIndex(kChunkUncompressedColumn) >= 0) {
    ARROW_ASSIGN_OR_RAISE(out.sizes_, FindColumn(*batch, kChunkUncompressedColumn, arrow::uint64(), true, kWhat));
  }
  if (batch->schema()->GetFieldIndex(kChunkTimelineStartColumn) >= 0) {
    ARROW_ASSIGN_OR_RAISE(out.starts_, FindColumn(*batch, kChunkTimelineStartColumn, arrow::int64(), true, kWhat));
  } else if (!timeline.empty()) {
    out.starts_ = batch->GetColumnByName(timeline + ":start");
    if (out.starts_ != nullptr) {
      const auto id = out.starts_->type_id();
      if (id != arrow::Type::INT64 && id != arrow::Type::TIMESTAMP && id != arrow::Type::DURATION) {
        return arrow::Status::Invalid(kWhat, ": column '", timeline, ":start' is ", out.starts_->type()->ToString(), ", not a time");
      }
      // All three are 64-bit integers.
      ARROW_ASSIGN_OR_RAISE(out.starts_, out.starts_->View(arrow::int64()));
    }
  }
  out.batch_ = std::move(batch);
  return out;
}

int64_t ChunkRows::num_rows() const { return batch_->num_rows(); }

ChunkRow ChunkRows::row(int64_t i) const {
  ChunkRow out;
  out.id = ChunkId::FromBytes(static_cast<const arrow::FixedSizeBinaryArray&>(*ids_).GetValue(i));
  out.segment_id = View<arrow::StringArray>(segments_, i);
  out.layer = View<arrow::StringArray>(layers_, i);
  out.key = View<arrow::BinaryArray>(keys_, i);
  out.entity_path = View<arrow::StringArray>(entities_, i);
  out.is_static = static_cast<const arrow::BooleanArray&>(*statics_).Value(i);
  out.byte_len = static_cast<const arrow::UInt64Array&>(*byte_lens_).Value(i);
  if (sizes_ != nullptr && !sizes_->IsNull(i)) out.byte_size_uncompressed = static_cast<const arrow::UInt64Array&>(*sizes_).Value(i);
  if (starts_ != nullptr && !starts_->IsNull(i)) out.timeline_start = static_cast<const arrow::Int64Array&>(*starts_).Value(i);
  return out;
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeFetchBatch(const std::vector<ChunkRow>& rows) {
  arrow::FixedSizeBinaryBuilder ids(arrow::fixed_size_binary(16));
  arrow::StringBuilder segments;
  arrow::StringBuilder layers;
  arrow::BinaryBuilder keys;
  arrow::UInt64Builder byte_lens;
  for (const auto& row : rows) {
    const auto id = row.id.bytes();
    ARROW_RETURN_NOT_OK(ids.Append(id.data()));
    ARROW_RETURN_NOT_OK(segments.Append(row.segment_id));
    ARROW_RETURN_NOT_OK(layers.Append(row.layer));
    ARROW_RETURN_NOT_OK(keys.Append(row.key));
    ARROW_RETURN_NOT_OK(byte_lens.Append(row.byte_len));
  }
  arrow::ArrayVector columns(5);
  ARROW_RETURN_NOT_OK(ids.Finish(&columns[0]));
  ARROW_RETURN_NOT_OK(segments.Finish(&columns[1]));
  ARROW_RETURN_NOT_OK(layers.Finish(&columns[2]));
  ARROW_RETURN_NOT_OK(keys.Finish(&columns[3]));
  ARROW_RETURN_NOT_OK(byte_lens.Finish(&columns[4]));
  static const auto kSchema =
      arrow::schema({Field(kChunkIdColumn, arrow::fixed_size_binary(16), false, "control"),
                     Field(kChunkSegmentIdColumn, arrow::utf8(), false, "control"), Field(kChunkLayerColumn, arrow::utf8(), false),
                     Field(kChunkKeyColumn, arrow::binary(), false), Field(kChunkByteLenColumn, arrow::uint64(), false)});
  return arrow::RecordBatch::Make(kSchema, static_cast<int64_t>(rows.size()), std::move(columns));
}

arrow::Result<std::vector<std::string_view>> ReadFetchKeys(const arrow::RecordBatch& batch) {
  ARROW_ASSIGN_OR_RAISE(auto column, FindColumn(batch, kChunkKeyColumn, arrow::binary(), false, "chunk_infos"));
  std::vector<std::string_view> out;
  out.reserve(static_cast<size_t>(column->length()));
  for (int64_t i = 0; i < column->length(); ++i) out.push_back(View<arrow::BinaryArray>(column, i));
  return out;
}

const std::shared_ptr<arrow::Schema>& RegisterSchema() {
  static const auto kSchema =
      arrow::schema({Field("rerun_segment_id", arrow::utf8(), false), Field("rerun_segment_layer", arrow::utf8(), false),
                     Field("rerun_segment_type", arrow::utf8(), false), Field("rerun_storage_url", arrow::utf8(), false),
                     Field("rerun_task_id", arrow::utf8(), false)});
  return kSchema;
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeRegisterBatch(const std::vector<RegisteredSource>& rows) {
  std::array<arrow::StringBuilder, 5> builders;
  for (const auto& row : rows) {
    ARROW_RETURN_NOT_OK(builders[0].Append(row.segment_id));
    ARROW_RETURN_NOT_OK(builders[1].Append(row.layer));
    ARROW_RETURN_NOT_OK(builders[2].Append("rrd"));
    ARROW_RETURN_NOT_OK(builders[3].Append(row.url));
    ARROW_RETURN_NOT_OK(builders[4].Append(row.task_id));
  }
  arrow::ArrayVector columns(builders.size());
  for (size_t i = 0; i < builders.size(); ++i) ARROW_RETURN_NOT_OK(builders[i].Finish(&columns[i]));
  return arrow::RecordBatch::Make(RegisterSchema(), static_cast<int64_t>(rows.size()), std::move(columns));
}

arrow::Result<std::vector<RegisteredSource>> ReadRegisterBatch(const arrow::RecordBatch& batch) {
  constexpr char kWhat[] = "answer to a registration";
  ARROW_ASSIGN_OR_RAISE(auto segments, FindBytes(batch, "rerun_segment_id", kWhat));
  ARROW_ASSIGN_OR_RAISE(auto layers, FindBytes(batch, "rerun_segment_layer", kWhat));
  ARROW_ASSIGN_OR_RAISE(auto urls, FindBytes(batch, "rerun_storage_url", kWhat));
  ARROW_ASSIGN_OR_RAISE(auto tasks, FindBytes(batch, "rerun_task_id", kWhat));
  std::vector<RegisteredSource> out(static_cast<size_t>(batch.num_rows()));
  for (int64_t i = 0; i < batch.num_rows(); ++i) {
    auto& row = out[static_cast<size_t>(i)];
    row.segment_id = View<arrow::StringArray>(segments, i);
    row.layer = View<arrow::StringArray>(layers, i);
    row.url = View<arrow::StringArray>(urls, i);
    row.task_id = View<arrow::StringArray>(tasks, i);
  }
  return out;
}

const std::shared_ptr<arrow::Schema>& TaskSchema() {
  static const auto kTime = arrow::timestamp(arrow::TimeUnit::NANO);
  static const auto kSchema = arrow::schema(
      {Field("task_id", arrow::utf8(), false), Field("kind", arrow::utf8(), true), Field("data", arrow::utf8(), true),
       Field("exec_status", arrow::utf8(), false), Field("msgs", arrow::utf8(), true), Field("blob", arrow::binary(), true),
       Field("lease_owner", arrow::utf8(), true), Field("lease_expiration", kTime, true), Field("attempts", arrow::uint8(), false),
       Field("creation_time", kTime, true), Field("last_update_time", kTime, true)});
  return kSchema;
}

namespace {

const char* StatusText(TaskState state) {
  switch (state) {
    case TaskState::kPending:
      return "pending";
    case TaskState::kRunning:
      return "running";
    case TaskState::kSuccess:
      return "success";
    case TaskState::kCancelled:
      return "cancelled";
    case TaskState::kFailed:
      break;
  }
  return "failed";
}

// A stream without columns whose metadata says what a task changed.
arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeRevision(const EntryId& dataset, uint64_t revision) {
  const auto metadata = arrow::key_value_metadata({"entry_id", "dataset_revision"}, {TuidToText(dataset), std::to_string(revision)});
  ARROW_ASSIGN_OR_RAISE(const auto batch, arrow::RecordBatch::MakeEmpty(arrow::schema({}, metadata)));
  return EncodeIpc(*batch);
}

// What another server's blob says; leaves `task` alone when it says nothing.
void DecodeRevision(std::string_view bytes, TaskInfo* task) {
  const auto batch = DecodeIpc(bytes, "task blob");
  if (!batch.ok() || !(*batch)->schema()->metadata()) return;
  const auto& metadata = *(*batch)->schema()->metadata();
  const auto id = TuidFromText(metadata.Get("entry_id").ValueOr(""));
  const std::string revision = metadata.Get("dataset_revision").ValueOr("");
  uint64_t number = 0;
  if (!id.ok() || std::from_chars(revision.data(), revision.data() + revision.size(), number).ec != std::errc()) return;
  task->dataset = *id;
  task->dataset_revision = number;
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeTaskBatch(const std::vector<TaskInfo>& tasks) {
  const auto rows = static_cast<int64_t>(tasks.size());
  arrow::StringBuilder ids;
  arrow::StringBuilder kinds;
  arrow::StringBuilder statuses;
  arrow::StringBuilder messages;
  arrow::BinaryBuilder blobs;
  arrow::UInt8Builder attempts;
  arrow::TimestampBuilder created(arrow::timestamp(arrow::TimeUnit::NANO), arrow::default_memory_pool());
  arrow::TimestampBuilder updated(arrow::timestamp(arrow::TimeUnit::NANO), arrow::default_memory_pool());
  for (const auto& task : tasks) {
    ARROW_RETURN_NOT_OK(ids.Append(task.id));
    ARROW_RETURN_NOT_OK(task.kind.empty() ? kinds.AppendNull() : kinds.Append(task.kind));
    ARROW_RETURN_NOT_OK(statuses.Append(StatusText(task.state)));
    if (task.dataset_revision == 0) {
      ARROW_RETURN_NOT_OK(blobs.AppendNull());
    } else {
      ARROW_ASSIGN_OR_RAISE(const auto blob, EncodeRevision(task.dataset, task.dataset_revision));
      ARROW_RETURN_NOT_OK(blobs.Append(std::string_view(*blob)));
    }
    ARROW_RETURN_NOT_OK(task.message.empty() ? messages.AppendNull() : messages.Append(task.message));
    ARROW_RETURN_NOT_OK(attempts.Append(1));
    ARROW_RETURN_NOT_OK(task.created_at_ns == 0 ? created.AppendNull() : created.Append(task.created_at_ns));
    ARROW_RETURN_NOT_OK(task.updated_at_ns == 0 ? updated.AppendNull() : updated.Append(task.updated_at_ns));
  }
  arrow::ArrayVector columns(static_cast<size_t>(TaskSchema()->num_fields()));
  ARROW_RETURN_NOT_OK(ids.Finish(&columns[0]));
  ARROW_RETURN_NOT_OK(kinds.Finish(&columns[1]));
  ARROW_RETURN_NOT_OK(statuses.Finish(&columns[3]));
  ARROW_RETURN_NOT_OK(messages.Finish(&columns[4]));
  ARROW_RETURN_NOT_OK(blobs.Finish(&columns[5]));
  ARROW_RETURN_NOT_OK(attempts.Finish(&columns[8]));
  ARROW_RETURN_NOT_OK(created.Finish(&columns[9]));
  ARROW_RETURN_NOT_OK(updated.Finish(&columns[10]));
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] != nullptr) continue;
    ARROW_ASSIGN_OR_RAISE(columns[i], arrow::MakeArrayOfNull(TaskSchema()->field(static_cast<int>(i))->type(), rows));
  }
  return arrow::RecordBatch::Make(TaskSchema(), rows, std::move(columns));
}

arrow::Result<std::vector<TaskInfo>> ReadTaskBatch(const arrow::RecordBatch& batch) {
  constexpr char kWhat[] = "task list";
  ARROW_ASSIGN_OR_RAISE(auto ids, FindBytes(batch, "task_id", kWhat));
  ARROW_ASSIGN_OR_RAISE(auto statuses, FindBytes(batch, "exec_status", kWhat));
  ARROW_ASSIGN_OR_RAISE(auto messages, FindColumn(batch, "msgs", arrow::utf8(), true, kWhat));
  // What is nice to have: null when it is missing or of another type.
  const auto optional = [&](const char* name, const std::shared_ptr<arrow::DataType>& type) {
    auto column = batch.GetColumnByName(name);
    return column != nullptr && column->type()->Equals(*type) ? column : nullptr;
  };
  const auto kinds = optional("kind", arrow::utf8());
  const auto created = optional("creation_time", arrow::timestamp(arrow::TimeUnit::NANO));
  const auto updated = optional("last_update_time", arrow::timestamp(arrow::TimeUnit::NANO));
  const auto blobs = optional("blob", arrow::binary());
  std::vector<TaskInfo> out(static_cast<size_t>(batch.num_rows()));
  for (int64_t i = 0; i < batch.num_rows(); ++i) {
    auto& task = out[static_cast<size_t>(i)];
    task.id = View<arrow::StringArray>(ids, i);
    if (kinds != nullptr && !kinds->IsNull(i)) task.kind = View<arrow::StringArray>(kinds, i);
    if (created != nullptr && !created->IsNull(i)) task.created_at_ns = static_cast<const arrow::TimestampArray&>(*created).Value(i);
    if (updated != nullptr && !updated->IsNull(i)) task.updated_at_ns = static_cast<const arrow::TimestampArray&>(*updated).Value(i);
    if (blobs != nullptr && !blobs->IsNull(i)) DecodeRevision(View<arrow::BinaryArray>(blobs, i), &task);
    if (!messages->IsNull(i)) task.message = View<arrow::StringArray>(messages, i);
    const std::string_view status = View<arrow::StringArray>(statuses, i);
    if (status == "success") {
      task.state = TaskState::kSuccess;
    } else if (status == "pending") {
      task.state = TaskState::kPending;
    } else if (status == "running") {
      task.state = TaskState::kRunning;
    } else {
      task.state = status == "cancelled" ? TaskState::kCancelled : TaskState::kFailed;
      if (task.message.empty()) task.message = "the task ended as '" + std::string(status) + "'";
    }
  }
  return out;
}

}  // namespace rushes::wire
