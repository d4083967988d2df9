#include "rushes/catalog/table_storage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <thread>
#include <utility>

#include "arrow/array/array_base.h"
#include "arrow/ipc/reader.h"
#include "arrow/util/byte_size.h"
#include "rushes/catalog/table_files.h"
#include "rushes/catalog/table_schema.h"
#include "rushes/chunk/decode_budget.h"
#include "rushes/chunk/tuid.h"
#include "spdlog/spdlog.h"

namespace rushes {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxManifestBytes = int64_t{256} << 20;
// Batches of a file have at most about this much; smaller ones are joined until they have.
constexpr int64_t kBatchBytes = int64_t{16} << 20;
constexpr int64_t kBatchRows = 65536;
constexpr int64_t kJoinBytes = int64_t{4} << 20;
// A file that has this much is closed and the next one begun.
constexpr int64_t kFileBytes = int64_t{256} << 20;
// So many files in a row below kSmallBytes, at the end of a table, become one.
constexpr size_t kMaxSmallFiles = 32;
constexpr int64_t kSmallBytes = int64_t{1} << 20;
// Versions that are kept for others, however young the older ones are.
constexpr size_t kMaxKeptVersions = 1000;
constexpr int kMaxCommitAttempts = 64;
constexpr auto kRemovalInterval = std::chrono::seconds(30);

arrow::ipc::IpcWriteOptions WriteOptions() {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.use_threads = false;
  options.unify_dictionaries = false;
  return options;
}

// The batches of files, one after another.
class FilesReader final : public arrow::RecordBatchReader {
 public:
  FilesReader(std::shared_ptr<const Table> table, TableSnapshot snapshot, std::vector<TableFile> files, std::string data_directory,
              std::shared_ptr<arrow::Schema> schema, std::vector<int> columns, bool is_projected)
      : table_(std::move(table)),
        snapshot_(std::move(snapshot)),
        files_(std::move(files)),
        data_directory_(std::move(data_directory)),
        schema_(std::move(schema)),
        columns_(std::move(columns)),
        is_projected_(is_projected) {}

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* out) override {
    for (;;) {
      if (reader_ == nullptr) {
        if (next_ == files_.size()) {
          *out = nullptr;
          return arrow::Status::OK();
        }
        // A count needs no file.
        if (is_projected_ && columns_.empty()) {
          *out = arrow::RecordBatch::Make(schema_, files_[next_++].rows, arrow::ArrayVector{});
          return arrow::Status::OK();
        }
        ARROW_RETURN_NOT_OK(Checked(OpenNext()));
      }
      // What a damaged file announces is not allocated.
      const DecodeBudget budget(files_[next_].bytes);
      std::shared_ptr<arrow::RecordBatch> batch;
      ARROW_RETURN_NOT_OK(Checked(reader_->ReadNext(&batch)));
      if (batch != nullptr) {
        rows_ += batch->num_rows();
        ARROW_RETURN_NOT_OK(Checked(Project(batch, out)));
        return arrow::Status::OK();
      }
      if (rows_ != files_[next_].rows) {
        return Checked(arrow::Status::Invalid("it has ", rows_, " rows, not the ", files_[next_].rows, " that its table says"));
      }
      reader_.reset();
      ++next_;
    }
  }

 private:
  std::string path() const { return data_directory_ + "/" + files_[next_].name; }

  arrow::Status Checked(const arrow::Status& status) const {
    if (status.ok()) return status;
    const arrow::StatusCode code = status.IsIOError() ? arrow::StatusCode::IOError : arrow::StatusCode::UnknownError;
    return arrow::Status(code, "table file '" + path() + "': " + status.message());
  }

