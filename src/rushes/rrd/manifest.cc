#include "rushes/rrd/manifest.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/buffer.h"
#include "arrow/io/memory.h"
#include "arrow/ipc/dictionary.h"
#include "arrow/ipc/reader.h"
#include "arrow/ipc/writer.h"
#include "arrow/util/bit_util.h"
#include "rushes/chunk/decode_budget.h"
#include "rushes/chunk/metadata.h"
#include "rushes/chunk/migration.h"
#include "rushes/chunk/mutex.h"
#include "rushes/rrd/format.h"
#include "rushes/rrd/hash.h"

namespace rushes {
namespace {

constexpr char kIndexKey[] = "rerun:index";
constexpr char kStaticIndex[] = "rerun:static";

std::shared_ptr<arrow::KeyValueMetadata> ComponentMetadata(const std::string& index, const ComponentDescriptor& descriptor) {
  auto metadata = arrow::key_value_metadata({kIndexKey, kMetaComponent}, {index, descriptor.component});
  if (descriptor.archetype) metadata->Append(kMetaArchetype, *descriptor.archetype);
  if (descriptor.component_type) metadata->Append(kMetaComponentType, *descriptor.component_type);
  return metadata;
}

std::string ShortName(const std::string& archetype) {
  for (std::string_view prefix : {"rerun.archetypes.", "rerun.blueprint.archetypes.", "rerun."}) {
    if (archetype.starts_with(prefix)) return archetype.substr(prefix.size());
  }
  return archetype;
}

// Parts joined by `:`, without characters that the tables of the ecosystem do not allow in names.
std::string ManifestName(const std::string& timeline, const ComponentDescriptor* descriptor, const char* suffix) {
  std::string name;
  const auto add = [&](const std::string& part) {
    if (part.empty()) return;
    if (!name.empty()) name.push_back(':');
    name += part;
  };
  add(timeline);
  if (descriptor != nullptr) {
    const std::string short_name = descriptor->archetype ? ShortName(*descriptor->archetype) : "";
    std::string field = descriptor->component;
    if (!short_name.empty() && field.starts_with(short_name + ":")) field.erase(0, short_name.size() + 1);
    add(short_name);
    add(field);
  }
  add(suffix);
  for (char& c : name) {
    if (std::string_view(", -.\\").find(c) != std::string_view::npos) c = '_';
  }
  name.erase(0, std::min(name.find_first_not_of('_'), name.size()));
  return name;
}

arrow::Result<std::shared_ptr<arrow::Array>> Int64Like(const std::shared_ptr<arrow::DataType>& type, const std::vector<int64_t>& values,
                                                       const std::vector<bool>& valid) {
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> data, arrow::AllocateBuffer(static_cast<int64_t>(values.size() * 8)));
  if (!values.empty()) std::memcpy(data->mutable_data(), values.data(), values.size() * 8);
  std::shared_ptr<arrow::Buffer> bitmap;
  if (!valid.empty()) {
    ARROW_ASSIGN_OR_RAISE(bitmap, arrow::AllocateEmptyBitmap(static_cast<int64_t>(values.size())));
    for (size_t i = 0; i < valid.size(); ++i) arrow::bit_util::SetBitTo(bitmap->mutable_data(), static_cast<int64_t>(i), valid[i]);
  }
  return arrow::MakeArray(arrow::ArrayData::Make(type, static_cast<int64_t>(values.size()), {bitmap, data}));
}

// Rows of the manifest: (part, chunk).
struct ManifestRow {
  uint32_t part;
  uint32_t chunk;
};

class ManifestWriter {
 public:
  ManifestWriter(std::span<const ManifestPart> parts, const DatasetSchema& schema) : parts_(parts), schema_(schema) {
    std::unordered_set<ChunkId> seen;
    rows_of_.resize(parts.size());
    for (uint32_t part = 0; part < parts.size(); ++part) {
      const SegmentIndex& index = *parts[part].index;
      rows_of_[part].assign(index.num_chunks(), -1);
      for (uint32_t chunk = 0; chunk < index.num_chunks(); ++chunk) {
        if (parts.size() > 1 && !seen.insert(index.id(chunk)).second) continue;
        rows_of_[part][chunk] = static_cast<int64_t>(rows_.size());
        rows_.push_back({part, chunk});
      }
    }
  }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Write() {
    ARROW_RETURN_NOT_OK(FixedColumns());
    if (!parts_.empty() && parts_[0].keys != nullptr) ARROW_RETURN_NOT_OK(Keys());
    CollectComponents();
    ARROW_RETURN_NOT_OK(StaticColumns());
    for (const Timeline& timeline : schema_.timelines()) ARROW_RETURN_NOT_OK(TimelineColumns(timeline));
    for (const Timeline& timeline : schema_.timelines()) ARROW_RETURN_NOT_OK(ComponentColumns(timeline));
    const auto num_rows = static_cast<int64_t>(rows_.size());
    return arrow::RecordBatch::Make(arrow::schema(std::move(fields_)), num_rows, std::move(columns_));
  }

