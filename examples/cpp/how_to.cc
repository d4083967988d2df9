// From recordings to aligned rows: start a server, register recordings, look at the schema, query.
//
//   how_to [DIRECTORY]     of .rrd files with a timeline `frame_nr`; default recordings/howto
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "arrow/array/array_primitive.h"
#include "arrow/compute/expression.h"
#include "arrow/compute/initialize.h"
#include "arrow/record_batch.h"
#include "arrow/table.h"
#include "rushes/api/connection.h"
#include "rushes/api/server.h"
#include "rushes/query/query.h"

namespace {

namespace cp = arrow::compute;

arrow::Status Run(const std::string& directory) {
  // Filters use Arrow's kernels; the program that links them has to say so once.
  ARROW_RETURN_NOT_OK(cp::Initialize());

  // A server with an empty catalog, on a free port of this machine. Viewers and other clients reach it by its URL.
  ARROW_ASSIGN_OR_RAISE(const auto server, rushes::Server::Start({}));
  std::cout << "serving at " << server->url() << "\n";

  // In the process itself there is no network in between. From elsewhere: rushes::Connect("rerun+http://host:port").
  ARROW_ASSIGN_OR_RAISE(const auto connection, server->Connect());
  ARROW_ASSIGN_OR_RAISE(const rushes::DatasetEntry dataset, connection->CreateDataset("oss_demo"));
  const rushes::EntryId id = dataset.entry.id;

  // Each recording becomes a segment; its id is the recording's id. What fails, fails for its own recording.
  std::vector<rushes::DataSource> sources;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() != ".rrd") continue;
    rushes::DataSource source;
    source.url = file.path().string();
    sources.push_back(std::move(source));
  }
  ARROW_ASSIGN_OR_RAISE(const auto registered, connection->Register(id, sources, rushes::IfDuplicate::kError));
  std::vector<std::string> tasks;
  for (const rushes::RegisteredSource& row : registered) {
    std::cout << "segment " << row.segment_id << " from " << row.url << "\n";
    tasks.push_back(row.task_id);
  }
  ARROW_RETURN_NOT_OK(connection->WaitForTasks(tasks, /*timeout_s=*/60, [](const rushes::TaskInfo& task) {
    return task.state == rushes::TaskState::kSuccess ? arrow::Status::OK() : arrow::Status::Invalid(task.message);
  }));

  // What is in it.
  ARROW_ASSIGN_OR_RAISE(const auto source, connection->OpenDataset(id));
  ARROW_ASSIGN_OR_RAISE(const auto schema, source->GetSchema());
  for (const rushes::Timeline& timeline : schema->timelines()) std::cout << "index " << timeline.name << "\n";
  for (const rushes::ComponentColumn& column : schema->columns()) std::cout << "column " << column.name() << "\n";

  // Rows aligned on one timeline; a missing value takes the one before it.
  rushes::Query query;
  query.index = "frame_nr";
  query.fill_latest_at = true;
  ARROW_ASSIGN_OR_RAISE(const auto prepared, rushes::PreparedQuery::Make(source, query));

  // Only these columns and rows are read. Results stream in as record batches; a large dataset need not fit into memory.
  const cp::Expression filter = cp::and_(cp::greater_equal(cp::field_ref("frame_nr"), cp::literal(int64_t{0})),
                                         cp::less_equal(cp::field_ref("frame_nr"), cp::literal(int64_t{100})));
  ARROW_ASSIGN_OR_RAISE(const auto reader,
                        prepared->Scan(std::vector<std::string>{"frame_nr", "/world/robot:Position3D:positions"}, filter));
  int64_t num_rows = 0;
  std::string frames;
  for (;;) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, reader->Next());
    if (batch == nullptr) break;
    std::cout << batch->ToString();
    const auto& column = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("frame_nr"));
    for (int64_t i = 0; i < column.length(); ++i) frames += " " + std::to_string(column.Value(i));
    num_rows += batch->num_rows();
  }
  std::cout << num_rows << " rows, frame_nr" << frames << "\n";

  server->Shutdown();
  return arrow::Status::OK();
}

}  // namespace

int main(int argc, char** argv) {
  const arrow::Status status = Run(argc > 1 ? argv[1] : "recordings/howto");
  if (!status.ok()) std::cerr << "how_to: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
