// Files and directories into a dataset of a catalog in this process. Internal.
#pragma once

#include <string>
#include <vector>

#include "arrow/status.h"
#include "rushes/catalog/catalog.h"

namespace rushes {

// What becomes of files that are no recordings, cannot be read, or do not fit the others.
enum class BrokenFiles {
  kLeaveOut,  // logged: one must not keep the others from being served
  kFail,      // an error that names the first
};

// Creates the dataset `name` of `paths`: recordings, and directories whose `.rrd` files are taken. Of a truncated recording the readable
// part is taken and the loss logged, in either case. Invalid for a path that does not exist.
arrow::Status LoadRecordings(Catalog* catalog, const std::string& name, const std::vector<std::string>& paths, BrokenFiles broken_files);

}  // namespace rushes
