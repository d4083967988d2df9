// rushes_client_tool ADDRESS [DATASET [INDEX [fill]]]: what a catalog server holds, seen through the client; or the result of a query, with
// the whole table in a file. Judged by tests/interop against the official client.
#include <cstdio>
#include <cstring>
#include <string>

#include "arrow/array/data.h"
#include "arrow/compute/initialize.h"
#include "arrow/io/memory.h"
#include "arrow/ipc/writer.h"
#include "arrow/record_batch.h"
#include "arrow/table.h"
#include "rushes/api/connection.h"
#include "rushes/query/query.h"

namespace {

arrow::Status Run(int argc, char** argv) {
  ARROW_RETURN_NOT_OK(arrow::compute::Initialize());
  ARROW_ASSIGN_OR_RAISE(const auto connection, rushes::Connect(argv[1], "", 5));
  ARROW_ASSIGN_OR_RAISE(const auto entries, connection->FindEntries({}));
  const bool list_only = argc < 3;
  for (const auto& entry : entries) {
    if (list_only) std::printf("entry\t%s\t%d\t%s\n", entry.name.c_str(), static_cast<int>(entry.kind), entry.id.ToHex().c_str());
    if (list_only || entry.name != argv[2]) continue;
    ARROW_ASSIGN_OR_RAISE(const auto source, connection->OpenDataset(entry.id));
    rushes::Query query;
    if (argc > 3 && std::strcmp(argv[3], "-") != 0) query.index = argv[3];
    query.fill_latest_at = argc > 4 && std::strcmp(argv[4], "fill") == 0;
    ARROW_ASSIGN_OR_RAISE(const auto prepared, rushes::PreparedQuery::Make(source, query));
    ARROW_ASSIGN_OR_RAISE(const auto reader, prepared->Scan());
    ARROW_ASSIGN_OR_RAISE(const auto table, reader->ToTable());
    ARROW_RETURN_NOT_OK(table->ValidateFull());
    if (argc > 5) {
      // The whole result, for another program to compare.
      ARROW_ASSIGN_OR_RAISE(const auto sink, arrow::io::BufferOutputStream::Create());
      ARROW_ASSIGN_OR_RAISE(const auto writer, arrow::ipc::MakeStreamWriter(sink, table->schema()));
      ARROW_RETURN_NOT_OK(writer->WriteTable(*table));
      ARROW_RETURN_NOT_OK(writer->Close());
      ARROW_ASSIGN_OR_RAISE(const auto bytes, sink->Finish());
      FILE* file = std::fopen(argv[5], "wb");
      if (file == nullptr) return arrow::Status::IOError("cannot write ", argv[5]);
      const size_t written = std::fwrite(bytes->data(), 1, static_cast<size_t>(bytes->size()), file);
      if (std::fclose(file) != 0 || written != static_cast<size_t>(bytes->size())) return arrow::Status::IOError("cannot write ", argv[5]);
    }
    std::printf("rows\t%lld\ncolumns\t%d\n", static_cast<long long>(table->num_rows()), table->num_columns());
    for (const auto& field : table->schema()->fields()) std::printf("column\t%s\n", field->name().c_str());
    return arrow::Status::OK();
  }
  if (!list_only) return arrow::Status::KeyError("no dataset '", argv[2], "'");
  return arrow::Status::OK();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: rushes_client_tool ADDRESS [DATASET [INDEX|- [fill|nofill [OUTPUT.arrows]]]]\n");
    return 2;
  }
  const arrow::Status status = Run(argc, argv);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
