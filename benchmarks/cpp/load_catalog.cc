// rushes_bench_client: one kind of call to a catalog server, ours or another one, timed from outside. Prints one line of JSON.
//
//   rushes_bench_client ADDRESS fetch DATASET REQUEST_BYTES REPEAT    every chunk of the dataset by FetchChunks; 0: in one request
//   rushes_bench_client ADDRESS register DATASET LIST                 makes the dataset, registers the files that LIST names, waits
//   rushes_bench_client ADDRESS segment_table DATASET REPEAT          reads the table of segments
//
// Messages are counted and dropped, not decoded: what is measured is the server, as far as one machine lets that be.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "arrow/compute/initialize.h"
#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/api/connection.h"
#include "rushes/client/address.h"
#include "rushes/client/rpc.h"
#include "rushes/wire/chunk_query.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/layouts.h"

namespace rushes::benchmarks {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string JsonList(const std::vector<double>& values) {
  std::string out = "[";
  for (const double value : values) {
    char text[32];
    std::snprintf(text, sizeof(text), "%s%.9f", out.size() > 1 ? ", " : "", value);
    out += text;
  }
  return out + "]";
}

arrow::Result<EntryId> FindDataset(Connection& connection, const std::string& name) {
  EntryFilter filter;
  filter.name = name;
  ARROW_ASSIGN_OR_RAISE(const auto entries, connection.FindEntries(filter));
  for (const EntryDetails& entry : entries) {
    if (entry.name == name && entry.kind == EntryKind::kDataset) return entry.id;
  }
  return arrow::Status::KeyError("there is no dataset '", name, "'");
}

struct Total {
  int64_t bytes = 0;
  int64_t messages = 0;
  double first_message_s = -1;
};

// Reads a stream to its end and drops it.
arrow::Status Drain(client::RpcChannel& rpc, const char* method, const google::protobuf::MessageLite& request,
                    const client::CallOptions& options, Clock::time_point start, Total* total) {
  ARROW_ASSIGN_OR_RAISE(const auto stream, rpc.Stream(method, request, options));
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const bool more, stream->ReadRaw([&](const wire::BytePieces& message) {
      if (total->first_message_s < 0) total->first_message_s = SecondsSince(start);
      for (const auto& piece : message) total->bytes += static_cast<int64_t>(piece.size());
      ++total->messages;
      return arrow::Status::OK();
    }));
    if (!more) return arrow::Status::OK();
  }
}

// The rows that name all chunks of a dataset.
arrow::Result<std::vector<wire::ChunkRows>> FindAllChunks(client::RpcChannel& rpc, const client::CallOptions& options) {
  cloud::QueryDatasetRequest request;
  wire::ToProto(wire::ChunkQuery(), &request);
  cloud::QueryDatasetResponse response;
  std::vector<wire::ChunkRows> found;
  ARROW_RETURN_NOT_OK(rpc.ReadAll("QueryDataset", request, options, &response, [&]() -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(auto batch, wire::DecodePart(response.data(), "answer to a search for chunks"));
    if (batch->num_rows() == 0) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(auto rows, wire::ChunkRows::Make(std::move(batch), ""));
    found.push_back(std::move(rows));
    return arrow::Status::OK();
  }));
  return found;
}

arrow::Status Fetch(client::RpcChannel& rpc, EntryId dataset, uint64_t request_bytes, int repeat) {
  client::CallOptions options;
  options.entry = dataset;
  ARROW_ASSIGN_OR_RAISE(const auto found, FindAllChunks(rpc, options));
  std::vector<cloud::FetchChunksRequest> requests;
  std::vector<wire::ChunkRow> group;
  uint64_t bytes = 0;
  int64_t chunks = 0;
  const auto flush = [&]() -> arrow::Status {
    if (group.empty()) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(const auto batch, wire::MakeFetchBatch(group));
    ARROW_RETURN_NOT_OK(wire::EncodePart(*batch, requests.emplace_back().add_chunk_infos()));
    chunks += static_cast<int64_t>(group.size());
    group.clear();
    bytes = 0;
    return arrow::Status::OK();
  };
  for (const wire::ChunkRows& rows : found) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      const wire::ChunkRow row = rows.row(i);
      if (request_bytes > 0 && bytes + row.byte_len > request_bytes) ARROW_RETURN_NOT_OK(flush());
      group.push_back(row);
      bytes += row.byte_len;
    }
  }
  ARROW_RETURN_NOT_OK(flush());

  std::vector<double> seconds, first_message_s;
  Total total;
  for (int round = 0; round < repeat; ++round) {
    total = Total();
    const auto start = Clock::now();
    for (const auto& request : requests) ARROW_RETURN_NOT_OK(Drain(rpc, "FetchChunks", request, {}, start, &total));
    seconds.push_back(SecondsSince(start));
    first_message_s.push_back(total.first_message_s);
  }
  std::printf(
      "{\"chunks\": %lld, \"requests\": %zu, \"messages\": %lld, \"bytes\": %lld, \"seconds\": %s, \"first_message_seconds\": %s}\n",
      static_cast<long long>(chunks), requests.size(), static_cast<long long>(total.messages), static_cast<long long>(total.bytes),
      JsonList(seconds).c_str(), JsonList(first_message_s).c_str());
  return arrow::Status::OK();
}

