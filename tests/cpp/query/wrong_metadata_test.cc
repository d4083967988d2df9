// What a source says of a chunk's components decides what is read of it. If that is wrong, as in a recording with a wrong footer, a scan
// may give rows too many, which are empty; never other values, and none less.
#include <gtest/gtest.h>

#include "arrow/table.h"
#include "rrd/test_chunks.h"
#include "rushes/query/query.h"
#include "rushes/testing/memory_chunk_source.h"

namespace rushes {
namespace {

// Says that every component has a value in every row.
class BoastfulSource final : public ChunkSource {
 public:
  explicit BoastfulSource(std::shared_ptr<MemoryChunkSource> source) : source_(std::move(source)) {}
  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override { return source_->GetSchema(); }
  arrow::Result<SegmentIds> ListSegments() override { return source_->ListSegments(); }
  arrow::Result<std::vector<IndexRange>> GetIndexRanges(const std::string& timeline) override { return source_->GetIndexRanges(timeline); }
  arrow::Result<std::vector<SegmentChunks>> FindChunks(const ChunkSelection& selection) override { return source_->FindChunks(selection); }
  std::optional<std::vector<ChunkComponent>> ComponentsOf(const SegmentChunks& segment, uint32_t chunk) override {
    auto components = source_->ComponentsOf(segment, chunk);
    for (ChunkComponent& component : *components) component.num_rows = segment.chunks[chunk].num_rows;
    return components;
  }
  arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                       std::span<const ComponentList> values) override {
    return source_->FetchChunks(segment, chunks, values);
  }

 private:
  const std::shared_ptr<MemoryChunkSource> source_;
};

std::shared_ptr<arrow::Table> Read(const std::shared_ptr<ChunkSource>& source, bool fill) {
  Query query;
  query.index = "frame";
  query.fill_latest_at = fill;
  ScanOptions options;
  options.min_partial_bytes = 0;
  const auto prepared = PreparedQuery::Make(source, query).ValueOrDie();
  const auto reader = prepared->Scan(std::vector<std::string>{"frame", "/a:x"}, std::nullopt, options).ValueOrDie();
  return reader->ToTable().ValueOrDie();
}

TEST(WrongMetadata, GivesEmptyRowsAtWorst) {
  const std::vector<Timeline> frame = {{"frame", TimeType::kSequence}};
  // At 2 there is `y` alone, which is not asked for; at 3 there is nothing.
  const auto chunk = TestChunk(1, "/a", frame, {{1, {1}, {{1}}, {{10}}}, {2, {2}, {}, {{20}}}, {3, {3}, {}, {}}, {4, {4}, {{4}}, {{40}}}},
                               /*with_y=*/true);
  const auto honest = MemoryChunkSource::Make({{"s", {{"base", {chunk}}}}}).ValueOrDie();
  const auto boastful = std::make_shared<BoastfulSource>(honest);
  for (const bool fill : {false, true}) {
    const auto right = Read(honest, fill), wrong = Read(boastful, fill);
    std::map<int64_t, std::string> cells;
    for (int64_t row = 0; row < wrong->num_rows(); ++row) {
      const auto time = std::static_pointer_cast<arrow::Int64Scalar>(wrong->column(0)->GetScalar(row).ValueOrDie())->value;
      EXPECT_TRUE(cells.emplace(time, wrong->column(1)->GetScalar(row).ValueOrDie()->ToString()).second) << "each time once";
    }
    for (int64_t row = 0; row < right->num_rows(); ++row) {
      const auto time = std::static_pointer_cast<arrow::Int64Scalar>(right->column(0)->GetScalar(row).ValueOrDie())->value;
      EXPECT_EQ(cells.at(time), right->column(1)->GetScalar(row).ValueOrDie()->ToString());
      cells.erase(time);
    }
    for (const auto& [time, cell] : cells) {
      EXPECT_TRUE(time == 2 || time == 3) << time;
      EXPECT_EQ(cell, fill ? right->column(1)->GetScalar(0).ValueOrDie()->ToString() : "null") << time;
    }
    EXPECT_GT(cells.size(), 0) << "or this tests nothing";
  }
}

}  // namespace
}  // namespace rushes
