// Small random datasets and queries, made to hit the corners of the rules.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "arrow/compute/expression.h"
#include "rushes/query/query.h"
#include "rushes/testing/memory_chunk_source.h"

namespace rushes {

// One to three segments of one or two layers: chunks that overlap, repeat, are unsorted, lack the index, hold nulls and empty lists,
// structs that differ by a field, static values, flat and recursive clears, properties. Row ids are unique.
std::vector<MemorySegment> RandomSegments(std::mt19937& random);

// Up to forty short segments, of which most were logged at the same times throughout; the others differ from that in one way or another.
std::vector<MemorySegment> AlignedSegments(std::mt19937& random);

struct RandomRequest {
  Query query;
  std::optional<std::vector<std::string>> columns;
  std::optional<arrow::compute::Expression> filter;
  ScanOptions options;
  std::string ToString() const;
};
// A request that fits the schema: the index exists, columns and filters name columns that are there.
RandomRequest RandomRequestFor(const DatasetSchema& schema, const std::vector<MemorySegment>& segments, std::mt19937& random);

}  // namespace rushes