  arrow::Status OpenNext() {
    rows_ = 0;
    const DecodeBudget budget(files_[next_].bytes);
    ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::ReadableFile::Open(path(), DecodeBudget::pool()));
    ARROW_ASSIGN_OR_RAISE(const int64_t size, file->GetSize());
    if (size != files_[next_].bytes) {
      return arrow::Status::Invalid("it has ", size, " bytes, not the ", files_[next_].bytes, " that its table says");
    }
    auto options = DecodeOptions();
    if (is_projected_) {
      options.included_fields = columns_;
      std::sort(options.included_fields.begin(), options.included_fields.end());
    }
    ARROW_ASSIGN_OR_RAISE(reader_, arrow::ipc::RecordBatchStreamReader::Open(file, options));
    return arrow::Status::OK();
  }

  arrow::Status Project(const std::shared_ptr<arrow::RecordBatch>& batch, std::shared_ptr<arrow::RecordBatch>* out) const {
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    arrow::ArrayVector columns;
    for (const auto& field : schema_->fields()) {
      auto column = batch->GetColumnByName(field->name());
      if (column == nullptr || !column->type()->Equals(field->type())) {
        return arrow::Status::Invalid("column '", field->name(), "' is ", column ? column->type()->ToString() : "missing", ", not ",
                                      field->type()->ToString(), " as its table says");
      }
      columns.push_back(std::move(column));
    }
    *out = arrow::RecordBatch::Make(schema_, batch->num_rows(), std::move(columns));
    return arrow::Status::OK();
  }

  const std::shared_ptr<const Table> table_;  // a temporary one keeps its directory
  const TableSnapshot snapshot_;              // keeps the files
  const std::vector<TableFile> files_;
  const std::string data_directory_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::vector<int> columns_;
  const bool is_projected_;
  size_t next_ = 0;
  int64_t rows_ = 0;
  std::shared_ptr<arrow::ipc::RecordBatchReader> reader_;
};

// What a directory that is to become a table holds already. Empty folders of a creation that did not come to its end are fine.
arrow::Status CheckFree(const std::string& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) return arrow::Status::OK();
  if (!fs::is_directory(directory, error)) return arrow::Status::Invalid("'", directory, "' is not a directory");
  const auto versions = ListFiles(directory + "/versions");
  const bool has_version =
      versions.ok() && std::any_of(versions->begin(), versions->end(), [](const auto& name) { return VersionOfName(name) > 0; });
  if (has_version || fs::exists(directory + "/_versions", error)) {
    return arrow::Status::AlreadyExists("Table storage already exists at location: ", directory);
  }
  for (fs::directory_iterator it(directory, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if ((name != "data" && name != "versions") || !fs::is_empty(it->path(), error)) {
      return arrow::Status::Invalid("the directory '", directory, "' is not empty (it has '", name, "'); a table needs one of its own");
    }
  }
  if (error) return arrow::Status::IOError("cannot list '", directory, "': ", error.message());
  return arrow::Status::OK();
}

}  // namespace

NewTableFile::~NewTableFile() {
  if (table_ == nullptr) return;
  {
    MutexLock lock(table_->mutex_);
    const auto it = table_->unnamed_.find(file_.name);
    if (it != table_->unnamed_.end()) table_->unnamed_.erase(it);
  }
  if (!is_kept_) static_cast<void>(RemoveFile(table_->PathOf(file_)));
}

TableFileWriter::~TableFileWriter() {
  if (out_ == nullptr) return;
  static_cast<void>(out_->Close());
  const NewTableFile unfinished(table_, file_);
}

arrow::Status TableFileWriter::Write(std::shared_ptr<arrow::RecordBatch> batch) {
  if (batch->num_rows() == 0) return arrow::Status::OK();
  ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
  waiting_rows_ += batch->num_rows();
  waiting_bytes_ += bytes;
  waiting_.push_back(std::move(batch));
  if (waiting_rows_ >= kBatchRows || waiting_bytes_ >= kJoinBytes) return Flush();
  return arrow::Status::OK();
}

arrow::Status TableFileWriter::Flush() {
  if (waiting_.empty()) return arrow::Status::OK();
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  batches.swap(waiting_);
  waiting_rows_ = waiting_bytes_ = 0;
  if (batches.size() > 1 && schema_->num_fields() > 0) {
    auto joined = arrow::ConcatenateRecordBatches(batches);
    // Types that cannot be joined stay as they came.
    if (joined.ok()) batches = {std::move(*joined)};
  }
  for (const auto& batch : batches) {
    ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
    const int64_t parts = std::max((batch->num_rows() + kBatchRows - 1) / kBatchRows, bytes / kBatchBytes);
    const int64_t rows = std::max<int64_t>(1, batch->num_rows() / std::max<int64_t>(1, parts));
    for (int64_t row = 0; row < batch->num_rows(); row += rows) ARROW_RETURN_NOT_OK(WriteNow(batch->Slice(row, rows)));
  }
  return arrow::Status::OK();
}

