// The chunks of a dataset behind a connection: selected by FindChunks, brought by FetchChunks.
#include <algorithm>
#include <deque>
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
#include "rushes/chunk/chunk_joiner.h"
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

// Several small chunks that are found as one: how large they may be, and how many bytes they have together.
constexpr int64_t kMaxMemberBytes = int64_t{32} << 10;
constexpr int64_t kMaxJoinedBytes = int64_t{256} << 10;

// The rows of one answer, by batch in the high half and row in the low one.
struct FoundRows {
  std::vector<wire::ChunkRows> batches;

  wire::ChunkRow row(uint64_t at) const { return batches[at >> 32].row(static_cast<int64_t>(at & 0xFFFFFFFF)); }
};

// The state of one SegmentChunks. A locator is the position of the first of `rows` that the chunk stands for.
struct RemoteSegment {
  std::shared_ptr<const FoundRows> found;
  std::vector<uint64_t> rows;  // in `found`
  // What FetchAhead brought, by position of the chunk.
  std::unordered_map<uint32_t, std::vector<ChunkPtr>> ahead;
};

const RemoteSegment& StateOf(const SegmentChunks& segment) { return *static_cast<const RemoteSegment*>(segment.state.get()); }

// A chunk to be fetched, of whichever segment.
struct Request {
  const SegmentChunks* segment;
  uint32_t position;

  const ChunkInfo& info() const { return segment->chunks[position]; }
  wire::ChunkRow row(uint32_t member) const {
    const RemoteSegment& state = StateOf(*segment);
    return state.found->row(state.rows[info().locator + member]);
  }
};

// As the envelope says, else as the payload does.
arrow::Result<ChunkId> IdOf(const wire::ReceivedChunk& chunk) {
  if (chunk.head.chunk_id) return *chunk.head.chunk_id;
  ARROW_ASSIGN_OR_RAISE(const auto head, ChunkDecoder::Default().ReadHead(std::string_view(*chunk.payload)));
  if (head.schema != nullptr) return head.id;
  ARROW_ASSIGN_OR_RAISE(const auto decoded, ChunkDecoder::Default().Decode(chunk.payload));
  return decoded->id();
}

// Small chunks, as few as their shapes allow.
arrow::Result<std::vector<ChunkPtr>> JoinChunks(std::span<const std::pair<ChunkId, std::shared_ptr<arrow::Buffer>>> payloads) {
  constexpr size_t kMaxShapes = 4;  // at work at the same time
  constexpr int64_t kRowsPerChunk = 32;
  std::vector<ChunkPtr> out;
  std::deque<ChunkJoiner> joiners;
  const auto finish_first = [&]() -> arrow::Status {
    ARROW_RETURN_NOT_OK(joiners.front().Finish().Value(&out.emplace_back()));
    joiners.pop_front();
    return arrow::Status::OK();
  };
  for (const auto& [id, payload] : payloads) {
    bool is_joined = false;
    for (auto joiner = joiners.rbegin(); joiner != joiners.rend() && !is_joined; ++joiner) {
      ARROW_ASSIGN_OR_RAISE(is_joined, joiner->Add(id, std::string_view(*payload)));
    }
    if (is_joined) continue;
    joiners.emplace_back(static_cast<int64_t>(payloads.size()) * kRowsPerChunk);
    ARROW_ASSIGN_OR_RAISE(is_joined, joiners.back().Add(id, std::string_view(*payload)));
    if (!is_joined) {
      joiners.pop_back();
      ARROW_RETURN_NOT_OK(ChunkDecoder::Default().Decode(payload).Value(&out.emplace_back()));
    }
    if (joiners.size() > kMaxShapes) ARROW_RETURN_NOT_OK(finish_first());
  }
  while (!joiners.empty()) ARROW_RETURN_NOT_OK(finish_first());
  return out;
}

class RemoteChunkSource : public ChunkSource {
 public:
  RemoteChunkSource(std::shared_ptr<Session> session, EntryId dataset) : session_(std::move(session)), dataset_(dataset) {}

  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override {
    ARROW_ASSIGN_OR_RAISE(const auto schema, session_->DatasetSchemaOf(dataset_));
    ARROW_ASSIGN_OR_RAISE(auto out, DatasetSchema::FromArrow(*schema));
    return std::make_shared<const DatasetSchema>(std::move(out));
  }

