// Directories for what lives as long as this process.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "arrow/result.h"

namespace rushes {

// A directory in the system's place for temporary files, removed with all below when the object goes. A process that is killed leaves it
// behind: the next one that makes a directory with the same prefix removes it then. A lock tells those that are in use, so processes of
// one user do not harm each other's.
class TemporaryDirectory {
 public:
  // `<prefix>` and six characters. IOError names the path and what the system said.
  static arrow::Result<std::unique_ptr<TemporaryDirectory>> Make(const std::string& prefix);
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  TemporaryDirectory(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  const std::string path_;
  const int lock_;  // descriptor of the locked file in it
};

}  // namespace rushes
