#include "rushes/chunk/chunk_ipc.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "arrow/io/memory.h"
#include "arrow/ipc/dictionary.h"
#include "arrow/ipc/message.h"
#include "arrow/ipc/options.h"
#include "arrow/ipc/reader.h"
#include "arrow/ipc/writer.h"
#include "rushes/chunk/decode_budget.h"
#include "rushes/chunk/ipc_layout.h"
#include "rushes/chunk/metadata.h"
#include "rushes/chunk/migration.h"
#include "rushes/chunk/mutex.h"

namespace rushes {
namespace {

constexpr std::string_view kChunkPrefix = "chunk_";
constexpr size_t kHexDigits = 32;

// The id in a schema message: position of its 32 hex digits.
struct IdPosition {
  size_t offset;
  ChunkId id;
};

// Without taking the message apart: the one string of it that is exactly `chunk_` and 32 hex digits. Strings in a message follow their
// length. nullopt if there are several (somebody named a component like this) or none; the metadata then has to say.
std::optional<IdPosition> FindChunkId(std::string_view schema_message) {
  constexpr uint32_t kLength = static_cast<uint32_t>(kChunkPrefix.size() + kHexDigits);
  std::optional<IdPosition> found;
  for (size_t at = schema_message.find(kChunkPrefix); at != std::string_view::npos; at = schema_message.find(kChunkPrefix, at + 1)) {
    uint32_t length;
    if (at < sizeof(length) || at + kLength > schema_message.size()) continue;
    std::memcpy(&length, schema_message.data() + at - sizeof(length), sizeof(length));
    if (length != kLength) continue;
    const size_t digits = at + kChunkPrefix.size();
    const auto id = ChunkId::FromHex(schema_message.substr(digits, kHexDigits));
    if (!id.ok()) continue;
    if (found) return std::nullopt;
    found = IdPosition{digits, *id};
  }
  return found;
}

arrow::Result<ChunkId> ParseChunkId(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata) {
  const auto text = FindMetadata(metadata, kMetaChunkId);
  if (!text) return arrow::Status::Invalid("a chunk schema needs the metadata \"", kMetaChunkId, "\"");
  std::string_view hex = *text;
  if (hex.starts_with(kChunkPrefix)) hex.remove_prefix(kChunkPrefix.size());
  auto id = ChunkId::FromHex(hex);
  if (!id.ok()) return id.status().WithMessage("chunk id: ", id.status().message());
  return *id;
}

const arrow::ipc::IpcReadOptions& ReadOptions() {
  static const arrow::ipc::IpcReadOptions kOptions = DecodeOptions();
  return kOptions;
}

}  // namespace

struct ChunkDecoder::Impl {
  struct Entry {
    std::shared_ptr<arrow::Schema> raw;         // as in the message
    std::shared_ptr<const ChunkSchema> schema;  // null: the batch needs migration
    bool has_dictionaries = false;
  };

  size_t max_entries;
  Mutex mutex;
  // Key: the schema message with the digits of the chunk id zeroed. Cleared when full: schemas in use come back at once.
  std::unordered_map<std::string, std::shared_ptr<const Entry>> entries RUSHES_GUARDED_BY(mutex);

  arrow::Result<std::shared_ptr<const Entry>> ReadSchema(std::string_view message) {
    arrow::io::BufferReader reader(std::make_shared<arrow::Buffer>(message));
    arrow::ipc::DictionaryMemo memo;
    auto entry = std::make_shared<Entry>();
    ARROW_ASSIGN_OR_RAISE(entry->raw, arrow::ipc::ReadSchema(&reader, &memo));
    entry->has_dictionaries = memo.fields().num_fields() > 0;
    if (IsCurrentSchema(*entry->raw)) {
      ARROW_ASSIGN_OR_RAISE(entry->schema, ChunkSchema::Make(entry->raw));
    }
    return entry;
  }

  arrow::Result<std::shared_ptr<const Entry>> Lookup(std::string_view message, size_t id_offset) {
    std::string key(message);
    std::memset(key.data() + id_offset, '0', kHexDigits);
    {
      MutexLock lock(mutex);
      if (const auto it = entries.find(key); it != entries.end()) return it->second;
    }
    ARROW_ASSIGN_OR_RAISE(auto entry, ReadSchema(message));
    MutexLock lock(mutex);
    if (entries.size() >= max_entries) entries.clear();
    return entries.emplace(std::move(key), std::move(entry)).first->second;
  }

