// What nobody who reads recordings from files gets around: opens each file, reads the messages of its chunks, decompresses their payloads,
// and looks at nothing. `make scaling` shows it beside scans of the same files.
//
//   rushes_bench_floor THREADS FOLDER    prints the fastest of several runs, in seconds
#include <fcntl.h>
#include <lz4.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "rushes/rrd/byte_source.h"
#include "rushes/rrd/frame_reader.h"
#include "rushes/rrd/messages.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

constexpr double kMeasureS = 1.0;
constexpr int kMinRuns = 5;

// A message's payload in its file.
struct Payload {
  int64_t offset;
  int64_t size;
  int64_t size_uncompressed;
};

struct File {
  std::string path;
  std::vector<Payload> payloads;
};

arrow::Result<File> Look(const std::string& path) {
  File file{path, {}};
  ARROW_ASSIGN_OR_RAISE(const auto source, OpenByteSource(path));
  rrd::FrameReader frames(source, 0, source->size());
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto frame, frames.Next());
    if (!frame) return file;
    if (frame->kind() != rrd::FrameKind::kArrowMessage) continue;
    ARROW_ASSIGN_OR_RAISE(const auto bytes, frames.ReadPayload(*frame));
    ARROW_ASSIGN_OR_RAISE(const auto message, rrd::ParseArrowMessage(std::string_view(*bytes)));
    if (message.compression != rrd::Compression::kLz4) return arrow::Status::Invalid(path, ": a message without LZ4");
    const int64_t offset = frame->payload_offset + (message.payload.data() - reinterpret_cast<const char*>(bytes->data()));
    file.payloads.push_back({offset, static_cast<int64_t>(message.payload.size()), static_cast<int64_t>(message.size_uncompressed)});
  }
}

bool Read(const File& file, std::vector<char>* bytes, std::vector<char>* payload) {
  const int fd = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  // As much at once as a reader holds that keeps its memory small.
  constexpr int64_t kMaxRead = int64_t{8} << 20;
  bool is_good = true;
  for (size_t first = 0; is_good && first < file.payloads.size();) {
    const int64_t begin = file.payloads[first].offset;
    size_t last = first;
    while (last < file.payloads.size() && (last == first || file.payloads[last].offset + file.payloads[last].size - begin <= kMaxRead)) {
      ++last;
    }
    const int64_t size = file.payloads[last - 1].offset + file.payloads[last - 1].size - begin;
    bytes->resize(std::max(bytes->size(), static_cast<size_t>(size)));
    is_good = ::pread(fd, bytes->data(), static_cast<size_t>(size), begin) == size;
    for (; is_good && first < last; ++first) {
      const Payload& message = file.payloads[first];
      payload->resize(std::max(payload->size(), static_cast<size_t>(message.size_uncompressed)));
      const int done = LZ4_decompress_safe(bytes->data() + (message.offset - begin), payload->data(), static_cast<int>(message.size),
                                           static_cast<int>(message.size_uncompressed));
      is_good = done == message.size_uncompressed;
    }
  }
  ::close(fd);
  return is_good;
}

// Large files are shared by the threads, message by message; it is simplest to look at each part as a file.
std::vector<File> Split(const std::vector<File>& files) {
  constexpr size_t kMaxMessages = 16;
  std::vector<File> parts;
  for (const File& file : files) {
    for (size_t i = 0; i < file.payloads.size(); i += kMaxMessages) {
      File part{file.path, {}};
      part.payloads.assign(file.payloads.begin() + static_cast<int64_t>(i),
                           file.payloads.begin() + static_cast<int64_t>(std::min(file.payloads.size(), i + kMaxMessages)));
      parts.push_back(std::move(part));
    }
  }
  return parts;
}

double Run(const std::vector<File>& files, int num_threads, bool* is_good) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < num_threads; ++t) {
    threads.emplace_back([&] {
      thread_local std::vector<char> bytes, payload;
      const size_t at_once = std::clamp<size_t>(files.size() / (static_cast<size_t>(num_threads) * 16), 1, 16);
      for (size_t at = next.fetch_add(at_once); at < files.size(); at = next.fetch_add(at_once)) {
        for (size_t i = at; i < std::min(files.size(), at + at_once); ++i) {
          if (!Read(files[i], &bytes, &payload)) failed = true;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  *is_good &= !failed;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s THREADS FOLDER\n", argv[0]);
    return 2;
  }
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[2])) {
    if (entry.path().extension() == ".rrd") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<File> files;
  for (const std::string& path : paths) {
    auto file = Look(path);
    if (!file.ok()) {
      std::fprintf(stderr, "%s\n", file.status().ToString().c_str());
      return 1;
    }
    files.push_back(std::move(*file));
  }
  files = Split(files);
  double best = 1e9, spent = 0;
  bool is_good = true;
  for (int run = 0; run < kMinRuns || spent < kMeasureS; ++run) {
    const double seconds = Run(files, std::atoi(argv[1]), &is_good);
    best = std::min(best, seconds);
    spent += seconds;
  }
  if (!is_good) {
    std::fprintf(stderr, "a file could not be read\n");
    return 1;
  }
  std::printf("%.9f\n", best);
  return 0;
}

}  // namespace
}  // namespace rushes

int main(int argc, char** argv) { return rushes::Main(argc, argv); }
