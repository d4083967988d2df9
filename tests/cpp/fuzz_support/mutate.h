// Damage to bytes, for tests that feed it to decoders; the same seed gives the same damage.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rushes {

using FuzzRandom = std::mt19937_64;

// A number in [0, below).
inline size_t Below(FuzzRandom& random, size_t below) { return below == 0 ? 0 : random() % below; }

// Some changes of one to eight kinds: bits, bytes, numbers at the ends of their range, pieces cut, doubled, moved or taken from `other`.
inline std::string Mutate(std::string bytes, std::string_view other, FuzzRandom& random) {
  static constexpr int64_t kNumbers[] = {0,   1,     -1,     2,          7,           8,          16,        63,        64,      127,
                                         128, 32767, -32768, 2147483647, -2147483648, 4294967295, INT64_MAX, INT64_MIN, 1 << 20, 1 << 30};
  const size_t changes = 1 + Below(random, 1 << Below(random, 4));
  for (size_t i = 0; i < changes; ++i) {
    if (bytes.empty()) bytes.push_back(static_cast<char>(random()));
    const size_t at = Below(random, bytes.size());
    switch (Below(random, 9)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(random, 8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
      case 3: {  // a number of 2, 4 or 8 bytes, mostly where one lies
        const size_t width = size_t{2} << Below(random, 3);
        const size_t to = Below(random, 4) == 0 ? at : at / width * width;
        const uint64_t number = static_cast<uint64_t>(kNumbers[Below(random, std::size(kNumbers))]) + Below(random, 3) - 1;
        if (to + width <= bytes.size()) std::memcpy(bytes.data() + to, &number, width);
        break;
      }
      case 4:
        bytes.resize(at);
        break;
      case 5:
        bytes.erase(at, 1 + Below(random, 32));
        break;
      case 6:
        bytes.insert(at, bytes.substr(Below(random, bytes.size()), Below(random, 64)));
        break;
      case 7: {
        const std::string piece(other.substr(Below(random, other.size()), Below(random, 256)));
        bytes.replace(at, std::min(piece.size(), bytes.size() - at), piece);
        break;
      }
      default: {
        const size_t from = Below(random, bytes.size());
        const size_t size = std::min(Below(random, 64), bytes.size() - std::max(at, from));
        std::memmove(bytes.data() + at, bytes.data() + from, size);
      }
    }
  }
  return bytes;
}

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The contents of the files of a folder with this extension, by name.
inline std::vector<std::string> ReadCorpus(const std::filesystem::path& folder, std::string_view extension) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == extension) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> out;
  for (const auto& path : paths) out.push_back(ReadFile(path));
  return out;
}

// How long a fuzz test goes on: RUSHES_FUZZ_SECONDS, else `rounds` rounds. RUSHES_FUZZ_SEED is where it starts (default 0); round n damages
// with seed + n, so that a round can be run again by itself.
class FuzzRounds {
 public:
  explicit FuzzRounds(uint64_t rounds) : rounds_(rounds), start_(std::chrono::steady_clock::now()) {
    if (const char* text = std::getenv("RUSHES_FUZZ_SECONDS")) seconds_ = std::atof(text);
    if (const char* text = std::getenv("RUSHES_FUZZ_SEED")) seed_ = std::strtoull(text, nullptr, 10);
  }

  bool Next() {
    ++done_;
    if (seconds_ <= 0) return done_ <= rounds_;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count() < seconds_;
  }
  uint64_t seed() const { return seed_ + done_ - 1; }
  uint64_t done() const { return done_ - 1; }

 private:
  uint64_t rounds_;
  double seconds_ = 0;
  uint64_t seed_ = 0;
  uint64_t done_ = 0;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace rushes