arrow::Status TableFileWriter::WriteNow(const std::shared_ptr<arrow::RecordBatch>& batch) {
  if (out_ == nullptr) {
    file_ = {Tuid::New().ToHex() + ".arrows", 0, 0};
    {
      MutexLock lock(table_->mutex_);
      table_->unnamed_.insert(file_.name);
    }
    auto out = arrow::io::FileOutputStream::Open(table_->PathOf(file_));
    if (!out.ok()) {
      const NewTableFile gone(table_, file_);
      return out.status();
    }
    out_ = std::move(*out);
    ARROW_ASSIGN_OR_RAISE(writer_, arrow::ipc::MakeStreamWriter(out_, schema_, WriteOptions()));
  }
  ARROW_RETURN_NOT_OK(writer_->WriteRecordBatch(*batch));
  file_.rows += batch->num_rows();
  ARROW_ASSIGN_OR_RAISE(const int64_t size, out_->Tell());
  return size >= kFileBytes ? CloseFile() : arrow::Status::OK();
}

arrow::Status TableFileWriter::CloseFile() {
  if (out_ == nullptr) return arrow::Status::OK();
  ARROW_RETURN_NOT_OK(writer_->Close());
  ARROW_ASSIGN_OR_RAISE(file_.bytes, out_->Tell());
  if (::fsync(out_->file_descriptor()) != 0) return arrow::Status::IOError("cannot sync '", table_->PathOf(file_), "'");
  ARROW_RETURN_NOT_OK(out_->Close());
  out_.reset();
  writer_.reset();
  finished_.emplace_back(table_, file_);
  return arrow::Status::OK();
}

