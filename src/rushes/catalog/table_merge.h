// Rows of a table replaced by key.
#pragma once

#include <memory>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/status.h"
#include "rushes/catalog/table_storage.h"

namespace rushes {

// Rows that replace those of the same key, as one writer gave them. Batches are applied in order.
struct TableUpsert {
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  bool inserts = true;  // rows whose key the table does not have are added at its end; else dropped
};

// Checks one batch for an upsert: it has all key columns, no unknown one and fitting types; no key occurs twice in it. Gives the batch
// with the table's types. Invalid names the column or key; UnknownError when the table has no key column.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> CheckUpsert(const arrow::RecordBatch& batch,
                                                               const std::shared_ptr<arrow::Schema>& schema);

// Applies an upsert to `manifest`: matched rows get the values of the columns that a batch has, where they are; files without such a row
// stay as they are. A key with a null in it matches nothing. In added rows columns that the batch lacks are null, and become nullable
// in the schema if they were not. New files go to `written`. One batch of the table at a time is in memory.
arrow::Status ApplyUpsert(const std::shared_ptr<const Table>& table, const TableUpsert& upsert, TableManifest* manifest,
                          std::vector<NewTableFile>* written);

}  // namespace rushes
