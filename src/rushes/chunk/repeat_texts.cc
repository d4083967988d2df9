#include "rushes/chunk/repeat_texts.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "arrow/buffer.h"
#include "rushes/chunk/mutex.h"

namespace rushes {
namespace {

// Fills `size` bytes, a multiple of the text's, by copies of what is there already.
void Repeat(std::string_view text, uint8_t* to, int64_t size) {
  constexpr int64_t kMaxCopy = 8 << 10;  // stays in the nearest cache
  if (size == 0) return;
  std::memcpy(to, text.data(), text.size());
  for (int64_t done = static_cast<int64_t>(text.size()), block = done; done < size;) {
    const int64_t count = std::min(block, size - done);
    std::memcpy(to + done, to, static_cast<size_t>(count));
    done += count;
    if (block < kMaxCopy) block = done;
  }
}

// 0, length, 2 * length ...: `rows` + 1 offsets, or more. The last ones are kept: the ids of segments are mostly of one length.
arrow::Result<std::shared_ptr<arrow::Buffer>> EvenOffsets(int32_t length, int64_t rows) {
  struct Kept {
    Mutex mutex;
    int32_t length RUSHES_GUARDED_BY(mutex) = 0;
    std::shared_ptr<arrow::Buffer> offsets RUSHES_GUARDED_BY(mutex);
  };
  constexpr int64_t kMaxKeptRows = 64 << 10;
  static Kept& kept = *new Kept();
  {
    MutexLock lock(kept.mutex);
    if (kept.offsets != nullptr && kept.length == length && kept.offsets->size() >= (rows + 1) * 4) return kept.offsets;
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets, arrow::AllocateBuffer((rows + 1) * 4));
  auto* const to = reinterpret_cast<int32_t*>(offsets->mutable_data());
  for (int64_t i = 0; i <= rows; ++i) to[i] = static_cast<int32_t>(i) * length;
  if (rows <= kMaxKeptRows) {
    MutexLock lock(kept.mutex);
    kept.length = length;
    kept.offsets = offsets;
  }
  return offsets;
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::StringArray>> RepeatTexts(std::span<const TextRun> runs) {
  int64_t rows = 0, bytes = 0;
  for (const TextRun& run : runs) {
    const auto length = static_cast<int64_t>(run.text.size());
    if (length > 0 && run.num_rows > (std::numeric_limits<int32_t>::max() - bytes) / length) {
      return arrow::Status::CapacityError("a text of ", length, " bytes for ", run.num_rows, " rows is too much for one batch");
    }
    rows += run.num_rows;
    bytes += run.num_rows * length;
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> text, arrow::AllocateBuffer(bytes));
  uint8_t* to = text->mutable_data();
  for (const TextRun& run : runs) {
    const int64_t size = run.num_rows * static_cast<int64_t>(run.text.size());
    Repeat(run.text, to, size);
    to += size;
  }
  std::shared_ptr<arrow::Buffer> offsets;
  const bool are_even = std::all_of(runs.begin(), runs.end(), [&](const TextRun& run) { return run.text.size() == runs[0].text.size(); });
  if (are_even) {
    ARROW_ASSIGN_OR_RAISE(offsets, EvenOffsets(runs.empty() ? 0 : static_cast<int32_t>(runs[0].text.size()), rows));
  } else {
    ARROW_ASSIGN_OR_RAISE(offsets, arrow::AllocateBuffer((rows + 1) * 4));
    auto* offset = reinterpret_cast<int32_t*>(offsets->mutable_data());
    int32_t end = 0;
    *offset++ = 0;
    for (const TextRun& run : runs) {
      for (int64_t i = 0; i < run.num_rows; ++i) *offset++ = end += static_cast<int32_t>(run.text.size());
    }
  }
  return std::make_shared<arrow::StringArray>(rows, std::move(offsets), std::move(text));
}

}  // namespace rushes
