#include "rushes/store/recording.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "rushes/chunk/chunk_ipc.h"
#include "rushes/rrd/format.h"
#include "rushes/rrd/frame_reader.h"
#include "rushes/rrd/hash.h"
#include "rushes/rrd/messages.h"
#include "rushes/rrd/proto_bytes.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/message_joiner.h"

// A file is taken apart from its end: a trailer leads to the footer and to the start of its stream; what lies before is another stream.
// Streams without a footer, with a damaged one, or with one that is known to be wrong are read from start to end instead.

namespace rushes {
namespace {

constexpr int64_t kTailSize = 64 << 10;
constexpr int64_t kMaxGap = 64 << 10;        // between messages that are read together
constexpr int64_t kMaxRun = 8 << 20;         // bytes read together, unless one message is larger
constexpr int64_t kMaxLocalRun = 512 << 10;  // the same where they are decoded at once while they are in a core's cache
constexpr uint64_t kMaxContested = 4 << 20;  // bytes of static chunks read to learn which one wins
// Of a chunk whose values are copied out of its payload, which is decompressed for that alone.
constexpr uint64_t kMaxCopiedBytes = 4 << 20;
constexpr int64_t kMaxCopiedRows = 1 << 18;
constexpr size_t kMaxWarnings = 16;
// Writers of these versions listed chunks under the wrong store.
constexpr rrd::WriterVersion kFirstWrongManifest{0, 28, 0, 0};
constexpr rrd::WriterVersion kFirstRightManifest{0, 32, 0, 0};

uint64_t NewCacheOwner() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1);
}

arrow::Status InFile(const ByteSource& source, uint64_t offset, const arrow::Status& status) {
  return status.WithMessage(source.name(), ": chunk at byte ", offset, ": ", status.message());
}

arrow::Result<ChunkPtr> DecodeMessage(std::string_view bytes) {
  ARROW_ASSIGN_OR_RAISE(const auto message, rrd::ParseArrowPayload(bytes));
  ARROW_ASSIGN_OR_RAISE(auto payload, rrd::Decompress(message.payload, message.compression, message.size_uncompressed));
  auto chunk = ChunkDecoder::Default().Decode(std::move(payload));
  // Whatever the decoder calls it: the bytes are bad.
  if (!chunk.ok() && !chunk.status().IsOutOfMemory()) return arrow::Status::Invalid(chunk.status().message());
  return chunk;
}

// One stream of the file, or several that have no footer.
struct Region {
  int64_t begin = 0;
  int64_t end = 0;
  std::shared_ptr<arrow::Buffer> footer;  // null: to be read from start to end
  bool has_trailer = false;
  uint64_t footer_offset = 0;
};

// What is collected for one store.
struct StoreParts {
  std::vector<SegmentIndexBuilder::Entry> entries;
  std::vector<std::shared_ptr<const rrd::StoreSchema>> schemas;  // of footers
  rrd::StoreSchemaBuilder scanned_schema;
  bool scanned = false;
  bool announced = false;  // by a stream without a footer: it counts without chunks too
  std::vector<ChunkPtr> property_chunks;
  std::vector<std::string> warnings;
};

bool IsStaticProperty(const SegmentIndexBuilder::Entry& entry) { return entry.is_static && entry.entity.IsProperty(); }

}  // namespace

int64_t ChunkMessage::size() const {
  return std::accumulate(pieces.begin(), pieces.end(), int64_t{0}, [](int64_t sum, const auto& piece) { return sum + piece->size(); });
}

class RecordingOpener {
 public:
  explicit RecordingOpener(ByteSourcePtr source) : source_(std::move(source)) {}

  arrow::Result<Recording> Open() {
    ARROW_RETURN_NOT_OK(FindRegions());
    bool scanned = false;
    for (const Region& region : regions_) {
      if (region.footer != nullptr) {
        ARROW_ASSIGN_OR_RAISE(const bool mixed_up, MayBeMixedUp(region));
        const arrow::Status status = mixed_up ? arrow::Status::OK() : ReadFooter(region);
        if (status.ok() && !mixed_up) continue;
        if (status.IsIOError()) return status;
        if (!mixed_up) Warn("its footer cannot be used (" + status.message() + "), so it was read from start to end");
      }
      scanned = true;
      ARROW_RETURN_NOT_OK(Scan(region));
    }
    if (stores_.empty() && !problems_.empty()) return arrow::Status::Invalid(problems_.front());
    Recording recording;
    recording.source = source_;
    recording.has_footer = !scanned;
    for (auto& [id, parts] : stores_) {
      if (parts.entries.empty() && !parts.announced) continue;
      ARROW_ASSIGN_OR_RAISE(auto store, MakeStore(id, std::move(parts)));
      recording.stores.push_back(std::move(store));
    }
    if (problems_.size() > kMaxWarnings) {
      const size_t more = problems_.size() - kMaxWarnings;
      problems_.resize(kMaxWarnings);
      problems_.push_back(source_->name() + ": and " + std::to_string(more) + " more");
    }
    recording.warnings = problems_;
    return recording;
  }

  static arrow::Result<RecordingStorePtr> FromBytes(ByteSourcePtr source, const std::shared_ptr<arrow::Buffer>& bytes);

 private:
  void Warn(const std::string& words) { problems_.push_back(source_->name() + ": " + words); }
  template <typename... Words>
  arrow::Status Fail(int64_t offset, Words&&... words) const {
    return arrow::Status::Invalid(source_->name(), ": byte ", offset, ": ", std::forward<Words>(words)...);
  }

  // Bytes near the end of the file come from the first read.
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(int64_t offset, int64_t size) {
    if (offset >= tail_begin_ && offset + size <= source_->size()) return arrow::SliceBuffer(tail_, offset - tail_begin_, size);
    return source_->ReadAt({offset, size});
  }

