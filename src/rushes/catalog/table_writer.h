// One change of a table: batches that come one by one, and take effect together.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/status.h"
#include "rushes/catalog/table_merge.h"
#include "rushes/catalog/table_storage.h"
#include "rushes/chunk/catalog_types.h"

namespace rushes {

// Bounds of one change; Invalid names the one that was exceeded.
struct TableLimits {
  int64_t max_batch_bytes = int64_t{512} << 20;   // of one batch, decoded
  int64_t max_upsert_bytes = int64_t{512} << 20;  // of all batches of an upsert, which wait in memory
};

// Batches are applied in the order they come, each by its mode:
//
//   append   adds rows
//   overwrite  the first one drops what was there; those that follow directly add to it
//   replace  rows of the same key get the batch's values, others are added
//   update   rows of the same key get the batch's values, others are dropped
//
// Batches of appends and overwrites go to files at once. Dropping a writer that was not committed leaves the table as it was. Not thread
// safe.
class TableWriter {
 public:
  // Errors as of Table::Current.
  static arrow::Result<std::unique_ptr<TableWriter>> Begin(std::shared_ptr<Table> table, const TableLimits& limits = {});
  TableWriter(const TableWriter&) = delete;
  ~TableWriter();

  // Invalid for a batch that does not fit the table, see table_schema.h. An overwrite with other columns gives the table its schema.
  arrow::Status Write(const std::shared_ptr<arrow::RecordBatch>& batch, TableInsertMode mode);

  // Makes the change; once, after the last Write. Waits for other writers of the table.
  arrow::Status Commit();
  // The same for callers that must not wait: `on_turn` is called when it is this writer's turn, maybe at once, maybe from another thread;
  // then Commit does not wait any more. `on_turn` must keep the writer alive.
  void WaitForTurn(std::function<void()> on_turn);

 private:
  struct Step {
    bool is_overwrite = false;
    std::shared_ptr<arrow::Schema> schema;  // that its rows have
    std::vector<NewTableFile> files;
    TableUpsert upsert;  // if it has batches, instead of files
  };
  TableWriter(std::shared_ptr<Table> table, std::shared_ptr<arrow::Schema> schema, const TableLimits& limits);
  arrow::Status BeginStep(bool is_overwrite);
  arrow::Status EndStep();
  arrow::Status CommitNow();

  const std::shared_ptr<Table> table_;
  const TableLimits limits_;
  std::shared_ptr<arrow::Schema> schema_;  // the table's, after the steps so far
  std::vector<std::unique_ptr<Step>> steps_;
  std::unique_ptr<TableFileWriter> rows_;  // of the last step
  bool is_first_ = true;
  TableInsertMode last_mode_ = TableInsertMode::kAppend;
  int64_t upsert_bytes_ = 0;
  bool has_turn_ = false;
};

}  // namespace rushes
