#include "rushes/catalog/table_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "rushes/chunk/tuid.h"

namespace rushes {
namespace fs = std::filesystem;
namespace {

arrow::Status SystemError(const char* what, const std::string& path, int error) {
  const std::string words = std::error_code(error, std::generic_category()).message();
  if (error == ENOENT) return arrow::Status::KeyError(what, " '", path, "': ", words);
  return arrow::Status::IOError(what, " '", path, "': ", words);
}

// Closes at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

arrow::Result<std::string> MakeDirectories(const std::string& path) {
  std::string first;
  std::error_code error;
  for (fs::path missing = path; !missing.empty() && !fs::exists(missing, error); missing = missing.parent_path()) {
    first = missing.string();
    if (missing == missing.parent_path()) break;
  }
  fs::create_directories(path, error);
  if (error) return arrow::Status::IOError("cannot make the directory '", path, "': ", error.message());
  return first;
}

arrow::Status SyncDirectory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return SystemError("cannot open the directory", path, errno);
  // Some file systems do not know how to sync a directory, and need not.
  if (::fsync(directory.get()) != 0 && errno != EINVAL) return SystemError("cannot sync the directory", path, errno);
  return arrow::Status::OK();
}

arrow::Status WriteFileOnce(const std::string& directory, const std::string& name, const arrow::Buffer& bytes) {
  const std::string path = directory + "/" + name;
  const std::string unfinished = directory + "/.unfinished-" + Tuid::New().ToHex();
  const auto write = [&]() -> arrow::Status {
    const Descriptor file(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file.get() < 0) return SystemError("cannot create", unfinished, errno);
    for (int64_t done = 0; done < bytes.size();) {
      const ssize_t written = ::write(file.get(), bytes.data() + done, static_cast<size_t>(bytes.size() - done));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return SystemError("cannot write", unfinished, errno);
      done += written;
    }
    if (::fsync(file.get()) != 0) return SystemError("cannot sync", unfinished, errno);
    // Unlike a rename this fails when the name exists, on network file systems as well.
    if (::link(unfinished.c_str(), path.c_str()) != 0) {
      if (errno == EEXIST) return arrow::Status::AlreadyExists("'", path, "' exists");
      return SystemError("cannot create", path, errno);
    }
    return arrow::Status::OK();
  };
  const arrow::Status status = write();
  ::unlink(unfinished.c_str());
  ARROW_RETURN_NOT_OK(status);
  return SyncDirectory(directory);
}

arrow::Result<std::shared_ptr<arrow::Buffer>> ReadSmallFile(const std::string& path, int64_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return SystemError("cannot open", path, errno);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return SystemError("cannot read", path, errno);
  if (!S_ISREG(status.st_mode)) return arrow::Status::Invalid("'", path, "' is not a file");
  if (status.st_size > max_bytes) {
    return arrow::Status::Invalid("'", path, "' has ", status.st_size, " bytes, more than the ", max_bytes, " it may have");
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> bytes, arrow::AllocateBuffer(status.st_size));
  for (int64_t done = 0; done < bytes->size();) {
    const ssize_t count =
        ::pread(file.get(), bytes->mutable_data() + done, static_cast<size_t>(bytes->size() - done), static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("cannot read", path, errno);
    if (count == 0) return arrow::Status::Invalid("'", path, "' was cut off while it was read");
    done += count;
  }
  return bytes;
}

arrow::Result<std::vector<std::string>> ListFiles(const std::string& directory) {
  DIR* opened = ::opendir(directory.c_str());
  if (opened == nullptr) return SystemError("cannot list", directory, errno);
  std::vector<std::string> names;
  while (const dirent* item = ::readdir(opened)) {
    if (item->d_type == DT_DIR) continue;
    names.emplace_back(item->d_name);
  }
  ::closedir(opened);
  return names;
}

int64_t ModifiedNs(const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return -1;
  return int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

arrow::Status RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return arrow::Status::OK();
  return SystemError("cannot remove", path, errno);
}

void RemoveDirectory(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace rushes