  arrow::Status CheckHeader(std::string_view bytes, int64_t offset) {
    const auto header = rrd::StreamHeader::Parse(bytes);
    if (!header.ok()) return Fail(offset, header.status().message());
    return arrow::Status::OK();
  }

  arrow::Status FindRegions() {
    const int64_t size = source_->size();
    tail_begin_ = std::max<int64_t>(0, size - kTailSize);
    const int64_t head_size = std::min(size, rrd::kStreamHeaderSize);
    ARROW_ASSIGN_OR_RAISE(auto buffers, source_->ReadRanges({{tail_begin_, size - tail_begin_}, {0, tail_begin_ == 0 ? 0 : head_size}}));
    tail_ = buffers[0];
    const auto head = tail_begin_ == 0 ? arrow::SliceBuffer(tail_, 0, head_size) : buffers[1];
    ARROW_RETURN_NOT_OK(CheckHeader(std::string_view(*head), 0));

    int64_t end = size;
    while (end > 0) {
      auto region = RegionBefore(end);
      if (!region.ok()) {
        if (region.status().IsIOError()) return region.status();
        Warn(region.status().message() + ", so it was read from start to end");
      } else if (*region) {
        end = (*region)->begin;
        regions_.push_back(**region);
        continue;
      }
      regions_.push_back({0, end, nullptr, false, 0});
      end = 0;
    }
    std::reverse(regions_.begin(), regions_.end());
    return arrow::Status::OK();
  }

  // The stream that ends at `end` with a trailer; nullopt: there is no trailer. Invalid: its footer is damaged.
  arrow::Result<std::optional<Region>> RegionBefore(int64_t end) {
    if (end < rrd::kStreamHeaderSize + rrd::kFrameHeaderSize + rrd::kTrailerSize) return std::nullopt;
    const int64_t trailer_offset = end - rrd::kTrailerSize;
    ARROW_ASSIGN_OR_RAISE(const auto trailer_bytes, Read(trailer_offset, rrd::kTrailerSize));
    const auto trailer = rrd::Trailer::Parse(std::string_view(*trailer_bytes));
    if (!trailer) return std::nullopt;
    // The footer lies right before the trailer, whatever stands before this stream in the file.
    const auto most = static_cast<uint64_t>(trailer_offset);
    if (trailer->footer_size > most - static_cast<uint64_t>(rrd::kStreamHeaderSize + rrd::kFrameHeaderSize) ||
        trailer->footer_offset > most - trailer->footer_size) {
      return arrow::Status::Invalid("the trailer at byte ", trailer_offset, " places a footer of ", trailer->footer_size, " bytes at byte ",
                                    trailer->footer_offset);
    }
    Region region;
    region.end = end;
    region.has_trailer = true;
    const auto footer_size = static_cast<int64_t>(trailer->footer_size);
    const int64_t footer_offset = trailer_offset - footer_size;
    region.footer_offset = static_cast<uint64_t>(footer_offset);
    region.begin = footer_offset - static_cast<int64_t>(trailer->footer_offset);
    if (region.begin > footer_offset - rrd::kStreamHeaderSize - rrd::kFrameHeaderSize) {
      return arrow::Status::Invalid("the trailer at byte ", trailer_offset, " places the footer at byte ", trailer->footer_offset,
                                    " of its stream");
    }
    if (region.begin > 0) {
      ARROW_ASSIGN_OR_RAISE(const auto header, Read(region.begin, rrd::kStreamHeaderSize));
      if (!rrd::StreamHeader::Parse(std::string_view(*header)).ok()) {
        return arrow::Status::Invalid("the trailer at byte ", trailer_offset, " belongs to a stream at byte ", region.begin,
                                      ", where none begins");
      }
    }
    if (footer_size == 0) return region;  // says nothing: read the stream
    ARROW_ASSIGN_OR_RAISE(region.footer, Read(footer_offset, footer_size));
    const uint32_t checksum = rrd::Xxh32(std::string_view(*region.footer), rrd::kFooterChecksumSeed);
    if (checksum != trailer->checksum) {
      return arrow::Status::Invalid("the footer at byte ", footer_offset, " is damaged: its checksum is ", checksum, " where ",
                                    trailer->checksum, " was expected");
    }
    return region;
  }

  arrow::Result<StoreId> ToStoreId(const rrd::RawStoreId& raw) {
    StoreId id{raw.kind, "", std::string(raw.recording_id)};
    if (raw.application_id) {
      ARROW_ASSIGN_OR_RAISE(id.application_id, NormalizeApplicationId(*raw.application_id));
      return id;
    }
    const auto it = legacy_applications_.find({raw.kind, id.recording_id});
    if (it == legacy_applications_.end()) {
      return arrow::Status::Invalid("the application of ", ToString(raw.kind), " \"", id.recording_id, "\" is not known");
    }
    id.application_id = it->second;
    return id;
  }

  // ---- With a footer

  arrow::Status ReadFooter(const Region& region) {
    ARROW_ASSIGN_OR_RAISE(const auto manifests, rrd::ParseFooter(std::string_view(*region.footer)));
    std::map<StoreId, rrd::UnpackedManifest> unpacked;
    for (const auto& packed : manifests) {
      if (!packed.store_id.application_id) return arrow::Status::Invalid("a manifest names no application");
      ARROW_ASSIGN_OR_RAISE(const StoreId id, ToStoreId(packed.store_id));
      ARROW_ASSIGN_OR_RAISE(unpacked[id],
                            rrd::UnpackManifest(packed, static_cast<uint64_t>(region.begin), region.footer_offset - rrd::kFrameHeaderSize));
    }
    for (auto& [id, manifest] : unpacked) {
      ARROW_RETURN_NOT_OK(ReadStatics(id, &manifest.chunks));
      StoreParts& parts = stores_[id];
      parts.schemas.push_back(manifest.schema);
      std::move(manifest.chunks.begin(), manifest.chunks.end(), std::back_inserter(parts.entries));
    }
    return arrow::Status::OK();
  }

