#include "rushes/catalog/catalog_state.h"

#include <algorithm>
#include <set>

#include "arrow/builder.h"
#include "arrow/util/key_value_metadata.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/metadata_tables.h"

namespace rushes {

const Layer* Segment::FindLayer(std::string_view layer_name) const {
  for (const LayerPtr& layer : layers) {
    if (layer->name == layer_name) return layer.get();
  }
  return nullptr;
}

arrow::Result<SegmentPtr> MakeSegment(std::string id, std::vector<LayerPtr> layers) {
  auto segment = std::make_shared<Segment>();
  segment->id = std::move(id);
  segment->schema = layers.front()->schema;
  segment->ranges = layers.front()->ranges;
  if (layers.size() > 1) {
    auto schema = std::make_shared<DatasetSchema>(*layers.front()->schema);
    std::map<std::string, TimelineRange> ranges;
    for (const LayerPtr& layer : layers) {
      ARROW_RETURN_NOT_OK(schema->Merge(*layer->schema));
      for (const TimelineRange& range : layer->ranges) {
        const auto [it, is_new] = ranges.try_emplace(range.timeline.name, range);
        if (is_new) continue;
        it->second.start = std::min(it->second.start, range.start);
        it->second.end = std::max(it->second.end, range.end);
      }
    }
    segment->schema = std::move(schema);
    segment->ranges.clear();
    for (auto& [name, range] : ranges) segment->ranges.push_back(std::move(range));
  }
  segment->layers = std::move(layers);
  return segment;
}

DatasetContent::DatasetContent() : DatasetContent({}, std::make_shared<DatasetSchema>()) {}

DatasetContent::DatasetContent(Segments segments, std::shared_ptr<const DatasetSchema> schema)
    : segments_(std::move(segments)),
      schema_(std::move(schema)),
      segment_table_(arrow::Status::UnknownError("not made")),
      manifest_(arrow::Status::UnknownError("not made")) {
  segment_ids_.reserve(segments_.size());
  for (const auto& [id, segment] : segments_) {
    segment_ids_.push_back(id);
    for (const LayerPtr& layer : segment->layers) is_on_this_machine_ &= layer->store->source().is_local();
  }
}

arrow::Result<std::shared_ptr<const DatasetContent>> DatasetContent::Make(Segments segments) {
  auto schema = std::make_shared<DatasetSchema>();
  std::set<std::string_view> seen;  // equal hashes mean equal schemas, and most recordings of a dataset share theirs
  for (const auto& [id, segment] : segments) {
    for (const LayerPtr& layer : segment->layers) {
      if (seen.insert(layer->schema_sha256).second) ARROW_RETURN_NOT_OK(schema->Merge(*layer->schema));
    }
  }
  return std::make_shared<const DatasetContent>(std::move(segments), std::move(schema));
}

const Segment* DatasetContent::FindSegment(std::string_view id) const {
  const auto it = segments_.find(id);
  return it == segments_.end() ? nullptr : it->second.get();
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> DatasetContent::SegmentTable() const {
  std::call_once(segment_table_once_, [this] { segment_table_ = MakeSegmentTable(*this); });
  return segment_table_;
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> DatasetContent::Manifest() const {
  std::call_once(manifest_once_, [this] { manifest_ = MakeManifestTable(*this); });
  return manifest_;
}

DatasetEntry Entry::ToDatasetEntry() const {
  DatasetEntry out;
  out.entry = entry;
  out.details = details;
  out.details.default_segment_table_blueprint_segment = default_segment_table_blueprint;
  out.store_id = "memory:///" + EntryIdText(entry.id);
  return out;
}

std::shared_ptr<Entry> MakeDatasetEntry(EntryId id, std::string name, EntryKind kind, int64_t now_ns) {
  auto entry = std::make_shared<Entry>();
  entry->entry = {id, std::move(name), kind, now_ns, now_ns};
  entry->content = std::make_shared<const DatasetContent>();
  entry->revision = static_cast<uint64_t>(now_ns);  // later than that of one before under the same id
  return entry;
}

TableEntry Entry::ToTableEntry() const { return {entry, {details.blueprint_dataset, details.default_blueprint_segment}, table_url}; }

EntryPtr CatalogState::Find(EntryId id) const {
  const auto it = entries_.find(id);
  return it == entries_.end() ? nullptr : it->second;
}

EntryPtr CatalogState::Find(std::string_view name) const {
  const auto it = names_.find(name);
  return it == names_.end() ? nullptr : Find(it->second);
}

arrow::Result<EntryPtr> CatalogState::GetDataset(EntryId id) const {
  EntryPtr entry = Find(id);
  if (!entry || !entry->is_dataset()) return arrow::Status::KeyError("Entry id '", EntryIdText(id), "' not found");
  return entry;
}

arrow::Result<EntryPtr> CatalogState::GetDataset(std::string_view name) const {
  EntryPtr entry = Find(name);
  if (!entry || !entry->is_dataset()) return arrow::Status::KeyError("Entry name '", name, "' not found");
  return entry;
}

arrow::Result<EntryPtr> CatalogState::GetTable(EntryId id) const {
  EntryPtr entry = Find(id);
  if (!entry || entry->entry.kind != EntryKind::kTable) return arrow::Status::KeyError("Entry id '", EntryIdText(id), "' not found");
  return entry;
}

const std::shared_ptr<arrow::Schema>& CatalogState::EntriesSchema() {
  static const auto schema =
      arrow::schema({arrow::field("id", arrow::fixed_size_binary(16), false), arrow::field("name", arrow::utf8(), false),
                     arrow::field("entry_kind", arrow::uint8(), false,
                                  arrow::key_value_metadata({"rerun:component_type"}, {"rerun.components.EntryKind"})),
                     arrow::field("created_at", arrow::timestamp(arrow::TimeUnit::NANO), false),
                     arrow::field("updated_at", arrow::timestamp(arrow::TimeUnit::NANO), false)});
  return schema;
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> CatalogState::EntriesTable() const {
  arrow::FixedSizeBinaryBuilder ids(arrow::fixed_size_binary(16));
  arrow::StringBuilder names;
  arrow::UInt8Builder kinds;
  arrow::TimestampBuilder created(arrow::timestamp(arrow::TimeUnit::NANO), arrow::default_memory_pool());
  arrow::TimestampBuilder updated(arrow::timestamp(arrow::TimeUnit::NANO), arrow::default_memory_pool());
  for (const auto& [id, entry] : entries_) {
    ARROW_RETURN_NOT_OK(ids.Append(id.bytes()));
    ARROW_RETURN_NOT_OK(names.Append(entry->entry.name));
    ARROW_RETURN_NOT_OK(kinds.Append(static_cast<uint8_t>(entry->entry.kind)));
    ARROW_RETURN_NOT_OK(created.Append(entry->entry.created_at_ns));
    ARROW_RETURN_NOT_OK(updated.Append(entry->entry.updated_at_ns));
  }
  arrow::ArrayVector columns(5);
  ARROW_RETURN_NOT_OK(ids.Finish(&columns[0]));
  ARROW_RETURN_NOT_OK(names.Finish(&columns[1]));
  ARROW_RETURN_NOT_OK(kinds.Finish(&columns[2]));
  ARROW_RETURN_NOT_OK(created.Finish(&columns[3]));
  ARROW_RETURN_NOT_OK(updated.Finish(&columns[4]));
  return arrow::RecordBatch::Make(EntriesSchema(), static_cast<int64_t>(entries_.size()), std::move(columns));
}

void CatalogState::Put(EntryPtr entry) {
  if (const EntryPtr old = Find(entry->entry.id)) names_.erase(old->entry.name);
  names_[entry->entry.name] = entry->entry.id;
  entries_[entry->entry.id] = std::move(entry);
}

void CatalogState::Erase(EntryId id) {
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  names_.erase(it->second->entry.name);
  entries_.erase(it);
}

}  // namespace rushes
