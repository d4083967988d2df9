#include "rushes/chunk/timeline.h"

#include "arrow/status.h"
#include "arrow/type.h"

namespace rushes {

const std::shared_ptr<arrow::DataType>& ArrowType(TimeType type) {
  static const std::shared_ptr<arrow::DataType> kTypes[] = {arrow::int64(), arrow::duration(arrow::TimeUnit::NANO),
                                                            arrow::timestamp(arrow::TimeUnit::NANO)};
  return kTypes[static_cast<int>(type)];
}

arrow::Result<TimeType> TimeTypeFromArrow(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::INT64:
      return TimeType::kSequence;
    case arrow::Type::DURATION:
      return TimeType::kDuration;
    case arrow::Type::TIMESTAMP:
      return TimeType::kTimestamp;
    default:
      return arrow::Status::TypeError("an index column is int64, duration[ns] or timestamp[ns], not ", type.ToString());
  }
}

std::string_view ToString(TimeType type) {
  static constexpr std::string_view kNames[] = {"sequence", "duration", "timestamp"};
  return kNames[static_cast<int>(type)];
}

}  // namespace rushes
