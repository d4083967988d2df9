#include "rushes/wire/convert.h"

#include <algorithm>
#include <utility>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/wire/headers.h"

namespace rushes::wire {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

void ToProto(int64_t ns, google::protobuf::Timestamp* out) {
  int64_t seconds = ns / kNanosPerSecond;
  int64_t nanos = ns % kNanosPerSecond;
  if (nanos < 0) {
    nanos += kNanosPerSecond;
    --seconds;
  }
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(nanos));
}

arrow::Result<int64_t> FromProto(const google::protobuf::Timestamp& time, std::string_view field) {
  int64_t ns = 0;
  if (time.nanos() < 0 || time.nanos() >= kNanosPerSecond || __builtin_mul_overflow(time.seconds(), kNanosPerSecond, &ns) ||
      __builtin_add_overflow(ns, time.nanos(), &ns)) {
    return arrow::Status::Invalid("'", field, "' is not a time that fits into 64 bits of nanoseconds");
  }
  return ns;
}

}  // namespace

arrow::Status MissingField(std::string_view field) { return arrow::Status::Invalid("missing required field: '", field, "'"); }

void ToProto(const Tuid& id, common::Tuid* out) {
  out->set_time_ns(id.time_ns);
  out->set_inc(id.counter);
}

arrow::Result<Tuid> FromProto(const common::Tuid& id, std::string_view field) {
  if (!id.has_time_ns() || !id.has_inc()) return MissingField(std::string(field) + (id.has_time_ns() ? ".inc" : ".time_ns"));
  Tuid out;
  out.time_ns = id.time_ns();
  out.counter = id.inc();
  return out;
}

void ToProto(const EntryId& id, common::EntryId* out) { ToProto(id, out->mutable_id()); }

arrow::Result<EntryId> FromProto(const common::EntryId& id, std::string_view field) {
  if (!id.has_id()) return MissingField(std::string(field) + ".id");
  return FromProto(id.id(), std::string(field) + ".id");
}

arrow::Result<std::string> FromProto(const common::SegmentId& id, std::string_view field) {
  if (!id.has_id()) return MissingField(std::string(field) + ".id");
  return id.id();
}

void ToProto(const EntryDetails& entry, cloud::EntryDetails* out) {
  ToProto(entry.id, out->mutable_id());
  out->set_name(entry.name);
  out->set_entry_kind(static_cast<cloud::EntryKind>(entry.kind));
  ToProto(entry.created_at_ns, out->mutable_created_at());
  ToProto(entry.updated_at_ns, out->mutable_updated_at());
}

arrow::Result<EntryDetails> FromProto(const cloud::EntryDetails& entry) {
  const std::string type = "rerun.cloud.v1alpha1.EntryDetails.";
  if (!entry.has_id()) return MissingField(type + "id");
  if (!entry.has_name()) return MissingField(type + "name");
  if (!entry.has_created_at()) return MissingField(type + "created_at");
  if (!entry.has_updated_at()) return MissingField(type + "updated_at");
  EntryDetails out;
  ARROW_ASSIGN_OR_RAISE(out.id, FromProto(entry.id(), type + "id"));
  out.name = entry.name();
  out.kind = static_cast<EntryKind>(entry.entry_kind());
  ARROW_ASSIGN_OR_RAISE(out.created_at_ns, FromProto(entry.created_at(), type + "created_at"));
  ARROW_ASSIGN_OR_RAISE(out.updated_at_ns, FromProto(entry.updated_at(), type + "updated_at"));
  return out;
}

void ToProto(const DatasetDetails& details, cloud::DatasetDetails* out) {
  if (details.blueprint_dataset) ToProto(*details.blueprint_dataset, out->mutable_blueprint_dataset());
  if (details.default_blueprint_segment) out->mutable_default_blueprint_segment()->set_id(*details.default_blueprint_segment);
  if (details.default_segment_table_blueprint_segment) {
    out->mutable_default_segment_table_blueprint_segment()->set_id(*details.default_segment_table_blueprint_segment);
  }
  if (details.asset_dataset) ToProto(*details.asset_dataset, out->mutable_asset_dataset());
}

arrow::Result<DatasetDetails> FromProto(const cloud::DatasetDetails& details) {
  const std::string type = "rerun.cloud.v1alpha1.DatasetDetails.";
  DatasetDetails out;
  if (details.has_blueprint_dataset()) {
    ARROW_ASSIGN_OR_RAISE(out.blueprint_dataset, FromProto(details.blueprint_dataset(), type + "blueprint_dataset"));
  }
  if (details.has_default_blueprint_segment()) {
    ARROW_ASSIGN_OR_RAISE(out.default_blueprint_segment,
                          FromProto(details.default_blueprint_segment(), type + "default_blueprint_segment"));
  }
  if (details.has_default_segment_table_blueprint_segment()) {
    ARROW_ASSIGN_OR_RAISE(out.default_segment_table_blueprint_segment,
                          FromProto(details.default_segment_table_blueprint_segment(), type + "default_segment_table_blueprint_segment"));
  }
  if (details.has_asset_dataset()) {
    ARROW_ASSIGN_OR_RAISE(out.asset_dataset, FromProto(details.asset_dataset(), type + "asset_dataset"));
  }
  return out;
}