  arrow::Result<SegmentIds> ListSegments() override {
    ARROW_ASSIGN_OR_RAISE(const auto table, session_->ScanSegmentTable(dataset_, {wire::kSegmentIdColumnName}));
    ARROW_ASSIGN_OR_RAISE(const auto batch, table->CombineChunksToBatch());
    ARROW_ASSIGN_OR_RAISE(const auto ids, wire::FindColumn(*batch, wire::kSegmentIdColumnName, arrow::utf8(), false, "segment table"));
    std::vector<std::string> out;
    out.reserve(static_cast<size_t>(ids->length()));
    for (int64_t i = 0; i < ids->length(); ++i) out.emplace_back(static_cast<const arrow::StringArray&>(*ids).GetView(i));
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return std::make_shared<const std::vector<std::string>>(std::move(out));
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
  // A request costs about as much as fifty small chunks.
  arrow::Status FetchAhead(std::span<SegmentChunks> segments, const ChunksWanted& wanted) override;

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
  static void JoinInfos(int64_t max_member_bytes, std::vector<ChunkInfo>* chunks, std::vector<uint64_t>* rows);
  // The chunks of each of `requests`, one or, for one that stands for several, several.
  arrow::Result<std::vector<std::vector<ChunkPtr>>> Fetch(std::span<const Request> requests) const;
  // The same for a few, whose chunks have distinct ids, in one call.
  arrow::Status FetchTogether(std::span<const Request> requests, std::span<std::vector<ChunkPtr>> out) const;

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
    positions.emplace(id, out.size());
    out.push_back(std::move(segment));
  }
  struct Known {
    std::unordered_map<std::string, uint32_t> positions;
    std::vector<EntityPath> entities;
    std::unordered_set<ChunkId> ids;
    std::vector<uint64_t> rows;
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
      info.locator = seen.rows.size();
      seen.rows.push_back(static_cast<uint64_t>(b) << 32 | static_cast<uint64_t>(r));
      // An older server without start columns: the timeline has to be looked for in the chunk.
      if (!row.is_static && query && !session_->has_find_chunks() && !query->timeline.empty() && !rows.has_starts()) {
        info.has_timeline = true;
        info.start = kMinTime;
      }
      segment.chunks.push_back(info);
    }
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].entities = std::make_shared<const std::vector<EntityPath>>(std::move(known[i].entities));
    auto state = std::make_shared<RemoteSegment>();
    state->found = found;
    state->rows = std::move(known[i].rows);
    JoinInfos(std::min(selection.max_joined_bytes, kMaxMemberBytes), &out[i].chunks, &state->rows);
    out[i].state = std::move(state);
  }
  return out;
}

// Lets one stand for neighbours that are small enough. Which rows they have is not known, nor whether their shapes are the same; what a row
// means depends on its time and row id alone, wherever it lies.
void RemoteChunkSource::JoinInfos(int64_t max_member_bytes, std::vector<ChunkInfo>* chunks, std::vector<uint64_t>* rows) {
  const auto is_small = [&](const ChunkInfo& info) { return !info.is_static && info.has_timeline && info.byte_size <= max_member_bytes; };
  if (std::count_if(chunks->begin(), chunks->end(), is_small) < 2) return;
  std::stable_sort(chunks->begin(), chunks->end(),
                   [](const ChunkInfo& a, const ChunkInfo& b) { return a.entity != b.entity ? a.entity < b.entity : a.start < b.start; });
  std::vector<ChunkInfo> joined;
  std::vector<uint64_t> sorted_rows;
  bool may_grow = false;
  for (ChunkInfo info : *chunks) {
    const uint64_t row = (*rows)[info.locator];
    if (may_grow && is_small(info) && joined.back().entity == info.entity && joined.back().byte_size + info.byte_size <= kMaxJoinedBytes) {
      joined.back().byte_size += info.byte_size;
      ++joined.back().num_chunks;
    } else {
      may_grow = is_small(info);
      info.locator = sorted_rows.size();
      joined.push_back(info);
    }
    sorted_rows.push_back(row);
  }
  *chunks = std::move(joined);
  *rows = std::move(sorted_rows);
}

