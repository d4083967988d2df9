// For tests only.
//
//   rushes_rrd_tool rewrite IN OUT [--plain] [--no-footer]   reads IN and writes all of its chunks to OUT with our writer
//   rushes_rrd_tool write IN OUT recording|blueprint APPLICATION RECORDING [--no-footer]
//                                                            IN holds one Arrow IPC stream per chunk, one after the other
//   rushes_rrd_tool list IN                                  one line per store and chunk
//   rushes_rrd_tool bench IN ROUNDS                          processor time of opening and reading

#include <ctime>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "arrow/compute/initialize.h"
#include "arrow/io/file.h"
#include "arrow/ipc/reader.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

std::vector<uint32_t> All(const RecordingStore& store) {
  std::vector<uint32_t> chunks(store.index()->num_chunks());
  std::iota(chunks.begin(), chunks.end(), 0u);
  return chunks;
}

arrow::Status Rewrite(const std::string& in, const std::string& out, const rrd::WriterOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const auto recording, OpenRecording(in));
  ARROW_ASSIGN_OR_RAISE(auto writer, rrd::Writer::Open(out, options));
  for (const auto& store : recording.stores) {
    ARROW_RETURN_NOT_OK(writer->AddStore(store->id()));
    ARROW_ASSIGN_OR_RAISE(const auto chunks, store->ReadChunks(All(*store)));
    for (const auto& chunk : chunks) ARROW_RETURN_NOT_OK(writer->Write(store->id(), *chunk));
    if (store->id().kind == StoreKind::kBlueprint) ARROW_RETURN_NOT_OK(writer->ActivateBlueprint(store->id(), true, true));
  }
  return writer->Close();
}

arrow::Status Write(const std::string& in, const std::string& out, const StoreId& store, const rrd::WriterOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::ReadableFile::Open(in));
  ARROW_ASSIGN_OR_RAISE(const int64_t size_bytes, file->GetSize());
  ARROW_ASSIGN_OR_RAISE(auto writer, rrd::Writer::Open(out, options));
  ARROW_RETURN_NOT_OK(writer->AddStore(store));
  for (int64_t position = 0; position < size_bytes;) {
    ARROW_ASSIGN_OR_RAISE(const auto stream, arrow::ipc::RecordBatchStreamReader::Open(file));
    std::shared_ptr<arrow::RecordBatch> batch, end;
    ARROW_RETURN_NOT_OK(stream->ReadNext(&batch));
    if (!batch) return arrow::Status::Invalid("no batch in the stream at byte ", position, " of ", in);
    ARROW_RETURN_NOT_OK(stream->ReadNext(&end));
    ARROW_ASSIGN_OR_RAISE(const auto chunk, ChunkFromRecordBatch(batch));
    ARROW_RETURN_NOT_OK(writer->Write(store, *chunk));
    ARROW_ASSIGN_OR_RAISE(position, file->Tell());
  }
  if (store.kind == StoreKind::kBlueprint) ARROW_RETURN_NOT_OK(writer->ActivateBlueprint(store, true, true));
  return writer->Close();
}

arrow::Status List(const std::string& in) {
  ARROW_ASSIGN_OR_RAISE(const auto recording, OpenRecording(in));
  for (const std::string& warning : recording.warnings) std::cout << "warning " << warning << "\n";
  for (const auto& store : recording.stores) {
    std::cout << "store " << ToString(store->id().kind) << " " << store->id().application_id << " " << store->id().recording_id << "\n";
    const SegmentIndex& index = *store->index();
    for (size_t chunk = 0; chunk < index.num_chunks(); ++chunk) {
      std::cout << "chunk " << index.id(chunk).ToHex() << " " << index.entities()[index.entity(chunk)].text() << " "
                << index.num_rows(chunk) << "\n";
    }
  }
  return arrow::Status::OK();
}

arrow::Status Bench(const std::string& in, int rounds) {
  // Time on the processor: other programs do not count.
  const auto now = [] { return static_cast<double>(std::clock()) * 1e6 / CLOCKS_PER_SEC; };
  double open = 0, read = 0;
  size_t chunks = 0;
  uint64_t bytes = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = now();
    ARROW_ASSIGN_OR_RAISE(const auto recording, OpenRecording(in));
    open += now() - start;
    chunks = bytes = 0;
    const auto start_read = now();
    for (const auto& store : recording.stores) {
      ARROW_RETURN_NOT_OK(store->ReadChunks(All(*store)).status());
      chunks += store->index()->num_chunks();
      bytes += store->index()->size_bytes_uncompressed();
    }
    read += now() - start_read;
  }
  std::cout << "open " << open / rounds << " us, read " << read / rounds << " us for " << chunks << " chunks, " << bytes << " bytes\n";
  return arrow::Status::OK();
}

arrow::Status Run(const std::vector<std::string>& arguments) {
  ARROW_RETURN_NOT_OK(arrow::compute::Initialize());
  if (arguments.size() >= 3 && arguments[0] == "rewrite") {
    rrd::WriterOptions options;
    for (size_t i = 3; i < arguments.size(); ++i) {
      if (arguments[i] == "--plain") options.compression = rrd::Compression::kNone;
      if (arguments[i] == "--no-footer") options.footer = false;
    }
    return Rewrite(arguments[1], arguments[2], options);
  }
  if (arguments.size() >= 6 && arguments[0] == "write") {
    rrd::WriterOptions options;
    options.footer = arguments.size() == 6;
    const StoreKind kind = arguments[3] == "blueprint" ? StoreKind::kBlueprint : StoreKind::kRecording;
    return Write(arguments[1], arguments[2], {kind, arguments[4], arguments[5]}, options);
  }
  if (arguments.size() == 2 && arguments[0] == "list") return List(arguments[1]);
  if (arguments.size() == 3 && arguments[0] == "bench") return Bench(arguments[1], std::stoi(arguments[2]));
  return arrow::Status::Invalid(
      "usage: rushes_rrd_tool rewrite IN OUT [--plain] [--no-footer] | write IN OUT recording|blueprint APPLICATION RECORDING "
      "[--no-footer] "
      "| list IN | bench IN ROUNDS");
}

}  // namespace
}  // namespace rushes

int main(int argc, char** argv) {
  const arrow::Status status = rushes::Run({argv + 1, argv + argc});
  if (!status.ok()) std::cerr << status.ToString() << "\n";
  return status.ok() ? 0 : 1;
}
