// Timelines: named axes that rows are placed on.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "arrow/result.h"
#include "arrow/type_fwd.h"

namespace rushes {

// What the int64 values of a timeline count.
enum class TimeType : uint8_t {
  kSequence,   // plain numbers; Arrow Int64
  kDuration,   // nanoseconds; Arrow Duration(ns)
  kTimestamp,  // nanoseconds since the Unix epoch; Arrow Timestamp(ns) without zone
};

// INT64_MIN means "static" in the format and is not a legal time; loading clamps it to kMinTime.
inline constexpr int64_t kMinTime = std::numeric_limits<int64_t>::min() + 1;
inline constexpr int64_t kMaxTime = std::numeric_limits<int64_t>::max();

struct Timeline {
  std::string name;
  TimeType type = TimeType::kSequence;

  friend auto operator<=>(const Timeline&, const Timeline&) = default;
};

// The Arrow type of an index column of this kind.
const std::shared_ptr<arrow::DataType>& ArrowType(TimeType type);
// The inverse of ArrowType; also takes Timestamp and Duration of any unit. TypeError for other types.
arrow::Result<TimeType> TimeTypeFromArrow(const arrow::DataType& type);
// "sequence", "duration", "timestamp".
std::string_view ToString(TimeType type);

}  // namespace rushes
