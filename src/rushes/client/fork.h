// Detects that this process is a fork of the one that opened a connection.
#pragma once

#include <cstdint>

#include "arrow/status.h"

namespace rushes::client {

// How many forks lie between this process and the one that first called this function; changes in each child. Cheap; thread safe.
uint64_t ForkGeneration();

// gRPC's threads do not survive fork(), and calls on a connection of the parent would wait for them forever. IOError, with the code
// UNAVAILABLE, if `opened_in` is not the current generation.
arrow::Status CheckFork(uint64_t opened_in);

}  // namespace rushes::client
