#include "rushes/catalog/table_writer.h"

#include <future>
#include <utility>

#include "arrow/util/byte_size.h"
#include "rushes/catalog/table_schema.h"

namespace rushes {

TableWriter::TableWriter(std::shared_ptr<Table> table, std::shared_ptr<arrow::Schema> schema, const TableLimits& limits)
    : table_(std::move(table)), limits_(limits), schema_(std::move(schema)) {}

TableWriter::~TableWriter() {
  if (has_turn_) table_->Leave();
}

arrow::Result<std::unique_ptr<TableWriter>> TableWriter::Begin(std::shared_ptr<Table> table, const TableLimits& limits) {
  ARROW_ASSIGN_OR_RAISE(const TableSnapshot newest, table->Current());
  return std::unique_ptr<TableWriter>(new TableWriter(std::move(table), newest->schema, limits));
}

arrow::Status TableWriter::BeginStep(bool is_overwrite) {
  ARROW_RETURN_NOT_OK(EndStep());
  if (is_overwrite) steps_.clear();  // their files go as well
  steps_.push_back(std::make_unique<Step>());
  steps_.back()->is_overwrite = is_overwrite;
  steps_.back()->schema = schema_;
  return arrow::Status::OK();
}

arrow::Status TableWriter::EndStep() {
  if (rows_ == nullptr) return arrow::Status::OK();
  ARROW_RETURN_NOT_OK(rows_->Finish(&steps_.back()->files));
  rows_.reset();
  return arrow::Status::OK();
}

arrow::Status TableWriter::Write(const std::shared_ptr<arrow::RecordBatch>& batch, TableInsertMode mode) {
  ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
  if (bytes > limits_.max_batch_bytes) {
    return arrow::Status::Invalid("a batch of ", bytes, " bytes is more than the ", limits_.max_batch_bytes,
                                  " that this server takes at once; send it in parts");
  }
  const bool is_same_mode = !is_first_ && mode == last_mode_;
  is_first_ = false;
  last_mode_ = mode;

  if (mode == TableInsertMode::kReplace || mode == TableInsertMode::kUpdate) {
    if (!is_same_mode) ARROW_RETURN_NOT_OK(BeginStep(false));
    ARROW_ASSIGN_OR_RAISE(auto rows, CheckUpsert(*batch, schema_));
    upsert_bytes_ += bytes;
    if (upsert_bytes_ > limits_.max_upsert_bytes) {
      return arrow::Status::Invalid("an upsert of more than ", limits_.max_upsert_bytes,
                                    " bytes is more than this server takes at once; write it in parts");
    }
    TableUpsert& upsert = steps_.back()->upsert;
    upsert.inserts = mode == TableInsertMode::kReplace;
    if (rows->num_rows() > 0) upsert.batches.push_back(std::move(rows));
    return arrow::Status::OK();
  }

  if (mode == TableInsertMode::kOverwrite && !is_same_mode) {
    if (!HasSameColumns(*batch->schema(), *schema_)) {
      ARROW_ASSIGN_OR_RAISE(schema_, MakeTableSchema(*batch->schema()));
    }
    ARROW_RETURN_NOT_OK(BeginStep(true));
  } else if (rows_ == nullptr) {
    ARROW_RETURN_NOT_OK(BeginStep(false));
  }
  ARROW_ASSIGN_OR_RAISE(auto rows, FitBatch(*batch, schema_));
  if (rows_ == nullptr) rows_ = std::make_unique<TableFileWriter>(table_, schema_);
  return rows_->Write(std::move(rows));
}

void TableWriter::WaitForTurn(std::function<void()> on_turn) {
  table_->Enter([this, on_turn = std::move(on_turn)] {
    has_turn_ = true;
    on_turn();
  });
}

arrow::Status TableWriter::Commit() {
  if (!has_turn_) {
    const auto turn = std::make_shared<std::promise<void>>();
    WaitForTurn([turn] { turn->set_value(); });
    turn->get_future().wait();
  }
  const arrow::Status status = CommitNow();
  has_turn_ = false;
  table_->Leave();
  return status;
}

arrow::Status TableWriter::CommitNow() {
  ARROW_RETURN_NOT_OK(EndStep());
  bool changes = false;
  std::vector<NewTableFile> before;
  std::vector<std::vector<TableFile>> files_of;
  for (const auto& step : steps_) {
    changes |= step->is_overwrite || !step->files.empty() || !step->upsert.batches.empty();
    files_of.emplace_back();
    for (NewTableFile& file : step->files) {
      files_of.back().push_back(file.file());
      before.push_back(std::move(file));
    }
  }
  if (!changes) return arrow::Status::OK();
  return table_->Commit(
      [&](const TableSnapshot& newest, std::vector<NewTableFile>* written) -> arrow::Result<TableManifest> {
        TableManifest next = *newest;
        for (size_t i = 0; i < steps_.size(); ++i) {
          const Step& step = *steps_[i];
          if (step.is_overwrite) {
            next.files.clear();
            next.schema = step.schema;
          } else if (!next.schema->Equals(*step.schema, /*check_metadata=*/false) &&
                     (!files_of[i].empty() || !step.upsert.batches.empty())) {
            return arrow::Status::Invalid(
                "the schema of the table was changed by somebody else while these rows were written; write them again");
          }
          next.files.insert(next.files.end(), files_of[i].begin(), files_of[i].end());
          if (!step.upsert.batches.empty()) ARROW_RETURN_NOT_OK(ApplyUpsert(table_, step.upsert, &next, written));
        }
        return next;
      },
      &before);
}

}  // namespace rushes
