// The engine against the naive query, on random datasets. RUSHES_RANDOM_STORES sets how many; RUSHES_RANDOM_SEED where to begin.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "arrow/table.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/chunk/chunk_joiner.h"
#include "rushes/query/query.h"
#include "rushes/testing/naive_query.h"
#include "rushes/testing/random_store.h"

namespace rushes {
namespace {

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoll(value);
}

// A source that finds chunks by twos and threes, whether they follow each other or not, and joins them when they are fetched.
class JoiningSource final : public ChunkSource {
 public:
  explicit JoiningSource(std::shared_ptr<ChunkSource> source) : source_(std::move(source)) {}

  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override { return source_->GetSchema(); }
  arrow::Result<SegmentIds> ListSegments() override { return source_->ListSegments(); }
  arrow::Result<std::vector<IndexRange>> GetIndexRanges(const std::string& timeline) override { return source_->GetIndexRanges(timeline); }

  arrow::Result<std::vector<SegmentChunks>> FindChunks(const ChunkSelection& selection) override {
    ARROW_ASSIGN_OR_RAISE(auto found, source_->FindChunks(selection));
    for (SegmentChunks& segment : found) {
      auto groups = std::make_shared<Groups>();
      groups->all = segment;
      std::vector<ChunkInfo> infos;
      for (uint32_t i = 0; i < segment.chunks.size(); ++i) {
        const ChunkInfo& chunk = segment.chunks[i];
        const uint32_t most = 2 + i % 2;
        if (chunk.byte_size <= selection.max_joined_bytes && !chunk.is_static && !infos.empty() && !infos.back().is_static &&
            infos.back().entity == chunk.entity && infos.back().has_timeline == chunk.has_timeline && infos.back().num_chunks < most &&
            infos.back().byte_size <= selection.max_joined_bytes) {
          ChunkInfo& joined = infos.back();
          joined.start = std::min(joined.start, chunk.start);
          joined.end = std::max(joined.end, chunk.end);
          joined.num_rows = joined.num_rows < 0 || chunk.num_rows < 0 ? -1 : joined.num_rows + chunk.num_rows;
          joined.byte_size += chunk.byte_size;
          ++joined.num_chunks;
          groups->members.back().push_back(i);
        } else {
          infos.push_back(chunk);
          groups->members.push_back({i});
        }
      }
      segment.chunks = std::move(infos);
      segment.state = std::move(groups);
    }
    return found;
  }

  // Of several, nothing.
  std::optional<std::vector<ChunkComponent>> ComponentsOf(const SegmentChunks& segment, uint32_t chunk) override {
    const auto& groups = *static_cast<const Groups*>(segment.state.get());
    if (groups.members[chunk].size() > 1) return std::nullopt;
    return source_->ComponentsOf(groups.all, groups.members[chunk][0]);
  }

  arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                       std::span<const ComponentList> values) override {
    const auto& groups = *static_cast<const Groups*>(segment.state.get());
    std::vector<FetchedChunk> out;
    for (uint32_t request = 0; request < chunks.size(); ++request) {
      const auto& members = groups.members[chunks[request]];
      const std::vector<ComponentList> wanted(members.size(), values.empty() ? nullptr : values[request]);
      ARROW_ASSIGN_OR_RAISE(const auto fetched, source_->FetchChunks(groups.all, members, wanted));
      ChunkJoiner joiner(8);
      bool fits = members.size() > 1;
      for (size_t i = 0; fits && i < fetched.size(); ++i) {
        ARROW_ASSIGN_OR_RAISE(const auto payload, EncodeChunk(*fetched[i].chunk));
        ARROW_ASSIGN_OR_RAISE(fits, joiner.Add(fetched[i].chunk->id(), std::string_view(*payload)));
      }
      if (fits) {
        ARROW_ASSIGN_OR_RAISE(auto joined, joiner.Finish());
        num_joined += members.size();
        out.push_back({std::move(joined), request});
      } else {
        num_apart += members.size();
        for (const FetchedChunk& member : fetched) out.push_back({member.chunk, request});
      }
    }
    return out;
  }

