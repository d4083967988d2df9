// The chunks of a dataset behind a connection: selected by FindChunks, brought by FetchChunks.
#include <algorithm>
#include <future>
#include <limits>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/table.h"
#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/client/remote_connection.h"
#include "rushes/wire/chunk_query.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes::client {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;

// Bytes asked for in one FetchChunks. The official server reads all of a request before it answers.
constexpr uint64_t kMaxRequestBytes = uint64_t{8} << 20;
// Chunks asked for in one FetchChunks.
constexpr size_t kMaxRequestChunks = 4096;
// How often what did not arrive is asked for again after a broken connection.
constexpr int kMaxFetchAttempts = 3;

// What the locators of one answer refer to: batch in the high half, row in the low one.
struct FoundRows {
  std::vector<wire::ChunkRows> batches;

  wire::ChunkRow row(uint64_t locator) const { return batches[locator >> 32].row(static_cast<int64_t>(locator & 0xFFFFFFFF)); }
};

class RemoteChunkSource : public ChunkSource {
 public:
  RemoteChunkSource(std::shared_ptr<Session> session, EntryId dataset) : session_(std::move(session)), dataset_(dataset) {}

  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override {
    ARROW_ASSIGN_OR_RAISE(const auto schema, session_->DatasetSchemaOf(dataset_));
    ARROW_ASSIGN_OR_RAISE(auto out, DatasetSchema::FromArrow(*schema));
    return std::make_shared<const DatasetSchema>(std::move(out));
  }

  arrow::Result<std::vector<std::string>> ListSegments() override {
    ARROW_ASSIGN_OR_RAISE(const auto table, session_->ScanSegmentTable(dataset_, {wire::kSegmentIdColumnName}));
    ARROW_ASSIGN_OR_RAISE(const auto batch, table->CombineChunksToBatch());
    ARROW_ASSIGN_OR_RAISE(const auto ids, wire::FindColumn(*batch, wire::kSegmentIdColumnName, arrow::utf8(), false, "segment table"));
    std::vector<std::string> out;
    out.reserve(static_cast<size_t>(ids->length()));
    for (int64_t i = 0; i < ids->length(); ++i) out.emplace_back(static_cast<const arrow::StringArray&>(*ids).GetView(i));
    std::sort(out.begin(), out.end());
    return out;
  }

  arrow::Result<std::vector<IndexRange>> GetIndexRanges(const std::string& timeline) override {
    ARROW_ASSIGN_OR_RAISE(const auto schema, GetSchema());
    if (schema->FindTimeline(timeline) == nullptr) {
      return arrow::Status::KeyError("Index '", timeline, "' does not exist in the dataset.");
    }
    const std::string start_name = timeline + ":start";
    const std::string end_name = timeline + ":end";
    ARROW_ASSIGN_OR_RAISE(const auto table, session_->ScanSegmentTable(dataset_, {wire::kSegmentIdColumnName, start_name, end_name}));
    ARROW_ASSIGN_OR_RAISE(const auto batch, table->CombineChunksToBatch());
    ARROW_ASSIGN_OR_RAISE(const auto ids, wire::FindColumn(*batch, wire::kSegmentIdColumnName, arrow::utf8(), false, "segment table"));
    ARROW_ASSIGN_OR_RAISE(const auto starts, TimeColumn(*batch, start_name));
    ARROW_ASSIGN_OR_RAISE(const auto ends, TimeColumn(*batch, end_name));
    std::vector<IndexRange> out;
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      if (starts->IsNull(i) || ends->IsNull(i)) continue;
      out.push_back({std::string(static_cast<const arrow::StringArray&>(*ids).GetView(i)),
                     static_cast<const arrow::Int64Array&>(*starts).Value(i), static_cast<const arrow::Int64Array&>(*ends).Value(i)});
    }
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.segment_id < b.segment_id; });
    return out;
  }

  arrow::Result<std::vector<SegmentChunks>> FindChunks(const ChunkSelection& selection) override;
  // Chunks travel whole.
  arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                       std::span<const ComponentList> values) override;

 private:
  // Bytes are signed 64-bit integers in all three time types.
  static arrow::Result<std::shared_ptr<arrow::Array>> TimeColumn(const arrow::RecordBatch& batch, const std::string& name) {
    const auto column = batch.GetColumnByName(name);
    if (column == nullptr) return arrow::Status::Invalid("segment table: there is no column '", name, "'");
    const auto type = column->type_id();
    if (type != arrow::Type::INT64 && type != arrow::Type::TIMESTAMP && type != arrow::Type::DURATION) {
      return arrow::Status::Invalid("segment table: column '", name, "' is ", column->type()->ToString(), ", not a time");
    }
    return column->View(arrow::int64());
  }

  // The question behind a selection; nullopt when the answer is known to be nothing.
  std::optional<wire::ChunkQuery> MakeQuery(const ChunkSelection& selection) const;
  arrow::Result<std::shared_ptr<FoundRows>> Ask(const wire::ChunkQuery& query) const;
  // Fetches `wanted` (positions in `segment.chunks`, of distinct ids) into `out` by chunk id.
  arrow::Status FetchGroup(const SegmentChunks& segment, std::span<const uint32_t> wanted,
                           std::unordered_map<ChunkId, ChunkPtr>* out) const;

  const std::shared_ptr<Session> session_;
  const EntryId dataset_;
};

