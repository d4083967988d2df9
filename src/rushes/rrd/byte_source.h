// Where the bytes of a recording come from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/result.h"

namespace rushes {

// Bytes [offset, offset + size) of a source.
struct ByteRange {
  int64_t offset = 0;
  int64_t size = 0;
  int64_t end() const { return offset + size; }
};

// What tells one version of a file from another.
struct SourceStamp {
  int64_t size = 0;
  int64_t mtime_ns = 0;  // since the Unix epoch; 0 where the storage has none
  std::string etag;      // empty where the storage has none

  friend bool operator==(const SourceStamp&, const SourceStamp&) = default;
};

// Random access to the bytes of one version of a file: the one that was there when the source was opened. Thread safe; reads block.
//
// Every read compares the file with stamp(): a file that was changed, replaced or removed since is an IOError that names it, never
// other bytes than those of that version. Nothing is mapped into memory, so a file that is cut while it is read is an error too.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // The path or URL, for messages.
  const std::string& name() const { return name_; }
  int64_t size() const { return stamp_.size; }
  const SourceStamp& stamp() const { return stamp_; }
  // In memory or in a file of this machine: to begin a read costs little, so that it is worth to read no more than a core's cache holds.
  bool is_local() const { return is_local_; }

  // Exactly the bytes of `range`, in a buffer of their own. Invalid if the range leaves the file; IOError if it cannot be read.
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(ByteRange range) const;
  // The same for several ranges, in their order; a local file is opened once. Neighbouring ranges are not joined.
  arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> ReadRanges(const std::vector<ByteRange>& ranges) const;

 protected:
  ByteSource(std::string name, SourceStamp stamp, bool is_local) : name_(std::move(name)), stamp_(std::move(stamp)), is_local_(is_local) {}
  // `ranges` lie within the file.
  virtual arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> DoRead(const std::vector<ByteRange>& ranges) const = 0;

 private:
  std::string name_;
  SourceStamp stamp_;
  bool is_local_;
};

using ByteSourcePtr = std::shared_ptr<const ByteSource>;

// The bytes of a buffer as a source; for tests and for recordings that arrive over a connection.
ByteSourcePtr MakeBufferSource(std::string name, std::shared_ptr<arrow::Buffer> bytes);

}  // namespace rushes
