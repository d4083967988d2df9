// Record batches and schemas inside protobuf messages: an Arrow IPC stream with one batch, as a whole an LZ4 block or plain.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/table.h"
#include "arrow/type_fwd.h"

namespace rerun::common::v1alpha1 {
class DataframePart;
class Schema;
}  // namespace rerun::common::v1alpha1

namespace rushes::wire {

enum class PartCompression { kNone, kLz4 };

// Fills `out`. Official readers are built without compressed IPC buffers, so it is the whole stream that is compressed.
arrow::Status EncodePart(const arrow::RecordBatch& batch, rerun::common::v1alpha1::DataframePart* out,
                         PartCompression compression = PartCompression::kLz4);
// The first batch of the stream; it owns its memory. `what` begins the error text, e.g. "FindChunksResponse.data". Invalid: no payload,
// unknown encoding, a claimed size beyond the limits, broken LZ4 or IPC, no batch.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> DecodePart(const rerun::common::v1alpha1::DataframePart& part, std::string_view what);

// A stream with the schema message and the end marker.
arrow::Status EncodeSchema(const arrow::Schema& schema, rerun::common::v1alpha1::Schema* out);
arrow::Result<std::shared_ptr<arrow::Schema>> DecodeSchema(const rerun::common::v1alpha1::Schema& schema, std::string_view what);

// The bytes of a stream with one batch, and back (`bytes` is not referred to afterwards).
arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeIpc(const arrow::RecordBatch& batch);
arrow::Result<std::shared_ptr<arrow::RecordBatch>> DecodeIpc(std::string_view bytes, std::string_view what);

// Decompresses an LZ4 block of at most `size` bytes, into a new aligned buffer: writers of chunks may announce too many. Invalid when it
// holds more, is broken, or when the claim is absurd (kMaxUncompressedSize, 255 times the input).
arrow::Result<std::shared_ptr<arrow::Buffer>> DecompressLz4(std::span<const uint8_t> block, uint64_t size, std::string_view what);

// Joins the batches of a response stream by column name: missing columns become nulls, types must agree. No batch: `schema_if_empty`, or
// Invalid when that is null.
arrow::Result<std::shared_ptr<arrow::Table>> ConcatenateBatches(const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
                                                                std::shared_ptr<arrow::Schema> schema_if_empty, std::string_view what);

}  // namespace rushes::wire