 private:
  struct Cell {
    uint32_t part;
    const SegmentIndex::ColumnEntry* entry;
  };

  void Add(std::shared_ptr<arrow::Field> field, std::shared_ptr<arrow::Array> column) {
    fields_.push_back(std::move(field));
    columns_.push_back(std::move(column));
  }

  arrow::Status FixedColumns() {
    arrow::StringBuilder entities;
    arrow::FixedSizeBinaryBuilder ids(arrow::fixed_size_binary(ChunkId::kNumBytes));
    arrow::BooleanBuilder is_static;
    arrow::UInt64Builder num_rows, offsets, sizes, uncompressed;
    for (const ManifestRow& row : rows_) {
      const SegmentIndex& index = *parts_[row.part].index;
      ARROW_RETURN_NOT_OK(entities.Append(index.entities()[index.entity(row.chunk)].text()));
      ARROW_RETURN_NOT_OK(ids.Append(index.id(row.chunk).bytes().data()));
      ARROW_RETURN_NOT_OK(is_static.Append(index.is_static(row.chunk)));
      ARROW_RETURN_NOT_OK(num_rows.Append(static_cast<uint64_t>(index.num_rows(row.chunk))));
      const ChunkPlace& place = index.place(row.chunk);
      ARROW_RETURN_NOT_OK(offsets.Append(place.offset));
      ARROW_RETURN_NOT_OK(sizes.Append(place.size));
      ARROW_RETURN_NOT_OK(uncompressed.Append(place.size_uncompressed));
    }
    const auto add = [&](const char* name, arrow::ArrayBuilder& builder) -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(auto column, builder.Finish());
      Add(arrow::field(name, column->type(), /*nullable=*/false), column);
      return arrow::Status::OK();
    };
    ARROW_RETURN_NOT_OK(add("chunk_entity_path", entities));
    ARROW_RETURN_NOT_OK(add("chunk_id", ids));
    ARROW_RETURN_NOT_OK(add("chunk_is_static", is_static));
    ARROW_RETURN_NOT_OK(add("chunk_num_rows", num_rows));
    ARROW_RETURN_NOT_OK(add("chunk_byte_offset", offsets));
    ARROW_RETURN_NOT_OK(add("chunk_byte_size", sizes));
    return add("chunk_byte_size_uncompressed", uncompressed);
  }

  arrow::Status Keys() {
    arrow::BinaryBuilder keys;
    for (const ManifestRow& row : rows_) {
      const auto& part = parts_[row.part].keys;
      if (part == nullptr || part->type_id() != arrow::Type::BINARY || row.chunk >= part->length()) {
        return arrow::Status::Invalid("a manifest needs one binary key per chunk");
      }
      ARROW_RETURN_NOT_OK(keys.Append(static_cast<const arrow::BinaryArray&>(*part).GetView(row.chunk)));
    }
    ARROW_ASSIGN_OR_RAISE(auto column, keys.Finish());
    Add(arrow::field("chunk_key", arrow::binary(), /*nullable=*/false), column);
    return arrow::Status::OK();
  }

