// The tables that describe a dataset: segment table and manifest. docs/protocol.md, "Metadata tables".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "rushes/catalog/catalog_state.h"

namespace rushes {

// Segment table: rerun_segment_id, rerun_layer_names, rerun_storage_urls, rerun_last_updated_at, rerun_num_chunks, rerun_size_bytes, then
// the property columns by name, then `<timeline>:end` and `<timeline>:start` by timeline. A property or timeline column is there when at
// least one segment has it. Of several layers with one property, the one registered last counts.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeSegmentTable(const DatasetContent& content);

// Manifest: the ten columns of ManifestBaseSchema, then the property columns by name.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeManifestTable(const DatasetContent& content);
const std::shared_ptr<arrow::Schema>& ManifestBaseSchema();

// Which rows and columns of a metadata table are wanted.
struct TableScan {
  // Names, in order; empty: all columns.
  std::vector<std::string> columns;
  // Keeps (or, with `skip`, leaves out) rows whose value of a Utf8 column is listed.
  struct Filter {
    std::string column;
    bool skip = false;
    std::vector<std::string> values;
  };
  std::vector<Filter> filters;
};

// Filters, then projects. Invalid for an unknown column ("… not found") and for one that is named twice.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> ApplyScan(const std::shared_ptr<arrow::RecordBatch>& table, const TableScan& scan);

}  // namespace rushes
