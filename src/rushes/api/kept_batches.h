// Batches of short segments as scans have put them together, for the next scan of the same kind.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "rushes/catalog/catalog_state.h"
#include "rushes/chunk/mutex.h"
#include "rushes/query/chunk_source.h"

namespace rushes {

// Knows batches, but does not keep them alive: they belong to the bundles whose slices they hold, and go with these (ChunkCache). Of a
// dataset those count that were made of its present content, for the few kinds of scans that were made last. Thread safe.
class KeptBatches {
 public:
  // ChunkSource::Recall.
  std::vector<std::shared_ptr<const KeptBatch>> Find(EntryId dataset, const std::shared_ptr<const DatasetContent>& content,
                                                     const ScanKind& kind, std::span<const std::string> ids, int64_t max_bytes)
      RUSHES_EXCLUDES(mutex_);
  void Add(EntryId dataset, const std::shared_ptr<const DatasetContent>& content, const ScanKind& kind,
           const std::shared_ptr<const KeptBatch>& batch) RUSHES_EXCLUDES(mutex_);

 private:
  static constexpr size_t kMaxKinds = 4;
  struct Known {
    std::weak_ptr<const KeptBatch> batch;
    // Where its segments follow each other in the content's list of ids; null: they do not.
    const std::string* place = nullptr;
  };
  struct Kind {
    ScanKind kind;
    std::unordered_map<std::string, Known> by_first_id;
  };
  struct Dataset {
    std::weak_ptr<const DatasetContent> content;
    std::list<Kind> kinds;  // the one that was used last first
  };
  // Null: there is none.
  Kind* FindKind(Dataset* dataset, const ScanKind& kind) RUSHES_REQUIRES(mutex_);

  Mutex mutex_;
  std::map<EntryId, Dataset> datasets_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
