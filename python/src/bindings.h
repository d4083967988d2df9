// The areas of the module, one file each.
#pragma once

#include <memory>

#include <nanobind/nanobind.h>
#include "blocking.h"
#include "rushes/api/connection.h"

namespace rushes::python {

void BindServer(nanobind::module_& module);
void BindConnection(nanobind::module_& module);
void BindDataset(nanobind::module_& module);
void BindText(nanobind::module_& module);

// A connection as Python holds it.
struct ConnectionObject {
  Owned<Connection> connection;
};

// Methods of the class that connection.cc begins.
void BindCompanions(nanobind::module_& module, nanobind::class_<ConnectionObject>& connection);

// A dataset opened for reading.
struct SourceObject {
  Owned<ChunkSource> source;
};

}  // namespace rushes::python
