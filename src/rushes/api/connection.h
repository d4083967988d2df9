// How to reach a catalog.
#pragma once

#include <memory>
#include <string>

#include "arrow/result.h"
#include "rushes/client/connection.h"

namespace rushes {

// Connects to a catalog server, ours or the official one; checks that it answers. `address`: `rerun+http://host:port`, `http://…` or
// `host:port`; a local address without a port means 51234. `token`: bearer token or empty. IOError within `timeout_s` seconds names the
// address.
arrow::Result<std::shared_ptr<Connection>> Connect(const std::string& address, const std::string& token = "", double timeout_s = 10);

}  // namespace rushes
