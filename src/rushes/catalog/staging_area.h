// Files that belong to the server: what clients uploaded, and what maintenance wrote. Recordings of users are never among them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/result.h"
#include "arrow/status.h"
#include "rushes/catalog/temporary_directory.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

struct StagingOptions {
  // Kept when the server ends; empty: a directory of its own among the temporary files, made when it is first needed, removed at the end.
  std::string directory;
  int64_t max_object_bytes = int64_t{64} << 30;  // of one upload
  int64_t max_total_bytes = int64_t{1} << 40;    // of all files together, those being written included
};

// A directory with three parts: `objects/` has what was uploaded, by key; `layers/` what maintenance wrote; `drafts/` files that are being
// written, which nobody sees and which are removed when they are given up. One process at a time may use it. Thread safe; no lock is held
// while bytes are read or written.
class StagingArea : public std::enable_shared_from_this<StagingArea> {
 public:
  // Makes the directory and clears leftover drafts. IOError: it cannot be made or another process uses it.
  static arrow::Result<std::shared_ptr<StagingArea>> Open(const StagingOptions& options);
  ~StagingArea();
  StagingArea(const StagingArea&) = delete;

  const StagingOptions& options() const { return options_; }
  // Absolute, without links.
  const std::string& directory() const { return directory_; }

  // Invalid "invalid object key: …" unless `key` has 1 to 255 bytes: parts between `/`, none empty, of letters, digits, `.`, `-` and `_`,
  // without a dot at either end.
  static arrow::Status CheckKey(std::string_view key);
  // Of a key that was checked.
  std::string ObjectPath(std::string_view key) const { return directory_ + "/objects/" + std::string(key); }
  // Whether the key cannot be used any more: an object has it, or has it as a directory, or is where a directory would be needed.
  bool IsTaken(std::string_view key) const;

  struct PublishedLayer {
    std::string path;
    std::shared_ptr<void> hold;
  };

  // A file that is being written. Not thread safe, except WriteAt, which may be called for different bytes at once.
  class Draft {
   public:
    ~Draft();  // removes the file unless it was published
    Draft(const Draft&) = delete;
    // CapacityError beyond the limits of the options; the message names the limit. IOError if the disk refuses.
    arrow::Status WriteAt(int64_t offset, std::string_view bytes);
    arrow::Status Append(std::string_view bytes);
    int64_t size() const { return size_.load(); }
    arrow::Status Truncate(int64_t size);
    // Makes it durable, then visible as a whole. AlreadyExists, and the draft stays as it is, when the key is taken.
    arrow::Status PublishObject(const std::string& key);
    // The same below `layers/`, under a new name; the file is held (see Hold) from the start.
    arrow::Result<PublishedLayer> PublishLayer();

   private:
    friend class StagingArea;
    Draft(std::shared_ptr<StagingArea> area, std::string path, int fd, int64_t max_bytes)
        : area_(std::move(area)), path_(std::move(path)), fd_(fd), max_bytes_(max_bytes) {}
    arrow::Status Grow(int64_t size);

    const std::shared_ptr<StagingArea> area_;
    const std::string path_;
    const int fd_;
    const int64_t max_bytes_;
    std::atomic<int64_t> size_{0};
    bool is_published_ = false;
  };
  // `max_bytes`: of this file; at most that of the options for uploads, which `max_bytes` < 0 stands for.
  arrow::Result<std::unique_ptr<Draft>> NewDraft(int64_t max_bytes = -1);

  // Keeps these files from being removed until the handle is dropped. Paths outside are ignored. KeyError if one is just being removed.
  arrow::Result<std::shared_ptr<void>> Hold(const std::vector<std::string>& paths);

  struct Swept {
    int64_t files = 0;
    int64_t bytes = 0;
  };
  // Removes files that were last written before `before_ns` (since the Unix epoch), that nobody holds, and that are not among
  // `list_used()`, which is asked once after the files that may go are known.
  arrow::Result<Swept> Sweep(int64_t before_ns, const std::function<std::vector<std::string>()>& list_used);

  // A file that PublishLayer made and that was of no use.
  void RemoveLayer(const std::string& path);

  int64_t used_bytes() const { return used_bytes_.load(); }

 private:
  explicit StagingArea(StagingOptions options) : options_(std::move(options)) {}
  // `path` as files here are named, or empty for a file elsewhere.
  std::string Canonical(const std::string& path) const;
  arrow::Status Reserve(int64_t bytes);
  void Release(const std::vector<std::string>& names);

  const StagingOptions options_;
  std::string directory_;
  std::unique_ptr<TemporaryDirectory> temporary_;  // null: the user's own
  int lock_fd_ = -1;
  std::atomic<int64_t> used_bytes_{0};
  std::atomic<uint64_t> next_draft_{0};

  Mutex mutex_;
  std::map<std::string, int> held_ RUSHES_GUARDED_BY(mutex_);
  std::set<std::string> doomed_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