arrow::Result<std::vector<FetchedChunk>> RemoteChunkSource::FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                                        std::span<const ComponentList>) {
  const RemoteSegment& state = StateOf(segment);
  std::vector<Request> requests;
  for (const uint32_t chunk : chunks) {
    if (!state.ahead.contains(chunk)) requests.push_back({&segment, chunk});
  }
  ARROW_ASSIGN_OR_RAISE(auto fetched, Fetch(requests));
  std::vector<FetchedChunk> out;
  out.reserve(chunks.size());
  size_t next = 0;
  for (uint32_t i = 0; i < chunks.size(); ++i) {
    const auto ahead = state.ahead.find(chunks[i]);
    for (const ChunkPtr& chunk : ahead != state.ahead.end() ? ahead->second : fetched[next++]) out.push_back({chunk, i});
  }
  return out;
}

arrow::Status RemoteChunkSource::FetchAhead(std::span<SegmentChunks> segments, const ChunksWanted& wanted) {
  std::vector<Request> requests;
  for (const SegmentChunks& segment : segments) {
    ARROW_ASSIGN_OR_RAISE(const auto chunks, wanted(segment));
    for (const uint32_t chunk : chunks) requests.push_back({&segment, chunk});
  }
  ARROW_ASSIGN_OR_RAISE(auto fetched, Fetch(requests));
  std::vector<std::shared_ptr<RemoteSegment>> states;
  for (const SegmentChunks& segment : segments) states.push_back(std::make_shared<RemoteSegment>(StateOf(segment)));
  for (size_t i = 0; i < requests.size(); ++i) {
    states[static_cast<size_t>(requests[i].segment - segments.data())]->ahead.emplace(requests[i].position, std::move(fetched[i]));
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    segments[i].state = std::move(states[i]);
    segments[i].is_fetched = true;
  }
  return arrow::Status::OK();
}

arrow::Result<std::vector<std::vector<ChunkPtr>>> RemoteChunkSource::Fetch(std::span<const Request> requests) const {
  std::vector<std::vector<ChunkPtr>> out(requests.size());
  std::unordered_set<ChunkId> ids;
  size_t begin = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    uint64_t size = 0;
    bool is_known = false;  // the same chunk, or one of its id in another segment
    for (uint32_t m = 0; m < requests[i].info().num_chunks; ++m) {
      const wire::ChunkRow row = requests[i].row(m);
      size += row.byte_len;
      is_known |= ids.contains(row.id);
    }
    if (begin < i && (bytes + size > kMaxRequestBytes || ids.size() >= kMaxRequestChunks || is_known)) {
      ARROW_RETURN_NOT_OK(FetchTogether(requests.subspan(begin, i - begin), std::span(out).subspan(begin, i - begin)));
      begin = i;
      bytes = 0;
      ids.clear();
    }
    bytes += size;
    for (uint32_t m = 0; m < requests[i].info().num_chunks; ++m) ids.insert(requests[i].row(m).id);
  }
  if (begin < requests.size()) ARROW_RETURN_NOT_OK(FetchTogether(requests.subspan(begin), std::span(out).subspan(begin)));
  return out;
}

