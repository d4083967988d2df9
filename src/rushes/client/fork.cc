#include "rushes/client/fork.h"

#include <pthread.h>

#include <atomic>

#include "rushes/wire/status.h"

namespace rushes::client {
namespace {

std::atomic<uint64_t> generation{0};

void InChild() { generation.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

uint64_t ForkGeneration() {
  static const int kRegistered = pthread_atfork(nullptr, nullptr, InChild);
  static_cast<void>(kRegistered);
  return generation.load(std::memory_order_relaxed);
}

arrow::Status CheckFork(uint64_t opened_in) {
  if (ForkGeneration() == opened_in) return arrow::Status::OK();
  return wire::MakeStatus(wire::RpcCode::kUnavailable,
                          "this connection was opened before fork(); open connections in the child only, or use another start method "
                          "than fork");
}

}  // namespace rushes::client
