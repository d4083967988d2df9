#include "rushes/rrd/messages.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <lz4.h>

#include "arrow/status.h"
#include "arrow/util/compression.h"
#include "rushes/rrd/format.h"
#include "rushes/rrd/hash.h"
#include "rushes/rrd/proto_bytes.h"

namespace rushes {

std::string_view ToString(StoreKind kind) { return kind == StoreKind::kBlueprint ? "blueprint" : "recording"; }

namespace rrd {
namespace {

constexpr uint64_t kArrowIpc = 1;

arrow::Status Malformed(const char* message) { return arrow::Status::Invalid("malformed ", message, " message"); }
arrow::Status Missing(const char* message, const char* field) {
  return arrow::Status::Invalid("a ", message, " message needs the field ", field);
}

bool IsUtf8(std::string_view text) {
  // Recording ids become Arrow strings, which must be valid.
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = [&](size_t k) { return static_cast<uint8_t>(text[k]); };
    const uint8_t first = byte(i);
    size_t more;
    uint32_t least;
    uint32_t point;
    if (first < 0x80) {
      ++i;
      continue;
    } else if (first >= 0xc2 && first <= 0xdf) {
      more = 1, least = 0x80, point = first & 0x1f;
    } else if ((first & 0xf0) == 0xe0) {
      more = 2, least = 0x800, point = first & 0x0f;
    } else if (first >= 0xf0 && first <= 0xf4) {
      more = 3, least = 0x10000, point = first & 0x07;
    } else {
      return false;
    }
    if (i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) return false;
      point = point << 6 | (byte(i + k) & 0x3f);
    }
    if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
    i += more + 1;
  }
  return true;
}

arrow::Result<Tuid> ParseTuid(std::string_view bytes, const char* where) {
  ProtoReader reader(bytes);
  std::optional<uint64_t> time, counter;
  while (reader.Next()) {
    if (reader.is_fixed64(1)) time = reader.value();
    if (reader.is_fixed64(2)) counter = reader.value();
  }
  if (!reader.ok()) return Malformed(where);
  if (!time || !counter) return Missing(where, "time_ns and inc of an id");
  return Tuid{*time, *counter};
}

std::string EncodeTuid(const Tuid& id) {
  ProtoWriter writer;
  writer.Fixed64(1, id.time_ns);
  writer.Fixed64(2, id.counter);
  return writer.Finish();
}

arrow::Result<std::string_view> ParseApplicationId(std::string_view bytes) {
  ProtoReader reader(bytes);
  std::string_view id;
  while (reader.Next()) {
    if (reader.is_bytes(1)) id = reader.bytes();
  }
  if (!reader.ok() || !IsUtf8(id)) return Malformed("ApplicationId");
  return id;
}

arrow::Result<RawStoreId> ParseStoreId(std::string_view bytes) {
  ProtoReader reader(bytes);
  RawStoreId id;
  while (reader.Next()) {
    if (reader.is_varint(1)) id.kind = reader.value() == 2 ? StoreKind::kBlueprint : StoreKind::kRecording;
    if (reader.is_bytes(2)) id.recording_id = reader.bytes();
    if (reader.is_bytes(3)) {
      ARROW_ASSIGN_OR_RAISE(id.application_id, ParseApplicationId(reader.bytes()));
    }
  }
  if (!reader.ok() || !IsUtf8(id.recording_id)) return Malformed("StoreId");
  return id;
}

std::string EncodeStoreId(const StoreId& id) {
  ProtoWriter application;
  if (!id.application_id.empty()) application.Bytes(1, id.application_id);
  ProtoWriter writer;
  writer.Varint(1, static_cast<uint64_t>(id.kind));
  if (!id.recording_id.empty()) writer.Bytes(2, id.recording_id);
  writer.Bytes(3, application.Finish());
  return writer.Finish();
}

arrow::Result<Compression> ToCompression(uint64_t value) {
  switch (value) {
    case 0:
    case 1:
      return Compression::kNone;
    case 2:
      return Compression::kLz4;
    default:
      return arrow::Status::Invalid("unknown compression ", value, " (1 = none and 2 = LZ4 are known)");
  }
}

}  // namespace

