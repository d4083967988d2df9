// The rules of docs/query.md as slow and obvious code: the judge of the engine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arrow/compute/expression.h"
#include "arrow/result.h"
#include "arrow/table.h"
#include "rushes/query/query.h"
#include "rushes/testing/memory_chunk_source.h"

namespace rushes {

// The whole result of a query over `segments`, filtered, then projected to `columns`. Looks at every cell of every chunk for every row;
// shares no code with the engine but the values of chunk/ and the query itself.
arrow::Result<std::shared_ptr<arrow::Table>> NaiveQuery(const std::vector<MemorySegment>& segments, const Query& query,
                                                        const std::optional<std::vector<std::string>>& columns = std::nullopt,
                                                        const std::optional<arrow::compute::Expression>& filter = std::nullopt);

}  // namespace rushes