  // All descriptors of the schema, with the chunks that hold them.
  void CollectComponents() {
    for (const ComponentColumn& column : schema_.columns()) cells_[column.descriptor];
    for (uint32_t part = 0; part < parts_.size(); ++part) {
      const SegmentIndex& index = *parts_[part].index;
      for (const auto& column : index.columns()) {
        const ComponentDescriptor& own = index.components()[column.component];
        const ComponentColumn* known = schema_.FindColumn(index.entities()[column.entity], own.component);
        auto& cells = cells_[known != nullptr ? known->descriptor : own];
        for (const auto& entry : index.Entries(column)) cells.push_back({part, &entry});
      }
    }
  }

  arrow::Status StaticColumns() {
    for (const auto& [descriptor, cells] : cells_) {
      std::vector<bool> has(rows_.size(), false);
      for (const Cell& cell : cells) {
        const int64_t row = rows_of_[cell.part][cell.entry->chunk];
        if (row >= 0 && parts_[cell.part].index->is_static(cell.entry->chunk)) has[static_cast<size_t>(row)] = true;
      }
      arrow::BooleanBuilder builder;
      ARROW_RETURN_NOT_OK(builder.AppendValues(has));
      ARROW_ASSIGN_OR_RAISE(auto column, builder.Finish());
      Add(arrow::field(ManifestName("", &descriptor, "has_static_data"), arrow::boolean(), false,
                       ComponentMetadata(kStaticIndex, descriptor)),
          column);
    }
    return arrow::Status::OK();
  }

  arrow::Status AddSpans(const Timeline& timeline, const ComponentDescriptor* descriptor, const std::vector<int64_t>& starts,
                         const std::vector<int64_t>& ends, const std::vector<bool>& valid) {
    const auto metadata =
        descriptor == nullptr ? arrow::key_value_metadata({kIndexKey}, {timeline.name}) : ComponentMetadata(timeline.name, *descriptor);
    const auto& type = ArrowType(timeline.type);
    ARROW_ASSIGN_OR_RAISE(auto start, Int64Like(type, starts, valid));
    Add(arrow::field(ManifestName(timeline.name, descriptor, "start"), type, true, metadata), start);
    ARROW_ASSIGN_OR_RAISE(auto end, Int64Like(type, ends, valid));
    Add(arrow::field(ManifestName(timeline.name, descriptor, "end"), type, true, metadata), end);
    return arrow::Status::OK();
  }

  arrow::Status TimelineColumns(const Timeline& timeline) {
    std::vector<int64_t> starts(rows_.size(), 0), ends(rows_.size(), 0);
    std::vector<bool> valid(rows_.size(), false);
    for (size_t row = 0; row < rows_.size(); ++row) {
      const SegmentIndex& index = *parts_[rows_[row].part].index;
      const int position = index.TimelineIndex(timeline.name);
      if (position < 0) continue;
      if (const auto span = index.Span(rows_[row].chunk, position)) {
        starts[row] = span->start;
        ends[row] = span->end;
        valid[row] = true;
      }
    }
    return AddSpans(timeline, nullptr, starts, ends, valid);
  }

  arrow::Status ComponentColumns(const Timeline& timeline) {
    std::vector<int> positions;
    for (const ManifestPart& part : parts_) positions.push_back(part.index->TimelineIndex(timeline.name));
    for (const auto& [descriptor, cells] : cells_) {
      std::vector<int64_t> starts(rows_.size(), 0), ends(rows_.size(), 0), counts(rows_.size(), 0);
      std::vector<bool> valid(rows_.size(), false);
      bool any = false;
      for (const Cell& cell : cells) {
        const int64_t at = rows_of_[cell.part][cell.entry->chunk];
        if (at < 0 || positions[cell.part] < 0) continue;
        const auto span = parts_[cell.part].index->EntrySpan(*cell.entry, positions[cell.part]);
        if (!span) continue;
        const auto row = static_cast<size_t>(at);
        any = valid[row] = true;
        starts[row] = span->start;
        ends[row] = span->end;
        counts[row] = cell.entry->num_rows;
      }
      if (!any) continue;
      ARROW_RETURN_NOT_OK(AddSpans(timeline, &descriptor, starts, ends, valid));
      ARROW_ASSIGN_OR_RAISE(auto num_rows, Int64Like(arrow::uint64(), counts, {}));
      Add(arrow::field(ManifestName(timeline.name, &descriptor, "num_rows"), arrow::uint64(), true,
                       ComponentMetadata(timeline.name, descriptor)),
          num_rows);
    }
    return arrow::Status::OK();
  }

