#include "rushes/query/nearest.h"

#include <algorithm>
#include <cctype>

namespace rushes {
namespace {

// Edits (insert, delete, replace; letter case is free) that turn one text into the other.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      const bool same = std::tolower(static_cast<unsigned char>(a[i - 1])) == std::tolower(static_cast<unsigned char>(b[j - 1]));
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (same ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string DidYouMean(std::string_view name, const std::vector<std::string>& known) {
  constexpr size_t kMaxLength = 256;  // the cost is the product of the lengths
  if (name.size() > kMaxLength) return "";
  std::vector<std::pair<size_t, const std::string*>> near;
  for (const std::string& candidate : known) {
    if (candidate.size() > kMaxLength) continue;
    const size_t limit = std::max<size_t>(1, std::max(name.size(), candidate.size()) / 3);
    const size_t distance = EditDistance(name, candidate);
    if (distance <= limit || candidate.find(name) != std::string::npos) near.emplace_back(distance, &candidate);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  if (near.size() > 3) near.resize(3);
  if (near.empty()) return "";
  std::string out = " Did you mean ";
  for (size_t i = 0; i < near.size(); ++i) {
    if (i > 0) out += i + 1 == near.size() ? " or " : ", ";
    out += "\"" + *near[i].second + "\"";
  }
  return out + "?";
}

}  // namespace rushes
