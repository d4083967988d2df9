#include "rushes/chunk/tuid.h"

#include <array>
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

namespace {

// The value of each hex digit; 0xFF: it is none.
constexpr std::array<uint8_t, 256> kDigits = [] {
  std::array<uint8_t, 256> digits{};
  digits.fill(0xFF);
  for (uint8_t i = 0; i < 10; ++i) digits['0' + i] = i;
  for (uint8_t i = 0; i < 6; ++i) digits['a' + i] = digits['A' + i] = static_cast<uint8_t>(10 + i);
  return digits;
}();

}  // namespace

arrow::Result<Tuid> Tuid::FromHex(std::string_view hex) {
  if (hex.size() != 32) {
    return arrow::Status::Invalid("an id has 32 hex digits, not ", hex.size(), " characters: \"", hex.substr(0, 64), "\"");
  }
  // No branch depends on a digit: they are as good as random, and an id is read for every chunk.
  uint64_t words[2] = {0, 0};
  uint8_t all = 0;
  for (size_t i = 0; i < 32; ++i) {
    const uint8_t digit = kDigits[static_cast<uint8_t>(hex[i])];
    all |= digit;
    words[i / 16] = (words[i / 16] << 4) | (digit & 15);
  }
  if (all > 15) return arrow::Status::Invalid("an id has 32 hex digits: \"", hex, "\"");
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
