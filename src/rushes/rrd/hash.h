// Hashes of the format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rushes::rrd {

// 32 bytes.
std::string Sha256(std::string_view bytes);
uint32_t Xxh32(std::string_view bytes, uint32_t seed);
uint64_t Xxh64(std::string_view bytes, uint64_t seed);

}  // namespace rushes::rrd
