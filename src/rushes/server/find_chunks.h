// `FindChunks` and `QueryDataset`: rows about chunks, from indexes alone.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/catalog/catalog_state.h"
#include "rushes/store/chunk_selection.h"
#include "rushes/wire/chunk_query.h"
#include "rushes/wire/layouts.h"

namespace rushes {

// The answer to one query, batch by batch: at least one, all with one schema. Works on the dataset as it was at the start. Not thread safe.
class ChunkFinder {
 public:
  // Invalid for a timeline that a dataset with data does not have.
  static arrow::Result<std::unique_ptr<ChunkFinder>> Make(std::shared_ptr<const DatasetContent> content, wire::ChunkQuery query,
                                                          bool find_chunks);
  // nullptr: no more.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next();

 private:
  explicit ChunkFinder(wire::ChunkRowsLayout layout) : layout_(layout), rows_(std::move(layout)) {}
  arrow::Status AppendSegment(const Segment& segment);

  std::shared_ptr<const DatasetContent> content_;
  SegmentSelection selection_;
  // Entities of which only some components matter, if those are to decide.
  std::unordered_map<EntityPath, std::set<std::string, std::less<>>> narrowed_;
  std::string timeline_;                                                   // of `chunk_timeline_start`; empty: none
  std::vector<std::pair<const Segment*, std::vector<int64_t>>> segments_;  // and their samples
  bool with_samples_ = false;
  size_t next_ = 0;
  bool sent_any_ = false;
  wire::ChunkRowsLayout layout_;
  wire::ChunkRowsBuilder rows_;
};

}  // namespace rushes
