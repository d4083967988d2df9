#include "rushes/chunk/component.h"

namespace rushes {

std::string ColumnName(const EntityPath& entity, const std::string& component) {
  if (!entity.IsProperty()) return entity.text() + ":" + component;
  // "/__properties/run" -> "run"
  constexpr size_t kPrefix = sizeof("/__properties/") - 1;
  if (entity.parts().size() == 1) return "property:" + component;
  return "property:" + entity.text().substr(kPrefix) + ":" + component;
}

}  // namespace rushes