arrow::Status Register(Connection& connection, const std::string& name, const std::string& list) {
  std::ifstream file(list);
  if (!file) return arrow::Status::IOError("cannot read ", list);
  std::vector<DataSource> sources;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) sources.emplace_back().url = "file://" + line;
  }
  ARROW_ASSIGN_OR_RAISE(const auto dataset, connection.CreateDataset(name));
  const auto start = Clock::now();
  ARROW_ASSIGN_OR_RAISE(const auto registered, connection.Register(dataset.entry.id, sources, IfDuplicate::kError));
  std::vector<std::string> tasks;
  for (const RegisteredSource& source : registered) tasks.push_back(source.task_id);
  ARROW_RETURN_NOT_OK(connection.WaitForTasks(tasks, 600, [](const TaskInfo& task) {
    return task.state == TaskState::kSuccess ? arrow::Status::OK() : arrow::Status::IOError("task ", task.id, ": ", task.message);
  }));
  const double seconds = SecondsSince(start);
  if (registered.size() != sources.size()) {
    return arrow::Status::Invalid(registered.size(), " segments came of ", sources.size(), " files");
  }
  std::printf("{\"files\": %zu, \"seconds\": [%.9f]}\n", sources.size(), seconds);
  return arrow::Status::OK();
}

arrow::Status ScanSegmentTable(client::RpcChannel& rpc, EntryId dataset, int repeat) {
  client::CallOptions options;
  options.entry = dataset;
  const cloud::ScanSegmentTableRequest request;
  // Once to see that the rows are there.
  int64_t rows = 0;
  cloud::ScanSegmentTableResponse response;
  ARROW_RETURN_NOT_OK(rpc.ReadAll("ScanSegmentTable", request, options, &response, [&]() -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(const auto batch, wire::DecodePart(response.data(), "segment table"));
    rows += batch->num_rows();
    return arrow::Status::OK();
  }));
  std::vector<double> seconds;
  Total total;
  for (int round = 0; round < repeat; ++round) {
    total = Total();
    const auto start = Clock::now();
    ARROW_RETURN_NOT_OK(Drain(rpc, "ScanSegmentTable", request, options, start, &total));
    seconds.push_back(SecondsSince(start));
  }
  std::printf("{\"rows\": %lld, \"bytes\": %lld, \"seconds\": %s}\n", static_cast<long long>(rows), static_cast<long long>(total.bytes),
              JsonList(seconds).c_str());
  return arrow::Status::OK();
}

arrow::Status Run(const std::vector<std::string>& arguments) {
  ARROW_RETURN_NOT_OK(arrow::compute::Initialize());
  ARROW_ASSIGN_OR_RAISE(const auto connection, Connect(arguments[0], "", 10));
  const std::string& what = arguments[1];
  if (what == "register") return Register(*connection, arguments[2], arguments[3]);
  ARROW_ASSIGN_OR_RAISE(const EntryId dataset, FindDataset(*connection, arguments[2]));
  ARROW_ASSIGN_OR_RAISE(auto address, client::ParseAddress(arguments[0]));
  ARROW_ASSIGN_OR_RAISE(const auto rpc, client::RpcChannel::Make(std::move(address), ""));
  ARROW_RETURN_NOT_OK(rpc->WaitUntilConnected(10));
  if (what == "fetch") return Fetch(*rpc, dataset, std::strtoull(arguments[3].c_str(), nullptr, 10), std::atoi(arguments[4].c_str()));
  return ScanSegmentTable(*rpc, dataset, std::atoi(arguments[3].c_str()));
}

}  // namespace
}  // namespace rushes::benchmarks

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string what = arguments.size() > 1 ? arguments[1] : "";
  const size_t wanted = what == "fetch" ? 5 : what == "register" || what == "segment_table" ? 4 : 0;
  if (wanted == 0 || arguments.size() != wanted) {
    std::fprintf(stderr,
                 "usage: rushes_bench_client ADDRESS fetch DATASET REQUEST_BYTES REPEAT\n"
                 "       rushes_bench_client ADDRESS register DATASET LIST\n"
                 "       rushes_bench_client ADDRESS segment_table DATASET REPEAT\n");
    return 2;
  }
  const arrow::Status status = rushes::benchmarks::Run(arguments);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
  }
  return 0;
}