  std::atomic<size_t> num_joined = 0, num_apart = 0;

 private:
  struct Groups {
    SegmentChunks all;
    std::vector<std::vector<uint32_t>> members;
  };
  const std::shared_ptr<ChunkSource> source_;
};

Answers AnswersOf(int64_t seed) { return std::array{Answers::kExact, Answers::kGenerous, Answers::kRemote}[static_cast<size_t>(seed) % 3]; }

// The same data in smaller chunks.
std::vector<MemorySegment> Split(const std::vector<MemorySegment>& segments) {
  std::vector<MemorySegment> out = segments;
  for (MemorySegment& segment : out) {
    for (auto& [name, chunks] : segment.layers) {
      std::vector<ChunkPtr> parts;
      for (const ChunkPtr& chunk : chunks) {
        const auto batch = chunk->ToRecordBatch();
        const int64_t step = chunk->is_static() ? chunk->num_rows() : std::max<int64_t>(1, chunk->num_rows() / 3);
        for (int64_t row = 0; row < chunk->num_rows(); row += step) {
          const ChunkId id{chunk->id().time_ns + 1 + static_cast<uint64_t>(row), chunk->id().counter};
          parts.push_back(Chunk::Make(id, chunk->schema_ptr(), batch->Slice(row, step)).ValueOrDie());
        }
      }
      chunks = std::move(parts);
    }
  }
  return out;
}

// What differs, or nothing.
std::string Compare(const RandomRequest& request, const std::vector<MemorySegment>& segments, const std::shared_ptr<ChunkSource>& source) {
  auto expected = NaiveQuery(segments, request.query, request.columns, request.filter);
  if (!expected.ok()) return "naive query: " + expected.status().ToString();
  if (request.options.limit >= 0) *expected = (*expected)->Slice(0, std::min(request.options.limit, (*expected)->num_rows()));
  const auto prepared = PreparedQuery::Make(source, request.query);
  if (!prepared.ok()) return prepared.status().ToString();
  const auto reader = (*prepared)->Scan(request.columns, request.filter, request.options);
  if (!reader.ok()) return reader.status().ToString();
  arrow::RecordBatchVector batches;
  int64_t rows = 0;
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    if (const auto status = (*reader)->ReadNext(&batch); !status.ok()) return status.ToString();
    if (batch == nullptr) break;
    if (batch->num_rows() < 1 || batch->num_rows() > request.options.max_batch_rows)
      return "a batch of " + std::to_string(batch->num_rows()) + " rows";
    if (!batch->schema()->Equals(*(*expected)->schema(), /*check_metadata=*/true)) return "schema " + batch->schema()->ToString(true);
    if (const auto status = batch->ValidateFull(); !status.ok()) return status.ToString();
    rows += batch->num_rows();
    batches.push_back(std::move(batch));
  }
  if (rows != (*expected)->num_rows()) {
    return "expected " + std::to_string((*expected)->num_rows()) + " rows, got " + std::to_string(rows) + "\n" + (*expected)->ToString();
  }
  if ((*expected)->num_columns() == 0) return "";
  const auto table = arrow::Table::FromRecordBatches((*reader)->schema(), batches);
  if (!table.ok()) return table.status().ToString();
  for (int c = 0; c < (*table)->num_columns(); ++c) {
    if (!(*table)->column(c)->Equals(*(*expected)->column(c))) {
      return "column " + (*table)->field(c)->name() + "\nexpected " + (*expected)->column(c)->ToString() + "\ngot " +
             (*table)->column(c)->ToString() + "\nexpected table " + (*expected)->ToString() + "\ngot table " + (*table)->ToString();
    }
  }
  return "";
}

void PrintSeeds(int64_t first, int64_t count) {
  std::printf("random stores with the seeds %" PRId64 " to %" PRId64 "\n", first, first + count - 1);
  std::fflush(stdout);
}