std::optional<wire::ChunkQuery> RemoteChunkSource::MakeQuery(const ChunkSelection& selection) const {
  using Mode = ChunkSelection::Mode;
  wire::ChunkQuery out;
  if (selection.entities) {
    if (selection.entities->empty()) return std::nullopt;
    out.entities.emplace();
    std::unordered_set<std::string> seen;
    const bool narrow = session_->can_narrow_components() && selection.components.size() == selection.entities->size();
    for (size_t i = 0; i < selection.entities->size(); ++i) {
      const EntityPath& path = (*selection.entities)[i];
      if (!seen.insert(path.text()).second) continue;
      out.entities->push_back({path, std::nullopt});
      if (narrow && selection.components[i] != nullptr) {
        out.entities->back().components = *selection.components[i];
        out.narrow_components = true;
      }
    }
  }
  if (selection.mode == Mode::kSamples) {
    out.mode = wire::ChunkQuery::Mode::kSamples;
    for (const auto& [id, values] : selection.samples) {
      if (!values.empty()) out.samples.emplace(id, values);
    }
    if (out.samples.empty()) return std::nullopt;
  } else {
    if (selection.segments.empty()) return std::nullopt;
    out.segments = selection.segments;
  }
  out.timeline = selection.timeline;
  out.latest_at = selection.latest_at;
  switch (selection.mode) {
    case Mode::kStatic:
      out.mode = wire::ChunkQuery::Mode::kStatic;
      out.timeline.clear();
      break;
    case Mode::kRange:
      if (selection.start > selection.end) return std::nullopt;
      // Both bounds are always given: without any, every chunk of every timeline would come.
      out.start = std::max(selection.start, kMinTime);
      out.end = selection.end;
      if (selection.start <= kMinTime) out.latest_at = false;
      break;
    case Mode::kAll:
      out.latest_at = false;
      break;
    case Mode::kSamples:
      break;
  }
  return out;
}

arrow::Result<std::shared_ptr<FoundRows>> RemoteChunkSource::Ask(const wire::ChunkQuery& query) const {
  auto out = std::make_shared<FoundRows>();
  CallOptions options;
  options.entry = dataset_;
  options.narrow_components = query.narrow_components;
  const auto take = [&](auto& response) -> arrow::Status {
    if (response.has_meta() && response.meta().has_entry_id()) {
      const auto id = wire::FromProto(response.meta().entry_id(), "DatasetResponseMeta.entry_id");
      if (id.ok()) session_->rpc().NoteRevision(*id, response.meta().dataset_revision());
    }
    ARROW_ASSIGN_OR_RAISE(auto batch, wire::DecodePart(response.data(), "answer to a search for chunks"));
    if (batch->num_rows() == 0) return arrow::Status::OK();
    if (batch->num_rows() > std::numeric_limits<uint32_t>::max()) return arrow::Status::Invalid("too many chunks in one batch");
    ARROW_ASSIGN_OR_RAISE(auto rows, wire::ChunkRows::Make(std::move(batch), query.timeline));
    out->batches.push_back(std::move(rows));
    return arrow::Status::OK();
  };
  // Only the older call can ask for everything without naming a timeline.
  const bool no_timeline = query.mode == wire::ChunkQuery::Mode::kRange && query.timeline.empty();
  if (session_->has_find_chunks() && !no_timeline) {
    cloud::FindChunksRequest request;
    wire::ToProto(query, &request);
    cloud::FindChunksResponse response;
    ARROW_RETURN_NOT_OK(session_->rpc().ReadAll("FindChunks", request, options, &response, [&] { return take(response); }));
  } else {
    cloud::QueryDatasetRequest request;
    wire::ToProto(query, &request);
    cloud::QueryDatasetResponse response;
    ARROW_RETURN_NOT_OK(session_->rpc().ReadAll("QueryDataset", request, options, &response, [&] { return take(response); }));
  }
  return out;
}

