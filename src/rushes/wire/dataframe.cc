#include "rushes/wire/dataframe.h"

#include <lz4.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "arrow/array/util.h"
#include "arrow/io/memory.h"
#include "arrow/ipc/dictionary.h"
#include "arrow/ipc/options.h"
#include "arrow/ipc/reader.h"
#include "arrow/ipc/writer.h"
#include "arrow/type.h"
#include "rerun/common/v1alpha1/common.pb.h"
#include "rushes/chunk/decode_budget.h"
#include "rushes/wire/headers.h"

namespace rushes::wire {
namespace {

namespace common = ::rerun::common::v1alpha1;

arrow::ipc::IpcWriteOptions WriteOptions() {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.use_threads = false;
  options.unify_dictionaries = false;
  return options;
}

arrow::Status Prefix(std::string_view what, const arrow::Status& status) { return status.WithMessage(what, ": ", status.message()); }

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReadOneBatch(std::shared_ptr<arrow::Buffer> bytes, std::string_view what) {
  const DecodeBudget budget(bytes->size());
  auto input = std::make_shared<arrow::io::BufferReader>(std::move(bytes));
  auto read = [&]() -> arrow::Result<std::shared_ptr<arrow::RecordBatch>> {
    ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchStreamReader::Open(input, DecodeOptions()));
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) return arrow::Status::Invalid("the Arrow stream holds no record batch");
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    return batch;
  };
  auto result = read();
  if (result.ok()) return result;
  return arrow::Status::Invalid(what, ": not a readable Arrow stream: ", result.status().message());
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeIpc(const arrow::RecordBatch& batch) {
  ARROW_ASSIGN_OR_RAISE(auto sink, arrow::io::BufferOutputStream::Create());
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(sink, batch.schema(), WriteOptions()));
  ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(batch));
  ARROW_RETURN_NOT_OK(writer->Close());
  return sink->Finish();
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> DecodeIpc(std::string_view bytes, std::string_view what) {
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> copy, arrow::AllocateBuffer(static_cast<int64_t>(bytes.size())));
  if (!bytes.empty()) std::memcpy(copy->mutable_data(), bytes.data(), bytes.size());
  return ReadOneBatch(std::move(copy), what);
}

arrow::Result<std::shared_ptr<arrow::Buffer>> DecompressLz4(std::span<const uint8_t> block, uint64_t size, std::string_view what) {
  if (size > kMaxUncompressedSize || size > 255 * static_cast<uint64_t>(block.size()) || size > static_cast<uint64_t>(LZ4_MAX_INPUT_SIZE) ||
      block.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return arrow::Status::Invalid(what, ": ", block.size(), " compressed bytes cannot hold the announced ", size, " bytes");
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> out, arrow::AllocateBuffer(static_cast<int64_t>(size)));
  const int written = LZ4_decompress_safe(reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(out->mutable_data()),
                                          static_cast<int>(block.size()), static_cast<int>(size));
  if (written < 0) {
    return arrow::Status::Invalid(what, ": broken LZ4 block (", block.size(), " bytes, announced as ", size, " bytes)");
  }
  return static_cast<uint64_t>(written) == size ? out : arrow::SliceBuffer(out, 0, written);
}