  // A stream of those versions with more than one store, or with messages that cannot be understood.
  arrow::Result<bool> MayBeMixedUp(const Region& region) {
    ARROW_ASSIGN_OR_RAISE(const auto bytes, Read(region.begin, rrd::kStreamHeaderSize));
    ARROW_ASSIGN_OR_RAISE(const auto header, rrd::StreamHeader::Parse(std::string_view(*bytes)));
    if (header.version < kFirstWrongManifest || header.version >= kFirstRightManifest) return false;
    rrd::FrameReader frames(source_, region.begin, static_cast<int64_t>(region.footer_offset) - rrd::kFrameHeaderSize);
    std::optional<std::pair<StoreKind, std::string>> first;
    while (true) {
      ARROW_ASSIGN_OR_RAISE(const auto frame, frames.Next());
      if (!frame) return false;
      std::pair<StoreKind, std::string> store;
      if (frame->kind() == rrd::FrameKind::kSetStoreInfo) {
        ARROW_ASSIGN_OR_RAISE(const auto payload, frames.ReadPayload(*frame));
        const auto info = rrd::ParseSetStoreInfo(std::string_view(*payload));
        if (!info.ok()) return true;
        store = {info->store_id.kind, std::string(info->store_id.recording_id)};
      } else if (frame->kind() == rrd::FrameKind::kArrowMessage) {
        ARROW_ASSIGN_OR_RAISE(auto payload, frames.ReadPayloadStart(*frame, 512));
        auto raw = rrd::ParseArrowMessageStore(std::string_view(*payload));
        if (!raw.ok()) {
          ARROW_ASSIGN_OR_RAISE(payload, frames.ReadPayload(*frame));
          const auto message = rrd::ParseArrowMessage(std::string_view(*payload));
          if (!message.ok()) return true;
          raw = message->store_id;
        }
        store = {raw->kind, std::string(raw->recording_id)};
      } else {
        continue;
      }
      if (!first) first = store;
      if (*first != store) return true;
    }
  }

