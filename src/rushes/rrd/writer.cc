#include "rushes/rrd/writer.h"

#include <utility>

#include "arrow/io/file.h"
#include "arrow/util/macros.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/rrd/hash.h"

namespace rushes::rrd {
namespace {

constexpr int32_t kOtherSource = 6;
constexpr char kSourceName[] = "rushes";

bool HasInstances(const arrow::ListArray& column) {
  for (int64_t row = 0; row < column.length(); ++row) {
    if (column.IsValid(row) && column.value_length(row) > 0) return true;
  }
  return false;
}

arrow::Result<StoreId> Normalized(const StoreId& id) {
  StoreId out = id;
  ARROW_ASSIGN_OR_RAISE(out.application_id, NormalizeApplicationId(id.application_id));
  return out;
}

}  // namespace

bool StoreSchemaBuilder::Add(const Chunk& chunk) {
  bool agrees = true;
  const ChunkSchema& schema = chunk.schema();
  for (const Timeline& timeline : schema.timelines()) agrees &= timelines_.emplace(timeline.name, timeline).first->second == timeline;
  for (size_t i = 0; i < schema.columns().size(); ++i) {
    const ChunkColumn& source = schema.columns()[i];
    const auto [it, added] = columns_.try_emplace(schema.entity().text() + '\0' + source.descriptor.component);
    if (added) {
      it->second.column = {schema.entity(), source.descriptor, source.type, false, false};
    } else {
      agrees &= it->second.column.type->Equals(*source.type);
    }
    it->second.column.is_static |= chunk.is_static();
    if (!it->second.has_instances) it->second.has_instances = HasInstances(*chunk.column(static_cast<int>(i)));
  }
  return agrees;
}

DatasetSchema StoreSchemaBuilder::Finish() const {
  DatasetSchema schema;  // nothing below can clash: names are unique
  for (const auto& [name, timeline] : timelines_) ARROW_UNUSED(schema.AddTimeline(timeline));
  for (const auto& [key, entry] : columns_) {
    ComponentColumn column = entry.column;
    column.is_semantically_empty = !entry.has_instances;
    ARROW_UNUSED(schema.AddColumn(std::move(column)));
  }
  schema.Finish();
  return schema;
}

Writer::Writer(std::shared_ptr<arrow::io::OutputStream> sink, WriterOptions options) : sink_(std::move(sink)), options_(options) {}
Writer::~Writer() = default;

arrow::Result<std::unique_ptr<Writer>> Writer::Open(const std::string& path, WriterOptions options) {
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::FileOutputStream::Open(path));
  return Make(std::move(file), options);
}

arrow::Result<std::unique_ptr<Writer>> Writer::Make(std::shared_ptr<arrow::io::OutputStream> sink, WriterOptions options) {
  std::unique_ptr<Writer> writer(new Writer(std::move(sink), options));
  const std::string header = StreamHeader{options.version, options.compression == Compression::kLz4}.Encode();
  ARROW_RETURN_NOT_OK(writer->sink_->Write(header));
  writer->position_ = static_cast<int64_t>(header.size());
  return writer;
}

arrow::Status Writer::WriteFrame(FrameKind kind, std::initializer_list<std::string_view> payload) {
  FrameHeader header{static_cast<uint64_t>(kind), 0};
  for (const std::string_view part : payload) header.size += part.size();
  if (header.size > kMaxPayloadSize) return arrow::Status::Invalid("a message of ", header.size, " bytes is above the limit of 16 GiB");
  ARROW_RETURN_NOT_OK(sink_->Write(header.Encode()));
  for (const std::string_view part : payload) {
    if (!part.empty()) ARROW_RETURN_NOT_OK(sink_->Write(part.data(), static_cast<int64_t>(part.size())));
  }
  position_ += kFrameHeaderSize + static_cast<int64_t>(header.size);
  return arrow::Status::OK();
}

arrow::Status Writer::AddStore(const StoreId& store_id) {
  ARROW_ASSIGN_OR_RAISE(const StoreId id, Normalized(store_id));
  stores_.try_emplace(id);
  return WriteFrame(FrameKind::kSetStoreInfo, {EncodeSetStoreInfo(id, Tuid::New(), options_.version.bits(), kOtherSource, kSourceName)});
}

arrow::Status Writer::Write(const StoreId& store_id, const Chunk& chunk) {
  ARROW_ASSIGN_OR_RAISE(const StoreId id, Normalized(store_id));
  if (!stores_.contains(id)) ARROW_RETURN_NOT_OK(AddStore(id));
  if (chunk.num_rows() == 0 || chunk.schema().columns().empty()) return arrow::Status::OK();
  ARROW_ASSIGN_OR_RAISE(auto payload, EncodeChunk(chunk));
  const auto size_uncompressed = static_cast<uint64_t>(payload->size());
  if (options_.compression == Compression::kLz4) {
    ARROW_ASSIGN_OR_RAISE(payload, CompressLz4(std::string_view(*payload)));
  }
  const ArrowEnvelope envelope =
      MakeArrowEnvelope(id, options_.compression, size_uncompressed, static_cast<size_t>(payload->size()), chunk.id(), chunk.is_static());
  const int64_t before = position_;
  ARROW_RETURN_NOT_OK(WriteFrame(FrameKind::kArrowMessage, {envelope.head, std::string_view(*payload), envelope.tail}));
  if (!options_.footer) return arrow::Status::OK();
  Store& store = stores_[id];
  store.has_chunks = true;
  store.schema.Add(chunk);
  const ChunkPlace place{static_cast<uint64_t>(before + kFrameHeaderSize), static_cast<uint64_t>(position_ - before - kFrameHeaderSize),
                         size_uncompressed};
  return store.index.Add(SegmentIndexBuilder::Describe(chunk, place));
}

arrow::Status Writer::ActivateBlueprint(const StoreId& store_id, bool make_active, bool make_default) {
  ARROW_ASSIGN_OR_RAISE(const StoreId id, Normalized(store_id));
  return WriteFrame(FrameKind::kBlueprintActivation, {EncodeBlueprintActivation(id, make_active, make_default)});
}

arrow::Status Writer::Close() {
  if (options_.footer) {
    std::string footer;
    for (auto& [id, store] : stores_) {
      if (!store.has_chunks) continue;
      ARROW_ASSIGN_OR_RAISE(const auto index, store.index.Finish());
      const ManifestPart part{index.get(), nullptr};
      ARROW_ASSIGN_OR_RAISE(const auto manifest, MakeManifest({&part, 1}, store.schema.Finish()));
      ARROW_ASSIGN_OR_RAISE(const auto packed, PackManifest(id, manifest));
      footer += packed;
    }
    const auto footer_offset = static_cast<uint64_t>(position_ + kFrameHeaderSize);
    ARROW_RETURN_NOT_OK(WriteFrame(FrameKind::kEnd, {footer}));
    ARROW_RETURN_NOT_OK(sink_->Write(Trailer{footer_offset, footer.size(), Xxh32(footer, kFooterChecksumSeed)}.Encode()));
  }
  return sink_->Close();
}

}  // namespace rushes::rrd
