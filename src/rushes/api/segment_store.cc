#include "rushes/api/segment_store.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "arrow/type.h"

namespace rushes {
namespace {

// The manifest and the places of the chunks come in two answers; in between somebody may change the segment.
constexpr int kMaxAttempts = 3;

}  // namespace

arrow::Result<std::shared_ptr<SegmentStore>> SegmentStore::Open(const std::shared_ptr<Connection>& connection, EntryId dataset,
                                                                const std::string& segment_id, bool include_assets) {
  std::shared_ptr<SegmentStore> store(new SegmentStore());
  ARROW_RETURN_NOT_OK(store->Add(*connection, dataset, segment_id));
  if (include_assets) {
    ARROW_ASSIGN_OR_RAISE(const DatasetEntry entry, connection->ReadDataset(dataset));
    if (entry.details.asset_dataset) {
      ARROW_ASSIGN_OR_RAISE(const auto assets, connection->AssetsForSegment(dataset, segment_id));
      for (const std::string& id : assets) {
        const arrow::Status added = store->Add(*connection, *entry.details.asset_dataset, id);
        if (!added.ok()) return added.WithMessage("asset '", id, "' of segment '", segment_id, "': ", added.message());
      }
    }
  }
  return store;
}

arrow::Status SegmentStore::Add(Connection& connection, EntryId dataset, const std::string& segment_id) {
  ARROW_ASSIGN_OR_RAISE(auto source, connection.OpenDataset(dataset));
  ChunkSelection everything;
  everything.segments = {segment_id};
  for (int attempt = 1;; ++attempt) {
    // The manifest first: it says whether there is such a segment.
    ARROW_ASSIGN_OR_RAISE(auto chunks, connection.ListSegmentChunks(dataset, segment_id));
    ARROW_ASSIGN_OR_RAISE(auto found, source->FindChunks(everything));
    std::unordered_map<ChunkId, uint32_t> positions;
    if (found.size() == 1) {
      for (uint32_t i = 0; i < found[0].chunks.size(); ++i) positions.emplace(found[0].chunks[i].id, i);
    }
    const bool is_same = found.size() == 1 && positions.size() == chunks.size() &&
                         std::all_of(chunks.begin(), chunks.end(), [&](const auto& chunk) { return positions.contains(chunk.id); });
    if (!is_same) {
      if (attempt < kMaxAttempts) continue;
      return arrow::Status::IOError("segment '", segment_id, "' of ", connection.url(),
                                    " changes while it is being opened: its manifest has ", chunks.size(), " chunks, ", positions.size(),
                                    " were found");
    }
    for (auto& chunk : chunks) {
      const uint32_t position = positions.at(chunk.id);
      chunks_.push_back({std::move(chunk), found[0].chunks[position].byte_size, parts_.size(), position});
    }
    const auto schema = found[0].schema->ToArrow();
    if (!schema_) {
      schema_ = schema;
    } else {
      for (const auto& field : schema->fields()) {
        if (schema_->GetFieldIndex(field->name()) >= 0) continue;
        ARROW_ASSIGN_OR_RAISE(schema_, schema_->AddField(schema_->num_fields(), field));
      }
    }
    parts_.push_back({std::move(source), std::move(found[0])});
    return arrow::Status::OK();
  }
}

arrow::Result<std::vector<ChunkPtr>> SegmentStore::Read(std::span<const uint32_t> chunks) const {
  std::vector<ChunkPtr> out(chunks.size());
  for (size_t part = 0; part < parts_.size(); ++part) {
    std::vector<uint32_t> wanted;
    std::vector<size_t> places;
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (chunks_[chunks[i]].part != part) continue;
      wanted.push_back(chunks_[chunks[i]].position);
      places.push_back(i);
    }
    if (wanted.empty()) continue;
    ARROW_ASSIGN_OR_RAISE(auto read, parts_[part].source->FetchChunks(parts_[part].found, wanted));
    for (size_t i = 0; i < read.size(); ++i) out[places[i]] = std::move(read[i].chunk);
  }
  return out;
}

}  // namespace rushes