  // Property chunks, and static chunks that compete for a component: a manifest has neither the row ids that decide among static
  // values, nor does it say whether there is a value at all, which would hide the temporal ones.
  arrow::Status ReadStatics(const StoreId& id, std::vector<SegmentIndexBuilder::Entry>* entries) {
    std::map<std::pair<std::string_view, std::string_view>, std::vector<size_t>> holders;
    for (size_t i = 0; i < entries->size(); ++i) {
      const auto& entry = (*entries)[i];
      if (!entry.is_static) continue;
      for (const auto& component : entry.components) holders[{entry.entity.text(), component.descriptor.component}].push_back(i);
    }
    std::set<std::pair<std::string_view, std::string_view>> also_temporal;
    for (const auto& entry : *entries) {
      if (entry.is_static || holders.empty()) continue;
      for (const auto& component : entry.components) {
        const std::pair<std::string_view, std::string_view> column{entry.entity.text(), component.descriptor.component};
        if (holders.contains(column)) also_temporal.insert(column);
      }
    }
    std::vector<bool> wanted(entries->size(), false);
    uint64_t contested = 0;
    for (size_t i = 0; i < entries->size(); ++i) wanted[i] = IsStaticProperty((*entries)[i]);
    for (const auto& [column, chunks] : holders) {
      if (chunks.size() < 2 && !also_temporal.contains(column)) continue;
      for (const size_t i : chunks) {
        if (wanted[i] || contested + (*entries)[i].place.size > kMaxContested) continue;
        contested += (*entries)[i].place.size;
        wanted[i] = true;
      }
    }
    std::vector<size_t> chunks;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i]) chunks.push_back(i);
    }
    std::sort(chunks.begin(), chunks.end(), [&](size_t a, size_t b) { return (*entries)[a].place.offset < (*entries)[b].place.offset; });
    for (const size_t i : chunks) {
      auto& entry = (*entries)[i];
      ARROW_ASSIGN_OR_RAISE(const auto bytes,
                            ReadAhead({static_cast<int64_t>(entry.place.offset), static_cast<int64_t>(entry.place.size)}));
      const auto chunk = DecodeMessage(std::string_view(*bytes));
      if (!chunk.ok()) {
        stores_[id].warnings.push_back(InFile(*source_, entry.place.offset, chunk.status()).message());
        continue;
      }
      const auto described = SegmentIndexBuilder::Describe(**chunk, entry.place);
      for (auto& component : entry.components) {
        for (const auto& other : described.components) {
          if (other.descriptor.component != component.descriptor.component) continue;
          component.num_rows = other.num_rows;
          component.last_row_id = other.last_row_id;
        }
      }
      if (IsStaticProperty(entry)) stores_[id].property_chunks.push_back(*chunk);
    }
    return arrow::Status::OK();
  }

  // Static chunks lie together as a rule: one read brings several.
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAhead(ByteRange range) {
    if (range.offset >= tail_begin_) return Read(range.offset, range.size);
    if (ahead_ == nullptr || range.offset < ahead_begin_ || range.end() > ahead_begin_ + ahead_->size()) {
      if (range.size > kTailSize) return source_->ReadAt(range);
      ahead_begin_ = range.offset;
      ARROW_ASSIGN_OR_RAISE(ahead_,
                            source_->ReadAt({range.offset, std::min<int64_t>(kTailSize / 4 + range.size, source_->size() - range.offset)}));
    }
    return arrow::SliceBuffer(ahead_, range.offset - ahead_begin_, range.size);
  }

  // ---- Without a footer

  arrow::Status Scan(const Region& region) {
    rrd::FrameReader frames(source_, region.begin, region.end);
    int64_t dropped = 0;
    while (true) {
      auto next = frames.Next();
      if (!next.ok()) {
        if (next.status().IsIOError()) return next.status();
        return Fail(region.begin, next.status().message());
      }
      if (!*next) break;
      const rrd::Frame& frame = **next;
      arrow::Status status;
      if (frame.kind() == rrd::FrameKind::kSetStoreInfo) {
        status = ScanStoreInfo(&frames, frame, region);
      } else if (frame.kind() == rrd::FrameKind::kArrowMessage) {
        status = ScanChunk(&frames, frame);
      }
      if (status.IsIOError() || status.IsOutOfMemory()) return status;
      if (!status.ok()) {
        ++dropped;
        Warn("the message at byte " + std::to_string(frame.payload_offset) + " cannot be read and was left out: " + status.message());
      }
    }
    if (!frames.problem().empty()) Warn(frames.problem() + "; what comes before was read");
    return arrow::Status::OK();
  }

  arrow::Status ScanStoreInfo(rrd::FrameReader* frames, const rrd::Frame& frame, const Region& region) {
    ARROW_ASSIGN_OR_RAISE(const auto payload, frames->ReadPayload(frame));
    ARROW_ASSIGN_OR_RAISE(auto info, rrd::ParseSetStoreInfo(std::string_view(*payload)));
    if (!info.store_id.application_id) info.store_id.application_id = info.legacy_application_id;
    if (!info.store_id.application_id) return arrow::Status::Invalid("a SetStoreInfo message names no application");
    ARROW_ASSIGN_OR_RAISE(const StoreId id, ToStoreId(info.store_id));
    legacy_applications_[{id.kind, id.recording_id}] = id.application_id;
    if (!region.has_trailer) stores_[id].announced = true;
    return arrow::Status::OK();
  }

  arrow::Status ScanChunk(rrd::FrameReader* frames, const rrd::Frame& frame) {
    ARROW_ASSIGN_OR_RAISE(const auto payload, frames->ReadPayload(frame));
    const std::string_view bytes(*payload);
    ARROW_ASSIGN_OR_RAISE(const auto message, rrd::ParseArrowMessage(bytes));
    ARROW_ASSIGN_OR_RAISE(const StoreId id, ToStoreId(message.store_id));
    ARROW_ASSIGN_OR_RAISE(const auto chunk, DecodeMessage(bytes));
    // Such chunks have no meaning; in files of 0.23 they held only an indicator.
    if (chunk->num_rows() == 0 || chunk->schema().columns().empty()) return arrow::Status::OK();
    StoreParts& parts = stores_[id];
    parts.scanned = true;
    if (!parts.scanned_schema.Add(*chunk)) {
      parts.warnings.push_back(source_->name() + ": chunk at byte " + std::to_string(frame.payload_offset) + ": a column of " +
                               chunk->entity().text() + " or a timeline has another type than in earlier chunks");
    }
    const ChunkPlace place{static_cast<uint64_t>(frame.payload_offset), frame.header.size,
                           message.compression == rrd::Compression::kLz4 ? message.size_uncompressed : message.payload.size()};
    parts.entries.push_back(SegmentIndexBuilder::Describe(*chunk, place));
    if (IsStaticProperty(parts.entries.back())) parts.property_chunks.push_back(chunk);
    return arrow::Status::OK();
  }

  // ---- Together

  arrow::Result<RecordingStorePtr> MakeStore(const StoreId& id, StoreParts parts) {
    std::shared_ptr<RecordingStore> store(new RecordingStore());
    store->id_ = id;
    store->source_ = source_;
    store->cache_owner_ = NewCacheOwner();
    store->property_chunks_ = std::move(parts.property_chunks);
    SegmentIndexBuilder builder;
    for (auto& entry : parts.entries) {
      const arrow::Status status = builder.Add(std::move(entry));
      if (!status.ok()) parts.warnings.push_back(source_->name() + ": " + status.message() + "; that chunk was left out");
    }
    ARROW_ASSIGN_OR_RAISE(store->index_, builder.Finish());
    if (parts.schemas.size() == 1 && !parts.scanned) {
      store->schema_ = parts.schemas[0]->schema;
      store->arrow_schema_ = parts.schemas[0]->arrow_schema;
      store->schema_sha256_ = parts.schemas[0]->sha256;
    } else {
      DatasetSchema schema = parts.scanned_schema.Finish();
      for (const auto& other : parts.schemas) {
        const arrow::Status status = schema.Merge(*other->schema);
        if (!status.ok()) parts.warnings.push_back(source_->name() + ": " + status.message());
      }
      schema.Finish();
      store->arrow_schema_ = schema.ToArrow();
      ARROW_ASSIGN_OR_RAISE(store->schema_sha256_, SchemaSha256(*store->arrow_schema_));
      store->schema_ = std::make_shared<const DatasetSchema>(std::move(schema));
    }
    store->warnings_ = std::move(parts.warnings);
    if (store->warnings_.size() > kMaxWarnings) store->warnings_.resize(kMaxWarnings);
    store->warnings_.insert(store->warnings_.end(), problems_.begin(),
                            problems_.begin() + static_cast<int64_t>(std::min(problems_.size(), kMaxWarnings)));
    return RecordingStorePtr(std::move(store));
  }

  ByteSourcePtr source_;
  std::shared_ptr<arrow::Buffer> tail_;
  int64_t tail_begin_ = 0;
  std::shared_ptr<arrow::Buffer> ahead_;
  int64_t ahead_begin_ = 0;
  std::vector<Region> regions_;
  std::map<StoreId, StoreParts> stores_;
  std::map<std::pair<StoreKind, std::string>, std::string> legacy_applications_;
  std::vector<std::string> problems_;
};

