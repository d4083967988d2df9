#include "rushes/catalog/source_url.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <system_error>

namespace rushes {
namespace fs = std::filesystem;
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string PercentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexValue(text[i + 1]) >= 0 && HexValue(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string Scheme(std::string_view text) {
  std::string scheme(text.substr(0, text.find(':')));
  std::transform(scheme.begin(), scheme.end(), scheme.begin(), [](unsigned char c) { return std::tolower(c); });
  return scheme;
}

}  // namespace

bool HasUrlScheme(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon < 2 || !std::isalpha(static_cast<unsigned char>(text[0]))) return false;
  return std::all_of(text.begin(), text.begin() + colon,
                     [](unsigned char c) { return std::isalnum(c) || c == '+' || c == '-' || c == '.'; });
}

std::string FileUrl(std::string_view absolute_path) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string url = "file://";
  for (const char c : absolute_path) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u >= 0x7F || std::string_view("\"#<>?`{}%\\^|").find(c) != std::string_view::npos) {
      url += {'%', kHex[u >> 4], kHex[u & 15]};
    } else {
      url.push_back(c);
    }
  }
  return url;
}

arrow::Result<std::string> LocalPath(const std::string& url_or_path) {
  if (url_or_path.find('\0') != std::string::npos) {
    return arrow::Status::Invalid("not a path: it contains a null character");
  }
  if (!HasUrlScheme(url_or_path)) {
    if (url_or_path.empty()) return arrow::Status::Invalid("not a path: it is empty");
    std::error_code error;
    const fs::path path = fs::absolute(url_or_path, error);
    if (error) return arrow::Status::IOError("cannot make '", url_or_path, "' absolute: ", error.message());
    return path.lexically_normal().string();
  }
  const std::string scheme = Scheme(url_or_path);
  if (scheme != "file") {
    return arrow::Status::KeyError("RRD file not found, '", url_or_path, "': this server reads file:// URLs, not '", scheme, ":'");
  }
  std::string_view rest = std::string_view(url_or_path).substr(5);
  rest = rest.substr(0, rest.find_first_of("?#"));
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const std::string_view host = rest.substr(0, rest.find('/'));
    if (!host.empty() && host != "localhost") {
      return arrow::Status::KeyError("RRD file not found, '", url_or_path, "': the file URL names a host, '", host,
                                     "'; a local file has three slashes, file:///path");
    }
    rest.remove_prefix(host.size());
  }
  if (!rest.starts_with('/')) {
    return arrow::Status::KeyError("RRD file not found, '", url_or_path, "': a file URL needs an absolute path, file:///path");
  }
  std::string path = PercentDecode(rest);
  if (path.find('\0') != std::string::npos) return arrow::Status::Invalid("not a path: '", url_or_path, "' contains a null character");
  return path;
}

arrow::Result<std::vector<SourceFile>> ResolveSources(const std::vector<DataSource>& sources) {
  std::vector<SourceFile> files;
  for (const DataSource& source : sources) {
    const std::string layer = source.layer.empty() ? kBaseLayer : source.layer;
    if (!source.is_prefix) {
      ARROW_ASSIGN_OR_RAISE(std::string path, LocalPath(source.url));
      std::string url = HasUrlScheme(source.url) ? source.url : FileUrl(path);
      files.push_back({std::move(url), std::move(path), layer});
      continue;
    }
    auto maybe_path = LocalPath(source.url);
    if (!maybe_path.ok()) {
      return arrow::Status::Invalid("cannot expand the prefix '", source.url, "': ", maybe_path.status().message());
    }
    const std::string& directory = *maybe_path;
    std::error_code error;
    const fs::file_status status = fs::status(directory, error);
    if (!fs::exists(status)) return arrow::Status::Invalid("Directory not found: ", directory);
    if (!fs::is_directory(status)) {
      return arrow::Status::Invalid("expected prefix / directory but got an object: ", directory);
    }
    std::vector<std::string> found;
    fs::recursive_directory_iterator it(directory, fs::directory_options::skip_permission_denied, error);
    if (error) return arrow::Status::Invalid("cannot list ", directory, ": ", error.message());
    for (; it != fs::recursive_directory_iterator(); it.increment(error)) {
      std::error_code ignored;
      if (it->path().extension() == ".rrd" && it->is_regular_file(ignored)) found.push_back(it->path().lexically_normal().string());
    }
    if (error) return arrow::Status::Invalid("cannot list ", directory, ": ", error.message());
    if (found.empty()) return arrow::Status::Invalid("no rrd files found in ", directory);
    std::sort(found.begin(), found.end());
    for (std::string& path : found) {
      std::string url = FileUrl(path);
      files.push_back({std::move(url), std::move(path), layer});
    }
  }
  return files;
}

arrow::Result<std::vector<std::string>> ListRecordings(const std::string& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) return arrow::Status::Invalid("'", directory, "' is not a directory");
  std::vector<std::string> found;
  for (fs::directory_iterator it(directory, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    std::string extension = it->path().extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
    std::error_code ignored;
    if (extension == ".rrd" && it->is_regular_file(ignored)) {
      found.push_back(fs::absolute(it->path(), ignored).lexically_normal().string());
    }
  }
  if (error) return arrow::Status::Invalid("cannot list '", directory, "': ", error.message());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace rushes