arrow::Result<PackedManifest> ParseManifest(std::string_view bytes) {
  static constexpr char kWhere[] = "RrdManifest";
  PackedManifest manifest;
  bool has_store = false, has_schema = false, has_hash = false, has_data = false, known_encoder = false;
  ProtoReader reader(bytes);
  while (reader.Next()) {
    if (reader.is_bytes(1)) {
      ARROW_ASSIGN_OR_RAISE(manifest.store_id, ParseStoreId(reader.bytes()));
      has_store = true;
    } else if (reader.is_bytes(2)) {
      ProtoReader schema(reader.bytes());
      while (schema.Next()) {
        if (schema.is_bytes(1)) manifest.schema = schema.bytes(), has_schema = true;
      }
      if (!schema.ok()) return Malformed(kWhere);
    } else if (reader.is_bytes(3)) {
      manifest.schema_sha256 = reader.bytes(), has_hash = true;
    } else if (reader.is_bytes(4)) {
      ProtoReader part(reader.bytes());
      while (part.Next()) {
        if (part.is_varint(1)) known_encoder = part.value() == 1;
        if (part.is_bytes(2)) manifest.data = part.bytes(), has_data = true;
        if (part.is_varint(3)) {
          ARROW_ASSIGN_OR_RAISE(manifest.compression, ToCompression(part.value()));
        }
        if (part.is_varint(4)) manifest.size_uncompressed = part.value();
      }
      if (!part.ok()) return Malformed(kWhere);
    }
  }
  if (!reader.ok()) return Malformed(kWhere);
  if (!has_store) return Missing(kWhere, "store_id");
  if (!has_schema) return Missing(kWhere, "sorbet_schema");
  if (!has_hash || manifest.schema_sha256.size() != 32) return Missing(kWhere, "sorbet_schema_sha256 of 32 bytes");
  if (!has_data) return Missing(kWhere, "data");
  if (!known_encoder) return arrow::Status::Invalid("the data of an RrdManifest message has an unknown encoder version");
  return manifest;
}

namespace {

constexpr char kArrowMsg[] = "ArrowMsg";

// Calls `take_other` for each field that does not belong to the payload.
template <typename Take>
arrow::Status ParsePayloadFields(ProtoReader* reader, ArrowPayload* out, Take take_other) {
  bool has_payload = false;
  uint64_t encoding = 0;
  while (reader->Next()) {
    if (reader->is_varint(2)) {
      ARROW_ASSIGN_OR_RAISE(out->compression, ToCompression(reader->value()));
    } else if (reader->is_varint(3)) {
      out->size_uncompressed = reader->value();
    } else if (reader->is_varint(4)) {
      encoding = reader->value();
    } else if (reader->is_bytes(5)) {
      out->payload = reader->bytes();
      has_payload = true;
    } else {
      ARROW_RETURN_NOT_OK(take_other());
    }
  }
  if (!reader->ok()) return Malformed(kArrowMsg);
  if (encoding != kArrowIpc) {
    return arrow::Status::Invalid("an ArrowMsg message has the unknown encoding ", encoding, " (1 = Arrow IPC is known)");
  }
  return has_payload ? arrow::Status::OK() : Missing(kArrowMsg, "payload");
}

}  // namespace

arrow::Result<ArrowMessage> ParseArrowMessage(std::string_view bytes) {
  ArrowMessage message;
  bool has_store = false;
  ProtoReader reader(bytes);
  ARROW_RETURN_NOT_OK(ParsePayloadFields(&reader, &message, [&]() -> arrow::Status {
    if (reader.is_bytes(1)) {
      ARROW_ASSIGN_OR_RAISE(message.store_id, ParseStoreId(reader.bytes()));
      has_store = true;
    } else if (reader.is_bytes(6)) {
      ARROW_ASSIGN_OR_RAISE(message.chunk_id, ParseTuid(reader.bytes(), kArrowMsg));
    } else if (reader.is_varint(7)) {
      message.is_static = reader.value() != 0;
    }
    return arrow::Status::OK();
  }));
  if (!has_store) return Missing(kArrowMsg, "store_id");
  return message;
}

