// Tables on disk: versions of immutable files in a directory.
//
//   <directory>/data/<id>.arrows            rows, an Arrow IPC stream each
//   <directory>/versions/<20 digits>.arrow  what one version consists of, see table_manifest.h
//
// A change writes new data files, makes them durable, and then creates the next version's manifest, which happens at once or not at all.
// A process that dies before leaves files that no version names; they are removed later. Whoever reads goes on with its version.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "arrow/io/file.h"
#include "arrow/ipc/writer.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/catalog/table_manifest.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

struct TableOptions {
  // How long files of a version stay after the next one came. Readers in this process keep theirs in any case; this is for others.
  std::chrono::nanoseconds keep_superseded = std::chrono::minutes(10);
  // How long files stay that no version names: other processes may be about to name them.
  std::chrono::nanoseconds keep_unnamed = std::chrono::hours(1);
  // The directory goes with the last user of the table.
  bool is_temporary = false;
};

class Table;

// A version in use: its files stay while it lives.
using TableSnapshot = std::shared_ptr<const TableManifest>;

// A data file that no version names yet; removed when it is dropped, unless Keep was called.
class NewTableFile {
 public:
  NewTableFile(std::shared_ptr<const Table> table, TableFile file) : table_(std::move(table)), file_(std::move(file)) {}
  NewTableFile(NewTableFile&&) = default;
  NewTableFile& operator=(NewTableFile&&) = delete;
  ~NewTableFile();
  const TableFile& file() const { return file_; }
  void Keep() { is_kept_ = true; }

 private:
  std::shared_ptr<const Table> table_;  // null after a move
  TableFile file_;
  bool is_kept_ = false;
};

// Writes batches of one schema into new data files. Small batches are joined, large ones split; at most a few MiB wait in memory.
class TableFileWriter {
 public:
  TableFileWriter(std::shared_ptr<const Table> table, std::shared_ptr<arrow::Schema> schema)
      : table_(std::move(table)), schema_(std::move(schema)) {}
  TableFileWriter(TableFileWriter&&) = default;
  ~TableFileWriter();  // what is not finished is removed

  // `batch` has the schema.
  arrow::Status Write(std::shared_ptr<arrow::RecordBatch> batch);
  // Makes everything durable and hands over the files, none if there was no row.
  arrow::Status Finish(std::vector<NewTableFile>* files);

 private:
  arrow::Status Flush();
  arrow::Status WriteNow(const std::shared_ptr<arrow::RecordBatch>& batch);
  arrow::Status CloseFile();

  std::shared_ptr<const Table> table_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::shared_ptr<arrow::RecordBatch>> waiting_;
  int64_t waiting_rows_ = 0;
  int64_t waiting_bytes_ = 0;
  TableFile file_;  // being written, if out_
  std::shared_ptr<arrow::io::FileOutputStream> out_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
  std::vector<NewTableFile> finished_;
};

// One table, as one process knows it. Thread safe. No lock is held while files are read or written.
//
// Errors: KeyError (no such table), AlreadyExists, Invalid (a file is damaged, of another format, or missing), IOError; each names the
// file.
class Table : public std::enable_shared_from_this<Table> {
 public:
  // An empty table in `directory`, which must not exist or be empty. AlreadyExists when it holds a table already (of any kind),
  // Invalid when it holds something else. A failure leaves nothing behind.
  static arrow::Result<std::shared_ptr<Table>> Create(std::string directory, std::shared_ptr<arrow::Schema> schema,
                                                      TableOptions options = {});
  // KeyError when there is no such directory, Invalid when it holds no table of this format.
  static arrow::Result<std::shared_ptr<Table>> Open(std::string directory, TableOptions options = {});
  ~Table();
  Table(const Table&) = delete;

  const std::string& directory() const { return directory_; }

  // Removes what Create made, of a table that nobody uses yet.
  void RemoveStorage() const;

  // The newest version, also of changes that other processes made.
  arrow::Result<TableSnapshot> Current() const;

  // The rows of a version, batch by batch, at most one in memory. `columns`: only these, in this order (Invalid: unknown or twice);
  // nullopt: all.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> Read(
      TableSnapshot snapshot, const std::optional<std::vector<std::string>>& columns = std::nullopt) const;
  // The rows of some of its files.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ReadFiles(TableSnapshot snapshot, std::vector<TableFile> files,
                                                                     const std::optional<std::vector<std::string>>& columns) const;

  // Makes the next version of what `edit` makes of the newest one. Called again when another process was faster. `edit` appends the new
  // files it names to `written`; those given in `before` count as well. Aborted (IOError) if others are always faster.
  using Edit = std::function<arrow::Result<TableManifest>(const TableSnapshot& newest, std::vector<NewTableFile>* written)>;
  arrow::Status Commit(const Edit& edit, std::vector<NewTableFile>* before);

  // One writer of this process at a time, in order: calls `go` when it is this one's turn, at once or from a thread that leaves. Every
  // Enter needs its Leave.
  void Enter(std::function<void()> go);
  void Leave();

  // Removes files of versions that nobody needs any more, and those that no version names. Commit does it now and then.
  arrow::Status RemoveOldFiles() const;

 private:
  friend class TableFileWriter;
  friend class NewTableFile;
  Table(std::string directory, TableOptions options) : directory_(std::move(directory)), options_(options) {}

  std::string data_directory() const { return directory_ + "/data"; }
  std::string versions_directory() const { return directory_ + "/versions"; }
  std::string PathOf(const TableFile& file) const { return data_directory() + "/" + file.name; }
  arrow::Result<TableManifest> ReadManifest(int64_t version) const;
  TableSnapshot Remember(TableManifest manifest) const;
  arrow::Status MergeSmallFiles(const TableSnapshot& newest, TableManifest* next, std::vector<NewTableFile>* written) const;

  const std::string directory_;
  const TableOptions options_;

  mutable Mutex mutex_;
  mutable TableSnapshot newest_ RUSHES_GUARDED_BY(mutex_);
  mutable std::vector<std::weak_ptr<const TableManifest>> in_use_ RUSHES_GUARDED_BY(mutex_);
  mutable std::multiset<std::string> unnamed_ RUSHES_GUARDED_BY(mutex_);  // files this process is writing
  mutable std::chrono::steady_clock::time_point last_removal_ RUSHES_GUARDED_BY(mutex_);

  Mutex turn_mutex_;
  bool is_taken_ RUSHES_GUARDED_BY(turn_mutex_) = false;
  std::deque<std::function<void()>> waiting_ RUSHES_GUARDED_BY(turn_mutex_);
};

}  // namespace rushes
