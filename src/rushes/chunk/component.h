// Component descriptors and the names of component columns.
#pragma once

#include <compare>
#include <optional>
#include <string>

#include "rushes/chunk/entity_path.h"

namespace rushes {

// The identifier of the component that clears its entity (a list of one bool: does it clear the descendants too?).
inline constexpr char kClearComponent[] = "Clear:is_recursive";

// What a component column holds. Only `component` (with the entity path) identifies a column; the rest is description.
struct ComponentDescriptor {
  std::optional<std::string> archetype;       // e.g. rerun.archetypes.Points3D
  std::string component;                      // e.g. Points3D:positions
  std::optional<std::string> component_type;  // e.g. rerun.components.Position3D

  bool is_tombstone() const { return component == kClearComponent; }
  friend auto operator<=>(const ComponentDescriptor&, const ComponentDescriptor&) = default;
};

// The name of a component column of a dataframe: `{entity path}:{component}`, and `property:…` at and below `/__properties`.
std::string ColumnName(const EntityPath& entity, const std::string& component);

}  // namespace rushes
