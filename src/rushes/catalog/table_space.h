// Where the tables of a catalog are.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "arrow/result.h"
#include "rushes/catalog/table_storage.h"
#include "rushes/catalog/table_writer.h"
#include "rushes/catalog/temporary_directory.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

struct TableSpaceOptions {
  // For tables that are created without a URL: each gets a directory below, which stays. Empty: a temporary directory that is removed with
  // the catalog.
  std::string directory;
  TableLimits limits;
};

// Tables by the directory they are in: one Table per directory, however many entries name it. Thread safe.
class TableSpace {
 public:
  explicit TableSpace(TableSpaceOptions options) : options_(std::move(options)) {}
  ~TableSpace() { RemoveTemporary(); }

  // A new table where this space chooses.
  arrow::Result<std::shared_ptr<Table>> Create(std::shared_ptr<arrow::Schema> schema);
  // `url`: `file://` of a directory. Invalid for other URLs; else as Table::Create and Table::Open.
  arrow::Result<std::shared_ptr<Table>> CreateAt(const std::string& url, std::shared_ptr<arrow::Schema> schema);
  arrow::Result<std::shared_ptr<Table>> OpenAt(const std::string& url);

  const TableLimits& limits() const { return options_.limits; }

  // Removes the temporary directory, if there is one; tables in it cannot be used any more. Idempotent.
  void RemoveTemporary();

 private:
  // `table`, or the one that is known for its directory already.
  std::shared_ptr<Table> Unify(std::shared_ptr<Table> table);

  const TableSpaceOptions options_;
  Mutex mutex_;
  std::unique_ptr<TemporaryDirectory> temporary_ RUSHES_GUARDED_BY(mutex_);
  std::map<std::string, std::weak_ptr<Table>> tables_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
