#include "rushes/chunk/chunk_builder.h"

#include <algorithm>

#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_nested.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/array/concatenate.h"
#include "arrow/array/util.h"
#include "rushes/chunk/metadata.h"
#include "rushes/chunk/migration.h"

namespace rushes {

ChunkBuilder::ChunkBuilder(EntityPath entity, std::vector<Timeline> timelines)
    : entity_(std::move(entity)), timelines_(std::move(timelines)) {}

int ChunkBuilder::AddColumn(ComponentDescriptor descriptor, std::shared_ptr<arrow::DataType> item_type) {
  columns_.push_back(ChunkColumn{std::move(descriptor), arrow::list(arrow::field("item", std::move(item_type), true))});
  return static_cast<int>(columns_.size()) - 1;
}

arrow::Status ChunkBuilder::AddRow(RowId row_id, std::vector<int64_t> times, std::vector<std::shared_ptr<arrow::Array>> cells) {
  if (times.size() != timelines_.size() || cells.size() != columns_.size()) {
    return arrow::Status::Invalid("a row of this chunk has ", timelines_.size(), " times and ", columns_.size(), " cells, not ",
                                  times.size(), " and ", cells.size());
  }
  rows_.push_back(Row{row_id, std::move(times), std::move(cells)});
  return arrow::Status::OK();
}

arrow::Result<ChunkPtr> ChunkBuilder::Finish(ChunkId id) {
  std::stable_sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.row_id < b.row_id; });
  arrow::ArrayVector arrays;
  arrow::FixedSizeBinaryBuilder row_ids(arrow::fixed_size_binary(RowId::kNumBytes));
  for (const Row& row : rows_) ARROW_RETURN_NOT_OK(row_ids.Append(row.row_id.bytes().data()));
  ARROW_ASSIGN_OR_RAISE(auto row_id_array, row_ids.Finish());
  arrays.push_back(std::move(row_id_array));
  for (size_t t = 0; t < timelines_.size(); ++t) {
    arrow::Int64Builder times;
    for (const Row& row : rows_) ARROW_RETURN_NOT_OK(times.Append(row.times[t]));
    ARROW_ASSIGN_OR_RAISE(auto array, times.Finish());
    auto data = array->data()->Copy();
    data->type = ArrowType(timelines_[t].type);
    arrays.push_back(arrow::MakeArray(data));
  }
  for (size_t c = 0; c < columns_.size(); ++c) {
    const auto& item_type = static_cast<const arrow::ListType&>(*columns_[c].type).value_type();
    arrow::Int32Builder offsets;
    arrow::TypedBufferBuilder<bool> validity;
    arrow::ArrayVector values;
    int32_t offset = 0;
    ARROW_RETURN_NOT_OK(offsets.Append(0));
    for (const Row& row : rows_) {
      const auto& cell = row.cells[c];
      ARROW_RETURN_NOT_OK(validity.Append(cell != nullptr));
      if (cell != nullptr) {
        if (!cell->type()->Equals(*item_type)) {
          return arrow::Status::TypeError("component ", columns_[c].descriptor.component, " holds ", item_type->ToString(), ", not ",
                                          cell->type()->ToString());
        }
        values.push_back(cell);
        offset += static_cast<int32_t>(cell->length());
      }
      ARROW_RETURN_NOT_OK(offsets.Append(offset));
    }
    std::shared_ptr<arrow::Array> items;
    if (values.empty()) {
      ARROW_ASSIGN_OR_RAISE(items, arrow::MakeEmptyArray(item_type));
    } else {
      ARROW_ASSIGN_OR_RAISE(items, arrow::Concatenate(values));
    }
    ARROW_ASSIGN_OR_RAISE(auto offset_array, offsets.Finish());
    const int64_t nulls = validity.false_count();
    ARROW_ASSIGN_OR_RAISE(auto bitmap, validity.Finish());
    arrays.push_back(std::make_shared<arrow::ListArray>(columns_[c].type, static_cast<int64_t>(rows_.size()),
                                                        offset_array->data()->buffers[1], items, nulls == 0 ? nullptr : bitmap, nulls));
  }
  ARROW_ASSIGN_OR_RAISE(auto schema, ChunkSchema::Make(MakeChunkArrowSchema(entity_, timelines_, columns_)));
  auto batch = arrow::RecordBatch::Make(schema->arrow_schema(), static_cast<int64_t>(rows_.size()), std::move(arrays));
  return Chunk::Make(id, std::move(schema), std::move(batch));
}

std::shared_ptr<arrow::Schema> MakeChunkArrowSchema(const EntityPath& entity, const std::vector<Timeline>& timelines,
                                                    const std::vector<ChunkColumn>& columns) {
  arrow::FieldVector fields;
  fields.push_back(arrow::field(kRowIdField, arrow::fixed_size_binary(RowId::kNumBytes), /*nullable=*/false,
                                arrow::key_value_metadata({{"ARROW:extension:metadata", "{\"namespace\":\"row\"}"},
                                                           {"ARROW:extension:name", "rerun.datatypes.TUID"},
                                                           {kMetaKind, "control"},
                                                           {kMetaIsSorted, "true"}})));
  for (const Timeline& timeline : timelines) {
    fields.push_back(arrow::field(timeline.name, ArrowType(timeline.type), true,
                                  arrow::key_value_metadata({{kMetaKind, "index"}, {kMetaIndexName, timeline.name}})));
  }
  for (const ChunkColumn& column : columns) {
    auto metadata = arrow::key_value_metadata({{kMetaKind, "data"}, {kMetaComponent, column.descriptor.component}});
    if (column.descriptor.archetype) metadata->Append(kMetaArchetype, *column.descriptor.archetype);
    if (column.descriptor.component_type) metadata->Append(kMetaComponentType, *column.descriptor.component_type);
    fields.push_back(arrow::field(column.descriptor.component, column.type, true, std::move(metadata)));
  }
  return arrow::schema(std::move(fields), arrow::key_value_metadata({{kMetaEntityPath, entity.text()}, {kMetaVersion, kSorbetVersion}}));
}

}  // namespace rushes
