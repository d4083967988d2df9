// What rows a table takes: batches made to fit its schema, or refused with the column that does not.
#pragma once

#include <memory>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type.h"

namespace rushes {

// Field metadata that marks the columns by which rows are found again: `rerun:is_table_index` = `true`.
inline constexpr char kTableIndexKey[] = "rerun:is_table_index";

// Checks a schema that a table is to have and adds the version of the column conventions to its metadata. Invalid: two columns of one name.
arrow::Result<std::shared_ptr<arrow::Schema>> MakeTableSchema(const arrow::Schema& schema);
// Positions of the fields marked with kTableIndexKey (any letter case of `true`).
std::vector<int> KeyColumns(const arrow::Schema& schema);

// True when batches of the schema `batch` have all columns of `table` and no others, in any order, of types that FitBatch takes.
bool HasSameColumns(const arrow::Schema& batch, const arrow::Schema& table);

// The batch with exactly the fields of `schema`, found by name. A column that the batch lacks, or has without a
// type (all null), is null. Types must be equal, except that names, metadata and nullability inside nested types may differ. Invalid names
// the column: it is unknown, of another type, missing although it may not be null, or has a null where none may be.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> FitBatch(const arrow::RecordBatch& batch, const std::shared_ptr<arrow::Schema>& schema);

}  // namespace rushes
