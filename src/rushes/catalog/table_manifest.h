// One version of a table: its schema and the files that hold its rows. docs/tables.md describes the bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/result.h"
#include "arrow/type.h"

namespace rushes {

// A file of rows in the table's `data` directory. Never changed after it is written.
struct TableFile {
  std::string name;
  int64_t rows = 0;
  int64_t bytes = 0;
};

struct TableManifest {
  int64_t version = 0;  // counts from 1
  std::shared_ptr<arrow::Schema> schema;
  std::vector<TableFile> files;  // in the order of the rows

  int64_t num_rows() const;
  int64_t num_bytes() const;
};

arrow::Result<std::shared_ptr<arrow::Buffer>> EncodeManifest(const TableManifest& manifest);
// Invalid for bytes that are no manifest, are of a newer format, or name files outside of the table's directory.
arrow::Result<TableManifest> DecodeManifest(std::shared_ptr<arrow::Buffer> bytes);

// `00000000000000000017.arrow` of version 17.
std::string ManifestName(int64_t version);
// The version of such a name; 0 for other names.
int64_t VersionOfName(const std::string& name);

}  // namespace rushes
