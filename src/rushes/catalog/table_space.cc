#include "rushes/catalog/table_space.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "rushes/catalog/source_url.h"
#include "rushes/catalog/table_files.h"
#include "rushes/chunk/tuid.h"

namespace rushes {
namespace fs = std::filesystem;
namespace {

// The directory a table's URL means, without a slash at the end.
arrow::Result<std::string> DirectoryOf(const std::string& url) {
  if (!HasUrlScheme(url)) {
    return arrow::Status::Invalid("'", url, "' is not the URL of a table: a local directory is file:///path");
  }
  const auto path = LocalPath(url);
  if (!path.ok()) {
    return arrow::Status::Invalid("'", url, "' is not the URL of a table: tables of this server are local directories, file:///path");
  }
  fs::path directory = fs::path(*path).lexically_normal();
  if (!directory.has_filename()) directory = directory.parent_path();
  return directory.string();
}

// One path per directory, whatever links lead there; as it is if it does not exist.
std::string Canonical(const std::string& directory) {
  std::error_code error;
  const fs::path path = fs::canonical(directory, error);
  return error ? directory : path.string();
}

// Words about the URL instead of the directory, for those who gave the URL.
arrow::Status WithUrl(const arrow::Status& status, const std::string& url) {
  if (!status.IsAlreadyExists()) return status;
  return arrow::Status::AlreadyExists("Table storage already exists at location: ", url);
}

}  // namespace

std::shared_ptr<Table> TableSpace::Unify(std::shared_ptr<Table> table) {
  const std::string key = Canonical(table->directory());
  MutexLock lock(mutex_);
  std::erase_if(tables_, [](const auto& item) { return item.second.expired(); });
  auto& known = tables_[key];
  if (auto other = known.lock()) return other;
  known = table;
  return table;
}

arrow::Result<std::shared_ptr<Table>> TableSpace::Create(std::shared_ptr<arrow::Schema> schema) {
  std::string parent = options_.directory;
  TableOptions options;
  if (parent.empty()) {
    MutexLock lock(mutex_);
    if (temporary_ == nullptr) {
      ARROW_ASSIGN_OR_RAISE(temporary_, TemporaryDirectory::Make("rushes-tables-"));
    }
    parent = temporary_->path();
    options.is_temporary = true;
    options.keep_superseded = std::chrono::nanoseconds(0);
  }
  ARROW_ASSIGN_OR_RAISE(auto table, Table::Create(parent + "/" + Tuid::New().ToHex(), std::move(schema), options));
  return Unify(std::move(table));
}

arrow::Result<std::shared_ptr<Table>> TableSpace::CreateAt(const std::string& url, std::shared_ptr<arrow::Schema> schema) {
  ARROW_ASSIGN_OR_RAISE(const std::string directory, DirectoryOf(url));
  auto table = Table::Create(directory, std::move(schema));
  if (!table.ok()) return WithUrl(table.status(), url);
  return Unify(std::move(*table));
}

arrow::Result<std::shared_ptr<Table>> TableSpace::OpenAt(const std::string& url) {
  ARROW_ASSIGN_OR_RAISE(const std::string directory, DirectoryOf(url));
  ARROW_ASSIGN_OR_RAISE(auto table, Table::Open(directory));
  return Unify(std::move(table));
}

void TableSpace::RemoveTemporary() {
  std::unique_ptr<TemporaryDirectory> removed;  // after the lock
  MutexLock lock(mutex_);
  removed.swap(temporary_);
}

}  // namespace rushes
