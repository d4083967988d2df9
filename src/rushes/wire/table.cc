#include "rushes/wire/table.h"

#include <utility>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/wire/convert.h"

namespace rushes::wire {
namespace {

// Official readers compare the whole type URL, which has an empty host.
void Pack(const google::protobuf::Message& message, google::protobuf::Any* out) {
  out->set_type_url("/" + message.GetDescriptor()->full_name());
  out->set_value(message.SerializeAsString());
}

bool IsType(const google::protobuf::Any& any, const google::protobuf::Descriptor* type) {
  const std::string& url = any.type_url();
  const size_t slash = url.rfind('/');
  return slash != std::string::npos && url.compare(slash + 1, std::string::npos, type->full_name()) == 0;
}

}  // namespace

void ToProto(const TableDetails& details, cloud::TableDetails* out) {
  if (details.blueprint_dataset) ToProto(*details.blueprint_dataset, out->mutable_blueprint_dataset());
  if (details.default_blueprint_segment) out->mutable_default_blueprint_segment()->set_id(*details.default_blueprint_segment);
}

arrow::Result<TableDetails> FromProto(const cloud::TableDetails& details) {
  TableDetails out;
  if (details.has_blueprint_dataset()) {
    ARROW_ASSIGN_OR_RAISE(out.blueprint_dataset, FromProto(details.blueprint_dataset(), "TableDetails.blueprint_dataset"));
  }
  if (details.has_default_blueprint_segment()) {
    ARROW_ASSIGN_OR_RAISE(out.default_blueprint_segment,
                          FromProto(details.default_blueprint_segment(), "TableDetails.default_blueprint_segment"));
  }
  return out;
}

void ToProto(const TableEntry& entry, cloud::TableEntry* out) {
  ToProto(entry.entry, out->mutable_details());
  ToProto(entry.details, out->mutable_table_details());
  if (!entry.url.empty()) {
    TableUrlToProto(entry.url, out->mutable_provider_details());
    return;
  }
  cloud::SystemTable provider;
  provider.set_kind(cloud::SYSTEM_TABLE_KIND_ENTRIES);
  Pack(provider, out->mutable_provider_details());
}

arrow::Result<TableEntry> FromProto(const cloud::TableEntry& entry) {
  TableEntry out;
  if (!entry.has_details()) return MissingField("TableEntry.details");
  ARROW_ASSIGN_OR_RAISE(out.entry, FromProto(entry.details()));
  ARROW_ASSIGN_OR_RAISE(out.details, FromProto(entry.table_details()));
  // A system table has no URL, nor has one whose kind of storage is not known here.
  if (entry.has_provider_details() && IsType(entry.provider_details(), cloud::LanceTable::descriptor())) {
    ARROW_ASSIGN_OR_RAISE(out.url, TableUrlFromProto(entry.provider_details(), "TableEntry.provider_details"));
  }
  return out;
}

void TableUrlToProto(const std::string& url, google::protobuf::Any* out) {
  cloud::LanceTable provider;
  provider.set_table_url(url);
  Pack(provider, out);
}

arrow::Result<std::string> TableUrlFromProto(const google::protobuf::Any& details, std::string_view field) {
  cloud::LanceTable provider;
  if (!IsType(details, provider.GetDescriptor())) {
    return arrow::Status::Invalid("'", field, "': a table is given by a '", provider.GetDescriptor()->full_name(), "', not by a '",
                                  details.type_url(), "'");
  }
  if (!provider.ParseFromString(details.value())) {
    return arrow::Status::Invalid("'", field, "' cannot be read as a '", provider.GetDescriptor()->full_name(), "'");
  }
  if (provider.table_url().empty()) return MissingField("LanceTable.table_url");
  return provider.table_url();
}

cloud::TableInsertMode ToProto(TableInsertMode mode) { return static_cast<cloud::TableInsertMode>(mode); }

arrow::Result<TableInsertMode> FromProto(cloud::TableInsertMode mode) {
  switch (mode) {
    case cloud::TABLE_INSERT_MODE_UNSPECIFIED:
      return TableInsertMode::kAppend;
    case cloud::TABLE_INSERT_MODE_APPEND:
    case cloud::TABLE_INSERT_MODE_OVERWRITE:
    case cloud::TABLE_INSERT_MODE_REPLACE:
    case cloud::TABLE_INSERT_MODE_UPDATE:
      return static_cast<TableInsertMode>(mode);
    default:
      return arrow::Status::Invalid("unknown table insert mode ", static_cast<int>(mode));
  }
}

}  // namespace rushes::wire
