// Chunks as robots log them, made quickly: for the programs that write recordings to measure with, and for the micro-benchmarks.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "arrow/result.h"
#include "rushes/chunk/chunk.h"

namespace rushes::benchmarks {

// What the rows of a chunk hold besides their times.
enum class Content {
  kScalars,  // one float64 a row, random, as `Scalars:scalars`
  kText,     // one text of 40 to 60 bytes a row, as `TextLog:text`
  kImages,   // one blob a row, of random bytes that do not compress, as `EncodedImage:blob`
};

// A chunk of `entity` with a row at each of `times` (on every timeline) and new ids. `blob_bytes` is the size of an image.
//
// Invalid if the times are fewer than one or the values exceed what 32-bit offsets can address.
arrow::Result<ChunkPtr> MakeSampleChunk(const std::string& entity, const std::vector<Timeline>& timelines, std::span<const int64_t> times,
                                        Content content, int64_t blob_bytes, std::mt19937_64& random);

// `frame`, then `clock_1`, `clock_2` … up to `count` timelines.
std::vector<Timeline> SampleTimelines(int count);

}  // namespace rushes::benchmarks
