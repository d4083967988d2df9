// The messages inside the frames of a recording file, read and written by hand: payloads stay views into the file's bytes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/result.h"
#include "rushes/chunk/tuid.h"

namespace rushes {

// Values are those of the wire.
enum class StoreKind : int32_t { kRecording = 1, kBlueprint = 2 };
// "recording", "blueprint".
std::string_view ToString(StoreKind kind);

// What makes chunks belong together: data of equal ids form one recording, from however many files.
struct StoreId {
  StoreKind kind = StoreKind::kRecording;
  std::string application_id;
  std::string recording_id;

  friend auto operator<=>(const StoreId&, const StoreId&) = default;
};

namespace rrd {

// Numbering of messages; the byte in the stream header counts differently.
enum class Compression : int32_t { kNone = 1, kLz4 = 2 };

// A store id as it is in a message: files before 0.25 have no application id there.
struct RawStoreId {
  StoreKind kind = StoreKind::kRecording;
  std::string_view recording_id;
  std::optional<std::string_view> application_id;
};

// A chunk as it is in its message, a view into the bytes it was parsed from.
struct ArrowPayload {
  Compression compression = Compression::kNone;
  uint64_t size_uncompressed = 0;
  std::string_view payload;
};

// One chunk's message. Views into the bytes it was parsed from.
struct ArrowMessage : ArrowPayload {
  RawStoreId store_id;
  std::optional<ChunkId> chunk_id;
  std::optional<bool> is_static;
};

// What a store says of itself, once per file at least.
struct SetStoreInfo {
  Tuid row_id;
  RawStoreId store_id;
  std::optional<std::string_view> legacy_application_id;  // files before 0.25
  int32_t source_kind = 6;                                // 6: other
  std::string source = "rushes";                          // what is in the source's payload
  std::optional<int32_t> version_bits;
};

struct BlueprintActivation {
  RawStoreId store_id;
  bool make_active = false;
  bool make_default = false;
};

// One entry of a footer, its dataframe still packed.
struct PackedManifest {
  RawStoreId store_id;
  std::string_view schema;         // IPC stream with a schema only
  std::string_view schema_sha256;  // 32 bytes
  Compression compression = Compression::kNone;
  uint64_t size_uncompressed = 0;
  std::string_view data;  // IPC stream with one batch, perhaps compressed
};

// Invalid names the field that is missing or malformed.
arrow::Result<ArrowMessage> ParseArrowMessage(std::string_view bytes);
// The payload alone: the ids are passed over, whatever they are. `may_be_cut`: perhaps only the first bytes are given; then the payload is
// what there is of it.
arrow::Result<ArrowPayload> ParseArrowPayload(std::string_view bytes, bool may_be_cut = false);
arrow::Result<SetStoreInfo> ParseSetStoreInfo(std::string_view bytes);
arrow::Result<BlueprintActivation> ParseBlueprintActivation(std::string_view bytes);
arrow::Result<PackedManifest> ParseManifest(std::string_view bytes);
arrow::Result<std::vector<PackedManifest>> ParseFooter(std::string_view bytes);
// The store of an ArrowMsg of which perhaps only the first bytes are given. Invalid if they do not suffice.
arrow::Result<RawStoreId> ParseArrowMessageStore(std::string_view first_bytes);

// An ArrowMsg whose payload follows between head and tail; `payload_size` bytes are announced.
struct ArrowEnvelope {
  std::string head;
  std::string tail;
};
ArrowEnvelope MakeArrowEnvelope(const StoreId& store_id, Compression compression, uint64_t size_uncompressed, size_t payload_size,
                                const ChunkId& chunk_id, bool is_static);

std::string EncodeSetStoreInfo(const StoreId& store_id, const Tuid& row_id, int32_t version_bits, int32_t source_kind,
                               std::string_view source);
std::string EncodeBlueprintActivation(const StoreId& store_id, bool make_active, bool make_default);
// One `manifests` entry of a footer.
std::string EncodeManifest(const StoreId& store_id, std::string_view schema, std::string_view schema_sha256, Compression compression,
                           uint64_t size_uncompressed, std::string_view data);

// The payload of an ArrowMsg or manifest, decompressed into a buffer of its own. Invalid if the sizes are impossible (above 16 GiB,
// or more than 255 times the compressed size) or the LZ4 block is broken.
arrow::Result<std::shared_ptr<arrow::Buffer>> Decompress(std::string_view payload, Compression compression, uint64_t size_uncompressed);
// Of an LZ4 block: whether it may be tried to decompress it.
arrow::Status CheckLz4Sizes(size_t size, uint64_t size_uncompressed);
// The same in memory that is used again: what is returned lies in `payload` or `scratch`.
arrow::Result<std::string_view> DecompressInto(std::string_view payload, Compression compression, uint64_t size_uncompressed,
                                               std::string* scratch);
// The first `num_bytes` bytes of a payload once decompressed (never more than `size_uncompressed`), or as many as the first bytes of the
// compressed one give.
arrow::Result<std::shared_ptr<arrow::Buffer>> DecompressStart(std::string_view first_bytes, Compression compression,
                                                              uint64_t size_uncompressed, int64_t num_bytes);
// One LZ4 block.
arrow::Result<std::shared_ptr<arrow::Buffer>> CompressLz4(std::string_view bytes);

}  // namespace rrd

// An application id as files since 0.36 have it: valid ids stay, others get their bad characters replaced and four hex digits of a
// hash. Two files of one application agree after this only. Invalid for an empty id.
arrow::Result<std::string> NormalizeApplicationId(std::string_view id);

}  // namespace rushes