  std::span<const ManifestPart> parts_;
  const DatasetSchema& schema_;
  std::vector<ManifestRow> rows_;
  std::vector<std::vector<int64_t>> rows_of_;  // [part][chunk] -> row, -1: listed by another part
  std::map<ComponentDescriptor, std::vector<Cell>> cells_;
  arrow::FieldVector fields_;
  arrow::ArrayVector columns_;
};

}  // namespace

arrow::Result<RrdManifest> MakeManifest(std::span<const ManifestPart> parts, const DatasetSchema& schema) {
  RrdManifest manifest;
  manifest.schema = schema.ToArrow();
  ARROW_ASSIGN_OR_RAISE(manifest.schema_sha256, SchemaSha256(*manifest.schema));
  ARROW_ASSIGN_OR_RAISE(manifest.data, ManifestWriter(parts, schema).Write());
  return manifest;
}

namespace rrd {

arrow::Result<std::string> PackManifest(const StoreId& store_id, const RrdManifest& manifest) {
  ARROW_ASSIGN_OR_RAISE(const std::string schema, EncodeSchema(*manifest.schema));
  ARROW_ASSIGN_OR_RAISE(auto sink, arrow::io::BufferOutputStream::Create());
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(sink, manifest.data->schema()));
  ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*manifest.data));
  ARROW_RETURN_NOT_OK(writer->Close());
  ARROW_ASSIGN_OR_RAISE(const auto stream, sink->Finish());
  ARROW_ASSIGN_OR_RAISE(const auto data, CompressLz4(std::string_view(*stream)));
  return EncodeManifest(store_id, schema, manifest.schema_sha256, Compression::kLz4, static_cast<uint64_t>(stream->size()),
                        std::string_view(*data));
}

namespace {

// What was made of some bytes before. Recordings of one kind have the same schemas, so that thousands of files share one value.
template <typename Value>
class ByBytes {
 public:
  // nullptr: not there.
  std::shared_ptr<const Value> Find(std::string_view bytes) {
    MutexLock lock(mutex_);
    const auto it = entries_.find(Xxh64(bytes, 0));
    return it != entries_.end() && it->second.bytes == bytes ? it->second.value : nullptr;
  }
  void Insert(std::string_view bytes, std::shared_ptr<const Value> value) {
    MutexLock lock(mutex_);
    if (entries_.size() >= kMaxEntries || size_ + bytes.size() > kMaxSize) {
      entries_.clear();
      size_ = 0;
    }
    size_ += bytes.size();
    entries_.insert_or_assign(Xxh64(bytes, 0), Entry{std::string(bytes), std::move(value)});
  }

