// Addresses of catalog servers as users write them.
#pragma once

#include <string>
#include <string_view>

#include "arrow/result.h"

namespace rushes::client {

// Where a catalog server listens. A plain value.
struct Address {
  bool tls = false;
  std::string host;  // name or numeric address; IPv6 without brackets
  int port = 0;

  // `rerun+http://host:port`, or `rerun://host:port` with TLS.
  std::string ToString() const;
  // `host:port`, with brackets around an IPv6 address.
  std::string HostAndPort() const;
};

// Reads `[scheme://]host[:port][/path][?query][#fragment]`.
//
// Schemes: `rerun+http` and `http` are plain, `rerun`, `rerun+https` and `https` mean TLS; none means plain, or TLS for hosts of rerun.io.
// Without a port: 51234 on this machine, else 443 with TLS and 80 without. Unspecified hosts (0.0.0.0, ::) become 127.0.0.1.
// The path may be empty, `catalog`, `entry/…`, `dataset/…` or `folder/…`; only the server's address is taken from it.
// Invalid says what is wrong and names the text.
arrow::Result<Address> ParseAddress(std::string_view text);

// True for localhost, loopback and unspecified addresses.
bool IsLocalHost(std::string_view host);

}  // namespace rushes::client