  // What a schema message says: its entry, and the chunk's id.
  struct Known {
    std::shared_ptr<const Entry> entry;
    ChunkId id;
    int64_t id_digits = -1;  // where its digits are, if that is plain to see
  };
  arrow::Result<Known> Identify(std::string_view schema_message) {
    if (const auto position = FindChunkId(schema_message)) {
      ARROW_ASSIGN_OR_RAISE(auto entry, Lookup(schema_message, position->offset));
      return Known{std::move(entry), position->id, static_cast<int64_t>(position->offset)};
    }
    ARROW_ASSIGN_OR_RAISE(auto entry, ReadSchema(schema_message));
    ARROW_ASSIGN_OR_RAISE(const ChunkId id, ParseChunkId(entry->raw->metadata()));
    return Known{std::move(entry), id};
  }
};

namespace {

// Positions of the fields that a part has: row ids, times, and the components.
std::vector<int> FieldsOfPart(const ChunkSchema& schema, const std::vector<std::string>& components) {
  const int first = schema.arrow_schema()->num_fields() - static_cast<int>(schema.columns().size());
  std::vector<int> fields;
  for (int i = 0; i < first; ++i) fields.push_back(i);
  for (size_t i = 0; i < schema.columns().size(); ++i) {
    const std::string& name = schema.columns()[i].descriptor.component;
    if (std::find(components.begin(), components.end(), name) != components.end()) fields.push_back(first + static_cast<int>(i));
  }
  return fields;
}

}  // namespace

ChunkDecoder::ChunkDecoder(size_t max_cached_schemas) : impl_(std::make_unique<Impl>()) {
  impl_->max_entries = std::max<size_t>(1, max_cached_schemas);
}
ChunkDecoder::~ChunkDecoder() = default;

ChunkDecoder& ChunkDecoder::Default() {
  static ChunkDecoder* const kDecoder = new ChunkDecoder();
  return *kDecoder;
}

arrow::Result<ChunkPtr> ChunkDecoder::Decode(std::shared_ptr<arrow::Buffer> payload) {
  const DecodeBudget budget(payload ? payload->size() : 0);
  const std::string_view bytes(*payload);
  const size_t schema_length = IpcMessageLength(bytes);
  if (schema_length == 0) return arrow::Status::Invalid("a chunk's payload does not begin with an Arrow schema message");
  ARROW_ASSIGN_OR_RAISE(const auto known, impl_->Identify(bytes.substr(0, schema_length)));
  const std::shared_ptr<const Impl::Entry>& entry = known.entry;
  const ChunkId id = known.id;

  std::shared_ptr<arrow::RecordBatch> batch;
  if (entry->has_dictionaries) {
    arrow::io::BufferReader reader(payload);
    ARROW_ASSIGN_OR_RAISE(auto stream, arrow::ipc::RecordBatchStreamReader::Open(&reader, ReadOptions()));
    ARROW_RETURN_NOT_OK(stream->ReadNext(&batch));
    if (batch == nullptr) return arrow::Status::Invalid("chunk ", id.ToHex(), " holds no record batch");
  } else {
    arrow::io::BufferReader reader(arrow::SliceBuffer(payload, static_cast<int64_t>(schema_length)));
    ARROW_ASSIGN_OR_RAISE(auto message, arrow::ipc::ReadMessage(&reader));
    if (message == nullptr || message->type() != arrow::ipc::MessageType::RECORD_BATCH) {
      return arrow::Status::Invalid("chunk ", id.ToHex(), " holds no record batch");
    }
    arrow::ipc::DictionaryMemo memo;
    ARROW_ASSIGN_OR_RAISE(batch, arrow::ipc::ReadRecordBatch(*message, entry->raw, &memo, ReadOptions()));
  }
  if (entry->schema != nullptr) return Chunk::Make(id, entry->schema, std::move(batch));
  if (const auto status = batch->ValidateFull(); !status.ok()) {
    return status.WithMessage("chunk ", id.ToHex(), ": ", status.message());
  }
  // The cached schema may carry another chunk's id.
  auto metadata = batch->schema()->metadata() ? batch->schema()->metadata()->Copy() : arrow::key_value_metadata({}, {});
  ARROW_UNUSED(metadata->Set(kMetaChunkId, "chunk_" + id.ToHex()));
  return ChunkFromRecordBatch(batch->ReplaceSchemaMetadata(metadata));
}

arrow::Result<ChunkDecoder::Head> ChunkDecoder::ReadHead(std::string_view payload) {
  const size_t length = IpcMessageLength(payload);
  if (length == 0) return arrow::Status::Invalid("a chunk's payload does not begin with an Arrow schema message");
  ARROW_ASSIGN_OR_RAISE(const auto known, impl_->Identify(payload.substr(0, length)));
  return Head{known.entry->has_dictionaries ? nullptr : known.entry->schema, known.id, length, known.id_digits};
}

arrow::Result<ChunkDecoder::PartSize> ChunkDecoder::MeasurePart(std::string_view start, const std::vector<std::string>& components) {
  using Kind = PartSize::Kind;
  const size_t schema_length = IpcMessageLength(start);
  if (schema_length == 0) return PartSize{Kind::kMore};
  ARROW_ASSIGN_OR_RAISE(const auto known, impl_->Identify(start.substr(0, schema_length)));
  if (known.entry->schema == nullptr || known.entry->has_dictionaries) return PartSize{Kind::kWhole};
  const std::string_view message = start.substr(schema_length);
  if (IpcMessageLength(message) == 0) return PartSize{Kind::kMore};
  const auto layout = IpcBatchLayout::Parse(message);
  if (!layout) return PartSize{Kind::kWhole};
  const std::vector<int> fields = FieldsOfPart(*known.entry->schema, components);
  int64_t end = 0;
  size_t buffer = 0;
  for (int i = 0; i < known.entry->raw->num_fields(); ++i) {
    const auto count = CountIpcBuffers(*known.entry->raw->field(i)->type());
    if (!count || buffer + static_cast<size_t>(*count) > layout->buffers.size()) return PartSize{Kind::kWhole};
    const bool is_part = std::binary_search(fields.begin(), fields.end(), i);
    for (int b = 0; b < *count; ++b, ++buffer) {
      if (is_part) end = std::max(end, layout->buffers[buffer].end());
    }
  }
  if (end >= layout->body_length) return PartSize{Kind::kWhole};
  return PartSize{Kind::kPart, static_cast<int64_t>(schema_length) + layout->metadata_length + end};
}

arrow::Result<ChunkPtr> ChunkDecoder::DecodePart(const std::shared_ptr<arrow::Buffer>& start, const std::vector<std::string>& components) {
  const std::string_view bytes(*start);
  const size_t schema_length = IpcMessageLength(bytes);
  const size_t batch_length = IpcMessageLength(bytes.substr(schema_length));
  if (schema_length == 0 || batch_length == 0) return arrow::Status::Invalid("a chunk's payload lacks a schema or a record batch");
  ARROW_ASSIGN_OR_RAISE(const auto known, impl_->Identify(bytes.substr(0, schema_length)));
  const auto& schema = known.entry->schema;
  if (schema == nullptr) return arrow::Status::Invalid("chunk ", known.id.ToHex(), ": only a current chunk can be decoded in part");
  constexpr int64_t kPrefix = 8;  // marker and size
  const auto at = static_cast<int64_t>(schema_length);
  const auto metadata = arrow::SliceBuffer(start, at + kPrefix, static_cast<int64_t>(batch_length) - kPrefix);
  const auto body = arrow::SliceBuffer(start, at + static_cast<int64_t>(batch_length));
  ARROW_ASSIGN_OR_RAISE(const auto message, arrow::ipc::Message::Open(metadata, body));
  auto options = ReadOptions();
  options.included_fields = FieldsOfPart(*schema, components);
  arrow::ipc::DictionaryMemo memo;
  ARROW_ASSIGN_OR_RAISE(const auto part, arrow::ipc::ReadRecordBatch(*message, known.entry->raw, &memo, options));
  arrow::ArrayVector columns;
  size_t next = 0;
  for (int i = 0; i < known.entry->raw->num_fields(); ++i) {
    if (next < options.included_fields.size() && options.included_fields[next] == i) {
      columns.push_back(part->column(static_cast<int>(next++)));
    } else {
      const size_t column = static_cast<size_t>(i) - (static_cast<size_t>(known.entry->raw->num_fields()) - schema->columns().size());
      columns.push_back(MakeStandIn(schema->columns()[column].type, part->num_rows()));
    }
  }
  return Chunk::Make(known.id, schema, arrow::RecordBatch::Make(schema->arrow_schema(), part->num_rows(), std::move(columns)));
}

arrow::Result<ChunkPtr> ChunkFromRecordBatch(const std::shared_ptr<arrow::RecordBatch>& batch) {
  std::shared_ptr<arrow::RecordBatch> current = batch;
  if (!IsCurrentSchema(*batch->schema())) {
    ARROW_ASSIGN_OR_RAISE(current, MigrateBatch(batch));
  }
  ARROW_ASSIGN_OR_RAISE(const ChunkId id, ParseChunkId(current->schema()->metadata()));
  ARROW_ASSIGN_OR_RAISE(auto schema, ChunkSchema::Make(current->schema()));
  return Chunk::Make(id, std::move(schema), std::move(current));
}

arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeChunk(const Chunk& chunk) {
  const auto batch = chunk.ToRecordBatch();
  ARROW_ASSIGN_OR_RAISE(auto sink, arrow::io::BufferOutputStream::Create(chunk.byte_size() + 4096));
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.use_threads = false;
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(sink, batch->schema(), options));
  ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  ARROW_RETURN_NOT_OK(writer->Close());
  return sink->Finish();
}

}  // namespace rushes