arrow::Result<std::vector<SegmentChunks>> RemoteChunkSource::FindChunks(const ChunkSelection& selection) {
  std::vector<std::string> segments;
  if (selection.mode == ChunkSelection::Mode::kSamples) {
    for (const auto& [id, values] : selection.samples) segments.push_back(id);
  } else {
    segments = selection.segments;
  }
  if (segments.empty()) return std::vector<SegmentChunks>();

  const auto query = MakeQuery(selection);
  // Two round trips at the same time: which chunks, and what the segments' schemas are.
  std::future<arrow::Result<std::shared_ptr<FoundRows>>> asked;
  if (query) asked = std::async(std::launch::async, [this, &query] { return Ask(*query); });
  auto schemas_result = session_->ReadSegmentSchemas(dataset_, &segments, nullptr);
  std::shared_ptr<FoundRows> found = std::make_shared<FoundRows>();
  if (query) {
    auto answer = asked.get();
    ARROW_ASSIGN_OR_RAISE(found, std::move(answer));
  }
  ARROW_ASSIGN_OR_RAISE(auto schemas, std::move(schemas_result));

  std::vector<SegmentChunks> out;
  std::unordered_map<std::string_view, size_t> positions;
  out.reserve(schemas.size());
  for (const auto& [id, schema] : schemas) {
    SegmentChunks segment;
    segment.segment_id = id;
    segment.schema = schema;
    segment.state = found;
    positions.emplace(id, out.size());
    out.push_back(std::move(segment));
  }
  struct Known {
    std::unordered_map<std::string, uint32_t> positions;
    std::vector<EntityPath> entities;
    std::unordered_set<ChunkId> ids;
  };
  std::vector<Known> known(out.size());
  for (size_t b = 0; b < found->batches.size(); ++b) {
    const auto& rows = found->batches[b];
    for (int64_t r = 0; r < rows.num_rows(); ++r) {
      const wire::ChunkRow row = rows.row(r);
      const auto position = positions.find(row.segment_id);
      // Not a segment of ours: it was registered, or its last layer removed, between the two answers.
      if (position == positions.end()) continue;
      SegmentChunks& segment = out[position->second];
      Known& seen = known[position->second];
      if (!seen.ids.insert(row.id).second) continue;
      const auto [entity, is_new] = seen.positions.emplace(row.entity_path, static_cast<uint32_t>(seen.entities.size()));
      if (is_new) {
        auto path = EntityPath::ParseStrict(row.entity_path);
        if (!path.ok()) return path.status().WithMessage("segment ", segment.segment_id, ": ", path.status().message());
        seen.entities.push_back(*std::move(path));
      }
      ChunkInfo info;
      info.id = row.id;
      info.entity = entity->second;
      info.is_static = row.is_static;
      info.has_timeline = !row.is_static && row.timeline_start.has_value();
      info.start = std::max(row.timeline_start.value_or(0), kMinTime);
      info.byte_size = static_cast<int64_t>(std::min<uint64_t>(row.byte_size_uncompressed.value_or(row.byte_len), uint64_t{1} << 62));
      info.locator = static_cast<uint64_t>(b) << 32 | static_cast<uint64_t>(r);
      // An older server without start columns: the timeline has to be looked for in the chunk.
      if (!row.is_static && query && !session_->has_find_chunks() && !query->timeline.empty() && !rows.has_starts()) {
        info.has_timeline = true;
        info.start = kMinTime;
      }
      segment.chunks.push_back(info);
    }
  }
  for (size_t i = 0; i < out.size(); ++i) out[i].entities = std::make_shared<const std::vector<EntityPath>>(std::move(known[i].entities));
  return out;
}

