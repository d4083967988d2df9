#include "rushes/api/load_recordings.h"

#include <filesystem>

#include "rushes/catalog/source_url.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

// The recordings that `paths` of a dataset mean. Invalid names what is neither a file nor a directory.
arrow::Result<std::vector<std::string>> ListFiles(const std::string& dataset, const std::vector<std::string>& paths,
                                                  BrokenFiles broken_files) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    ARROW_ASSIGN_OR_RAISE(const std::string local, LocalPath(path));
    std::error_code error;
    if (fs::is_directory(local, error)) {
      ARROW_ASSIGN_OR_RAISE(const auto listed, ListRecordings(local));
      if (listed.empty() && broken_files == BrokenFiles::kFail) return arrow::Status::Invalid("there is no .rrd file in ", path);
      if (listed.empty()) spdlog::warn("dataset '{}': there is no .rrd file in {}", dataset, path);
      files.insert(files.end(), listed.begin(), listed.end());
    } else if (fs::exists(local, error)) {
      files.push_back(local);
    } else {
      return arrow::Status::Invalid("Path '", path, "' for dataset '", dataset, "' must be a RRD file: there is no such file.");
    }
  }
  return files;
}

}  // namespace

arrow::Status LoadRecordings(Catalog* catalog, const std::string& name, const std::vector<std::string>& paths, BrokenFiles broken_files) {
  ARROW_ASSIGN_OR_RAISE(const auto files, ListFiles(name, paths, broken_files));
  ARROW_ASSIGN_OR_RAISE(const EntryPtr dataset, catalog->CreateDataset(name));
  const EntryId id = dataset->entry.id;
  std::vector<DataSource> sources;
  for (const std::string& file : files) {
    DataSource source;
    source.url = FileUrl(file);
    sources.push_back(std::move(source));
  }
  if (sources.empty()) return arrow::Status::OK();

  const auto report_failures = [&](const std::vector<RegisteredSource>& rows) -> arrow::Status {
    std::vector<std::string> task_ids;
    for (const RegisteredSource& row : rows) task_ids.push_back(row.task_id);
    for (const TaskInfo& task : catalog->QueryTasks(task_ids)) {
      if (task.state != TaskState::kFailed) continue;
      if (broken_files == BrokenFiles::kFail) return arrow::Status::Invalid(task.message);
      spdlog::warn("dataset '{}': {}", name, task.message);
    }
    return arrow::Status::OK();
  };
  RegisterOptions options;
  options.accept_damaged = true;
  // All at once, in parallel; one by one only if a file is broken.
  auto all = catalog->Register(id, sources, IfDuplicate::kError, options);
  if (all.ok()) return report_failures(*all);
  if (broken_files == BrokenFiles::kFail) return all.status();
  for (const DataSource& source : sources) {
    auto rows = catalog->Register(id, {source}, IfDuplicate::kError, options);
    if (rows.ok()) {
      ARROW_RETURN_NOT_OK(report_failures(*rows));
    } else {
      spdlog::warn("dataset '{}': Failed loading file {}: {}", name, source.url, rows.status().message());
    }
  }
  return arrow::Status::OK();
}

}  // namespace rushes
