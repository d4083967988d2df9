#include "rushes/catalog/table_manifest.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <limits>
#include <numeric>

#include "arrow/array/array_binary.h"
#include "arrow/array/array_primitive.h"
#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/io/memory.h"
#include "arrow/ipc/dictionary.h"
#include "arrow/ipc/reader.h"
#include "arrow/ipc/writer.h"
#include "arrow/record_batch.h"
#include "arrow/util/base64.h"
#include "arrow/util/key_value_metadata.h"
#include "rushes/chunk/decode_budget.h"

namespace rushes {
namespace {

constexpr char kFormatKey[] = "rushes:table_format";
constexpr char kFormat[] = "1";
constexpr char kVersionKey[] = "rushes:table_version";
constexpr char kSchemaKey[] = "rushes:table_schema";
constexpr size_t kVersionDigits = 20;
constexpr char kExtension[] = ".arrow";
constexpr int64_t kMaxTotal = std::numeric_limits<int64_t>::max() / 2;

bool IsFileName(std::string_view name) {
  constexpr std::string_view kSuffix = ".arrows";
  return name.size() > kSuffix.size() && name.size() < 200 && name.ends_with(kSuffix) && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

arrow::Result<std::string> Required(const arrow::Schema& schema, const char* key) {
  if (schema.metadata() == nullptr || !schema.metadata()->Contains(key))
    return arrow::Status::Invalid("'", key, "' is not in its metadata");
  return schema.metadata()->Get(key);
}

arrow::Result<TableManifest> Decode(const std::shared_ptr<arrow::Buffer>& bytes) {
  const DecodeBudget budget(bytes->size());
  const auto options = DecodeOptions();
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchFileReader::Open(std::make_shared<arrow::io::BufferReader>(bytes), options));
  const auto& outer = *reader->schema();
  ARROW_ASSIGN_OR_RAISE(const std::string format, Required(outer, kFormatKey));
  if (format != kFormat) return arrow::Status::Invalid("its format is '", format, "', this version of the software reads '", kFormat, "'");
  ARROW_ASSIGN_OR_RAISE(const std::string version, Required(outer, kVersionKey));
  ARROW_ASSIGN_OR_RAISE(const std::string encoded, Required(outer, kSchemaKey));

  TableManifest out;
  out.version = VersionOfName(std::string(kVersionDigits - std::min(kVersionDigits, version.size()), '0') + version + kExtension);
  if (out.version == 0) return arrow::Status::Invalid("'", version, "' is no version number");
  ARROW_ASSIGN_OR_RAISE(const std::string schema_bytes, arrow::util::base64_decode(encoded));
  arrow::io::BufferReader schema_reader(arrow::Buffer::FromString(schema_bytes));
  arrow::ipc::DictionaryMemo memo;
  ARROW_ASSIGN_OR_RAISE(out.schema, arrow::ipc::ReadSchema(&schema_reader, &memo));

  if (reader->num_record_batches() != 1) return arrow::Status::Invalid("it has ", reader->num_record_batches(), " batches, not one");
  ARROW_ASSIGN_OR_RAISE(const auto batch, reader->ReadRecordBatch(0));
  ARROW_RETURN_NOT_OK(batch->ValidateFull());
  const auto column = [&](const char* name, arrow::Type::type type) -> arrow::Result<std::shared_ptr<arrow::Array>> {
    auto found = batch->GetColumnByName(name);
    if (found == nullptr || found->type_id() != type || found->null_count() > 0) {
      return arrow::Status::Invalid("column '", name, "' is missing or not as it must be");
    }
    return found;
  };
  ARROW_ASSIGN_OR_RAISE(const auto names, column("file", arrow::Type::STRING));
  ARROW_ASSIGN_OR_RAISE(const auto rows, column("rows", arrow::Type::INT64));
  ARROW_ASSIGN_OR_RAISE(const auto sizes, column("bytes", arrow::Type::INT64));
  int64_t total_rows = 0, total_bytes = 0;
  for (int64_t i = 0; i < batch->num_rows(); ++i) {
    TableFile file{static_cast<const arrow::StringArray&>(*names).GetString(i), static_cast<const arrow::Int64Array&>(*rows).Value(i),
                   static_cast<const arrow::Int64Array&>(*sizes).Value(i)};
    if (!IsFileName(file.name)) return arrow::Status::Invalid("'", file.name, "' is not the name of a data file");
    if (file.rows < 0 || file.rows > kMaxTotal - total_rows || file.bytes < 0 || file.bytes > kMaxTotal - total_bytes) {
      return arrow::Status::Invalid("the sizes of '", file.name, "' are impossible: ", file.rows, " rows, ", file.bytes, " bytes");
    }
    total_rows += file.rows;
    total_bytes += file.bytes;
    out.files.push_back(std::move(file));
  }
  return out;
}

}  // namespace

int64_t TableManifest::num_rows() const {
  return std::accumulate(files.begin(), files.end(), int64_t{0}, [](int64_t sum, const TableFile& file) { return sum + file.rows; });
}

int64_t TableManifest::num_bytes() const {
  return std::accumulate(files.begin(), files.end(), int64_t{0}, [](int64_t sum, const TableFile& file) { return sum + file.bytes; });
}

arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeManifest(const TableManifest& manifest) {
  arrow::StringBuilder names;
  arrow::Int64Builder rows, sizes;
  for (const TableFile& file : manifest.files) {
    ARROW_RETURN_NOT_OK(names.Append(file.name));
    ARROW_RETURN_NOT_OK(rows.Append(file.rows));
    ARROW_RETURN_NOT_OK(sizes.Append(file.bytes));
  }
  arrow::ArrayVector columns(3);
  ARROW_RETURN_NOT_OK(names.Finish(&columns[0]));
  ARROW_RETURN_NOT_OK(rows.Finish(&columns[1]));
  ARROW_RETURN_NOT_OK(sizes.Finish(&columns[2]));
  ARROW_ASSIGN_OR_RAISE(const auto schema_bytes, arrow::ipc::SerializeSchema(*manifest.schema));
  const auto schema = arrow::schema(
      {arrow::field("file", arrow::utf8(), false), arrow::field("rows", arrow::int64(), false),
       arrow::field("bytes", arrow::int64(), false)},
      arrow::key_value_metadata({kFormatKey, kVersionKey, kSchemaKey},
                                {kFormat, std::to_string(manifest.version), arrow::util::base64_encode(schema_bytes->ToString())}));
  const auto batch = arrow::RecordBatch::Make(schema, static_cast<int64_t>(manifest.files.size()), std::move(columns));
  ARROW_ASSIGN_OR_RAISE(auto sink, arrow::io::BufferOutputStream::Create());
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.use_threads = false;
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeFileWriter(sink, schema, options));
  ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  ARROW_RETURN_NOT_OK(writer->Close());
  return sink->Finish();
}

arrow::Result<TableManifest> DecodeManifest(std::shared_ptr<arrow::Buffer> bytes) {
  auto decoded = Decode(bytes);
  if (decoded.ok()) return decoded;
  return arrow::Status::Invalid("not a readable table manifest: ", decoded.status().message());
}

std::string ManifestName(int64_t version) {
  char text[kVersionDigits + sizeof(kExtension)];
  std::snprintf(text, sizeof(text), "%020lld%s", static_cast<long long>(version), kExtension);
  return text;
}

int64_t VersionOfName(const std::string& name) {
  if (name.size() != kVersionDigits + sizeof(kExtension) - 1 || !name.ends_with(kExtension)) return 0;
  int64_t version = 0;
  for (size_t i = 0; i < kVersionDigits; ++i) {
    if (name[i] < '0' || name[i] > '9' || version > kMaxTotal / 10) return 0;
    version = version * 10 + (name[i] - '0');
  }
  return version;
}

}  // namespace rushes
