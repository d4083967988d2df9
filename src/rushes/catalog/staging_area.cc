#include "rushes/catalog/staging_area.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "rushes/chunk/tuid.h"

namespace rushes {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxKeyBytes = 255;
// A directory may vanish between its making and its use, when the last object in it is removed.
constexpr int kLinkAttempts = 10;

arrow::Status OsError(const std::string& what, const std::string& path, int error) {
  if (error == ENOSPC || error == EDQUOT) return arrow::Status::CapacityError(what, " ", path, ": the disk is full");
  return arrow::Status::IOError(what, " ", path, ": ", std::strerror(error));
}

arrow::Status SyncDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return OsError("cannot open the directory", path, errno);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  return result == 0 ? arrow::Status::OK() : OsError("cannot write the directory", path, error);
}

// Files below `directory`, with size and time of the last change.
struct FoundFile {
  std::string path;
  int64_t bytes = 0;
  int64_t changed_ns = 0;
};
std::vector<FoundFile> ListFiles(const std::string& directory) {
  std::vector<FoundFile> found;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    struct stat status;
    if (::lstat(it->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    found.push_back({it->path().string(), status.st_size, int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec});
  }
  return found;
}

}  // namespace

arrow::Result<std::shared_ptr<StagingArea>> StagingArea::Open(const StagingOptions& options) {
  std::shared_ptr<StagingArea> area(new StagingArea(options));
  std::error_code error;
  if (options.directory.empty()) {
    ARROW_ASSIGN_OR_RAISE(area->temporary_, TemporaryDirectory::Make("rushes-staging-"));
    area->directory_ = area->temporary_->path();
  } else {
    area->directory_ = options.directory;
    fs::create_directories(area->directory_, error);
    if (error) return arrow::Status::IOError("cannot make the staging directory ", area->directory_, ": ", error.message());
  }
  const fs::path canonical = fs::canonical(area->directory_, error);
  if (error) return arrow::Status::IOError("cannot use the staging directory ", area->directory_, ": ", error.message());
  area->directory_ = canonical.string();
  for (const char* part : {"objects", "layers", "drafts"}) {
    fs::create_directory(canonical / part, error);
    if (error) return arrow::Status::IOError("cannot make ", (canonical / part).string(), ": ", error.message());
  }
  const std::string lock = area->directory_ + "/lock";
  area->lock_fd_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (area->lock_fd_ < 0) return OsError("cannot open", lock, errno);
  if (::flock(area->lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return arrow::Status::IOError("the staging directory ", area->directory_, " is in use by another server");
  }
  for (const FoundFile& leftover : ListFiles(area->directory_ + "/drafts")) ::unlink(leftover.path.c_str());
  int64_t used = 0;
  for (const char* part : {"/objects", "/layers"}) {
    for (const FoundFile& file : ListFiles(area->directory_ + part)) used += file.bytes;
  }
  area->used_bytes_ = used;
  return area;
}

StagingArea::~StagingArea() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

arrow::Status StagingArea::CheckKey(std::string_view key) {
  const auto bad = [&](auto&&... why) { return arrow::Status::Invalid("invalid object key: '", key.substr(0, 300), "' ", why...); };
  if (key.empty()) return bad("is empty");
  if (key.size() > kMaxKeyBytes) return bad("has ", key.size(), " bytes, more than ", kMaxKeyBytes);
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view part = key.substr(begin, end - begin);
    if (part.empty()) return bad("has an empty part between slashes");
    for (const char c : part) {
      const bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
      if (!allowed) return bad("has a character that is not a letter, digit, '.', '-' or '_'");
    }
    if (part.front() == '.' || part.back() == '.') return bad("has a part that begins or ends with a dot");
    begin = end + 1;
  }
  return arrow::Status::OK();
}

bool StagingArea::IsTaken(std::string_view key) const {
  std::error_code error;
  if (fs::exists(fs::symlink_status(ObjectPath(key), error))) return true;
  for (size_t slash = key.rfind('/'); slash != std::string_view::npos && slash > 0; slash = key.rfind('/', slash - 1)) {
    const auto status = fs::symlink_status(ObjectPath(key.substr(0, slash)), error);
    if (fs::exists(status)) return !fs::is_directory(status);
  }
  return false;
}

arrow::Status StagingArea::Reserve(int64_t bytes) {
  if (used_bytes_.fetch_add(bytes) + bytes <= options_.max_total_bytes) return arrow::Status::OK();
  used_bytes_.fetch_sub(bytes);
  return arrow::Status::CapacityError("the staging area would hold more than its limit of ", options_.max_total_bytes, " bytes");
}

arrow::Result<std::unique_ptr<StagingArea::Draft>> StagingArea::NewDraft(int64_t max_bytes) {
  std::string path = directory_ + "/drafts/" + std::to_string(next_draft_.fetch_add(1));
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return OsError("cannot make", path, errno);
  if (max_bytes < 0) max_bytes = options_.max_object_bytes;
  return std::unique_ptr<Draft>(new Draft(shared_from_this(), std::move(path), fd, max_bytes));
}

StagingArea::Draft::~Draft() {
  ::close(fd_);
  if (is_published_) return;
  ::unlink(path_.c_str());
  area_->used_bytes_.fetch_sub(size_.load());
}

arrow::Status StagingArea::Draft::Grow(int64_t size) {
  int64_t now = size_.load();
  while (size > now) {
    if (size > max_bytes_) return arrow::Status::CapacityError("the upload is larger than the limit of ", max_bytes_, " bytes");
    ARROW_RETURN_NOT_OK(area_->Reserve(size - now));
    if (size_.compare_exchange_strong(now, size)) break;
    area_->used_bytes_.fetch_sub(size - now);
    now = size_.load();
  }
  return arrow::Status::OK();
}

