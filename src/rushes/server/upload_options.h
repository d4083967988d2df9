// Bounds of uploads over the network.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rushes {

struct UploadOptions {
  int grant_seconds = 15 * 60;               // to begin with a request
  int session_seconds = 24 * 60 * 60;        // for all parts of an object
  uint64_t part_bytes = uint64_t{64} << 20;  // of each part but the last, more for objects that would have too many
  size_t max_sessions = 256;                 // uploads in parts that are open at the same time
};

}  // namespace rushes