arrow::Status TableFileWriter::Finish(std::vector<NewTableFile>* files) {
  ARROW_RETURN_NOT_OK(Flush());
  ARROW_RETURN_NOT_OK(CloseFile());
  if (finished_.empty()) return arrow::Status::OK();
  ARROW_RETURN_NOT_OK(SyncDirectory(table_->data_directory()));
  for (NewTableFile& file : finished_) files->push_back(std::move(file));
  finished_.clear();
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<Table>> Table::Create(std::string directory, std::shared_ptr<arrow::Schema> schema, TableOptions options) {
  ARROW_RETURN_NOT_OK(CheckFree(directory));
  ARROW_ASSIGN_OR_RAISE(const std::string made, MakeDirectories(directory));
  const auto create = [&]() -> arrow::Result<std::shared_ptr<Table>> {
    std::shared_ptr<Table> table(new Table(directory, options));
    ARROW_RETURN_NOT_OK(MakeDirectories(table->data_directory()));
    ARROW_RETURN_NOT_OK(MakeDirectories(table->versions_directory()));
    ARROW_RETURN_NOT_OK(SyncDirectory(directory));
    TableManifest first;
    first.version = 1;
    first.schema = std::move(schema);
    ARROW_ASSIGN_OR_RAISE(const auto bytes, EncodeManifest(first));
    const arrow::Status written = WriteFileOnce(table->versions_directory(), ManifestName(1), *bytes);
    if (written.IsAlreadyExists()) return arrow::Status::AlreadyExists("Table storage already exists at location: ", directory);
    ARROW_RETURN_NOT_OK(written);
    if (!made.empty()) ARROW_RETURN_NOT_OK(SyncDirectory(fs::path(made).parent_path().string()));
    table->Remember(std::move(first));
    return table;
  };
  auto table = create();
  if (table.ok() || table.status().IsAlreadyExists()) return table;
  // Only what is empty goes: somebody else may have begun to use the place.
  std::error_code ignored;
  for (const char* inner : {"/data", "/versions"}) fs::remove(directory + inner, ignored);
  for (fs::path path = directory; !made.empty() && fs::remove(path, ignored) && path != made; path = path.parent_path()) {
  }
  return table.status();
}

arrow::Result<std::shared_ptr<Table>> Table::Open(std::string directory, TableOptions options) {
  std::error_code error;
  if (!fs::exists(directory, error)) return arrow::Status::KeyError("there is no table at '", directory, "': no such directory");
  if (!fs::is_directory(directory, error)) return arrow::Status::Invalid("'", directory, "' is not a directory, so it holds no table");
  std::shared_ptr<Table> table(new Table(std::move(directory), options));
  if (!fs::is_directory(table->versions_directory(), error) || !fs::is_directory(table->data_directory(), error)) {
    const std::string& where = table->directory_;
    if (fs::is_directory(where + "/_versions", error)) {
      return arrow::Status::Invalid("'", where,
                                    "' holds a Lance table, which this server does not read. Copy its rows into a table of ours: ",
                                    "read them with the Python package `lance`, then `client.create_table(...)` and `table.append(...)`");
    }
    return arrow::Status::Invalid("'", where, "' holds no table of this server");
  }
  ARROW_RETURN_NOT_OK(table->Current().status());
  return table;
}

void Table::RemoveStorage() const {
  static_cast<void>(RemoveFile(versions_directory() + "/" + ManifestName(1)));
  std::error_code ignored;
  for (const std::string& path : {data_directory(), versions_directory(), directory_}) fs::remove(path, ignored);
}

Table::~Table() {
  if (options_.is_temporary) RemoveDirectory(directory_);
}

arrow::Result<TableManifest> Table::ReadManifest(int64_t version) const {
  const std::string path = versions_directory() + "/" + ManifestName(version);
  ARROW_ASSIGN_OR_RAISE(auto bytes, ReadSmallFile(path, kMaxManifestBytes));
  auto manifest = DecodeManifest(std::move(bytes));
  if (!manifest.ok()) return manifest.status().WithMessage("'", path, "': ", manifest.status().message());
  if (manifest->version != version) return arrow::Status::Invalid("'", path, "': says that it is version ", manifest->version);
  return manifest;
}

TableSnapshot Table::Remember(TableManifest manifest) const {
  const auto snapshot = std::make_shared<const TableManifest>(std::move(manifest));
  MutexLock lock(mutex_);
  std::erase_if(in_use_, [](const auto& weak) { return weak.expired(); });
  in_use_.push_back(snapshot);
  if (newest_ == nullptr || newest_->version < snapshot->version) newest_ = snapshot;
  return snapshot;
}

arrow::Result<TableSnapshot> Table::Current() const {
  // Again when the version that was found is removed before it is read.
  for (int attempt = 0;; ++attempt) {
    ARROW_ASSIGN_OR_RAISE(const auto names, ListFiles(versions_directory()));
    int64_t version = 0;
    for (const std::string& name : names) version = std::max(version, VersionOfName(name));
    if (version == 0) return arrow::Status::Invalid("there is no version of a table in '", versions_directory(), "'");
    {
      MutexLock lock(mutex_);
      if (newest_ != nullptr && newest_->version >= version) return newest_;
    }
    auto manifest = ReadManifest(version);
    if (manifest.ok()) return Remember(std::move(*manifest));
    if (!manifest.status().IsKeyError() || attempt == 10) return manifest.status();
  }
}

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> Table::Read(TableSnapshot snapshot,
                                                                     const std::optional<std::vector<std::string>>& columns) const {
  auto files = snapshot->files;
  return ReadFiles(std::move(snapshot), std::move(files), columns);
}

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> Table::ReadFiles(TableSnapshot snapshot, std::vector<TableFile> files,
                                                                          const std::optional<std::vector<std::string>>& columns) const {
  auto schema = snapshot->schema;
  std::vector<int> positions;
  if (columns) {
    arrow::FieldVector fields;
    for (const std::string& name : *columns) {
      const int position = schema->GetFieldIndex(name);
      if (position < 0) return arrow::Status::Invalid("column '", name, "' not found in the table");
      if (std::find(positions.begin(), positions.end(), position) != positions.end()) {
        return arrow::Status::Invalid("column '", name, "' is named twice");
      }
      positions.push_back(position);
      fields.push_back(schema->field(position));
    }
    schema = arrow::schema(std::move(fields), schema->metadata());
  }
  return std::make_shared<FilesReader>(shared_from_this(), std::move(snapshot), std::move(files), data_directory(), std::move(schema),
                                       std::move(positions), columns.has_value());
}

arrow::Status Table::Commit(const Edit& edit, std::vector<NewTableFile>* before) {
  std::minstd_rand random(static_cast<unsigned>(Tuid::New().counter));
  for (int attempt = 1;; ++attempt) {
    ARROW_ASSIGN_OR_RAISE(const TableSnapshot newest, Current());
    std::vector<NewTableFile> written;
    ARROW_ASSIGN_OR_RAISE(TableManifest next, edit(newest, &written));
    ARROW_RETURN_NOT_OK(MergeSmallFiles(newest, &next, &written));
    next.version = newest->version + 1;
    std::set<std::string> named;
    for (const TableFile& file : next.files) named.insert(file.name);
    // A file may be gone if this process slept so long that another one took it for left behind.
    for (const auto* files : {before, &written}) {
      for (const NewTableFile& file : *files) {
        if (named.contains(file.file().name) && ModifiedNs(PathOf(file.file())) < 0) {
          return arrow::Status::IOError("table file '", PathOf(file.file()), "' was removed before it was committed");
        }
      }
    }
    ARROW_ASSIGN_OR_RAISE(const auto bytes, EncodeManifest(next));
    const arrow::Status status = WriteFileOnce(versions_directory(), ManifestName(next.version), *bytes);
    if (status.ok()) {
      Remember(std::move(next));
      for (auto* files : {before, &written}) {
        for (NewTableFile& file : *files) {
          if (named.contains(file.file().name)) file.Keep();
        }
      }
      break;
    }
    if (!status.IsAlreadyExists()) {
      // Whether the manifest came to be is unknown if only its directory could not be synced; then its files must stay.
      if (ModifiedNs(versions_directory() + "/" + ManifestName(next.version)) >= 0) {
        for (auto* files : {before, &written}) {
          for (NewTableFile& file : *files) file.Keep();
        }
      }
      return status;
    }
    if (attempt == kMaxCommitAttempts) {
      return arrow::Status::IOError("the table at '", directory_, "' is written by others all the time: gave up after ", attempt,
                                    " attempts");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % (1000u * static_cast<unsigned>(std::min(attempt, 20)))));
  }
  bool is_due = options_.keep_superseded.count() == 0;
  {
    MutexLock lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    is_due |= now - last_removal_ >= kRemovalInterval;
    if (is_due) last_removal_ = now;
  }
  if (is_due) {
    const arrow::Status removed = RemoveOldFiles();
    if (!removed.ok()) spdlog::warn("table at '{}': {}", directory_, removed.message());
  }
  return arrow::Status::OK();
}

