#include "rushes/catalog/metadata_tables.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "arrow/builder.h"
#include "arrow/compute/exec.h"
#include "arrow/util/key_value_metadata.h"

namespace rushes {
namespace {

const auto& NanoTimestamp() {
  static const auto type = arrow::timestamp(arrow::TimeUnit::NANO);
  return type;
}

// One property column over many rows. Rows that lack it are null.
class PropertyBuilder {
 public:
  explicit PropertyBuilder(const PropertyColumn& first) : field_(first.field) {}

  // Widens the column's type where another layer's differs.
  arrow::Status Widen(const PropertyColumn& column) {
    if (column.field->type()->Equals(*field_->type())) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(auto type, UniteTypes(field_->type(), column.field->type()));
    field_ = field_->WithType(std::move(type));
    return arrow::Status::OK();
  }
  arrow::Status Append(int64_t row, const std::shared_ptr<arrow::Array>& value) {
    ARROW_RETURN_NOT_OK(PadTo(row));
    std::shared_ptr<arrow::Array> adapted = value;
    if (!value->type()->Equals(*field_->type())) {
      ARROW_ASSIGN_OR_RAISE(adapted, AdaptArray(value, field_->type()));
    }
    pieces_.push_back(std::move(adapted));
    ++length_;
    return arrow::Status::OK();
  }
  arrow::Result<std::shared_ptr<arrow::Array>> Finish(int64_t num_rows) {
    ARROW_RETURN_NOT_OK(PadTo(num_rows));
    if (pieces_.empty()) return arrow::MakeEmptyArray(field_->type());
    return arrow::Concatenate(pieces_);
  }
  const std::shared_ptr<arrow::Field>& field() const { return field_; }

