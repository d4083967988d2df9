#include "rushes/store/compaction.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arrow/array/concatenate.h"
#include "arrow/record_batch.h"

// One pass over the file, in its order. For each entity and set of columns the chunks that may still grow are kept; they are written when
// they are large enough, when the next chunk does not follow on them, or, the largest ones first, when all of them together are too large.
// So chunks of one time stay near each other in the new file.

namespace rushes {
namespace {

constexpr int64_t kReadBytes = 8 << 20;

// Equal for chunks that can be put one after another.
std::string Shape(const ChunkSchema& schema) {
  std::string shape = schema.entity().text();
  for (const Timeline& timeline : schema.timelines()) {
    shape += '\n' + timeline.name + '\t' + std::string(ToString(timeline.type));
  }
  for (const ChunkColumn& column : schema.columns()) {
    shape += '\n' + column.descriptor.archetype.value_or("") + '\t' + column.descriptor.component + '\t' +
             column.descriptor.component_type.value_or("") + '\t' + column.type->ToString(/*show_metadata=*/true);
  }
  return shape;
}

bool IsAscending(const Chunk& chunk) {
  for (int i = 0; i < static_cast<int>(chunk.schema().timelines().size()); ++i) {
    if (!chunk.times_sorted(i)) return false;
  }
  return true;
}

bool Follows(const Chunk& before, const Chunk& after) {
  if (!(before.row_id(before.num_rows() - 1) < after.row_id(0))) return false;
  for (int i = 0; i < static_cast<int>(before.schema().timelines().size()); ++i) {
    if (before.times(i)[before.num_rows() - 1] > after.times(i)[0]) return false;
  }
  return true;
}

class Compactor {
 public:
  Compactor(const StoreId& id, rrd::Writer* writer, const CompactionOptions& options) : id_(id), writer_(writer), options_(options) {}

  arrow::Status Add(const ChunkPtr& chunk) {
    if (chunk->num_rows() == 0) return arrow::Status::OK();
    const bool can_grow = !chunk->is_static() && IsAscending(*chunk) && chunk->byte_size() < options_.target_bytes / 2;
    Group& group = groups_[Shape(chunk->schema())];
    const bool fits = group.bytes + chunk->byte_size() <= options_.target_bytes && group.rows + chunk->num_rows() <= options_.target_rows;
    if (!group.chunks.empty() && (!can_grow || !fits || !Follows(*group.chunks.back(), *chunk))) ARROW_RETURN_NOT_OK(Flush(&group));
    if (!can_grow) return writer_->Write(id_, *chunk);
    group.chunks.push_back(chunk);
    group.bytes += chunk->byte_size();
    group.rows += chunk->num_rows();
    waiting_bytes_ += chunk->byte_size();
    while (waiting_bytes_ > options_.memory_bytes) {
      const auto largest =
          std::max_element(groups_.begin(), groups_.end(), [](const auto& a, const auto& b) { return a.second.bytes < b.second.bytes; });
      ARROW_RETURN_NOT_OK(Flush(&largest->second));
    }
    return arrow::Status::OK();
  }

  arrow::Status Finish() {
    for (auto& [shape, group] : groups_) ARROW_RETURN_NOT_OK(Flush(&group));
    return arrow::Status::OK();
  }

 private:
  struct Group {
    std::vector<ChunkPtr> chunks;
    int64_t bytes = 0;
    int64_t rows = 0;
  };

  arrow::Status Flush(Group* group) {
    if (group->chunks.empty()) return arrow::Status::OK();
    ChunkPtr chunk = group->chunks.front();
    if (group->chunks.size() > 1) {
      std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
      for (const ChunkPtr& part : group->chunks) batches.push_back(part->ToRecordBatch());
      arrow::ArrayVector columns;
      for (int i = 0; i < batches.front()->num_columns(); ++i) {
        arrow::ArrayVector parts;
        for (const auto& batch : batches) parts.push_back(batch->column(i));
        ARROW_ASSIGN_OR_RAISE(auto column, arrow::Concatenate(parts));
        columns.push_back(std::move(column));
      }
      auto batch = arrow::RecordBatch::Make(chunk->schema().arrow_schema(), group->rows, std::move(columns));
      ARROW_ASSIGN_OR_RAISE(chunk, Chunk::Make(Tuid::New(), chunk->schema_ptr(), std::move(batch)));
    }
    waiting_bytes_ -= group->bytes;
    *group = Group();
    return writer_->Write(id_, *chunk);
  }

  const StoreId id_;
  rrd::Writer* const writer_;
  const CompactionOptions& options_;
  std::map<std::string, Group> groups_;
  int64_t waiting_bytes_ = 0;
};

}  // namespace

size_t EstimateCompacted(const SegmentIndex& index, const CompactionOptions& options) {
  size_t chunks = 0;
  for (uint32_t entity = 0; entity < index.entities().size(); ++entity) {
    int64_t bytes = 0;
    int64_t rows = 0;
    for (const uint32_t chunk : index.ChunksOf(entity)) {
      const auto size = static_cast<int64_t>(index.place(chunk).size_uncompressed);
      if (index.is_static(chunk) || size >= options.target_bytes / 2) {
        ++chunks;
      } else {
        bytes += size;
        rows += index.num_rows(chunk);
      }
    }
    chunks += static_cast<size_t>(
        std::max((bytes + options.target_bytes - 1) / options.target_bytes, (rows + options.target_rows - 1) / options.target_rows));
  }
  return chunks;
}

arrow::Status Compact(const RecordingStore& store, rrd::Writer* writer, const CompactionOptions& options) {
  const SegmentIndex& index = *store.index();
  Compactor compactor(store.id(), writer, options);
  for (uint32_t chunk = 0; chunk < index.num_chunks();) {
    if (options.is_cancelled && options.is_cancelled()) return arrow::Status::Cancelled("the compaction was given up");
    std::vector<uint32_t> positions;
    int64_t bytes = 0;
    while (chunk < index.num_chunks() && (positions.empty() || bytes < kReadBytes)) {
      bytes += static_cast<int64_t>(index.place(chunk).size_uncompressed);
      positions.push_back(chunk++);
    }
    ARROW_ASSIGN_OR_RAISE(const auto chunks, store.ReadChunks(positions));
    for (const ChunkPtr& decoded : chunks) ARROW_RETURN_NOT_OK(compactor.Add(decoded));
  }
  return compactor.Finish();
}

}  // namespace rushes
