// Messages about tables <-> our value types.
#pragma once

#include <string>
#include <string_view>

#include "arrow/result.h"
#include "rushes/chunk/catalog_types.h"

namespace google::protobuf {
class Any;
}  // namespace google::protobuf
namespace rerun::cloud::v1alpha1 {
class TableDetails;
class TableEntry;
enum TableInsertMode : int;
}  // namespace rerun::cloud::v1alpha1

namespace rushes::wire {

// Errors of the `From...` functions: Invalid, as in convert.h.

void ToProto(const TableDetails& details, rerun::cloud::v1alpha1::TableDetails* out);
arrow::Result<TableDetails> FromProto(const rerun::cloud::v1alpha1::TableDetails& details);

// An entry without a URL is one of the system.
void ToProto(const TableEntry& entry, rerun::cloud::v1alpha1::TableEntry* out);
arrow::Result<TableEntry> FromProto(const rerun::cloud::v1alpha1::TableEntry& entry);

// Where a table is: the one kind of storage that clients can name, whose message is that of Lance tables.
void TableUrlToProto(const std::string& url, google::protobuf::Any* out);
// Any prefix of the type's URL is taken. Also Invalid: another type, a system table, an empty URL.
arrow::Result<std::string> TableUrlFromProto(const google::protobuf::Any& details, std::string_view field);

rerun::cloud::v1alpha1::TableInsertMode ToProto(TableInsertMode mode);
// Unset is kAppend. Invalid for unknown numbers.
arrow::Result<TableInsertMode> FromProto(rerun::cloud::v1alpha1::TableInsertMode mode);

}  // namespace rushes::wire
