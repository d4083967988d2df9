// Files that appear whole or not at all: what table storage needs of a file system.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/result.h"
#include "arrow/status.h"

namespace rushes {

// Errors are IOError and name the path and what the system said.

// Makes `path` and its parents. Gives the first one that did not exist, or "" when all did.
arrow::Result<std::string> MakeDirectories(const std::string& path);
// Makes what was created or removed in a directory durable.
arrow::Status SyncDirectory(const std::string& path);

// Writes `bytes` to `directory/name` so that it is there durably and whole, or not at all. AlreadyExists if the name is taken: of two
// writers of one name, in whatever processes, one succeeds.
arrow::Status WriteFileOnce(const std::string& directory, const std::string& name, const arrow::Buffer& bytes);
// The whole file. KeyError when it does not exist, Invalid when it has more than `max_bytes`.
arrow::Result<std::shared_ptr<arrow::Buffer>> ReadSmallFile(const std::string& path, int64_t max_bytes);

// Names of the files in a directory, in no order. KeyError when there is no such directory.
arrow::Result<std::vector<std::string>> ListFiles(const std::string& directory);
// Modification time in nanoseconds since the Unix epoch, or -1 when the file is gone.
int64_t ModifiedNs(const std::string& path);
// Removes a file; one that is gone already is fine.
arrow::Status RemoveFile(const std::string& path);

// With all below; errors are ignored.
void RemoveDirectory(const std::string& path);

}  // namespace rushes