namespace {

// Neighbouring messages, to be read together: positions in the request, sorted by place.
struct Run {
  ByteRange range;
  std::vector<size_t> requests;
};

std::vector<Run> PlanRuns(std::span<const ByteRange> ranges, int64_t max_run) {
  std::vector<size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto is_before = [&](size_t a, size_t b) { return ranges[a].offset < ranges[b].offset; };
  if (!std::is_sorted(order.begin(), order.end(), is_before)) std::sort(order.begin(), order.end(), is_before);
  std::vector<Run> runs;
  for (const size_t request : order) {
    const ByteRange& range = ranges[request];
    if (!runs.empty()) {
      ByteRange& last = runs.back().range;
      const int64_t end = std::max(last.end(), range.end());
      if (range.offset <= last.end() + kMaxGap && end - last.offset <= max_run) {
        last.size = end - last.offset;
        runs.back().requests.push_back(request);
        continue;
      }
    }
    runs.push_back({range, {request}});
  }
  return runs;
}

std::vector<ByteRange> PlacesOf(const SegmentIndex& index, std::span<const uint32_t> chunks) {
  std::vector<ByteRange> ranges;
  ranges.reserve(chunks.size());
  for (const uint32_t chunk : chunks) {
    ranges.push_back({static_cast<int64_t>(index.place(chunk).offset), static_cast<int64_t>(index.place(chunk).size)});
  }
  return ranges;
}

// Bytes at the start of a chunk's payload that surely hold its row ids and times, if its schema has no more than a common size.
int64_t HeadBytes(const SegmentIndex& index, uint32_t chunk) {
  constexpr int64_t kCommonMetadata = 16 << 10;
  const auto rows = std::max<int64_t>(0, index.num_rows(chunk));
  const auto bytes_per_row = static_cast<int64_t>(RowId::kNumBytes + sizeof(int64_t) * index.timelines().size());
  return kCommonMetadata + std::min(rows, kMaxRun / bytes_per_row) * bytes_per_row;
}

// What to read of a message whose payload is decoded in part. LZ4 makes no start of a block longer than by one byte in 255.
ByteRange StartOf(const SegmentIndex& index, uint32_t chunk, const std::vector<std::string>& components) {
  const ByteRange all{static_cast<int64_t>(index.place(chunk).offset), static_cast<int64_t>(index.place(chunk).size)};
  // Where a component ends cannot be told without its bytes.
  if (!components.empty()) return all;
  const int64_t head = HeadBytes(index, chunk);
  const int64_t size = head + head / 255 + 1024;
  return size > all.size / 2 ? all : ByteRange{all.offset, size};
}

// A part of a chunk, from the first bytes of its message; null if these do not suffice, or if it has to be decoded whole.
// `guess`: bytes of the payload to begin with.
arrow::Result<ChunkPtr> DecodePart(std::string_view bytes, const std::vector<std::string>& components, int64_t guess) {
  ARROW_ASSIGN_OR_RAISE(const auto message, rrd::ParseArrowPayload(bytes, /*may_be_cut=*/true));
  ChunkDecoder& decoder = ChunkDecoder::Default();
  using Kind = ChunkDecoder::PartSize::Kind;
  std::shared_ptr<arrow::Buffer> start;
  if (message.compression == rrd::Compression::kNone) {
    // What is copied is what is kept.
    ARROW_ASSIGN_OR_RAISE(const auto size, decoder.MeasurePart(message.payload, components));
    if (size.kind != Kind::kPart || size.num_bytes > static_cast<int64_t>(message.payload.size())) return nullptr;
    ARROW_ASSIGN_OR_RAISE(start, rrd::DecompressStart(message.payload, message.compression, 0, size.num_bytes));
  } else {
    for (int64_t wanted = guess;;) {
      if (static_cast<uint64_t>(wanted) >= message.size_uncompressed) return nullptr;
      ARROW_ASSIGN_OR_RAISE(start, rrd::DecompressStart(message.payload, message.compression, message.size_uncompressed, wanted));
      ARROW_ASSIGN_OR_RAISE(const auto size, decoder.MeasurePart(std::string_view(*start), components));
      if (size.kind == Kind::kWhole) return nullptr;
      if (size.kind == Kind::kPart && size.num_bytes <= start->size()) break;
      if (start->size() < wanted) return nullptr;  // there is no more of it here
      wanted = size.kind == Kind::kPart ? size.num_bytes : wanted * 4;
    }
  }
  auto chunk = decoder.DecodePart(start, components);
  if (!chunk.ok() && !chunk.status().IsOutOfMemory()) return arrow::Status::Invalid(chunk.status().message());
  return chunk;
}

arrow::Status CheckPositions(const SegmentIndex& index, std::span<const uint32_t> chunks) {
  for (const uint32_t chunk : chunks) {
    if (chunk >= index.num_chunks()) return arrow::Status::IndexError("no chunk ", chunk, " among ", index.num_chunks());
  }
  return arrow::Status::OK();
}

// Of messages that are decoded one by one as they come.
int64_t MaxDecodedRun(const ByteSource& source) { return source.is_local() ? kMaxLocalRun : kMaxRun; }

// Calls `take(request, bytes, buffer)` for each range, reading a few runs at a time; the bytes lie in the buffer.
template <typename Take>
arrow::Status ForEachMessage(const ByteSource& source, int64_t max_run, std::span<const ByteRange> messages, Take take) {
  const std::vector<Run> runs = PlanRuns(messages, max_run);
  for (size_t first = 0; first < runs.size();) {
    std::vector<ByteRange> ranges;
    int64_t bytes = 0;
    size_t last = first;
    while (last < runs.size() && (last == first || bytes + runs[last].range.size <= max_run)) {
      bytes += runs[last].range.size;
      ranges.push_back(runs[last++].range);
    }
    ARROW_ASSIGN_OR_RAISE(auto buffers, source.ReadRanges(ranges));
    for (size_t run = first; run < last; ++run) {
      auto& buffer = buffers[run - first];
      for (const size_t request : runs[run].requests) {
        const ByteRange& message = messages[request];
        const auto bytes = std::string_view(*buffer).substr(static_cast<size_t>(message.offset - runs[run].range.offset),
                                                            static_cast<size_t>(message.size));
        if (const auto status = take(request, bytes, buffer); !status.ok()) {
          return InFile(source, static_cast<uint64_t>(message.offset), status);
        }
      }
      buffer = nullptr;
    }
    first = last;
  }
  return arrow::Status::OK();
}

}  // namespace

