// What `FindChunks` and `QueryDataset` ask for, as one value.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "rushes/chunk/entity_path.h"

namespace rerun::cloud::v1alpha1 {
class FindChunksRequest;
class QueryDatasetRequest;
}  // namespace rerun::cloud::v1alpha1

namespace rushes::wire {

// Which chunks of a dataset are wanted. A plain value; see docs/protocol.md, "Finding chunks".
struct ChunkQuery {
  enum class Mode {
    kStatic,   // static chunks
    kRange,    // chunks with `timeline` that overlap [start, end], and static ones; without any bound: every chunk
    kSamples,  // per segment, chunks that overlap one of its values, and static ones
  };
  struct Entity {
    EntityPath path;
    std::optional<std::vector<std::string>> components;  // nullopt: all
  };

  Mode mode = Mode::kRange;
  std::optional<std::vector<std::string>> segments;  // nullopt: all. Unused in mode kSamples.
  std::optional<std::vector<Entity>> entities;       // nullopt: all
  std::string timeline;                              // empty: none (mode kStatic, or a QueryDataset for everything)
  std::optional<int64_t> start;                      // inclusive
  std::optional<int64_t> end;                        // inclusive
  bool latest_at = false;                            // also what a look-up of the latest value at `start` or each sample needs
  std::map<std::string, std::vector<int64_t>> samples;
  // Chunks that have none of their entity's `components` are not wanted. Not part of the message: a header asks for it.
  bool narrow_components = false;
  // Answers may carry URLs of storage; our server never gives any.
  bool direct_urls = false;
  // QueryDataset only: the projection, which may name one `{timeline}:start`.
  std::vector<std::string> columns;

  bool is_unbounded() const { return mode == Mode::kRange && !start && !end; }
};

// Checks everything that needs no dataset. Invalid: a missing part, an unknown number, `end` before `start`, INT64_MIN as a time, filling
// without `start`, an entity or segment twice, an empty component or timeline name, a path that does not parse. NotImplemented, after
// those: filling from later values.
arrow::Result<ChunkQuery> ParseFindChunks(const rerun::cloud::v1alpha1::FindChunksRequest& request);
// The same for the older call. `fuzzy_descriptors` with `select_all_entity_paths` gives all entities (more than asked, which is legal).
arrow::Result<ChunkQuery> ParseQueryDataset(const rerun::cloud::v1alpha1::QueryDatasetRequest& request);

void ToProto(const ChunkQuery& query, rerun::cloud::v1alpha1::FindChunksRequest* out);
// May ask for more than `query`: sampling always fills there, and mode kSamples without fill cannot be said. A start column is asked for.
void ToProto(const ChunkQuery& query, rerun::cloud::v1alpha1::QueryDatasetRequest* out);

}  // namespace rushes::wire
