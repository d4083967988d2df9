#include "rushes/chunk/tuid.h"

#include <atomic>
#include <chrono>
#include <random>

#include "arrow/status.h"

namespace rushes {

Tuid Tuid::New() {
  // One counter per process, started at random with the top bit clear; the clock never goes back, so ids ascend.
  static std::atomic<uint64_t> counter{[] {
    std::random_device random;
    return ((static_cast<uint64_t>(random()) << 32) | random()) >> 1;
  }()};
  static std::atomic<uint64_t> last_time{0};
  const uint64_t now = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  uint64_t last = last_time.load(std::memory_order_relaxed);
  uint64_t time;
  do {
    time = now > last ? now : last + 1;
  } while (!last_time.compare_exchange_weak(last, time, std::memory_order_relaxed));
  return Tuid{time, counter.fetch_add(1, std::memory_order_relaxed) & 0x7FFFFFFFFFFFFFFFull};
}

arrow::Result<Tuid> Tuid::FromHex(std::string_view hex) {
  if (hex.size() != 32) {
    return arrow::Status::Invalid("an id has 32 hex digits, not ", hex.size(), " characters: \"", hex.substr(0, 64), "\"");
  }
  uint64_t words[2] = {0, 0};
  for (size_t i = 0; i < 32; ++i) {
    const char c = hex[i];
    uint64_t digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint64_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint64_t>(c - 'A' + 10);
    } else {
      return arrow::Status::Invalid("an id has 32 hex digits: \"", hex, "\"");
    }
    words[i / 16] = (words[i / 16] << 4) | digit;
  }
  return Tuid{words[0], words[1]};
}

std::string Tuid::ToHex() const {
  std::string out(32, '0');
  for (int i = 0; i < 16; ++i) {
    out[i] = "0123456789ABCDEF"[(time_ns >> (60 - 4 * i)) & 15];
    out[16 + i] = "0123456789abcdef"[(counter >> (60 - 4 * i)) & 15];
  }
  return out;
}

}  // namespace rushes
