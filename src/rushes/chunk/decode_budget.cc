#include "rushes/chunk/decode_budget.h"

#include <algorithm>
#include <limits>
#include <string>

#include "arrow/status.h"

namespace rushes {
namespace {

constexpr int64_t kFreeBytes = int64_t{64} << 20;
constexpr int64_t kExpansion = 255;

thread_local DecodeBudget* current = nullptr;

int64_t LimitOf(int64_t input_bytes) {
  const int64_t most = std::numeric_limits<int64_t>::max();
  return input_bytes > (most - kFreeBytes) / kExpansion ? most : kFreeBytes + kExpansion * input_bytes;
}

}  // namespace

class DecodeBudgetPool final : public arrow::MemoryPool {
 public:
  using MemoryPool::Allocate;
  using MemoryPool::Free;
  using MemoryPool::Reallocate;

  arrow::Status Allocate(int64_t size, int64_t alignment, uint8_t** out) override {
    ARROW_RETURN_NOT_OK(Take(size));
    return wrapped_->Allocate(size, alignment, out);
  }
  arrow::Status Reallocate(int64_t old_size, int64_t new_size, int64_t alignment, uint8_t** ptr) override {
    ARROW_RETURN_NOT_OK(Take(std::max<int64_t>(0, new_size - old_size)));
    return wrapped_->Reallocate(old_size, new_size, alignment, ptr);
  }
  void Free(uint8_t* buffer, int64_t size, int64_t alignment) override { wrapped_->Free(buffer, size, alignment); }

  int64_t bytes_allocated() const override { return wrapped_->bytes_allocated(); }
  int64_t max_memory() const override { return wrapped_->max_memory(); }
  int64_t total_bytes_allocated() const override { return wrapped_->total_bytes_allocated(); }
  int64_t num_allocations() const override { return wrapped_->num_allocations(); }
  std::string backend_name() const override { return wrapped_->backend_name(); }

 private:
  static arrow::Status Take(int64_t size) {
    DecodeBudget* budget = current;
    if (budget == nullptr) return arrow::Status::OK();
    if (size > budget->limit_bytes_ - budget->used_bytes_) {
      return arrow::Status::OutOfMemory("decoding ", budget->input_bytes_, " bytes would take more than ", budget->limit_bytes_, " bytes");
    }
    budget->used_bytes_ += size;
    return arrow::Status::OK();
  }

  arrow::MemoryPool* const wrapped_ = arrow::default_memory_pool();
};

DecodeBudget::DecodeBudget(int64_t input_bytes) : input_bytes_(input_bytes), limit_bytes_(LimitOf(input_bytes)), outer_(current) {
  current = this;
}

DecodeBudget::~DecodeBudget() { current = outer_; }

arrow::MemoryPool* DecodeBudget::pool() {
  static auto* const pool = new DecodeBudgetPool();  // never destroyed: buffers outlive everything
  return pool;
}

arrow::ipc::IpcReadOptions DecodeOptions() {
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  options.memory_pool = DecodeBudget::pool();
  options.ensure_alignment = arrow::ipc::Alignment::kDataTypeSpecificAlignment;
  return options;
}

}  // namespace rushes