arrow::Status EncodePart(const arrow::RecordBatch& batch, common::DataframePart* out, PartCompression compression) {
  ARROW_ASSIGN_OR_RAISE(auto bytes, EncodeIpc(batch));
  out->Clear();
  out->set_encoder_version(common::ENCODER_VERSION_V0);
  out->set_uncompressed_size(static_cast<uint64_t>(bytes->size()));
  if (compression == PartCompression::kLz4 && bytes->size() <= LZ4_MAX_INPUT_SIZE) {
    std::string* payload = out->mutable_payload();
    payload->resize(static_cast<size_t>(LZ4_compressBound(static_cast<int>(bytes->size()))));
    const int written = LZ4_compress_default(reinterpret_cast<const char*>(bytes->data()), payload->data(), static_cast<int>(bytes->size()),
                                             static_cast<int>(payload->size()));
    if (written <= 0) return arrow::Status::UnknownError("LZ4 compression failed");
    payload->resize(static_cast<size_t>(written));
    out->set_compression(common::COMPRESSION_LZ4);
  } else {
    out->set_payload(bytes->data(), static_cast<size_t>(bytes->size()));
    out->set_compression(common::COMPRESSION_NONE);
  }
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> DecodePart(const common::DataframePart& part, std::string_view what) {
  if (part.encoder_version() != common::ENCODER_VERSION_V0) {
    return arrow::Status::Invalid(what, ": unknown encoder version ", static_cast<int>(part.encoder_version()));
  }
  if (!part.has_payload()) return arrow::Status::Invalid(what, ": missing required field: 'rerun.common.v1alpha1.DataframePart.payload'");
  const std::string& payload = part.payload();
  switch (part.compression()) {
    case common::COMPRESSION_UNSPECIFIED:
    case common::COMPRESSION_NONE:
      return DecodeIpc(payload, what);
    case common::COMPRESSION_LZ4: {
      ARROW_ASSIGN_OR_RAISE(
          auto bytes, DecompressLz4({reinterpret_cast<const uint8_t*>(payload.data()), payload.size()}, part.uncompressed_size(), what));
      if (static_cast<uint64_t>(bytes->size()) != part.uncompressed_size()) {
        return arrow::Status::Invalid(what, ": ", bytes->size(), " bytes decompressed, announced as ", part.uncompressed_size());
      }
      return ReadOneBatch(std::move(bytes), what);
    }
    default:
      return arrow::Status::Invalid(what, ": unknown compression ", static_cast<int>(part.compression()));
  }
}

arrow::Status EncodeSchema(const arrow::Schema& schema, common::Schema* out) {
  ARROW_ASSIGN_OR_RAISE(auto sink, arrow::io::BufferOutputStream::Create());
  auto shared = std::make_shared<arrow::Schema>(schema);
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(sink, shared, WriteOptions()));
  ARROW_RETURN_NOT_OK(writer->Close());
  ARROW_ASSIGN_OR_RAISE(auto bytes, sink->Finish());
  out->set_arrow_schema(bytes->data(), static_cast<size_t>(bytes->size()));
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::Schema>> DecodeSchema(const common::Schema& schema, std::string_view what) {
  if (!schema.has_arrow_schema()) {
    return arrow::Status::Invalid(what, ": missing required field: 'rerun.common.v1alpha1.Schema.arrow_schema'");
  }
  auto input = std::make_shared<arrow::io::BufferReader>(arrow::Buffer::FromString(schema.arrow_schema()));
  arrow::ipc::DictionaryMemo memo;
  auto result = arrow::ipc::ReadSchema(input.get(), &memo);
  if (!result.ok()) return arrow::Status::Invalid(what, ": not a readable Arrow schema: ", result.status().message());
  return result;
}

arrow::Result<std::shared_ptr<arrow::Table>> ConcatenateBatches(const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
                                                                std::shared_ptr<arrow::Schema> schema_if_empty, std::string_view what) {
  if (batches.empty()) {
    if (schema_if_empty == nullptr) return arrow::Status::Invalid(what, ": the server sent no batch");
    return arrow::Table::MakeEmpty(std::move(schema_if_empty));
  }
  // The union of the fields, in order of first appearance.
  std::vector<std::shared_ptr<arrow::Field>> fields;
  for (const auto& batch : batches) {
    for (const auto& field : batch->schema()->fields()) {
      auto found = std::find_if(fields.begin(), fields.end(), [&](const auto& other) { return other->name() == field->name(); });
      if (found == fields.end()) {
        fields.push_back(field);
      } else if (!(*found)->type()->Equals(*field->type())) {
        return arrow::Status::Invalid(what, ": column '", field->name(), "' is ", (*found)->type()->ToString(), " in one batch and ",
                                      field->type()->ToString(), " in another");
      }
    }
  }
  std::vector<std::shared_ptr<arrow::RecordBatch>> aligned;
  std::vector<bool> absent(fields.size(), false);
  for (const auto& batch : batches) {
    for (size_t i = 0; i < fields.size(); ++i) {
      if (batch->schema()->GetFieldIndex(fields[i]->name()) < 0) absent[i] = true;
    }
  }
  for (size_t i = 0; i < fields.size(); ++i) {
    if (absent[i]) fields[i] = fields[i]->WithNullable(true);
  }
  auto schema = arrow::schema(fields, batches.front()->schema()->metadata());
  for (const auto& batch : batches) {
    std::vector<std::shared_ptr<arrow::Array>> columns;
    columns.reserve(fields.size());
    for (const auto& field : fields) {
      const int index = batch->schema()->GetFieldIndex(field->name());
      if (index >= 0) {
        columns.push_back(batch->column(index));
      } else {
        ARROW_ASSIGN_OR_RAISE(auto nulls, arrow::MakeArrayOfNull(field->type(), batch->num_rows()));
        columns.push_back(std::move(nulls));
      }
    }
    aligned.push_back(arrow::RecordBatch::Make(schema, batch->num_rows(), std::move(columns)));
  }
  auto table = arrow::Table::FromRecordBatches(schema, aligned);
  if (!table.ok()) return Prefix(what, table.status());
  return table;
}

}  // namespace rushes::wire