arrow::Status StagingArea::Draft::WriteAt(int64_t offset, std::string_view bytes) {
  ARROW_RETURN_NOT_OK(Grow(offset + static_cast<int64_t>(bytes.size())));
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return OsError("cannot write", path_, errno);
    offset += n;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return arrow::Status::OK();
}

arrow::Status StagingArea::Draft::Append(std::string_view bytes) { return WriteAt(size_.load(), bytes); }

arrow::Status StagingArea::Draft::Truncate(int64_t size) {
  if (::ftruncate(fd_, size) != 0) return OsError("cannot cut", path_, errno);
  area_->used_bytes_.fetch_sub(size_.exchange(size) - size);
  return arrow::Status::OK();
}

arrow::Status StagingArea::Draft::PublishObject(const std::string& key) {
  ARROW_RETURN_NOT_OK(CheckKey(key));
  if (::fsync(fd_) != 0) return OsError("cannot write", path_, errno);
  const std::string target = area_->ObjectPath(key);
  const auto taken = [&] { return arrow::Status::AlreadyExists("object '", key, "' already exists"); };
  for (int attempt = 1;; ++attempt) {
    std::error_code error;
    const fs::path parent = fs::path(target).parent_path();
    fs::create_directories(parent, error);
    if (error == std::errc::not_a_directory || error == std::errc::file_exists) return taken();
    if (error) return OsError("cannot make", parent.string(), error.value());
    // Fails when the name is taken, whatever happens at the same time.
    if (::link(path_.c_str(), target.c_str()) == 0) {
      ::unlink(path_.c_str());
      is_published_ = true;
      return SyncDirectory(parent.string());
    }
    if (errno == EEXIST || errno == ENOTDIR) return taken();
    if (errno != ENOENT || attempt == kLinkAttempts) return OsError("cannot make", target, errno);
  }
}

arrow::Result<StagingArea::PublishedLayer> StagingArea::Draft::PublishLayer() {
  if (::fsync(fd_) != 0) return OsError("cannot write", path_, errno);
  PublishedLayer target{area_->directory_ + "/layers/" + Tuid::New().ToHex() + ".rrd", nullptr};
  ARROW_ASSIGN_OR_RAISE(target.hold, area_->Hold({target.path}));
  if (::rename(path_.c_str(), target.path.c_str()) != 0) return OsError("cannot make", target.path, errno);
  is_published_ = true;
  ARROW_RETURN_NOT_OK(SyncDirectory(area_->directory_ + "/layers"));
  return target;
}

void StagingArea::RemoveLayer(const std::string& path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0 && ::unlink(path.c_str()) == 0) used_bytes_.fetch_sub(status.st_size);
}

std::string StagingArea::Canonical(const std::string& path) const {
  std::error_code error;
  const std::string canonical = fs::weakly_canonical(path, error).string();
  return !error && canonical.starts_with(directory_ + "/") ? canonical : std::string();
}

arrow::Result<std::shared_ptr<void>> StagingArea::Hold(const std::vector<std::string>& paths) {
  std::vector<std::string> inside;
  for (const std::string& path : paths) {
    if (std::string name = Canonical(path); !name.empty()) inside.push_back(std::move(name));
  }
  MutexLock lock(mutex_);
  for (const std::string& name : inside) {
    if (doomed_.contains(name)) return arrow::Status::KeyError("RRD file not found, '", name, "': it is being removed");
  }
  for (const std::string& name : inside) ++held_[name];
  return std::shared_ptr<void>(nullptr, [area = shared_from_this(), inside](void*) { area->Release(inside); });
}

void StagingArea::Release(const std::vector<std::string>& names) {
  MutexLock lock(mutex_);
  for (const std::string& name : names) {
    const auto it = held_.find(name);
    if (--it->second == 0) held_.erase(it);
  }
}

arrow::Result<StagingArea::Swept> StagingArea::Sweep(int64_t before_ns, const std::function<std::vector<std::string>()>& list_used) {
  std::vector<FoundFile> candidates;
  for (const char* part : {"/objects", "/layers"}) {
    for (FoundFile& file : ListFiles(directory_ + part)) {
      if (file.changed_ns < before_ns) candidates.push_back(std::move(file));
    }
  }
  {
    // Whoever holds a file came first; whoever wants to hold one from now on is told no. So nobody can begin to use what is not used now.
    MutexLock lock(mutex_);
    std::erase_if(candidates, [this](const FoundFile& file) RUSHES_NO_THREAD_SAFETY_ANALYSIS {
      return held_.contains(file.path) || !doomed_.insert(file.path).second;
    });
  }
  std::set<std::string> used;
  for (const std::string& path : list_used()) {
    if (std::string name = Canonical(path); !name.empty()) used.insert(std::move(name));
  }
  Swept swept;
  for (const FoundFile& file : candidates) {
    if (used.contains(file.path) || ::unlink(file.path.c_str()) != 0) continue;
    ++swept.files;
    swept.bytes += file.bytes;
    used_bytes_.fetch_sub(file.bytes);
    // Directories of keys go when they are empty; rmdir refuses others.
    const std::string root = directory_ + "/objects";
    for (fs::path parent = fs::path(file.path).parent_path(); parent.string().size() > root.size(); parent = parent.parent_path()) {
      if (::rmdir(parent.c_str()) != 0) break;
    }
  }
  MutexLock lock(mutex_);
  for (const FoundFile& file : candidates) doomed_.erase(file.path);
  return swept;
}

}  // namespace rushes
