// Where changes of the catalog are recorded before they take effect.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "arrow/status.h"
#include "rushes/catalog/catalog_state.h"

namespace rushes {

// One atomic change of a catalog: what a journal needs to repeat it. All parts are final states, so repeating a change is harmless.
struct CatalogChange {
  struct LayerKey {
    EntryId dataset;
    std::string segment_id;
    std::string layer;
  };
  struct PutLayer {
    EntryId dataset;
    LayerPtr layer;  // replaces one of the same segment and name
  };
  struct PutProperties {
    EntryId dataset;
    std::string segment_id;
    SegmentProperties properties;  // no row: removed
  };
  std::vector<EntryPtr> put_entries;  // names, details and times; content comes through the layers
  std::vector<EntryId> erased_entries;
  std::vector<LayerKey> erased_layers;
  std::vector<PutLayer> put_layers;
  std::vector<PutProperties> put_properties;
};

// Makes changes durable. Called by one writer at a time, never with a lock held that readers need.
class Journal {
 public:
  virtual ~Journal() = default;
  // Returns when the change is durable; on an error the change does not happen.
  virtual arrow::Status Commit(const CatalogChange& change) = 0;
};

// Forgets everything: the catalog lives as long as its process.
class MemoryJournal : public Journal {
 public:
  arrow::Status Commit(const CatalogChange&) override { return arrow::Status::OK(); }
};

}  // namespace rushes
