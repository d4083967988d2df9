// What `ls`, `schema` and `connect` work on: a server's address, or recordings on this machine.
#pragma once

#include <memory>
#include <string>

#include "arrow/result.h"
#include "rushes/api/connection.h"
#include "rushes/api/server.h"

namespace rushes::cli {

// A catalog to look at. For a path it is served in this process, on a free port of 127.0.0.1, while the value lives.
struct CatalogTarget {
  std::shared_ptr<Server> server;  // null for an address
  std::shared_ptr<Connection> connection;
};

// `target`: an address as Connect takes it, or the path of a recording or of a directory of recordings.
arrow::Result<CatalogTarget> OpenTarget(const std::string& target, const std::string& token);

// The datasets that `paths` make: a directory gives one of its name, single files go to `recordings`. Invalid when two directories
// have one name; IOError for a path that does not exist.
arrow::Result<std::map<std::string, std::vector<std::string>>> DatasetsOfPaths(const std::vector<std::string>& paths);

// The entry named `name`. KeyError names the ones there are.
arrow::Result<EntryDetails> FindDataset(Connection* connection, const std::string& name);

// Prints the entries and, per dataset, the number of segments; with `dataset`, the segments of that one.
arrow::Status PrintEntries(Connection* connection);
arrow::Status PrintSegments(Connection* connection, const EntryDetails& dataset);

}  // namespace rushes::cli