// Whether all that is logged to the chunk's entity are plain values.
bool RecordingStore::HoldsPlainValues(uint32_t chunk) const {
  const uint32_t entity = index_->entity(chunk);
  for (const SegmentIndex::Column& column : index_->ColumnsOf(entity)) {
    const ComponentColumn* const known = schema_->FindColumn(index_->entities()[entity], index_->components()[column.component].component);
    if (known == nullptr || !ChunkJoiner::MayJoin(*known->type)) return false;
  }
  return true;
}

namespace {

// Whether the way of ChunkJoiner is worth its copies: for small chunks it costs half of what Arrow's reader does, and what a cache keeps of
// any takes a part of the payload's memory. `all_bytes`: of what becomes one chunk; `member_bytes`: of the largest that it is made of.
bool PaysToCopy(uint64_t member_bytes, uint64_t all_bytes, const ChunkCache* cache) {
  return member_bytes <= ChunkGroups::kCheapMemberBytes || (cache != nullptr && cache->MayKeep(static_cast<int64_t>(all_bytes)));
}

}  // namespace

// A chunk of plain values the way of ChunkJoiner, where that pays; null: it is for Arrow's reader.
arrow::Result<ChunkPtr> RecordingStore::DecodePlain(std::string_view bytes, uint32_t chunk, const ChunkCache* cache) const {
  if (index_->is_static(chunk)) return nullptr;
  const uint64_t size = index_->place(chunk).size_uncompressed;
  if (!PaysToCopy(size, size, cache)) return nullptr;
  // To find out by decompressing it would be dear where it is large.
  if (size > ChunkGroups::kCheapMemberBytes && (size > kMaxCopiedBytes || !HoldsPlainValues(chunk))) return nullptr;
  MessageJoiner joiner(std::clamp<int64_t>(index_->num_rows(chunk), 0, kMaxCopiedRows));
  ARROW_ASSIGN_OR_RAISE(const bool fits, joiner.Add(index_->id(chunk), bytes));
  if (!fits) return nullptr;
  return joiner.Finish();
}

arrow::Result<std::vector<ChunkPtr>> RecordingStore::ReadChunks(std::span<const uint32_t> chunks, ChunkCache* cache) const {
  return ReadChunks(chunks, {}, cache);
}

arrow::Result<std::vector<ChunkPtr>> RecordingStore::ReadChunks(std::span<const uint32_t> chunks, std::span<const ComponentList> values,
                                                                ChunkCache* cache) const {
  ARROW_RETURN_NOT_OK(CheckPositions(*index_, chunks));
  std::vector<ChunkPtr> out(chunks.size());
  const auto check = [&](size_t at, const Chunk& chunk) -> arrow::Status {
    const ChunkId& expected = index_->id(chunks[at]);
    if (chunk.id() == expected) return arrow::Status::OK();
    return arrow::Status::Invalid("found chunk ", chunk.id().ToHex(), " where ", expected.ToHex(), " was expected");
  };
  std::vector<size_t> whole, parts;  // positions in `chunks`
  if (cache != nullptr) cache->Find(cache_owner_, chunks, values, &out);
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (out[i] == nullptr) (i < values.size() && values[i] != nullptr ? parts : whole).push_back(i);
  }

  std::vector<ByteRange> ranges;
  for (const size_t at : parts) ranges.push_back(StartOf(*index_, chunks[at], *values[at]));
  ARROW_RETURN_NOT_OK(
      ForEachMessage(*source_, MaxDecodedRun(*source_), ranges, [&](size_t request, std::string_view bytes, const auto&) -> arrow::Status {
        const size_t at = parts[request];
        ARROW_ASSIGN_OR_RAISE(auto chunk, DecodePart(bytes, *values[at], HeadBytes(*index_, chunks[at])));
        if (chunk == nullptr) {
          whole.push_back(at);
          return arrow::Status::OK();
        }
        ARROW_RETURN_NOT_OK(check(at, *chunk));
        if (cache != nullptr) cache->Insert(cache_owner_, chunks[at], values[at], chunk);
        out[at] = std::move(chunk);
        return arrow::Status::OK();
      }));

  if (whole.empty()) return out;
  std::vector<uint32_t> positions;
  for (const size_t at : whole) positions.push_back(chunks[at]);
  ranges = PlacesOf(*index_, positions);
  ARROW_RETURN_NOT_OK(
      ForEachMessage(*source_, MaxDecodedRun(*source_), ranges, [&](size_t request, std::string_view bytes, const auto&) -> arrow::Status {
        const size_t at = whole[request];
        ARROW_ASSIGN_OR_RAISE(auto chunk, DecodePlain(bytes, chunks[at], cache));
        if (chunk == nullptr) {
          ARROW_ASSIGN_OR_RAISE(chunk, DecodeMessage(bytes));
          ARROW_RETURN_NOT_OK(check(at, *chunk));
        }
        if (cache != nullptr) {
          chunk = cache->Keep(cache_owner_, chunks[at], std::move(chunk));
        }
        out[at] = std::move(chunk);
        return arrow::Status::OK();
      }));
  return out;
}