arrow::Status RemoteChunkSource::FetchTogether(std::span<const Request> requests, std::span<std::vector<ChunkPtr>> out) const {
  using Payloads = std::vector<std::pair<ChunkId, std::shared_ptr<arrow::Buffer>>>;
  struct Place {
    size_t request;
    uint32_t member;
  };
  std::unordered_map<ChunkId, Place> missing;
  std::vector<Payloads> payloads(requests.size());  // of those that stand for several
  for (size_t r = 0; r < requests.size(); ++r) {
    const uint32_t count = requests[r].info().num_chunks;
    for (uint32_t m = 0; m < count; ++m) missing.emplace(requests[r].row(m).id, Place{r, m});
    if (count > 1) payloads[r].resize(count);
  }
  const auto in_segment = [&](size_t request, const arrow::Status& status) {
    return status.WithMessage("segment ", requests[request].segment->segment_id, ": ", status.message());
  };

  for (int attempt = 1;; ++attempt) {
    std::vector<wire::ChunkRow> rows;
    for (const Request& request : requests) {
      for (uint32_t m = 0; m < request.info().num_chunks; ++m) {
        const wire::ChunkRow row = request.row(m);
        if (missing.contains(row.id)) rows.push_back(row);
      }
    }
    ARROW_ASSIGN_OR_RAISE(const auto batch, wire::MakeFetchBatch(rows));
    cloud::FetchChunksRequest message;
    ARROW_RETURN_NOT_OK(wire::EncodePart(*batch, message.add_chunk_infos()));
    CallOptions options;
    options.timeout_s = wire::kFetchDeadlineSeconds;
    ARROW_ASSIGN_OR_RAISE(auto stream, session_->rpc().Stream("FetchChunks", message, options));
    arrow::Status bad;  // not of the connection
    const auto take = [&](const wire::BytePieces& bytes) -> arrow::Status {
      auto received = wire::ParseFetchChunksResponse(bytes);
      if (!received.ok()) return in_segment(0, received.status());
      for (auto& chunk : *received) {
        const auto known_id = IdOf(chunk);
        if (!known_id.ok()) {
          const std::string& said = chunk.head.recording_id;
          return known_id.status().WithMessage("segment ", said.empty() ? requests[0].segment->segment_id : said, ": ",
                                               known_id.status().message());
        }
        const ChunkId& id = *known_id;
        // What was not asked for is left aside; it cannot make up for what is missing.
        const auto place = missing.find(id);
        if (place == missing.end()) continue;
        const auto [r, member] = place->second;
        if (!payloads[r].empty()) {
          payloads[r][member] = {id, std::move(chunk.payload)};
        } else {
          auto decoded = ChunkDecoder::Default().Decode(std::move(chunk.payload));
          if (!decoded.ok()) return in_segment(r, decoded.status());
          if ((*decoded)->id() != id) {
            return in_segment(r, arrow::Status::Invalid("found chunk ", (*decoded)->id().ToHex(), " where ", id.ToHex(), " was expected"));
          }
          out[r] = {*std::move(decoded)};
        }
        missing.erase(place);
      }
      return arrow::Status::OK();
    };
    arrow::Status status;
    while (true) {
      const arrow::Result<bool> more = stream->ReadRaw([&](const wire::BytePieces& bytes) {
        bad = take(bytes);
        return bad;
      });
      status = more.status();
      if (!status.ok() || !*more) break;
    }
    ARROW_RETURN_NOT_OK(bad);
    if (status.ok() && !missing.empty()) {
      // Of the first segment that lacks some.
      size_t first = requests.size();
      for (const auto& [id, place] : missing) first = std::min(first, place.request);
      const SegmentChunks* const segment = requests[first].segment;
      size_t lacking = 0, all = 0;
      for (const auto& [id, place] : missing) lacking += requests[place.request].segment == segment;
      for (const Request& request : requests) all += request.segment == segment ? request.info().num_chunks : 0;
      return arrow::Status::IOError("segment ", segment->segment_id, " under-delivered: ", all - lacking, "/", all,
                                    " announced chunks arrived");
    }
    if (status.ok()) break;
    if (wire::CodeOf(status) != wire::RpcCode::kUnavailable || attempt >= kMaxFetchAttempts) return in_segment(0, status);
    std::this_thread::sleep_for(std::chrono::milliseconds(200 * attempt));
  }
  for (size_t r = 0; r < requests.size(); ++r) {
    if (payloads[r].empty()) continue;
    auto joined = JoinChunks(payloads[r]);
    if (!joined.ok()) return in_segment(r, joined.status());
    out[r] = *std::move(joined);
  }
  return arrow::Status::OK();
}

}  // namespace

std::shared_ptr<ChunkSource> MakeRemoteChunkSource(std::shared_ptr<Session> session, EntryId dataset) {
  return std::make_shared<RemoteChunkSource>(std::move(session), dataset);
}

}  // namespace rushes::client