 private:
  arrow::Status PadTo(int64_t row) {
    if (length_ == row) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(auto nulls, arrow::MakeArrayOfNull(field_->type(), row - length_));
    pieces_.push_back(std::move(nulls));
    length_ = row;
    return arrow::Status::OK();
  }
  std::shared_ptr<arrow::Field> field_;
  arrow::ArrayVector pieces_;
  int64_t length_ = 0;
};

// Property columns by name, typed for all layers of the dataset.
arrow::Result<std::map<std::string, PropertyBuilder>> MakePropertyBuilders(const DatasetContent& content) {
  std::map<std::string, PropertyBuilder> builders;
  for (const auto& [id, segment] : content.segments()) {
    for (const LayerPtr& layer : segment->layers) {
      for (const PropertyColumn& column : layer->properties) {
        const auto [it, is_new] = builders.try_emplace(column.field->name(), column);
        if (!is_new) ARROW_RETURN_NOT_OK(it->second.Widen(column));
      }
    }
  }
  return builders;
}

arrow::Status FinishProperties(std::map<std::string, PropertyBuilder>& builders, int64_t num_rows, arrow::FieldVector* fields,
                               arrow::ArrayVector* columns) {
  for (auto& [name, builder] : builders) {
    ARROW_ASSIGN_OR_RAISE(auto column, builder.Finish(num_rows));
    fields->push_back(builder.field());
    columns->push_back(std::move(column));
  }
  return arrow::Status::OK();
}

std::shared_ptr<arrow::Field> RangeField(const Timeline& timeline, const char* marker) {
  return arrow::field(timeline.name + ":" + marker, ArrowType(timeline.type), true,
                      arrow::key_value_metadata({"rerun:index", "rerun:index_kind", "rerun:index_marker", "rerun:kind"},
                                                {timeline.name, std::string(ToString(timeline.type)), marker, "index"}));
}

// Int64 values under the timeline's type.
arrow::Result<std::shared_ptr<arrow::Array>> FinishTimes(arrow::Int64Builder& builder, TimeType type) {
  std::shared_ptr<arrow::Array> array;
  ARROW_RETURN_NOT_OK(builder.Finish(&array));
  auto data = array->data()->Copy();
  data->type = ArrowType(type);
  return arrow::MakeArray(std::move(data));
}

template <typename Builder>
arrow::Status Finish(Builder& builder, arrow::ArrayVector* columns) {
  columns->emplace_back();
  return builder.Finish(&columns->back());
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeSegmentTable(const DatasetContent& content) {
  const auto list_type = arrow::list(arrow::field("item", arrow::utf8(), false));
  arrow::StringBuilder ids;
  auto names = std::make_shared<arrow::StringBuilder>();
  auto urls = std::make_shared<arrow::StringBuilder>();
  arrow::ListBuilder name_lists(arrow::default_memory_pool(), names, list_type);
  arrow::ListBuilder url_lists(arrow::default_memory_pool(), urls, list_type);
  arrow::TimestampBuilder updated(NanoTimestamp(), arrow::default_memory_pool());
  arrow::UInt64Builder num_chunks, size_bytes;
  ARROW_ASSIGN_OR_RAISE(auto properties, MakePropertyBuilders(content));
  std::map<std::string, Timeline> timelines;
  for (const auto& [id, segment] : content.segments()) {
    for (const TimelineRange& range : segment->ranges) timelines.try_emplace(range.timeline.name, range.timeline);
  }

  int64_t row = 0;
  for (const auto& [id, segment] : content.segments()) {
    int64_t updated_at = 0;
    uint64_t chunks = 0, bytes = 0;
    std::map<std::string_view, const PropertyColumn*> winners;
    ARROW_RETURN_NOT_OK(name_lists.Append());
    ARROW_RETURN_NOT_OK(url_lists.Append());
    for (const LayerPtr& layer : segment->layers) {
      ARROW_RETURN_NOT_OK(names->Append(layer->name));
      ARROW_RETURN_NOT_OK(urls->Append(layer->url));
      updated_at = std::max(updated_at, layer->updated_at_ns);
      chunks += layer->num_chunks;
      bytes += layer->size_bytes;
      for (const PropertyColumn& column : layer->properties) winners[column.field->name()] = &column;
    }
    ARROW_RETURN_NOT_OK(ids.Append(id));
    ARROW_RETURN_NOT_OK(updated.Append(updated_at));
    ARROW_RETURN_NOT_OK(num_chunks.Append(chunks));
    ARROW_RETURN_NOT_OK(size_bytes.Append(bytes));
    for (const auto& [name, column] : winners) {
      ARROW_RETURN_NOT_OK(properties.at(std::string(name)).Append(row, column->value));
    }
    ++row;
  }

  arrow::FieldVector fields = {
      arrow::field("rerun_segment_id", arrow::utf8(), false),   arrow::field("rerun_layer_names", list_type, false),
      arrow::field("rerun_storage_urls", list_type, false),     arrow::field("rerun_last_updated_at", NanoTimestamp(), false),
      arrow::field("rerun_num_chunks", arrow::uint64(), false), arrow::field("rerun_size_bytes", arrow::uint64(), false)};
  arrow::ArrayVector columns;
  ARROW_RETURN_NOT_OK(Finish(ids, &columns));
  ARROW_RETURN_NOT_OK(Finish(name_lists, &columns));
  ARROW_RETURN_NOT_OK(Finish(url_lists, &columns));
  ARROW_RETURN_NOT_OK(Finish(updated, &columns));
  ARROW_RETURN_NOT_OK(Finish(num_chunks, &columns));
  ARROW_RETURN_NOT_OK(Finish(size_bytes, &columns));
  ARROW_RETURN_NOT_OK(FinishProperties(properties, row, &fields, &columns));
  for (const auto& [name, timeline] : timelines) {
    arrow::Int64Builder starts, ends;
    for (const auto& [id, segment] : content.segments()) {
      const auto range = std::lower_bound(segment->ranges.begin(), segment->ranges.end(), name,
                                          [](const TimelineRange& r, const std::string& n) { return r.timeline.name < n; });
      if (range != segment->ranges.end() && range->timeline.name == name) {
        ARROW_RETURN_NOT_OK(starts.Append(range->start));
        ARROW_RETURN_NOT_OK(ends.Append(range->end));
      } else {
        ARROW_RETURN_NOT_OK(starts.AppendNull());
        ARROW_RETURN_NOT_OK(ends.AppendNull());
      }
    }
    ARROW_ASSIGN_OR_RAISE(auto end, FinishTimes(ends, timeline.type));
    ARROW_ASSIGN_OR_RAISE(auto start, FinishTimes(starts, timeline.type));
    fields.push_back(RangeField(timeline, "end"));
    columns.push_back(std::move(end));
    fields.push_back(RangeField(timeline, "start"));
    columns.push_back(std::move(start));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), row, std::move(columns));
}

const std::shared_ptr<arrow::Schema>& ManifestBaseSchema() {
  static const auto schema = arrow::schema(
      {arrow::field("rerun_layer_name", arrow::utf8(), false), arrow::field("rerun_segment_id", arrow::utf8(), false),
       arrow::field("rerun_storage_url", arrow::utf8(), false), arrow::field("rerun_layer_type", arrow::utf8(), false),
       arrow::field("rerun_registration_time", NanoTimestamp(), false), arrow::field("rerun_last_updated_at", NanoTimestamp(), false),
       arrow::field("rerun_num_chunks", arrow::uint64(), true), arrow::field("rerun_size_bytes", arrow::uint64(), true),
       arrow::field("rerun_schema_sha256", arrow::fixed_size_binary(32), true),
       arrow::field("rerun_registration_status", arrow::utf8(), false)});
  return schema;
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> MakeManifestTable(const DatasetContent& content) {
  arrow::StringBuilder layer_names, segment_ids, urls, types, statuses;
  arrow::TimestampBuilder registered(NanoTimestamp(), arrow::default_memory_pool());
  arrow::TimestampBuilder updated(NanoTimestamp(), arrow::default_memory_pool());
  arrow::UInt64Builder num_chunks, size_bytes;
  arrow::FixedSizeBinaryBuilder hashes(arrow::fixed_size_binary(32));
  ARROW_ASSIGN_OR_RAISE(auto properties, MakePropertyBuilders(content));
  int64_t row = 0;
  for (const auto& [id, segment] : content.segments()) {
    for (const LayerPtr& layer : segment->layers) {
      ARROW_RETURN_NOT_OK(layer_names.Append(layer->name));
      ARROW_RETURN_NOT_OK(segment_ids.Append(id));
      ARROW_RETURN_NOT_OK(urls.Append(layer->url));
      ARROW_RETURN_NOT_OK(types.Append("rrd"));
      ARROW_RETURN_NOT_OK(registered.Append(layer->registered_at_ns));
      ARROW_RETURN_NOT_OK(updated.Append(layer->updated_at_ns));
      ARROW_RETURN_NOT_OK(num_chunks.Append(layer->num_chunks));
      ARROW_RETURN_NOT_OK(size_bytes.Append(layer->size_bytes));
      ARROW_RETURN_NOT_OK(hashes.Append(layer->schema_sha256));
      ARROW_RETURN_NOT_OK(statuses.Append("done"));
      for (const PropertyColumn& column : layer->properties) {
        ARROW_RETURN_NOT_OK(properties.at(column.field->name()).Append(row, column.value));
      }
      ++row;
    }
  }
  arrow::FieldVector fields = ManifestBaseSchema()->fields();
  arrow::ArrayVector columns;
  ARROW_RETURN_NOT_OK(Finish(layer_names, &columns));
  ARROW_RETURN_NOT_OK(Finish(segment_ids, &columns));
  ARROW_RETURN_NOT_OK(Finish(urls, &columns));
  ARROW_RETURN_NOT_OK(Finish(types, &columns));
  ARROW_RETURN_NOT_OK(Finish(registered, &columns));
  ARROW_RETURN_NOT_OK(Finish(updated, &columns));
  ARROW_RETURN_NOT_OK(Finish(num_chunks, &columns));
  ARROW_RETURN_NOT_OK(Finish(size_bytes, &columns));
  ARROW_RETURN_NOT_OK(Finish(hashes, &columns));
  ARROW_RETURN_NOT_OK(Finish(statuses, &columns));
  ARROW_RETURN_NOT_OK(FinishProperties(properties, row, &fields, &columns));
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), row, std::move(columns));
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ApplyScan(const std::shared_ptr<arrow::RecordBatch>& table, const TableScan& scan) {
  std::vector<int> picked;
  std::unordered_set<std::string_view> seen;
  for (const std::string& name : scan.columns) {
    const int index = table->schema()->GetFieldIndex(name);
    if (index < 0) {
      return arrow::Status::Invalid("column '", name, "' not found; there are ", table->schema()->num_fields(), " columns: ", [&] {
        std::string names;
        for (const std::string& have : table->schema()->field_names()) {
          names += (names.empty() ? "'" : ", '") + have + "'";
        }
        return names;
      }());
    }
    if (!seen.insert(name).second) return arrow::Status::Invalid("column '", name, "' is requested twice");
    picked.push_back(index);
  }
  std::shared_ptr<arrow::RecordBatch> rows = table;
  for (const TableScan::Filter& filter : scan.filters) {
    const auto column = rows->GetColumnByName(filter.column);
    if (!column || column->type_id() != arrow::Type::STRING) {
      return arrow::Status::Invalid("column '", filter.column, "' cannot be filtered");
    }
    const auto& values = static_cast<const arrow::StringArray&>(*column);
    const std::unordered_set<std::string_view> wanted(filter.values.begin(), filter.values.end());
    arrow::Int64Builder keep;
    for (int64_t i = 0; i < values.length(); ++i) {
      if (wanted.contains(values.GetView(i)) != filter.skip) ARROW_RETURN_NOT_OK(keep.Append(i));
    }
    if (keep.length() == values.length()) continue;
    std::shared_ptr<arrow::Array> indices;
    ARROW_RETURN_NOT_OK(keep.Finish(&indices));
    ARROW_ASSIGN_OR_RAISE(const auto taken, arrow::compute::CallFunction("take", {rows, indices}));
    rows = taken.record_batch();
  }
  if (picked.empty()) return rows;
  return rows->SelectColumns(picked);
}

}  // namespace rushes
