// Brings chunk schemas and batches written by older versions of the format to the current form.
#pragma once

#include <memory>

#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type.h"

namespace rushes {

// The version this code writes and migrates to, the value of the `sorbet:version` schema metadata.
inline constexpr char kSorbetVersion[] = "0.1.4";

// True if `schema` is in the current form already, so that MigrateBatch would return its argument.
bool IsCurrentSchema(const arrow::Schema& schema);
// Renames metadata keys, rewrites legacy row id structs, drops indicator columns, wraps components that are not lists, renames
// archetypes and components, renames list children to `item`: docs/format.md, "Migrations". Invalid for what cannot be migrated
// (before 0.23), with the version in the message.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> MigrateBatch(const std::shared_ptr<arrow::RecordBatch>& batch);
// The same for a schema alone (dataset schemas and manifests).
arrow::Result<std::shared_ptr<arrow::Schema>> MigrateSchema(const std::shared_ptr<arrow::Schema>& schema);

}  // namespace rushes
