#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "arrow/buffer.h"
#include "arrow/filesystem/filesystem.h"
#include "arrow/io/interfaces.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

SourceStamp StampOf(const struct stat& status) {
  return {status.st_size, int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec, ""};
}

arrow::Status OpenError(const std::string& path, int error) {
  if (error == ENOENT || error == ENOTDIR) return arrow::Status::KeyError("no such file: ", path);
  return arrow::Status::IOError("cannot open ", path, ": ", std::strerror(error));
}

class FileSource : public ByteSource {
 public:
  FileSource(std::string path, SourceStamp stamp) : ByteSource(std::move(path), std::move(stamp), /*is_local=*/true) {}

 protected:
  arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> DoRead(const std::vector<ByteRange>& ranges) const override {
    const Descriptor file(::open(name().c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) {
      const int error = errno;
      if (error == ENOENT) return arrow::Status::IOError("the recording ", name(), " is not there any more");
      return arrow::Status::IOError("cannot open ", name(), ": ", std::strerror(error));
    }
    std::vector<std::shared_ptr<arrow::Buffer>> buffers;
    buffers.reserve(ranges.size());
    for (const ByteRange& range : ranges) {
      ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer, arrow::AllocateBuffer(range.size));
      for (int64_t done = 0; done < range.size;) {
        const ssize_t n = ::pread(file.get(), buffer->mutable_data() + done, static_cast<size_t>(range.size - done), range.offset + done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
          const int error = errno;
          ARROW_RETURN_NOT_OK(CheckUnchanged(file.get()));
          return arrow::Status::IOError("cannot read ", name(), " at byte ", range.offset + done, ": ", std::strerror(error));
        }
        if (n == 0) {
          ARROW_RETURN_NOT_OK(CheckUnchanged(file.get()));
          return arrow::Status::IOError("the recording ", name(), " ends at byte ", range.offset + done, " where ", size(),
                                        " bytes were expected");
        }
        done += n;
      }
      buffers.push_back(std::move(buffer));
    }
    // It has the stamp it had when it was opened: nobody wrote before these bytes were read, nor meanwhile.
    ARROW_RETURN_NOT_OK(CheckUnchanged(file.get()));
    return buffers;
  }

 private:
  arrow::Status CheckUnchanged(int fd) const {
    struct stat status;
    if (::fstat(fd, &status) != 0) return arrow::Status::IOError("cannot read ", name(), ": ", std::strerror(errno));
    const SourceStamp now = StampOf(status);
    if (now == stamp()) return arrow::Status::OK();
    if (now.size != stamp().size) {
      return arrow::Status::IOError("the recording ", name(), " was changed after it was opened or registered: it had ", stamp().size,
                                    " bytes and has ", now.size, "; register it again");
    }
    return arrow::Status::IOError("the recording ", name(),
                                  " was changed after it was opened or registered: it was modified since; register it again");
  }
};

// A file of a storage that Arrow reads.
class ArrowSource : public ByteSource {
 public:
  ArrowSource(std::string url, SourceStamp stamp, std::shared_ptr<arrow::fs::FileSystem> filesystem, std::string path)
      : ByteSource(std::move(url), std::move(stamp), /*is_local=*/false), filesystem_(std::move(filesystem)), path_(std::move(path)) {}

  static SourceStamp StampOf(const arrow::fs::FileInfo& info) {
    return {info.size(), info.mtime() == arrow::fs::kNoTime ? 0 : info.mtime().time_since_epoch().count(), ""};
  }

 protected:
  arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> DoRead(const std::vector<ByteRange>& ranges) const override {
    ARROW_ASSIGN_OR_RAISE(const auto info, filesystem_->GetFileInfo(path_));
    if (info.type() != arrow::fs::FileType::File) return arrow::Status::IOError("the recording ", name(), " is not there any more");
    if (!(StampOf(info) == stamp())) {
      return arrow::Status::IOError("the recording ", name(), " was changed after it was opened or registered; register it again");
    }
    ARROW_ASSIGN_OR_RAISE(const auto file, filesystem_->OpenInputFile(info));
    std::vector<std::shared_ptr<arrow::Buffer>> buffers;
    for (const ByteRange& range : ranges) {
      ARROW_ASSIGN_OR_RAISE(auto buffer, file->ReadAt(range.offset, range.size));
      if (buffer->size() != range.size) {
        return arrow::Status::IOError("the recording ", name(), " ends at byte ", range.offset + buffer->size(), " where ", size(),
                                      " bytes were expected");
      }
      buffers.push_back(std::move(buffer));
    }
    return buffers;
  }

 private:
  std::shared_ptr<arrow::fs::FileSystem> filesystem_;
  std::string path_;
};

// The path of a file:// URL, its %XX undone.
arrow::Result<std::string> PathOfFileUrl(const std::string& url) {
  std::string_view rest = std::string_view(url).substr(std::string_view("file://").size());
  if (rest.starts_with("localhost/")) rest.remove_prefix(std::string_view("localhost").size());
  if (!rest.starts_with("/")) return arrow::Status::Invalid("the URL ", url, " names a host; only local file URLs can be read");
  std::string path;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == '%' && i + 2 < rest.size() && digit(rest[i + 1]) >= 0 && digit(rest[i + 2]) >= 0) {
      path.push_back(static_cast<char>(digit(rest[i + 1]) * 16 + digit(rest[i + 2])));
      i += 2;
    } else {
      path.push_back(rest[i]);
    }
  }
  return path;
}

bool HasScheme(const std::string& text) {
  const size_t colon = text.find("://");
  return colon != std::string::npos && colon > 1 &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-") == colon;
}

}  // namespace

ByteSourcePtr MakeFileSource(std::string path, SourceStamp stamp) {
  return std::make_shared<FileSource>(std::move(path), std::move(stamp));
}

arrow::Result<ByteSourcePtr> OpenByteSource(const std::string& path_or_url) {
  std::string path = path_or_url;
  if (path_or_url.starts_with("file://")) {
    ARROW_ASSIGN_OR_RAISE(path, PathOfFileUrl(path_or_url));
  } else if (HasScheme(path_or_url)) {
    std::string inner;
    ARROW_ASSIGN_OR_RAISE(auto filesystem, arrow::fs::FileSystemFromUri(path_or_url, &inner));
    ARROW_ASSIGN_OR_RAISE(const auto info, filesystem->GetFileInfo(inner));
    if (info.type() == arrow::fs::FileType::NotFound) return arrow::Status::KeyError("no such file: ", path_or_url);
    if (info.type() != arrow::fs::FileType::File) return arrow::Status::Invalid(path_or_url, " is not a file");
    return std::make_shared<ArrowSource>(path_or_url, ArrowSource::StampOf(info), std::move(filesystem), std::move(inner));
  }
  if (path.find('\0') != std::string::npos) return arrow::Status::Invalid("a path must not contain a zero byte");
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return OpenError(path, errno);
  if (S_ISDIR(status.st_mode)) return arrow::Status::Invalid(path, " is a directory, not a recording");
  if (!S_ISREG(status.st_mode)) return arrow::Status::Invalid(path, " is not a regular file");
  return MakeFileSource(path, StampOf(status));
}

}  // namespace rushes