void ToProto(const DatasetEntry& entry, cloud::DatasetEntry* out) {
  ToProto(entry.entry, out->mutable_details());
  ToProto(entry.details, out->mutable_dataset_details());
  auto* handle = out->mutable_dataset_handle();
  ToProto(entry.entry.id, handle->mutable_entry_id());
  handle->set_dataset_url(entry.store_id.empty() ? "memory:///" + TuidToText(entry.entry.id) : entry.store_id);
  switch (entry.entry.kind) {
    case EntryKind::kBlueprintDataset:
      handle->set_store_kind(common::STORE_KIND_BLUEPRINT);
      handle->set_dataset_kind(common::DATASET_KIND_BLUEPRINT);
      break;
    case EntryKind::kAssetDataset:
      handle->set_store_kind(common::STORE_KIND_RECORDING);
      handle->set_dataset_kind(common::DATASET_KIND_ASSET);
      break;
    default:
      handle->set_store_kind(common::STORE_KIND_RECORDING);
      handle->set_dataset_kind(common::DATASET_KIND_RECORDING);
      break;
  }
}

arrow::Result<DatasetEntry> FromProto(const cloud::DatasetEntry& entry) {
  const std::string type = "rerun.cloud.v1alpha1.DatasetEntry.";
  if (!entry.has_details()) return MissingField(type + "details");
  DatasetEntry out;
  ARROW_ASSIGN_OR_RAISE(out.entry, FromProto(entry.details()));
  ARROW_ASSIGN_OR_RAISE(out.details, FromProto(entry.dataset_details()));
  out.store_id = entry.dataset_handle().dataset_url();
  return out;
}

void ToProto(const DataSource& source, cloud::DataSource* out) {
  out->set_storage_url(source.url);
  out->set_typ(cloud::DATA_SOURCE_KIND_RRD);
  out->set_layer(source.layer);
  out->set_prefix(source.is_prefix);
}

arrow::Result<DataSource> FromProto(const cloud::DataSource& source) {
  const std::string type = "rerun.cloud.v1alpha1.DataSource.";
  if (!source.has_storage_url()) return MissingField(type + "storage_url");
  if (source.typ() != cloud::DATA_SOURCE_KIND_RRD) {
    return arrow::Status::Invalid("'", type, "typ' is ", static_cast<int>(source.typ()), ", which is no known kind of data source");
  }
  DataSource out;
  out.url = source.storage_url();
  if (!source.layer().empty()) out.layer = source.layer();
  out.is_prefix = source.prefix();
  return out;
}

common::IfDuplicateBehavior ToProto(IfDuplicate behavior) { return static_cast<common::IfDuplicateBehavior>(behavior); }

arrow::Result<IfDuplicate> FromProto(common::IfDuplicateBehavior behavior) {
  switch (behavior) {
    case common::IF_DUPLICATE_BEHAVIOR_UNSPECIFIED:
    case common::IF_DUPLICATE_BEHAVIOR_SKIP:
      return IfDuplicate::kSkip;
    case common::IF_DUPLICATE_BEHAVIOR_OVERWRITE:
      return IfDuplicate::kOverwrite;
    case common::IF_DUPLICATE_BEHAVIOR_ERROR:
      return IfDuplicate::kError;
    default:
      return arrow::Status::Invalid("unknown behaviour for duplicates: ", static_cast<int>(behavior));
  }
}

bool EntryQuery::MatchesKind(EntryKind kind) const {
  if (kinds.empty()) return kind != EntryKind::kUnspecified && kind != EntryKind::kAssetDataset;
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

void ToProto(const EntryFilter& filter, cloud::EntryFilter* out) {
  if (filter.id) ToProto(*filter.id, out->mutable_id());
  if (filter.name) out->set_name(*filter.name);
  if (filter.kind) {
    out->set_entry_kind(static_cast<cloud::EntryKind>(*filter.kind));
    out->add_entry_kinds(static_cast<cloud::EntryKind>(*filter.kind));
  }
}

arrow::Result<EntryQuery> FromProto(const cloud::EntryFilter& filter) {
  const std::string type = "rerun.cloud.v1alpha1.EntryFilter.";
  EntryQuery out;
  if (filter.has_id()) {
    ARROW_ASSIGN_OR_RAISE(out.id, FromProto(filter.id(), type + "id"));
  }
  if (filter.has_name()) out.name = filter.name();
  for (const int kind : filter.entry_kinds()) {
    if (kind == cloud::ENTRY_KIND_UNSPECIFIED) return arrow::Status::Invalid("'", type, "entry_kinds' holds an unspecified kind");
    out.kinds.push_back(static_cast<EntryKind>(kind));
  }
  if (out.kinds.empty() && filter.has_entry_kind()) {
    if (filter.entry_kind() == cloud::ENTRY_KIND_UNSPECIFIED) return arrow::Status::Invalid("'", type, "entry_kind' is unspecified");
    out.kinds.push_back(static_cast<EntryKind>(filter.entry_kind()));
  }
  return out;
}

}  // namespace rushes::wire