arrow::Result<std::vector<ChunkPtr>> RecordingStore::FindChunks(std::span<const uint32_t> chunks, std::span<const ComponentList> values,
                                                                ChunkCache* cache) const {
  std::vector<ChunkPtr> out(chunks.size());
  cache->Find(cache_owner_, chunks, values, &out);
  if (std::find(out.begin(), out.end(), nullptr) != out.end()) return arrow::Status::KeyError("a chunk is not in the cache");
  return out;
}

const ChunkGroups& RecordingStore::groups() const {
  std::call_once(groups_once_, [this] { groups_ = std::make_unique<const ChunkGroups>(*index_); });
  return *groups_;
}

arrow::Result<std::vector<std::vector<ChunkPtr>>> RecordingStore::ReadGroups(std::span<const uint32_t> wanted, ChunkCache* cache) const {
  const ChunkGroups& all = groups();
  std::vector<uint32_t> keys;
  for (const uint32_t group : wanted) {
    if (group >= all.size()) return arrow::Status::IndexError("no group ", group, " among ", all.size());
    keys.push_back(ChunkCache::kGroup | group);
  }
  std::vector<ChunkPtr> joined(wanted.size());
  if (cache != nullptr) cache->Find(cache_owner_, keys, {}, &joined);

  // Chunks, and of each its group's position in `wanted`.
  struct Chunks {
    std::vector<uint32_t> chunks;
    std::vector<size_t> group_of;
    void Add(std::span<const uint32_t> members, size_t group) {
      chunks.insert(chunks.end(), members.begin(), members.end());
      group_of.resize(chunks.size(), group);
    }
  };
  Chunks together, alone;
  std::vector<std::optional<MessageJoiner>> joiners(wanted.size());
  std::vector<bool> is_tried(wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (joined[i] != nullptr) continue;
    const ChunkGroups::Summary& summary = all.summary(wanted[i]);
    is_tried[i] = !all.IsDissolved(wanted[i]) && PaysToCopy(summary.max_member_bytes, summary.size_uncompressed, cache);
    (is_tried[i] ? together : alone).Add(all.Members(wanted[i]), i);
    if (is_tried[i]) joiners[i].emplace(summary.num_rows);
  }
  const std::vector<ByteRange> ranges = PlacesOf(*index_, together.chunks);
  ARROW_RETURN_NOT_OK(
      ForEachMessage(*source_, MaxDecodedRun(*source_), ranges, [&](size_t request, std::string_view bytes, const auto&) -> arrow::Status {
        std::optional<MessageJoiner>& joiner = joiners[together.group_of[request]];
        if (!joiner) return arrow::Status::OK();
        ARROW_ASSIGN_OR_RAISE(const bool fits, joiner->Add(index_->id(together.chunks[request]), bytes));
        if (!fits) joiner.reset();
        return arrow::Status::OK();
      }));

  std::vector<std::vector<ChunkPtr>> out(wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (joiners[i]) {
      ARROW_ASSIGN_OR_RAISE(joined[i], joiners[i]->Finish());
      if (cache != nullptr) {
        joined[i] = cache->Keep(cache_owner_, keys[i], std::move(joined[i]));
      }
    } else if (is_tried[i]) {
      all.Dissolve(wanted[i]);
      alone.Add(all.Members(wanted[i]), i);
    }
    if (joined[i] != nullptr) out[i].push_back(std::move(joined[i]));
  }
  ARROW_ASSIGN_OR_RAISE(auto read, ReadChunks(alone.chunks, cache));
  for (size_t i = 0; i < read.size(); ++i) out[alone.group_of[i]].push_back(std::move(read[i]));
  return out;
}

arrow::Result<std::vector<std::vector<ChunkPtr>>> RecordingStore::FindGroups(std::span<const uint32_t> wanted, ChunkCache* cache) const {
  std::vector<uint32_t> keys;
  for (const uint32_t group : wanted) keys.push_back(ChunkCache::kGroup | group);
  ARROW_ASSIGN_OR_RAISE(auto found, FindChunks(keys, {}, cache));
  std::vector<std::vector<ChunkPtr>> out;
  for (ChunkPtr& chunk : found) out.push_back({std::move(chunk)});
  return out;
}

arrow::Result<bool> RecordingStore::JoinChunks(std::span<const uint32_t> chunks, std::span<MessageJoiner> joiners) const {
  ARROW_RETURN_NOT_OK(CheckPositions(*index_, chunks));
  bool fit = true;
  ARROW_RETURN_NOT_OK(ForEachMessage(*source_, MaxDecodedRun(*source_), PlacesOf(*index_, chunks),
                                     [&](size_t request, std::string_view bytes, const auto&) -> arrow::Status {
                                       if (!fit) return arrow::Status::OK();
                                       return joiners[request].Add(index_->id(chunks[request]), bytes).Value(&fit);
                                     }));
  return fit;
}

