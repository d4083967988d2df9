#include "rushes/catalog/asset_coverage.h"

#include <algorithm>

#include "arrow/array.h"

namespace rushes {
namespace {

// One list of strings of a property row; empty if there is none.
std::vector<std::string> ReadStrings(const arrow::RecordBatch& row, const std::string& name) {
  std::vector<std::string> out;
  const auto column = row.GetColumnByName(name);
  if (!column || column->type_id() != arrow::Type::LIST || column->length() != 1 || column->IsNull(0)) return out;
  const auto values = static_cast<const arrow::ListArray&>(*column).value_slice(0);
  if (values->type_id() != arrow::Type::STRING) return out;
  const auto& strings = static_cast<const arrow::StringArray&>(*values);
  for (int64_t i = 0; i < strings.length(); ++i) {
    if (strings.IsValid(i)) out.push_back(strings.GetString(i));
  }
  return out;
}

}  // namespace

std::vector<std::string> AssetsOf(const Entry& assets, const std::optional<std::string>& segment_id) {
  std::vector<std::string> out;
  for (const auto& [id, ignored] : assets.content->segments()) {
    bool opt_in = false;
    std::vector<std::string> listed;
    if (const auto it = assets.properties.find(id); it != assets.properties.end()) {
      const auto mode = ReadStrings(*it->second.row, "property:asset:mode");
      opt_in = !mode.empty() && mode.front() == "OptIn";
      listed = ReadStrings(*it->second.row, "property:asset:segments");
    }
    const bool is_listed = segment_id && std::find(listed.begin(), listed.end(), *segment_id) != listed.end();
    if (opt_in ? is_listed : !is_listed) out.push_back(id);
  }
  return out;
}

}  // namespace rushes
