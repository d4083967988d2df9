#include "rushes/api/kept_batches.h"

#include <algorithm>

namespace rushes {

KeptBatches::Kind* KeptBatches::FindKind(Dataset* dataset, const ScanKind& kind) {
  const auto it = std::find_if(dataset->kinds.begin(), dataset->kinds.end(), [&](const Kind& known) { return known.kind == kind; });
  if (it == dataset->kinds.end()) return nullptr;
  dataset->kinds.splice(dataset->kinds.begin(), dataset->kinds, it);
  return &dataset->kinds.front();
}

std::vector<std::shared_ptr<const KeptBatch>> KeptBatches::Find(EntryId dataset, const std::shared_ptr<const DatasetContent>& content,
                                                                const ScanKind& kind, std::span<const std::string> ids, int64_t max_bytes) {
  std::vector<std::shared_ptr<const KeptBatch>> found;
  MutexLock lock(mutex_);
  const auto known = datasets_.find(dataset);
  if (known == datasets_.end() || known->second.content.lock() != content) return found;
  const Kind* const own = FindKind(&known->second, kind);
  if (own == nullptr) return found;
  for (int64_t bytes = 0; !ids.empty() && (found.empty() || bytes < max_bytes);) {
    const auto it = own->by_first_id.find(ids[0]);
    auto batch = it == own->by_first_id.end() ? nullptr : it->second.batch.lock();
    if (batch == nullptr || batch->ids.size() > ids.size()) break;
    const bool are_same = it->second.place == ids.data() || std::ranges::equal(batch->ids, ids.first(batch->ids.size()));
    if (!are_same) break;
    ids = ids.subspan(batch->ids.size());
    bytes += batch->bytes_fetched;
    found.push_back(std::move(batch));
  }
  return found;
}

void KeptBatches::Add(EntryId dataset, const std::shared_ptr<const DatasetContent>& content, const ScanKind& kind,
                      const std::shared_ptr<const KeptBatch>& batch) {
  MutexLock lock(mutex_);
  std::erase_if(datasets_, [](const auto& known) { return known.second.content.expired(); });
  Dataset& own = datasets_[dataset];
  if (own.content.lock() != content) own = {content, {}};
  Kind* known = FindKind(&own, kind);
  if (known == nullptr) {
    if (own.kinds.size() >= kMaxKinds) own.kinds.pop_back();
    own.kinds.push_front({kind, {}});
    known = &own.kinds.front();
  }
  const std::vector<std::string>& all = content->segment_ids();
  const auto first = std::lower_bound(all.begin(), all.end(), batch->ids[0]);
  const auto left = static_cast<size_t>(all.end() - first);
  const bool follow = batch->ids.size() <= left && std::equal(batch->ids.begin(), batch->ids.end(), first);
  known->by_first_id[batch->ids[0]] = {batch, follow ? &*first : nullptr};
}

}  // namespace rushes