// Short segments of one shape take a way of their own (AlignedRows), as long as nothing is asked for that needs the other one.
TEST(Random, ShortSegmentsAgreeWithNaiveQuery) {
  const int64_t count = FromEnvironment("RUSHES_RANDOM_STORES", 20000) / 5;
  const int64_t first = FromEnvironment("RUSHES_RANDOM_SEED", 1);
  PrintSeeds(first, count);
  int64_t served = 0, skipped = 0, ahead = 0, bundled = 0;
  for (int64_t seed = first; seed < first + count; ++seed) {
    std::mt19937 random(static_cast<uint32_t>(seed));
    const std::vector<MemorySegment> segments = AlignedSegments(random);
    const auto source = MemoryChunkSource::Make(segments, AnswersOf(seed));
    if (!source.ok()) {
      ++skipped;
      continue;
    }
    const DatasetSchema schema = *(*source)->GetSchema().ValueOrDie();
    RandomRequest request = RandomRequestFor(schema, segments, random);
    if (seed % 4 != 0) {
      request.query.using_index_values.reset();
      request.query.include_origin_times = request.query.include_row_ids = false;
      request.filter.reset();
      request.options.max_batch_bytes = int64_t{64} << 20;
      request.options.min_partial_bytes = ScanOptions().min_partial_bytes;
      if (request.columns) {
        const auto known = MakeQuerySchema(schema, request.query).ValueOrDie();
        std::erase_if(*request.columns, [&](const std::string& name) { return known->GetFieldIndex(name) < 0; });
      }
      ++served;
    }
    const std::string difference = Compare(request, segments, *source);
    ASSERT_EQ(difference, "") << "seed " << seed << ": " << request.ToString();
    ahead += (*source)->num_ahead();
    bundled += (*source)->num_bundled();
  }
  EXPECT_LT(skipped, count / 10);
  EXPECT_GT(served, count / 2);
  EXPECT_GT(ahead, count / 10) << "segments are fetched together over a network";
  EXPECT_GT(bundled, count / 10) << "segments are read as one";
}

TEST(Random, EngineAgreesWithNaiveQuery) {
  const int64_t count = FromEnvironment("RUSHES_RANDOM_STORES", 20000);
  const int64_t first = FromEnvironment("RUSHES_RANDOM_SEED", 1);
  PrintSeeds(first, count);
  int64_t rows_seen = 0, skipped = 0;
  size_t joined = 0, apart = 0;
  for (int64_t seed = first; seed < first + count; ++seed) {
    std::mt19937 random(static_cast<uint32_t>(seed));
    const std::vector<MemorySegment> segments = RandomSegments(random);
    const bool joins = seed % 3 == 0;
    const auto source = MemoryChunkSource::Make(joins ? Split(segments) : segments, AnswersOf(seed));
    if (!source.ok()) {
      ++skipped;  // layers whose types do not unite
      continue;
    }
    const DatasetSchema schema = *(*source)->GetSchema().ValueOrDie();
    const auto joining = joins ? std::make_shared<JoiningSource>(*source) : nullptr;
    for (int repeat = 0; repeat < 3; ++repeat) {
      const RandomRequest request = RandomRequestFor(schema, segments, random);
      const std::string difference = Compare(request, segments, joining != nullptr ? std::shared_ptr<ChunkSource>(joining) : *source);
      ASSERT_EQ(difference, "") << "seed " << seed << " repeat " << repeat << ": " << request.ToString();
      ++rows_seen;
    }
    if (joining != nullptr) {
      joined += joining->num_joined;
      apart += joining->num_apart;
    }
  }
  EXPECT_GT(joined, static_cast<size_t>(count) / 10);
  EXPECT_GT(apart, static_cast<size_t>(count) / 20);
  EXPECT_LT(skipped, count / 10);
  EXPECT_GT(rows_seen, count);
}

}  // namespace
}  // namespace rushes
