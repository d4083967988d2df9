// Where recordings to be registered are: URLs, paths, directories.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "arrow/result.h"
#include "rushes/chunk/catalog_types.h"

namespace rushes {

// One recording file to register.
struct SourceFile {
  std::string url;    // as it was given; for files found below a directory, a file:// URL
  std::string path;   // absolute local path
  std::string layer;  // never empty
};

// True for `scheme:` followed by anything, with a scheme of at least two characters.
bool HasUrlScheme(std::string_view text);
// `file:///…` of an absolute path, escaped as URLs want it.
std::string FileUrl(std::string_view absolute_path);
// The path of a `file://` URL or a local path (made absolute). KeyError for a URL with a host or of another scheme.
arrow::Result<std::string> LocalPath(const std::string& url_or_path);

// Files of the sources, in order. A prefix source becomes every file below it whose extension is exactly `rrd`, sorted by path.
//
// Invalid: a prefix that does not exist, is a file, or holds no recording. Whether plain files exist is not checked here.
arrow::Result<std::vector<SourceFile>> ResolveSources(const std::vector<DataSource>& sources);

// Direct children of `directory` with the extension `.rrd` in any letter case, sorted. Invalid if it is not a directory.
arrow::Result<std::vector<std::string>> ListRecordings(const std::string& directory);

}  // namespace rushes
