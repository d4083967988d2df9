// "Did you mean": the known name nearest to one that is not known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rushes {

// ` Did you mean "…"?` naming up to three of `known` that differ in less than a third of their letters, or nothing.
std::string DidYouMean(std::string_view name, const std::vector<std::string>& known);

}  // namespace rushes
