// Text that is the same for many rows, such as the ids of segments.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "arrow/array/array_binary.h"
#include "arrow/result.h"

namespace rushes {

struct TextRun {
  std::string_view text;
  int64_t num_rows = 0;
};

// A utf8 array without nulls. CapacityError: the text is longer than 32-bit offsets can address.
arrow::Result<std::shared_ptr<arrow::StringArray>> RepeatTexts(std::span<const TextRun> runs);

}  // namespace rushes