arrow::Status Table::MergeSmallFiles(const TableSnapshot& newest, TableManifest* next, std::vector<NewTableFile>* written) const {
  size_t first = next->files.size();
  while (first > 0 && next->files[first - 1].bytes < kSmallBytes) --first;
  if (next->files.size() - first < kMaxSmallFiles) return arrow::Status::OK();
  std::vector<TableFile> small(next->files.begin() + static_cast<ptrdiff_t>(first), next->files.end());
  // Read as part of the version to come; the one before keeps the files that are old.
  auto reading = std::make_shared<TableManifest>(*next);
  ARROW_ASSIGN_OR_RAISE(const auto reader, ReadFiles(reading, std::move(small), std::nullopt));
  TableFileWriter writer(shared_from_this(), next->schema);
  std::shared_ptr<arrow::RecordBatch> batch;
  for (;;) {
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) break;
    ARROW_RETURN_NOT_OK(writer.Write(std::move(batch)));
  }
  const size_t begin = written->size();
  ARROW_RETURN_NOT_OK(writer.Finish(written));
  next->files.resize(first);
  for (size_t i = begin; i < written->size(); ++i) next->files.push_back((*written)[i].file());
  return arrow::Status::OK();
}

void Table::Enter(std::function<void()> go) {
  {
    MutexLock lock(turn_mutex_);
    if (is_taken_) {
      waiting_.push_back(std::move(go));
      return;
    }
    is_taken_ = true;
  }
  go();
}

