// Which assets apply to which segments.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "rushes/catalog/catalog_state.h"

namespace rushes {

// The segments of the asset dataset `assets` that apply to `segment_id`, which need not exist. The properties of each say which: with
// `property:asset:mode` "OptIn" those in `property:asset:segments`, otherwise all but those. nullopt: no segment in particular, which only
// assets without "OptIn" apply to.
std::vector<std::string> AssetsOf(const Entry& assets, const std::optional<std::string>& segment_id);

}  // namespace rushes
