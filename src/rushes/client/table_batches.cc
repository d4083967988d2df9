#include "rushes/client/table_batches.h"

#include <algorithm>
#include <utility>

#include "arrow/util/byte_size.h"

namespace rushes {
namespace {

constexpr int64_t kMessageBytes = int64_t{64} << 20;

}  // namespace

arrow::Result<std::vector<std::shared_ptr<arrow::RecordBatch>>> SplitForWriting(std::shared_ptr<arrow::RecordBatch> batch,
                                                                                TableInsertMode mode) {
  std::vector<std::shared_ptr<arrow::RecordBatch>> out;
  ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
  if (bytes <= kMessageBytes || mode == TableInsertMode::kReplace || mode == TableInsertMode::kUpdate) {
    out.push_back(std::move(batch));
    return out;
  }
  const int64_t rows = std::max<int64_t>(1, batch->num_rows() / (bytes / kMessageBytes + 1));
  for (int64_t row = 0; row < batch->num_rows(); row += rows) out.push_back(batch->Slice(row, rows));
  return out;
}

}  // namespace rushes
