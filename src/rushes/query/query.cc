#include "rushes/query/query.h"

#include "arrow/type.h"
#include "arrow/util/key_value_metadata.h"
#include "rushes/chunk/migration.h"
#include "rushes/query/nearest.h"
#include "rushes/query/plan.h"

namespace rushes {

arrow::Result<std::shared_ptr<arrow::Schema>> MakeQuerySchema(const DatasetSchema& schema, const Query& query) {
  if (query.index && schema.FindTimeline(*query.index) == nullptr) {
    std::vector<std::string> names;
    for (const Timeline& timeline : schema.timelines()) names.push_back(timeline.name);
    return arrow::Status::KeyError("Index '", *query.index, "' does not exist in the dataset.", DidYouMean(*query.index, names));
  }
  arrow::FieldVector fields = {arrow::field(kSegmentIdColumn, arrow::utf8(), /*nullable=*/false)};
  for (const Timeline& timeline : schema.timelines()) fields.push_back(IndexField(timeline));
  for (const ComponentColumn& column : schema.columns()) {
    if (IsInView(column, query)) fields.push_back(ComponentField(column));
  }
  return arrow::schema(std::move(fields), arrow::key_value_metadata({{"sorbet:version", kSorbetVersion}}));
}

arrow::Result<std::shared_ptr<const PreparedQuery>> PreparedQuery::Make(std::shared_ptr<ChunkSource> source, Query query) {
  std::shared_ptr<PreparedQuery> out(new PreparedQuery());
  ARROW_ASSIGN_OR_RAISE(out->dataset_schema_, source->GetSchema());
  ARROW_ASSIGN_OR_RAISE(out->schema_, MakeQuerySchema(*out->dataset_schema_, query));
  out->source_ = std::move(source);
  out->query_ = std::move(query);
  return out;
}

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> PreparedQuery::Scan(std::optional<std::vector<std::string>> columns,
                                                                             std::optional<arrow::compute::Expression> filter,
                                                                             const ScanOptions& options) const {
  ARROW_ASSIGN_OR_RAISE(auto plan, MakePlan(source_, query_, *dataset_schema_, schema_, columns, filter, options));
  return StartScan(std::move(plan));
}

}  // namespace rushes
