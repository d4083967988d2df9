#include "rushes/client/address.h"

#include <algorithm>
#include <cctype>

#include "rushes/wire/headers.h"

namespace rushes::client {
namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

bool IsUnspecified(std::string_view host) { return host == "0.0.0.0" || host == "::"; }

}  // namespace

bool IsLocalHost(std::string_view host) {
  const std::string lower = Lower(host);
  return lower == "localhost" || lower.ends_with(".localhost") || lower.starts_with("127.") || lower == "::1" || IsUnspecified(lower);
}

std::string Address::HostAndPort() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string Address::ToString() const { return (tls ? "rerun://" : "rerun+http://") + HostAndPort(); }

arrow::Result<Address> ParseAddress(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return arrow::Status::Invalid("'", text.substr(0, 300), "' is not the address of a catalog server: ", why,
                                  ". Expected rerun+http://host:port");
  };
  std::string_view rest = text;
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front()))) rest.remove_prefix(1);
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.back()))) rest.remove_suffix(1);

  Address out;
  const size_t scheme_end = rest.find("://");
  bool has_scheme = scheme_end != std::string_view::npos;
  if (has_scheme) {
    const std::string scheme = Lower(rest.substr(0, scheme_end));
    if (scheme == "rerun" || scheme == "rerun+https" || scheme == "https") {
      out.tls = true;
    } else if (scheme != "rerun+http" && scheme != "http") {
      return bad("unknown scheme '" + scheme + "'");
    }
    rest.remove_prefix(scheme_end + 3);
  }

  const size_t authority_end = rest.find_first_of("/?#");
  const std::string_view authority = rest.substr(0, authority_end);
  std::string_view path = authority_end == std::string_view::npos ? std::string_view() : rest.substr(authority_end);
  path = path.substr(0, path.find_first_of("?#"));
  while (path.starts_with('/')) path.remove_prefix(1);
  const std::string_view first = path.substr(0, path.find('/'));
  if (first == "proxy") return bad("it names a stream of messages (/proxy), not a catalog");
  if (!first.empty() && first != "catalog" && first != "entry" && first != "dataset" && first != "folder") {
    return bad("unknown path '/" + std::string(path) + "'");
  }

  if (authority.empty()) return bad("the host is missing");
  if (authority.find('@') != std::string_view::npos) return bad("user names are not supported; pass a token");
  std::string_view host = authority;
  std::string_view port;
  bool has_port = false;
  if (authority.front() == '[') {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad("']' is missing");
    host = authority.substr(1, end - 1);
    if (host.find(':') == std::string_view::npos) return bad("brackets are for IPv6 addresses");
    std::string_view after = authority.substr(end + 1);
    if (!after.empty()) {
      if (after.front() != ':') return bad("':' and a port must follow ']'");
      port = after.substr(1);
      has_port = true;
    }
  } else if (const size_t colon = authority.find(':'); colon != std::string_view::npos) {
    if (authority.find(':', colon + 1) != std::string_view::npos) return bad("IPv6 addresses need brackets");
    host = authority.substr(0, colon);
    port = authority.substr(colon + 1);
    has_port = true;
  }
  if (host.empty()) return bad("the host is missing");
  for (const char c : host) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7F || c == '%' || c == '\\' || c == '"' || c == '<' || c == '>') {
      return bad("the host has a character that is not allowed");
    }
  }
  out.host = Lower(host);
  if (!has_scheme && (out.host == "rerun.io" || out.host.ends_with(".rerun.io"))) out.tls = true;

  if (has_port) {
    if (port.empty() || port.size() > 5) return bad("the port must be a number from 1 to 65535");
    for (const char c : port) {
      if (c < '0' || c > '9') return bad("the port must be a number from 1 to 65535");
      out.port = out.port * 10 + (c - '0');
    }
    if (out.port < 1 || out.port > 65535) return bad("the port must be a number from 1 to 65535");
  } else if (IsLocalHost(out.host)) {
    out.port = wire::kDefaultPort;
  } else {
    out.port = out.tls ? 443 : 80;
  }
  if (IsUnspecified(out.host)) out.host = "127.0.0.1";
  return out;
}

}  // namespace rushes::client