arrow::Result<ArrowPayload> ParseArrowPayload(std::string_view bytes, bool may_be_cut) {
  ArrowPayload payload;
  ProtoReader reader(bytes, may_be_cut);
  ARROW_RETURN_NOT_OK(ParsePayloadFields(&reader, &payload, [] { return arrow::Status::OK(); }));
  return payload;
}

arrow::Result<RawStoreId> ParseArrowMessageStore(std::string_view first_bytes) {
  // The writers put the store first; cut off what follows it.
  ProtoReader reader(first_bytes);
  if (!reader.Next() || !reader.is_bytes(1)) return Missing("ArrowMsg", "store_id first");
  return ParseStoreId(reader.bytes());
}

arrow::Result<SetStoreInfo> ParseSetStoreInfo(std::string_view bytes) {
  static constexpr char kWhere[] = "SetStoreInfo";
  SetStoreInfo out;
  bool has_row_id = false, has_info = false, has_store = false;
  ProtoReader reader(bytes);
  while (reader.Next()) {
    if (reader.is_bytes(1)) {
      ARROW_ASSIGN_OR_RAISE(out.row_id, ParseTuid(reader.bytes(), kWhere));
      has_row_id = true;
    }
    if (!reader.is_bytes(2)) continue;
    has_info = true;
    ProtoReader info(reader.bytes());
    while (info.Next()) {
      if (info.is_bytes(1)) {
        ARROW_ASSIGN_OR_RAISE(out.legacy_application_id, ParseApplicationId(info.bytes()));
      } else if (info.is_bytes(2)) {
        ARROW_ASSIGN_OR_RAISE(out.store_id, ParseStoreId(info.bytes()));
        has_store = true;
      } else if (info.is_bytes(5)) {
        ProtoReader source(info.bytes());
        while (source.Next()) {
          if (source.is_varint(1)) out.source_kind = static_cast<int32_t>(source.value());
          if (source.is_bytes(2)) {
            ProtoReader extra(source.bytes());
            out.source.clear();
            while (extra.Next()) {
              if (extra.is_bytes(1)) out.source = extra.bytes();
            }
          }
        }
        if (!source.ok()) return Malformed(kWhere);
      } else if (info.is_bytes(6)) {
        ProtoReader version(info.bytes());
        while (version.Next()) {
          if (version.is_varint(1)) out.version_bits = static_cast<int32_t>(version.value());
        }
      }
    }
    if (!info.ok()) return Malformed(kWhere);
  }
  if (!reader.ok()) return Malformed(kWhere);
  if (!has_row_id) return Missing(kWhere, "row_id");
  if (!has_info || !has_store) return Missing(kWhere, "info.store_id");
  return out;
}

arrow::Result<BlueprintActivation> ParseBlueprintActivation(std::string_view bytes) {
  static constexpr char kWhere[] = "BlueprintActivationCommand";
  BlueprintActivation out;
  bool has_store = false;
  ProtoReader reader(bytes);
  while (reader.Next()) {
    if (reader.is_bytes(1)) {
      ARROW_ASSIGN_OR_RAISE(out.store_id, ParseStoreId(reader.bytes()));
      has_store = true;
    }
    if (reader.is_varint(2)) out.make_active = reader.value() != 0;
    if (reader.is_varint(3)) out.make_default = reader.value() != 0;
  }
  if (!reader.ok()) return Malformed(kWhere);
  if (!has_store) return Missing(kWhere, "blueprint_id");
  return out;
}

arrow::Result<std::vector<PackedManifest>> ParseFooter(std::string_view bytes) {
  std::vector<PackedManifest> manifests;
  ProtoReader reader(bytes);
  while (reader.Next()) {
    if (!reader.is_bytes(1)) continue;
    ARROW_ASSIGN_OR_RAISE(auto manifest, ParseManifest(reader.bytes()));
    manifests.push_back(manifest);
  }
  if (!reader.ok()) return Malformed("RrdFooter");
  return manifests;
}

