// Batches for a table in the sizes that servers take.
#pragma once

#include <memory>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/chunk/catalog_types.h"

namespace rushes {

// The batch in slices of about 64 MiB at most; as it is for an upsert, within whose batches a key may occur only once.
arrow::Result<std::vector<std::shared_ptr<arrow::RecordBatch>>> SplitForWriting(std::shared_ptr<arrow::RecordBatch> batch,
                                                                                TableInsertMode mode);

}  // namespace rushes
