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

void BindTables(nanobind::module_& module);
// The methods of a connection that are about tables.
void AddTableCalls(nanobind::class_<ConnectionObject>& connection);

// TypeError unless it has 16 bytes.
EntryId ToEntryId(const nanobind::bytes& id);
nanobind::bytes FromEntryId(const EntryId& id);
// Methods of the class that connection.cc begins.
void BindCompanions(nanobind::module_& module, nanobind::class_<ConnectionObject>& connection);
void BindEvents(nanobind::module_& module, nanobind::class_<ConnectionObject>& connection);
void BindSegmentStore(nanobind::module_& module, nanobind::class_<ConnectionObject>& connection);

// A dataset opened for reading.
struct SourceObject {
  Owned<ChunkSource> source;
};

}  // namespace rushes::python