void Table::Leave() {
  std::function<void()> next;
  {
    MutexLock lock(turn_mutex_);
    if (waiting_.empty()) {
      is_taken_ = false;
      return;
    }
    next = std::move(waiting_.front());
    waiting_.pop_front();
  }
  next();
}

arrow::Status Table::RemoveOldFiles() const {
  const int64_t now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  // What is being written is looked up first: a file that is named meanwhile is then in a version that is listed below.
  std::set<std::string> needed;
  std::set<int64_t> kept;
  const auto need = [&](const TableManifest& manifest) {
    kept.insert(manifest.version);
    for (const TableFile& file : manifest.files) needed.insert(file.name);
  };
  ARROW_ASSIGN_OR_RAISE(const auto data, ListFiles(data_directory()));
  {
    MutexLock lock(mutex_);
    needed.insert(unnamed_.begin(), unnamed_.end());
    for (const auto& weak : in_use_) {
      if (const auto snapshot = weak.lock()) need(*snapshot);
    }
  }
  ARROW_ASSIGN_OR_RAISE(const auto names, ListFiles(versions_directory()));
  std::map<int64_t, int64_t> versions;  // to the time they were made
  std::vector<std::string> removed;
  for (const std::string& name : names) {
    const std::string path = versions_directory() + "/" + name;
    const int64_t modified_ns = ModifiedNs(path);
    if (modified_ns < 0) continue;
    if (const int64_t version = VersionOfName(name); version > 0) {
      versions[version] = modified_ns;
    } else if (name.starts_with(".unfinished-") && now_ns - modified_ns > options_.keep_unnamed.count()) {
      removed.push_back(path);
    }
  }
  std::vector<std::string> old;
  std::set<std::string> released;  // files of versions that go; if they are not needed, nobody else is about to name them
  for (auto it = versions.begin(); it != versions.end(); ++it) {
    const auto next = std::next(it);
    const bool is_newest = next == versions.end();
    const auto newer = static_cast<size_t>(std::distance(it, versions.end())) - 1;
    const bool is_young = !is_newest && now_ns - next->second < options_.keep_superseded.count() && newer < kMaxKeptVersions;
    if (!is_newest && !is_young && !kept.contains(it->first)) {
      old.push_back(versions_directory() + "/" + ManifestName(it->first));
      // One that cannot be read any more leaves its files to the rule for unnamed ones.
      if (const auto manifest = ReadManifest(it->first); manifest.ok()) {
        for (const TableFile& file : manifest->files) released.insert(file.name);
      }
      continue;
    }
    auto manifest = ReadManifest(it->first);
    if (manifest.status().IsKeyError()) continue;
    ARROW_RETURN_NOT_OK(manifest.status());  // nothing is removed while it is unknown what is needed
    need(*manifest);
  }
  for (const std::string& path : old) ARROW_RETURN_NOT_OK(RemoveFile(path));
  for (const std::string& path : removed) ARROW_RETURN_NOT_OK(RemoveFile(path));
  for (const std::string& name : data) {
    if (needed.contains(name)) continue;
    const std::string path = data_directory() + "/" + name;
    // A young one that no version names may belong to a writer elsewhere.
    const bool is_settled = released.contains(name) || options_.is_temporary;
    const int64_t modified_ns = is_settled ? 0 : ModifiedNs(path);
    if (modified_ns >= 0 && now_ns - modified_ns >= options_.keep_unnamed.count()) ARROW_RETURN_NOT_OK(RemoveFile(path));
  }
  return arrow::Status::OK();
}

}  // namespace rushes
