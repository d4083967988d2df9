// Manifests: the index of a store's chunks as a dataframe, in the footer of a file and on the wire.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arrow/array.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/rrd/messages.h"
#include "rushes/rrd/segment_index.h"

namespace rushes {

// A manifest: one row per chunk with place and time spans; docs/format.md, "Manifest".
struct RrdManifest {
  std::shared_ptr<arrow::Schema> schema;  // of the store's columns; with `sorbet:version`
  std::string schema_sha256;              // 32 bytes
  std::shared_ptr<arrow::RecordBatch> data;
};

// One layer's part of a segment's manifest.
struct ManifestPart {
  const SegmentIndex* index = nullptr;
  // One value per chunk: how a client asks for it (column `chunk_key`, Binary). In all parts or in none; null: none.
  std::shared_ptr<arrow::Array> keys;
};

// The manifest of a store or, over its layers, of a segment. `schema` is that of all parts together. Chunks of equal id are listed
// once.
arrow::Result<RrdManifest> MakeManifest(std::span<const ManifestPart> parts, const DatasetSchema& schema);

// The bytes of a schema as the format stores them: an IPC stream without a batch.
arrow::Result<std::string> EncodeSchema(const arrow::Schema& schema);
// The 32 bytes that identify a schema, whatever the order of its fields and its own metadata; docs/format.md, "Schema hash".
arrow::Result<std::string> SchemaSha256(const arrow::Schema& schema);

namespace rrd {

// The `manifests` entry of a footer, LZ4-compressed.
arrow::Result<std::string> PackManifest(const StoreId& store_id, const RrdManifest& manifest);

// A schema as it was read, shared between the files that have the same.
struct StoreSchema {
  std::shared_ptr<arrow::Schema> arrow_schema;  // migrated, with `sorbet:version`
  std::shared_ptr<const DatasetSchema> schema;
  std::string sha256;
};

// What a manifest says.
struct UnpackedManifest {
  std::shared_ptr<const StoreSchema> schema;
  std::vector<SegmentIndexBuilder::Entry> chunks;
};

// Reads a manifest of a file. Places become offsets into the file: `stream_begin` is where its stream starts, and all chunks must lie
// before `stream_end`. Invalid says what is wrong with it; then the chunks must be found by reading the file.
arrow::Result<UnpackedManifest> UnpackManifest(const PackedManifest& packed, uint64_t stream_begin, uint64_t stream_end);

}  // namespace rrd
}  // namespace rushes
