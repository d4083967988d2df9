// The engine against the naive query, on random datasets. RUSHES_RANDOM_STORES sets how many; RUSHES_RANDOM_SEED where to begin.

#include <gtest/gtest.h>

#include <cstdlib>

#include "arrow/table.h"
#include "rushes/query/query.h"
#include "rushes/testing/naive_query.h"
#include "rushes/testing/random_store.h"

namespace rushes {
namespace {

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoll(value);
}

// What differs, or nothing.
std::string Compare(const RandomRequest& request, const std::vector<MemorySegment>& segments,
                    const std::shared_ptr<MemoryChunkSource>& source) {
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

TEST(Random, EngineAgreesWithNaiveQuery) {
  const int64_t count = FromEnvironment("RUSHES_RANDOM_STORES", 20000);
  const int64_t first = FromEnvironment("RUSHES_RANDOM_SEED", 1);
  int64_t rows_seen = 0, skipped = 0;
  for (int64_t seed = first; seed < first + count; ++seed) {
    std::mt19937 random(static_cast<uint32_t>(seed));
    const std::vector<MemorySegment> segments = RandomSegments(random);
    const auto source = MemoryChunkSource::Make(segments, /*generous=*/seed % 2 == 0);
    if (!source.ok()) {
      ++skipped;  // layers whose types do not unite
      continue;
    }
    const DatasetSchema schema = *(*source)->GetSchema().ValueOrDie();
    for (int repeat = 0; repeat < 3; ++repeat) {
      const RandomRequest request = RandomRequestFor(schema, segments, random);
      const std::string difference = Compare(request, segments, *source);
      ASSERT_EQ(difference, "") << "seed " << seed << " repeat " << repeat << ": " << request.ToString();
      ++rows_seen;
    }
  }
  EXPECT_LT(skipped, count / 10);
  EXPECT_GT(rows_seen, count);
}

}  // namespace
}  // namespace rushes
