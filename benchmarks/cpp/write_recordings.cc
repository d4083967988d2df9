// rushes_bench_writer: writes recordings to measure with, a hundred times as fast as logging them.
//
//   rushes_bench_writer --kind scalars --segments 10 --rows 1000 --columns 4 --chunk-rows 100 --timelines 1 FOLDER
//
// Makes `FOLDER/segment_00000.rrd` and so on. All rows of `scalars` and `images` are at frames 0, 1, 2 …; the signals of `interleaved`
// have rates and phases of their own, so that hardly two rows meet.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "arrow/compute/initialize.h"
#include "rushes/rrd/writer.h"
#include "sample_chunks.h"

namespace rushes::benchmarks {
namespace {

struct Recipe {
  std::string kind = "scalars";
  std::string folder;
  int64_t segments = 1;
  int64_t rows = 1000;
  int columns = 1;
  int64_t chunk_rows = 1000;
  int timelines = 1;
  int64_t blob_bytes = 30'000;
};

// The frames of a column, ascending.
std::vector<int64_t> FramesOf(const Recipe& recipe, int column, std::mt19937_64& random) {
  std::vector<int64_t> frames(static_cast<size_t>(recipe.rows));
  if (recipe.kind != "interleaved") {
    std::iota(frames.begin(), frames.end(), int64_t{0});
    return frames;
  }
  const int64_t period = 700 + 17 * column;
  for (int64_t i = 0; i < recipe.rows; ++i) {
    frames[static_cast<size_t>(i)] = 3 * column + i * period + static_cast<int64_t>(random() % 5);
  }
  return frames;
}

arrow::Status WriteSegment(const Recipe& recipe, int64_t number) {
  char name[64];
  std::snprintf(name, sizeof(name), "segment_%05lld", static_cast<long long>(number));
  std::mt19937_64 random(static_cast<uint64_t>(number) + 1);
  const StoreId store{StoreKind::kRecording, "rushes_bench", name};
  const auto timelines = SampleTimelines(recipe.timelines);
  const Content content = recipe.kind == "images" ? Content::kImages : Content::kScalars;

  // As a robot writes them: by the time of their first row.
  struct Piece {
    int64_t start;
    int column;
    int64_t begin;
  };
  std::vector<std::vector<int64_t>> frames;
  std::vector<Piece> pieces;
  for (int column = 0; column < recipe.columns; ++column) {
    frames.push_back(FramesOf(recipe, column, random));
    for (int64_t begin = 0; begin < recipe.rows; begin += recipe.chunk_rows) {
      pieces.push_back({frames.back()[static_cast<size_t>(begin)], column, begin});
    }
  }
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.start < b.start; });

  ARROW_ASSIGN_OR_RAISE(const auto writer, rrd::Writer::Open(recipe.folder + "/" + name + ".rrd"));
  ARROW_RETURN_NOT_OK(writer->AddStore(store));
  for (const Piece& piece : pieces) {
    char entity[32];
    std::snprintf(entity, sizeof(entity), "/signals/s%04d", piece.column);
    const auto size = static_cast<size_t>(std::min(recipe.chunk_rows, recipe.rows - piece.begin));
    const auto times = std::span<const int64_t>(frames[static_cast<size_t>(piece.column)]).subspan(static_cast<size_t>(piece.begin), size);
    ARROW_ASSIGN_OR_RAISE(const auto chunk, MakeSampleChunk(entity, timelines, times, content, recipe.blob_bytes, random));
    ARROW_RETURN_NOT_OK(writer->Write(store, *chunk));
  }
  return writer->Close();
}

arrow::Status WriteAll(const Recipe& recipe) {
  ARROW_RETURN_NOT_OK(arrow::compute::Initialize());
  std::error_code error;
  std::filesystem::create_directories(recipe.folder, error);
  if (error) return arrow::Status::IOError("cannot make ", recipe.folder, ": ", error.message());
  for (int64_t segment = 0; segment < recipe.segments; ++segment) ARROW_RETURN_NOT_OK(WriteSegment(recipe, segment));
  return arrow::Status::OK();
}

}  // namespace
}  // namespace rushes::benchmarks

int main(int argc, char** argv) {
  rushes::benchmarks::Recipe recipe;
  CLI::App app("Writes recordings to measure with.");
  app.add_option("folder", recipe.folder, "where the recordings go")->required();
  app.add_option("--kind", recipe.kind, "scalars, interleaved or images")->check(CLI::IsMember({"scalars", "interleaved", "images"}));
  app.add_option("--segments", recipe.segments, "how many recordings")->check(CLI::Range(int64_t{1}, int64_t{100'000}));
  app.add_option("--rows", recipe.rows, "rows of each column in each recording")->check(CLI::Range(int64_t{1}, int64_t{100'000'000}));
  app.add_option("--columns", recipe.columns, "columns, each of an entity of its own")->check(CLI::Range(1, 9'999));
  app.add_option("--chunk-rows", recipe.chunk_rows, "rows of a chunk")->check(CLI::Range(int64_t{1}, int64_t{10'000'000}));
  app.add_option("--timelines", recipe.timelines, "timelines of each row")->check(CLI::Range(1, 100));
  app.add_option("--blob-bytes", recipe.blob_bytes, "bytes of an image")->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}));
  CLI11_PARSE(app, argc, argv);
  const arrow::Status status = rushes::benchmarks::WriteAll(recipe);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
  }
  return 0;
}