arrow::Result<std::vector<ChunkMessage>> RecordingStore::ReadMessages(std::span<const uint32_t> chunks) const {
  ARROW_RETURN_NOT_OK(CheckPositions(*index_, chunks));
  std::vector<ChunkMessage> out(chunks.size());
  const std::vector<ByteRange> ranges = PlacesOf(*index_, chunks);
  ARROW_RETURN_NOT_OK(ForEachMessage(
      *source_, kMaxRun, ranges, [&](size_t request, std::string_view view, const std::shared_ptr<arrow::Buffer>& buffer) -> arrow::Status {
        const auto bytes =
            arrow::SliceBuffer(buffer, view.data() - reinterpret_cast<const char*>(buffer->data()), static_cast<int64_t>(view.size()));
        ARROW_ASSIGN_OR_RAISE(const auto message, rrd::ParseArrowMessage(view));
        ChunkMessage& result = out[request];
        result.pieces.reserve(3);
        result.id = index_->id(chunks[request]);
        if (message.chunk_id && *message.chunk_id != result.id) {
          return arrow::Status::Invalid("found chunk ", message.chunk_id->ToHex(), " where ", result.id.ToHex(), " was expected");
        }
        result.size_uncompressed = message.compression == rrd::Compression::kLz4 ? message.size_uncompressed : message.payload.size();
        if (message.store_id.application_id && message.chunk_id && message.is_static) {
          result.pieces.push_back(bytes);
          return arrow::Status::OK();
        }
        const auto envelope = rrd::MakeArrowEnvelope(id_, message.compression, message.size_uncompressed, message.payload.size(), result.id,
                                                     index_->is_static(chunks[request]));
        result.pieces.push_back(arrow::Buffer::FromString(envelope.head));
        result.pieces.push_back(
            arrow::SliceBuffer(bytes, message.payload.data() - view.data(), static_cast<int64_t>(message.payload.size())));
        result.pieces.push_back(arrow::Buffer::FromString(envelope.tail));
        return arrow::Status::OK();
      }));
  return out;
}

// Bytes for a journal: a footer with this store's manifest, and what a manifest lacks.
namespace {
enum JournalField : uint32_t { kFooter = 1, kPropertyChunk = 2, kWarning = 3, kStaticRow = 4 };
}  // namespace

arrow::Result<std::shared_ptr<arrow::Buffer>> RecordingStore::ToBytes() const {
  const ManifestPart part{index_.get(), nullptr};
  ARROW_ASSIGN_OR_RAISE(const auto manifest, MakeManifest({&part, 1}, *schema_));
  ARROW_ASSIGN_OR_RAISE(const auto packed, rrd::PackManifest(id_, manifest));
  rrd::ProtoWriter writer;
  writer.Bytes(kFooter, packed);
  for (const ChunkPtr& chunk : property_chunks_) {
    ARROW_ASSIGN_OR_RAISE(const auto payload, EncodeChunk(*chunk));
    writer.Bytes(kPropertyChunk, std::string_view(*payload));
  }
  for (const std::string& warning : warnings_) writer.Bytes(kWarning, warning);
  for (const auto& column : index_->columns()) {
    for (const auto& entry : index_->Entries(column)) {
      if (entry.last_row_id.is_zero()) continue;
      rrd::ProtoWriter row;
      row.Varint(1, entry.chunk);
      row.Bytes(2, index_->components()[column.component].component);
      row.Fixed64(3, entry.last_row_id.time_ns);
      row.Fixed64(4, entry.last_row_id.counter);
      writer.Bytes(kStaticRow, row.Finish());
    }
  }
  return arrow::Buffer::FromString(writer.Finish());
}

arrow::Result<RecordingStorePtr> RecordingOpener::FromBytes(ByteSourcePtr source, const std::shared_ptr<arrow::Buffer>& bytes) {
  RecordingOpener opener(std::move(source));
  StoreParts parts;
  std::optional<StoreId> id;
  rrd::ProtoReader reader{std::string_view(*bytes)};
  while (reader.Next()) {
    if (reader.is_bytes(kFooter)) {
      ARROW_ASSIGN_OR_RAISE(const auto manifests, rrd::ParseFooter(reader.bytes()));
      if (manifests.size() != 1) return arrow::Status::Invalid("a stored index holds ", manifests.size(), " manifests");
      ARROW_ASSIGN_OR_RAISE(id, opener.ToStoreId(manifests[0].store_id));
      ARROW_ASSIGN_OR_RAISE(auto unpacked, rrd::UnpackManifest(manifests[0], 0, std::numeric_limits<int64_t>::max()));
      parts.schemas.push_back(std::move(unpacked.schema));
      parts.entries = std::move(unpacked.chunks);
    } else if (reader.is_bytes(kPropertyChunk)) {
      ARROW_ASSIGN_OR_RAISE(auto payload, arrow::AllocateBuffer(static_cast<int64_t>(reader.bytes().size())));
      std::memcpy(payload->mutable_data(), reader.bytes().data(), reader.bytes().size());
      ARROW_ASSIGN_OR_RAISE(auto chunk, ChunkDecoder::Default().Decode(std::move(payload)));
      parts.property_chunks.push_back(std::move(chunk));
    } else if (reader.is_bytes(kWarning)) {
      parts.warnings.emplace_back(reader.bytes());
    } else if (reader.is_bytes(kStaticRow)) {
      rrd::ProtoReader row(reader.bytes());
      uint64_t chunk = 0;
      std::string_view component;
      RowId row_id;
      while (row.Next()) {
        if (row.is_varint(1)) chunk = row.value();
        if (row.is_bytes(2)) component = row.bytes();
        if (row.is_fixed64(3)) row_id.time_ns = row.value();
        if (row.is_fixed64(4)) row_id.counter = row.value();
      }
      if (!row.ok() || chunk >= parts.entries.size()) return arrow::Status::Invalid("a stored index is damaged");
      for (auto& known : parts.entries[chunk].components) {
        if (known.descriptor.component == component) known.last_row_id = row_id;
      }
    }
  }
  if (!reader.ok() || !id) return arrow::Status::Invalid("a stored index is damaged");
  return opener.MakeStore(*id, std::move(parts));
}

arrow::Result<RecordingStorePtr> RecordingStore::FromBytes(ByteSourcePtr source, std::shared_ptr<arrow::Buffer> bytes) {
  return RecordingOpener::FromBytes(std::move(source), bytes);
}

arrow::Result<Recording> OpenRecording(ByteSourcePtr source) { return RecordingOpener(std::move(source)).Open(); }

arrow::Result<Recording> OpenRecording(const std::string& path_or_url) {
  ARROW_ASSIGN_OR_RAISE(auto source, OpenByteSource(path_or_url));
  return OpenRecording(std::move(source));
}

}  // namespace rushes