ArrowEnvelope MakeArrowEnvelope(const StoreId& store_id, Compression compression, uint64_t size_uncompressed, size_t payload_size,
                                const ChunkId& chunk_id, bool is_static) {
  ProtoWriter head;
  head.Bytes(1, EncodeStoreId(store_id));
  head.Varint(2, static_cast<uint64_t>(compression));
  head.Varint(3, size_uncompressed);
  head.Varint(4, kArrowIpc);
  head.BytesHeader(5, payload_size);
  ProtoWriter tail;
  tail.Bytes(6, EncodeTuid(chunk_id));
  tail.Varint(7, is_static ? 1 : 0);
  return {head.Finish(), tail.Finish()};
}

std::string EncodeSetStoreInfo(const StoreId& store_id, const Tuid& row_id, int32_t version_bits, int32_t source_kind,
                               std::string_view source) {
  ProtoWriter extra;
  if (!source.empty()) extra.Bytes(1, source);
  ProtoWriter store_source;
  if (source_kind != 0) store_source.Varint(1, static_cast<uint64_t>(source_kind));
  store_source.Bytes(2, extra.Finish());
  ProtoWriter version;
  version.Varint(1, static_cast<uint64_t>(int64_t{version_bits}));
  ProtoWriter info;
  info.Bytes(2, EncodeStoreId(store_id));
  info.Bytes(5, store_source.Finish());
  info.Bytes(6, version.Finish());
  ProtoWriter writer;
  writer.Bytes(1, EncodeTuid(row_id));
  writer.Bytes(2, info.Finish());
  return writer.Finish();
}

std::string EncodeBlueprintActivation(const StoreId& store_id, bool make_active, bool make_default) {
  ProtoWriter writer;
  writer.Bytes(1, EncodeStoreId(store_id));
  if (make_active) writer.Varint(2, 1);
  if (make_default) writer.Varint(3, 1);
  return writer.Finish();
}

std::string EncodeManifest(const StoreId& store_id, std::string_view schema, std::string_view schema_sha256, Compression compression,
                           uint64_t size_uncompressed, std::string_view data) {
  ProtoWriter schema_message;
  schema_message.Bytes(1, schema);
  ProtoWriter part;
  part.Varint(1, 1);
  part.Bytes(2, data);
  part.Varint(3, static_cast<uint64_t>(compression));
  part.Varint(4, size_uncompressed);
  ProtoWriter manifest;
  manifest.Bytes(1, EncodeStoreId(store_id));
  manifest.Bytes(2, schema_message.Finish());
  manifest.Bytes(3, schema_sha256);
  manifest.Bytes(4, part.Finish());
  ProtoWriter footer;
  footer.Bytes(1, manifest.Finish());
  return footer.Finish();
}

arrow::Status CheckLz4Sizes(size_t size, uint64_t size_uncompressed) {
  if (size_uncompressed > kMaxPayloadSize || size_uncompressed > kMaxLz4Ratio * size) {
    return arrow::Status::Invalid("an LZ4 block of ", size, " bytes cannot hold the announced ", size_uncompressed, " bytes");
  }
  // LZ4 counts in int.
  constexpr uint64_t kMaxInt = std::numeric_limits<int32_t>::max();
  if (size_uncompressed > kMaxInt || size > kMaxInt) {
    return arrow::Status::NotImplemented("LZ4 blocks of more than 2 GiB (", size_uncompressed, " bytes announced)");
  }
  return arrow::Status::OK();
}

namespace {

// Bytes written to `out`, which has `size_uncompressed`.
arrow::Result<int64_t> DecompressLz4(std::string_view block, uint64_t size_uncompressed, char* out) {
  const int written = LZ4_decompress_safe(block.data(), out, static_cast<int>(block.size()), static_cast<int>(size_uncompressed));
  if (written < 0) {
    return arrow::Status::Invalid("broken LZ4 block of ", block.size(), " bytes, ", size_uncompressed, " bytes decompressed were expected");
  }
  return written;
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Buffer>> Decompress(std::string_view payload, Compression compression, uint64_t size_uncompressed) {
  if (compression == Compression::kNone) {
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> copy, arrow::AllocateBuffer(static_cast<int64_t>(payload.size())));
    if (!payload.empty()) std::memcpy(copy->mutable_data(), payload.data(), payload.size());
    return copy;
  }
  ARROW_RETURN_NOT_OK(CheckLz4Sizes(payload.size(), size_uncompressed));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> out, arrow::AllocateBuffer(static_cast<int64_t>(size_uncompressed)));
  ARROW_ASSIGN_OR_RAISE(const int64_t written, DecompressLz4(payload, size_uncompressed, reinterpret_cast<char*>(out->mutable_data())));
  return written == out->size() ? out : arrow::SliceBuffer(out, 0, written);
}

