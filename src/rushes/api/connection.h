// How to reach a catalog.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "rushes/client/connection.h"

namespace rushes {

// Connects to a catalog server, ours or the official one; checks that it answers. `address`: `rerun+http://host:port`, `http://…` or
// `host:port`; a local address without a port means 51234. `token`: bearer token or empty. IOError within `timeout_s` seconds names the
// address.
arrow::Result<std::shared_ptr<Connection>> Connect(const std::string& address, const std::string& token = "", double timeout_s = 10);

// Recordings on this machine as a catalog with one dataset, `name`, without a server: nothing listens, nobody else sees it. `paths`:
// recordings, and directories of recordings. It lives as long as the connection or one of its chunk sources. `chunk_cache_bytes`: bound of
// the decoded-chunk cache. Invalid when a path does not exist or is no recording, or the name is no dataset name; the message names it. Of
// a truncated recording the readable part is there, and a warning is logged.
arrow::Result<std::shared_ptr<Connection>> OpenRecordings(const std::vector<std::string>& paths, const std::string& name,
                                                          int64_t chunk_cache_bytes = int64_t{1} << 30);

}  // namespace rushes
