#include "rushes/catalog/temporary_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "rushes/catalog/table_files.h"

namespace rushes {
namespace fs = std::filesystem;
namespace {

constexpr char kLockName[] = "/.lock";

arrow::Status SystemError(const std::string& path, int error) {
  return arrow::Status::IOError("cannot make a temporary directory '", path,
                                "': ", std::error_code(error, std::generic_category()).message());
}

// Those of this user that nobody holds. One that has no lock yet is being made.
void RemoveAbandoned(const fs::path& parent, const std::string& prefix) {
  std::error_code error;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().starts_with(prefix)) continue;
    struct stat status;
    if (::lstat(it->path().c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != ::geteuid()) continue;
    const int lock = ::open((it->path().string() + kLockName).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (lock < 0) continue;
    if (::flock(lock, LOCK_EX | LOCK_NB) == 0) RemoveDirectory(it->path().string());
    ::close(lock);
  }
}

// A locked file in the directory; -1 if it or the directory was taken away before it was locked.
int MakeLock(const std::string& directory) {
  const std::string path = directory + kLockName;
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (lock < 0) return -1;
  struct stat locked, there;
  // Without locks on this file system nobody takes it for abandoned either.
  const bool is_locked = ::flock(lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
  if (is_locked && ::fstat(lock, &locked) == 0 && ::lstat(path.c_str(), &there) == 0 && locked.st_ino == there.st_ino) return lock;
  ::close(lock);
  return -1;
}

}  // namespace

arrow::Result<std::unique_ptr<TemporaryDirectory>> TemporaryDirectory::Make(const std::string& prefix) {
  std::error_code error;
  fs::path parent = fs::temp_directory_path(error);
  if (error) parent = "/tmp";
  RemoveAbandoned(parent, prefix);
  // Another process may find the directory between its making and its locking, and take it for abandoned.
  constexpr int kAttempts = 16;
  std::string path;
  int failed = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    path = (parent / (prefix + "XXXXXX")).string();
    if (::mkdtemp(path.data()) == nullptr) return SystemError(path, errno);
    if (const int lock = MakeLock(path); lock >= 0) return std::unique_ptr<TemporaryDirectory>(new TemporaryDirectory(path, lock));
    failed = errno;
    RemoveDirectory(path);
  }
  return SystemError(path, failed);
}

TemporaryDirectory::~TemporaryDirectory() {
  RemoveDirectory(path_);
  ::close(lock_);
}

}  // namespace rushes