arrow::Result<std::string_view> DecompressInto(std::string_view payload, Compression compression, uint64_t size_uncompressed,
                                               std::string* scratch) {
  if (compression == Compression::kNone) return payload;
  ARROW_RETURN_NOT_OK(CheckLz4Sizes(payload.size(), size_uncompressed));
  if (scratch->size() < size_uncompressed) scratch->resize(size_uncompressed);
  ARROW_ASSIGN_OR_RAISE(const int64_t written, DecompressLz4(payload, size_uncompressed, scratch->data()));
  return std::string_view(*scratch).substr(0, static_cast<size_t>(written));
}

arrow::Result<std::shared_ptr<arrow::Buffer>> DecompressStart(std::string_view first_bytes, Compression compression,
                                                              uint64_t size_uncompressed, int64_t num_bytes) {
  if (compression == Compression::kNone) return Decompress(first_bytes.substr(0, static_cast<size_t>(num_bytes)), compression, 0);
  // LZ4 counts in int.
  constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
  num_bytes = static_cast<int64_t>(std::min(size_uncompressed, static_cast<uint64_t>(std::min(num_bytes, kMaxInt))));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> out, arrow::AllocateBuffer(num_bytes));
  if (num_bytes == 0) return out;
  const auto given = static_cast<int>(std::min(first_bytes.size(), static_cast<size_t>(kMaxInt)));
  const auto wanted = static_cast<int>(num_bytes);
  const int written = LZ4_decompress_safe_partial(first_bytes.data(), reinterpret_cast<char*>(out->mutable_data()), given, wanted, wanted);
  if (written < 0) {
    return arrow::Status::Invalid("broken LZ4 block, of which the first ", num_bytes, " bytes of ", size_uncompressed, " were wanted");
  }
  return written == num_bytes ? out : arrow::SliceBuffer(out, 0, written);
}

arrow::Result<std::shared_ptr<arrow::Buffer>> CompressLz4(std::string_view bytes) {
  if (bytes.size() > size_t{0x7E000000}) return arrow::Status::NotImplemented("LZ4 blocks of more than 2 GiB (", bytes.size(), " bytes)");
  thread_local const std::unique_ptr<arrow::util::Codec> codec = arrow::util::Codec::Create(arrow::Compression::LZ4).ValueOrDie();
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  const auto size = static_cast<int64_t>(bytes.size());
  const int64_t bound = codec->MaxCompressedLen(size, data);
  ARROW_ASSIGN_OR_RAISE(auto out, arrow::AllocateResizableBuffer(bound));
  ARROW_ASSIGN_OR_RAISE(const int64_t written, codec->Compress(size, data, bound, out->mutable_data()));
  ARROW_RETURN_NOT_OK(out->Resize(written, /*shrink_to_fit=*/true));
  return std::shared_ptr<arrow::Buffer>(std::move(out));
}

}  // namespace rrd

arrow::Result<std::string> NormalizeApplicationId(std::string_view id) {
  if (id.empty()) return arrow::Status::Invalid("an application id must not be empty");
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_- []:").find(c) != std::string_view::npos;
  };
  if (id.size() <= 180 && std::all_of(id.begin(), id.end(), allowed)) return std::string(id);
  std::string out;
  size_t characters = 0;
  for (size_t i = 0; i < id.size() && characters < 176; ++characters) {
    const char c = id[i];
    out.push_back(allowed(c) ? c : '-');
    ++i;
    while (i < id.size() && (static_cast<uint8_t>(id[i]) & 0xc0) == 0x80) ++i;  // the rest of one character
  }
  const uint64_t hash = rrd::Xxh64(id, 0);
  constexpr char kDigits[] = "0123456789abcdef";
  for (int shift = 12; shift >= 0; shift -= 4) out.push_back(kDigits[(hash >> shift) & 15]);
  return out;
}

}  // namespace rushes