arrow::Result<std::vector<FetchedChunk>> RemoteChunkSource::FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                                        std::span<const ComponentList>) {
  std::unordered_map<ChunkId, ChunkPtr> arrived;
  std::vector<uint32_t> group;
  uint64_t bytes = 0;
  const auto& found = *static_cast<const FoundRows*>(segment.state.get());
  std::unordered_set<ChunkId> asked;
  const auto flush = [&]() -> arrow::Status {
    if (group.empty()) return arrow::Status::OK();
    ARROW_RETURN_NOT_OK(FetchGroup(segment, group, &arrived));
    group.clear();
    bytes = 0;
    return arrow::Status::OK();
  };
  for (const uint32_t chunk : chunks) {
    if (!asked.insert(segment.chunks[chunk].id).second) continue;
    const uint64_t size = found.row(segment.chunks[chunk].locator).byte_len;
    if (!group.empty() && (bytes + size > kMaxRequestBytes || group.size() >= kMaxRequestChunks)) ARROW_RETURN_NOT_OK(flush());
    group.push_back(chunk);
    bytes += size;
  }
  ARROW_RETURN_NOT_OK(flush());
  std::vector<FetchedChunk> out;
  out.reserve(chunks.size());
  for (uint32_t i = 0; i < chunks.size(); ++i) out.push_back({arrived.at(segment.chunks[chunks[i]].id), i});
  return out;
}

arrow::Status RemoteChunkSource::FetchGroup(const SegmentChunks& segment, std::span<const uint32_t> wanted,
                                            std::unordered_map<ChunkId, ChunkPtr>* out) const {
  const auto& found = *static_cast<const FoundRows*>(segment.state.get());
  std::unordered_set<ChunkId> missing;
  for (const uint32_t chunk : wanted) missing.insert(segment.chunks[chunk].id);

  for (int attempt = 1;; ++attempt) {
    std::vector<wire::ChunkRow> rows;
    for (const uint32_t chunk : wanted) {
      if (missing.contains(segment.chunks[chunk].id)) rows.push_back(found.row(segment.chunks[chunk].locator));
    }
    ARROW_ASSIGN_OR_RAISE(const auto batch, wire::MakeFetchBatch(rows));
    cloud::FetchChunksRequest request;
    ARROW_RETURN_NOT_OK(wire::EncodePart(*batch, request.add_chunk_infos()));
    CallOptions options;
    options.timeout_s = wire::kFetchDeadlineSeconds;
    ARROW_ASSIGN_OR_RAISE(auto stream, session_->rpc().Stream("FetchChunks", request, options));
    arrow::Status bad;  // not of the connection
    const auto take = [&](const wire::BytePieces& message) -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(auto received, wire::ParseFetchChunksResponse(message));
      for (auto& chunk : received) {
        ARROW_ASSIGN_OR_RAISE(auto decoded, ChunkDecoder::Default().Decode(std::move(chunk.payload)));
        const ChunkId id = decoded->id();
        // What was not asked for is left aside; it cannot make up for what is missing.
        if (missing.erase(id) > 0) out->emplace(id, std::move(decoded));
      }
      return arrow::Status::OK();
    };
    arrow::Status status;
    while (true) {
      const arrow::Result<bool> more = stream->ReadRaw([&](const wire::BytePieces& message) {
        bad = take(message);
        return bad;
      });
      status = more.status();
      if (!status.ok() || !*more) break;
    }
    if (!bad.ok()) return bad.WithMessage("segment ", segment.segment_id, ": ", bad.message());
    if (status.ok()) {
      if (missing.empty()) return arrow::Status::OK();
      return arrow::Status::IOError("segment ", segment.segment_id, " under-delivered: ", wanted.size() - missing.size(), "/",
                                    wanted.size(), " announced chunks arrived");
    }
    if (wire::CodeOf(status) != wire::RpcCode::kUnavailable || attempt >= kMaxFetchAttempts) {
      return status.WithMessage("segment ", segment.segment_id, ": ", status.message());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200 * attempt));
  }
}

}  // namespace

std::shared_ptr<ChunkSource> MakeRemoteChunkSource(std::shared_ptr<Session> session, EntryId dataset) {
  return std::make_shared<RemoteChunkSource>(std::move(session), dataset);
}

}  // namespace rushes::client