 private:
  static constexpr size_t kMaxEntries = 512;
  static constexpr size_t kMaxSize = 32 << 20;
  struct Entry {
    std::string bytes;
    std::shared_ptr<const Value> value;
  };
  Mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_ RUSHES_GUARDED_BY(mutex_);
  size_t size_ RUSHES_GUARDED_BY(mutex_) = 0;
};

arrow::Result<std::shared_ptr<const StoreSchema>> ReadStoreSchema(std::string_view bytes) {
  static ByBytes<StoreSchema>* const cache = new ByBytes<StoreSchema>();
  if (auto known = cache->Find(bytes)) return known;
  arrow::io::BufferReader reader(std::make_shared<arrow::Buffer>(bytes));
  arrow::ipc::DictionaryMemo memo;
  auto entry = std::make_shared<StoreSchema>();
  ARROW_ASSIGN_OR_RAISE(entry->arrow_schema, arrow::ipc::ReadSchema(&reader, &memo));
  ARROW_ASSIGN_OR_RAISE(entry->arrow_schema, MigrateSchema(entry->arrow_schema));
  ARROW_ASSIGN_OR_RAISE(auto schema, DatasetSchema::FromArrow(*entry->arrow_schema));
  // What is served is what is hashed, whatever order or extra metadata the file has.
  schema.Finish();
  entry->arrow_schema = schema.ToArrow();
  ARROW_ASSIGN_OR_RAISE(entry->sha256, SchemaSha256(*entry->arrow_schema));
  entry->schema = std::make_shared<const DatasetSchema>(std::move(schema));
  cache->Insert(bytes, entry);
  return entry;
}

// Positions of columns.
struct SpanColumns {
  int start = -1;
  int end = -1;
  int num_rows = -1;
  size_t timeline = 0;  // position in Layout::timelines
};

// What the columns of a manifest are.
struct Layout {
  std::shared_ptr<arrow::Schema> schema;
  int entity = -1, id = -1, is_static = -1, num_rows = -1, offset = -1, size = -1, size_uncompressed = -1;
  std::vector<std::pair<Timeline, SpanColumns>> timelines;
  std::vector<std::pair<ComponentDescriptor, int>> statics;
  std::vector<std::pair<ComponentDescriptor, std::vector<SpanColumns>>> components;
};

arrow::Result<int> FixedColumn(const arrow::Schema& schema, const char* name, const arrow::DataType& type) {
  const int at = schema.GetFieldIndex(name);
  if (at < 0) return arrow::Status::Invalid("the manifest has no column ", name);
  if (!schema.field(at)->type()->Equals(type)) {
    return arrow::Status::Invalid("column ", name, " of the manifest has type ", schema.field(at)->type()->ToString(), ", expected ",
                                  type.ToString());
  }
  return at;
}

arrow::Status Malformed(const arrow::Field& field) {
  return arrow::Status::Invalid("column ", field.name(), " of the manifest is malformed");
}

// Sorts the columns by what their metadata and the last part of their names say.
arrow::Result<std::shared_ptr<const Layout>> MakeLayout(const std::shared_ptr<arrow::Schema>& schema) {
  auto layout = std::make_shared<Layout>();
  layout->schema = schema;
  ARROW_ASSIGN_OR_RAISE(layout->entity, FixedColumn(*schema, "chunk_entity_path", *arrow::utf8()));
  ARROW_ASSIGN_OR_RAISE(layout->id, FixedColumn(*schema, "chunk_id", *arrow::fixed_size_binary(ChunkId::kNumBytes)));
  ARROW_ASSIGN_OR_RAISE(layout->is_static, FixedColumn(*schema, "chunk_is_static", *arrow::boolean()));
  ARROW_ASSIGN_OR_RAISE(layout->num_rows, FixedColumn(*schema, "chunk_num_rows", *arrow::uint64()));
  ARROW_ASSIGN_OR_RAISE(layout->offset, FixedColumn(*schema, "chunk_byte_offset", *arrow::uint64()));
  ARROW_ASSIGN_OR_RAISE(layout->size, FixedColumn(*schema, "chunk_byte_size", *arrow::uint64()));
  ARROW_ASSIGN_OR_RAISE(layout->size_uncompressed, FixedColumn(*schema, "chunk_byte_size_uncompressed", *arrow::uint64()));

  std::map<std::string, std::pair<TimeType, SpanColumns>> timelines;
  std::map<ComponentDescriptor, std::map<std::string, SpanColumns>> components;
  for (int i = 0; i < schema->num_fields(); ++i) {
    const arrow::Field& field = *schema->field(i);
    const size_t colon = field.name().rfind(':');
    if (colon == std::string::npos) continue;
    const std::string_view suffix = std::string_view(field.name()).substr(colon + 1);
    const auto index = FindMetadata(field.metadata(), kIndexKey);
    if (!index) return arrow::Status::Invalid("column ", field.name(), " of the manifest has no metadata \"", kIndexKey, "\"");
    const auto component = FindMetadata(field.metadata(), kMetaComponent);
    ComponentDescriptor descriptor;
    if (component) {
      descriptor = {FindMetadata(field.metadata(), kMetaArchetype), *component, FindMetadata(field.metadata(), kMetaComponentType)};
      // As the migration of the chunks has it.
      if (descriptor.component_type == "rerun.blueprint.components.TableCellKind") {
        descriptor.component = "TableColumn:column_type";
        descriptor.component_type = "rerun.blueprint.components.ColumnType";
      }
    }
    if (suffix == "has_static_data") {
      if (field.type()->id() != arrow::Type::BOOL || !component) return Malformed(field);
      layout->statics.emplace_back(std::move(descriptor), i);
      continue;
    }
    SpanColumns& spans = component ? components[descriptor][*index] : timelines[*index].second;
    if (suffix == "num_rows") {
      if (field.type()->id() != arrow::Type::UINT64) return Malformed(field);
      spans.num_rows = i;
    } else if (suffix == "start" || suffix == "end") {
      ARROW_ASSIGN_OR_RAISE(const TimeType type, TimeTypeFromArrow(*field.type()));
      if (!component) timelines[*index].first = type;
      (suffix == "start" ? spans.start : spans.end) = i;
    } else {
      return Malformed(field);
    }
  }
  std::map<std::string, size_t> positions;
  for (const auto& [name, timeline] : timelines) {
    if (timeline.second.start < 0 || timeline.second.end < 0) {
      return arrow::Status::Invalid("the manifest lacks start or end of timeline \"", name, "\"");
    }
    positions[name] = layout->timelines.size();
    layout->timelines.push_back({{name, timeline.first}, timeline.second});
  }
  for (const auto& [descriptor, by_timeline] : components) {
    auto& columns = layout->components.emplace_back(descriptor, std::vector<SpanColumns>()).second;
    for (const auto& [name, spans] : by_timeline) {
      if (spans.start < 0 || spans.end < 0 || spans.num_rows < 0 || !positions.contains(name)) {
        return arrow::Status::Invalid("the manifest lacks start, end or num_rows of component \"", descriptor.component,
                                      "\" on timeline \"", name, "\"");
      }
      columns.push_back(spans);
      columns.back().timeline = positions[name];
    }
  }
  return std::shared_ptr<const Layout>(std::move(layout));
}

struct ManifestBatch {
  std::shared_ptr<const Layout> layout;
  std::shared_ptr<arrow::RecordBatch> batch;
};

// Reads an IPC stream with one batch; the layout comes from a cache if its schema was seen before.
arrow::Result<ManifestBatch> ReadManifestBatch(const std::shared_ptr<arrow::Buffer>& bytes) {
  static ByBytes<Layout>* const cache = new ByBytes<Layout>();
  ManifestBatch out;
  const auto options = DecodeOptions();
  const DecodeBudget budget(bytes->size());
  arrow::io::BufferReader reader(bytes);
  ARROW_ASSIGN_OR_RAISE(const auto schema_message, arrow::ipc::ReadMessage(&reader));
  if (schema_message == nullptr || schema_message->type() != arrow::ipc::MessageType::SCHEMA) {
    return arrow::Status::Invalid("the manifest does not begin with a schema");
  }
  const std::string_view key(*schema_message->metadata());
  out.layout = cache->Find(key);
  if (out.layout == nullptr) {
    arrow::ipc::DictionaryMemo memo;
    ARROW_ASSIGN_OR_RAISE(const auto schema, arrow::ipc::ReadSchema(*schema_message, &memo));
    if (memo.fields().num_fields() > 0) return arrow::Status::Invalid("the manifest has dictionary-encoded columns");
    ARROW_ASSIGN_OR_RAISE(out.layout, MakeLayout(schema));
    cache->Insert(key, out.layout);
  }
  ARROW_ASSIGN_OR_RAISE(const auto message, arrow::ipc::ReadMessage(&reader));
  if (message == nullptr || message->type() != arrow::ipc::MessageType::RECORD_BATCH) {
    return arrow::Status::Invalid("the manifest holds no record batch");
  }
  arrow::ipc::DictionaryMemo memo;
  ARROW_ASSIGN_OR_RAISE(out.batch, arrow::ipc::ReadRecordBatch(*message, out.layout->schema, &memo, options));
  ARROW_RETURN_NOT_OK(out.batch->ValidateFull());
  return out;
}

// One start and end column.
struct Spans {
  const arrow::ArrayData* start;
  const arrow::ArrayData* end;
  const int64_t* starts;
  const int64_t* ends;

