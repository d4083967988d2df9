// Which stores a recording holds, found out without reading their data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "rushes/rrd/byte_source.h"
#include "rushes/rrd/messages.h"

namespace rushes {

// A store of which the file has at least one chunk. `key` tells stores of one file apart.
struct ListedStore {
  StoreKind kind = StoreKind::kRecording;
  std::string recording_id;
  std::string key;
};

// True if OpenRecording has to read the whole of a large file: it ends without a footer.
arrow::Result<bool> IsSlowToOpen(const ByteSource& source);

// Goes through the frames of a file without a footer and reads the first bytes of each only. In order of first appearance. Invalid, with
// the byte, if the bytes cannot be understood or end in the middle of a frame; with `accept_damaged` what comes before is listed.
arrow::Result<std::vector<ListedStore>> ListStores(const ByteSourcePtr& source, bool accept_damaged);

}  // namespace rushes
