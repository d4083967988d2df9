#include "rushes/cli/catalog_target.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "arrow/array.h"
#include "arrow/scalar.h"
#include "arrow/table.h"
#include "spdlog/fmt/fmt.h"

namespace rushes::cli {
namespace {

namespace fs = std::filesystem;

bool IsShown(const EntryDetails& entry) { return entry.kind == EntryKind::kDataset || entry.kind == EntryKind::kTable; }

const char* KindName(EntryKind kind) {
  switch (kind) {
    case EntryKind::kDataset:
      return "dataset";
    case EntryKind::kTable:
      return "table";
    case EntryKind::kBlueprintDataset:
      return "blueprints";
    case EntryKind::kAssetDataset:
      return "assets";
    default:
      return "other";
  }
}

std::string Bytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    value /= 1024;
    unit = next;
    if (value < 1024) break;
  }
  return fmt::format("{:.1f} {}", value, unit);
}

// A cell as text; lists of text are joined.
std::string Cell(const arrow::ChunkedArray& column, int64_t row) {
  const auto scalar = column.GetScalar(row);
  if (!scalar.ok() || !(*scalar)->is_valid) return "";
  if ((*scalar)->type->id() == arrow::Type::LIST) {
    std::string out;
    const auto& values = *static_cast<const arrow::ListScalar&>(**scalar).value;
    for (int64_t i = 0; i < values.length(); ++i) {
      const auto item = values.GetScalar(i);
      if (!item.ok()) continue;
      if (!out.empty()) out += ", ";
      out += (*item)->ToString();
    }
    return out;
  }
  return (*scalar)->ToString();
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += i + 1 < row.size() ? fmt::format("{:<{}}  ", row[i], widths[i]) : row[i];
    }
    std::puts(line.c_str());
  }
}

}  // namespace

arrow::Result<std::map<std::string, std::vector<std::string>>> DatasetsOfPaths(const std::vector<std::string>& paths) {
  std::map<std::string, std::vector<std::string>> datasets;
  std::map<std::string, std::string> directories;
  for (const std::string& path : paths) {
    std::error_code error;
    const auto status = fs::status(path, error);
    if (error || !fs::exists(status)) return arrow::Status::IOError("no such file or directory: ", path);
    if (!fs::is_directory(status)) {
      datasets["recordings"].push_back(path);
      continue;
    }
    const std::string name = fs::canonical(path, error).filename().string();
    if (error || name.empty()) return arrow::Status::Invalid("cannot name a dataset after ", path, "; use --dataset NAME=", path);
    const auto [known, added] = directories.emplace(name, path);
    if (!added) {
      return arrow::Status::Invalid("two directories are named \"", name, "\": ", known->second, " and ", path,
                                    "; name one of them with --dataset NAME=DIRECTORY");
    }
    datasets[name].push_back(path);
  }
  return datasets;
}

arrow::Result<CatalogTarget> OpenTarget(const std::string& target, const std::string& token) {
  CatalogTarget out;
  std::error_code error;
  if (target.find("://") == std::string::npos && fs::exists(target, error)) {
    ServerOptions options;
    ARROW_ASSIGN_OR_RAISE(options.datasets, DatasetsOfPaths({target}));
    ARROW_ASSIGN_OR_RAISE(out.server, Server::Start(options));
    ARROW_ASSIGN_OR_RAISE(out.connection, out.server->Connect());
    return out;
  }
  // No address looks like this.
  if (target.find("://") == std::string::npos && (target.starts_with("/") || target.starts_with("./") || target.starts_with("../") ||
                                                  target.ends_with(".rrd") || target.ends_with(".rbl"))) {
    return arrow::Status::IOError("no such file or directory: ", target);
  }
  ARROW_ASSIGN_OR_RAISE(out.connection, Connect(target, token));
  return out;
}

arrow::Result<EntryDetails> FindDataset(Connection* connection, const std::string& name) {
  ARROW_ASSIGN_OR_RAISE(const auto entries, connection->FindEntries({}));
  std::string names;
  for (const EntryDetails& entry : entries) {
    if (entry.name == name && entry.kind != EntryKind::kTable) return entry;
    if (entry.kind == EntryKind::kDataset) names += (names.empty() ? "" : ", ") + entry.name;
  }
  return arrow::Status::KeyError("no dataset named \"", name, "\" at ", connection->url(),
                                 names.empty() ? "; there are none" : "; there are: " + names);
}

arrow::Status PrintEntries(Connection* connection) {
  ARROW_ASSIGN_OR_RAISE(auto entries, connection->FindEntries({}));
  std::erase_if(entries, [](const EntryDetails& entry) { return !IsShown(entry) || entry.name.starts_with("__"); });
  std::sort(entries.begin(), entries.end(), [](const EntryDetails& a, const EntryDetails& b) { return a.name < b.name; });
  if (entries.empty()) {
    std::puts("The catalog is empty.");
    return arrow::Status::OK();
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "KIND", "SEGMENTS", "SIZE"}};
  for (const EntryDetails& entry : entries) {
    std::string segments, size;
    if (entry.kind == EntryKind::kDataset) {
      ARROW_ASSIGN_OR_RAISE(const auto table, connection->ScanSegmentTable(entry.id));
      segments = std::to_string(table->num_rows());
      uint64_t total = 0;
      if (const auto sizes = table->GetColumnByName("rerun_size_bytes"); sizes != nullptr) {
        for (int64_t i = 0; i < table->num_rows(); ++i) {
          ARROW_ASSIGN_OR_RAISE(const auto value, sizes->GetScalar(i));
          if (value->is_valid && value->type->id() == arrow::Type::UINT64) {
            total += static_cast<const arrow::UInt64Scalar&>(*value).value;
          }
        }
        size = Bytes(total);
      }
    }
    rows.push_back({entry.name, KindName(entry.kind), segments, size});
  }
  PrintTable(rows);
  return arrow::Status::OK();
}

arrow::Status PrintSegments(Connection* connection, const EntryDetails& dataset) {
  ARROW_ASSIGN_OR_RAISE(const auto table, connection->ScanSegmentTable(dataset.id));
  const struct {
    const char* column;
    const char* title;
  } kColumns[] = {
      {"rerun_segment_id", "SEGMENT"}, {"rerun_layer_names", "LAYERS"}, {"rerun_num_chunks", "CHUNKS"}, {"rerun_size_bytes", "BYTES"}};
  std::vector<std::vector<std::string>> rows(static_cast<size_t>(table->num_rows()) + 1);
  for (const auto& [name, title] : kColumns) {
    const auto column = table->GetColumnByName(name);
    if (column == nullptr) continue;
    rows[0].push_back(title);
    for (int64_t i = 0; i < table->num_rows(); ++i) rows[static_cast<size_t>(i) + 1].push_back(Cell(*column, i));
  }
  PrintTable(rows);
  return arrow::Status::OK();
}

}  // namespace rushes::cli