  Spans(const arrow::RecordBatch& batch, const SpanColumns& columns)
      : start(batch.column_data(columns.start).get()),
        end(batch.column_data(columns.end).get()),
        starts(Values(*start)),
        ends(Values(*end)) {}
  static const int64_t* Values(const arrow::ArrayData& data) { return data.length == 0 ? nullptr : data.GetValues<int64_t>(1); }
  bool Has(int64_t row) const { return start->IsValid(row) && end->IsValid(row); }
};

}  // namespace

arrow::Result<UnpackedManifest> UnpackManifest(const PackedManifest& packed, uint64_t stream_begin, uint64_t stream_end) {
  UnpackedManifest out;
  ARROW_ASSIGN_OR_RAISE(out.schema, ReadStoreSchema(packed.schema));
  ARROW_ASSIGN_OR_RAISE(const auto bytes, Decompress(packed.data, packed.compression, packed.size_uncompressed));
  ARROW_ASSIGN_OR_RAISE(const auto manifest, ReadManifestBatch(bytes));
  const auto& layout = manifest.layout;
  const auto& batch = manifest.batch;
  for (const int column :
       {layout->entity, layout->id, layout->is_static, layout->num_rows, layout->offset, layout->size, layout->size_uncompressed}) {
    if (batch->column_data(column)->GetNullCount() > 0) {
      return arrow::Status::Invalid("column ", layout->schema->field(column)->name(), " of the manifest has nulls");
    }
  }
  const auto entities_array = batch->column(layout->entity), ids_array = batch->column(layout->id),
             static_array = batch->column(layout->is_static);
  const auto* entities = static_cast<const arrow::StringArray*>(entities_array.get());
  const auto* ids = static_cast<const arrow::FixedSizeBinaryArray*>(ids_array.get());
  const auto* is_static = static_cast<const arrow::BooleanArray*>(static_array.get());
  const auto uint64_column = [&](int column) { return std::static_pointer_cast<arrow::UInt64Array>(batch->column(column)); };
  const auto num_rows = uint64_column(layout->num_rows), offsets = uint64_column(layout->offset), sizes = uint64_column(layout->size),
             uncompressed = uint64_column(layout->size_uncompressed);
  for (const Timeline& timeline : out.schema->schema->timelines()) {
    if (std::none_of(layout->timelines.begin(), layout->timelines.end(), [&](const auto& other) { return other.first == timeline; })) {
      return arrow::Status::Invalid("the manifest has no columns for timeline \"", timeline.name, "\"");
    }
  }

  const int64_t n = batch->num_rows();
  const uint64_t stream_size = stream_end - stream_begin;
  out.chunks.resize(static_cast<size_t>(n));
  std::unordered_map<std::string_view, EntityPath> paths;
  bool has_static = false, has_temporal = false;
  for (int64_t i = 0; i < n; ++i) {
    auto& chunk = out.chunks[static_cast<size_t>(i)];
    const auto [path, added] = paths.try_emplace(entities->GetView(i));
    if (added) path->second = EntityPath::Parse(entities->GetView(i));
    chunk.entity = path->second;
    chunk.id = ChunkId::FromBytes(ids->GetValue(i));
    chunk.is_static = is_static->Value(i);
    if (num_rows->Value(i) > kMaxPayloadSize)
      return arrow::Status::Invalid("chunk ", chunk.id.ToHex(), " of the manifest has ", num_rows->Value(i), " rows");
    chunk.num_rows = static_cast<int64_t>(num_rows->Value(i));
    (chunk.is_static ? has_static : has_temporal) |= chunk.num_rows > 0;
    const uint64_t offset = offsets->Value(i), size = sizes->Value(i);
    if (offset < static_cast<uint64_t>(kStreamHeaderSize + kFrameHeaderSize) || offset > stream_size || size > stream_size - offset) {
      return arrow::Status::Invalid("the manifest places chunk ", chunk.id.ToHex(), " at bytes ", offset, " to ", offset + size,
                                    " of a stream of ", stream_size, " bytes");
    }
    chunk.place = {stream_begin + offset, size, uncompressed->Value(i)};
  }
  if (has_static && layout->statics.empty()) return arrow::Status::Invalid("the manifest does not say what static chunks hold");
  if (has_temporal && layout->components.empty()) return arrow::Status::Invalid("the manifest does not say what temporal chunks hold");

  // Position of a timeline among those of the chunk; -1: it has not.
  std::vector<int> timeline_of(layout->timelines.size() * out.chunks.size(), -1);
  for (size_t t = 0; t < layout->timelines.size(); ++t) {
    const auto& [timeline, columns] = layout->timelines[t];
    const Spans spans(*batch, columns);
    for (int64_t i = 0; i < n; ++i) {
      auto& chunk = out.chunks[static_cast<size_t>(i)];
      if (chunk.is_static || !spans.Has(i)) continue;
      const TimeSpan span{std::max(spans.starts[i], kMinTime), std::max(spans.ends[i], kMinTime)};
      if (span.start > span.end) {
        return arrow::Status::Invalid("chunk ", chunk.id.ToHex(), " of the manifest ends before it starts on \"", timeline.name, "\"");
      }
      timeline_of[t * out.chunks.size() + static_cast<size_t>(i)] = static_cast<int>(chunk.timelines.size());
      chunk.timelines.push_back(timeline);
      chunk.spans.push_back(span);
    }
  }
  for (const auto& [descriptor, column] : layout->statics) {
    const auto array = batch->column(column);
    const auto* values = static_cast<const arrow::BooleanArray*>(array.get());
    if (values->length() == values->null_count() || values->true_count() == 0) continue;
    for (int64_t i = 0; i < n; ++i) {
      auto& chunk = out.chunks[static_cast<size_t>(i)];
      if (chunk.is_static && values->IsValid(i) && values->Value(i)) chunk.components.push_back({descriptor, -1, RowId{}, {}});
    }
  }
  for (const auto& [descriptor, by_timeline] : layout->components) {
    for (const SpanColumns& columns : by_timeline) {
      const Spans spans(*batch, columns);
      const auto counts = uint64_column(columns.num_rows);
      for (int64_t i = 0; i < n; ++i) {
        auto& chunk = out.chunks[static_cast<size_t>(i)];
        if (chunk.is_static || counts->IsNull(i) || counts->Value(i) == 0 || !spans.Has(i)) continue;
        const int at = timeline_of[columns.timeline * out.chunks.size() + static_cast<size_t>(i)];
        if (at < 0 || counts->Value(i) > static_cast<uint64_t>(chunk.num_rows) || spans.starts[i] > spans.ends[i]) {
          return arrow::Status::Invalid("chunk ", chunk.id.ToHex(), " of the manifest contradicts itself about component \"",
                                        descriptor.component, "\" on \"", layout->timelines[columns.timeline].first.name, "\"");
        }
        if (chunk.components.empty() || chunk.components.back().descriptor != descriptor) {
          chunk.components.push_back(
              {descriptor, static_cast<int64_t>(counts->Value(i)), RowId{}, std::vector<TimeSpan>(chunk.timelines.size(), TimeSpan{1, 0})});
        }
        chunk.components.back().spans[static_cast<size_t>(at)] = {std::max(spans.starts[i], kMinTime), std::max(spans.ends[i], kMinTime)};
      }
    }
  }
  return out;
}

}  // namespace rrd
}  // namespace rushes
