#include "sample_chunks.h"

#include <cstring>
#include <limits>

#include "arrow/array.h"
#include "arrow/array/builder_binary.h"
#include "arrow/buffer.h"
#include "rushes/chunk/chunk_builder.h"

namespace rushes::benchmarks {
namespace {

using Buffer = std::shared_ptr<arrow::Buffer>;

arrow::Result<Buffer> Numbers(int64_t count, int64_t width) {
  ARROW_ASSIGN_OR_RAISE(auto buffer, arrow::AllocateBuffer(count * width));
  return Buffer(std::move(buffer));
}

// Offsets 0, step, 2 * step …
arrow::Result<Buffer> EvenOffsets(int64_t count, int64_t step) {
  if (count * step > std::numeric_limits<int32_t>::max()) return arrow::Status::Invalid(count, " rows of ", step, " items are too many");
  ARROW_ASSIGN_OR_RAISE(auto buffer, Numbers(count + 1, 4));
  auto* const out = reinterpret_cast<int32_t*>(buffer->mutable_data());
  for (int64_t i = 0; i <= count; ++i) out[i] = static_cast<int32_t>(i * step);
  return buffer;
}

arrow::Result<std::shared_ptr<arrow::ArrayData>> Doubles(int64_t count, std::mt19937_64& random) {
  ARROW_ASSIGN_OR_RAISE(auto values, Numbers(count, 8));
  auto* const out = reinterpret_cast<double*>(values->mutable_data());
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<double>(static_cast<int64_t>(random())) * 0x1p-63;
  return arrow::ArrayData::Make(arrow::float64(), count, {nullptr, std::move(values)}, 0);
}

arrow::Result<std::shared_ptr<arrow::ArrayData>> Texts(int64_t count, std::mt19937_64& random) {
  arrow::StringBuilder builder;
  for (int64_t i = 0; i < count; ++i) {
    const std::string text =
        "joint " + std::to_string(random() % 7) + " reached its goal after " + std::to_string(random() % 100'000) + " ms";
    ARROW_RETURN_NOT_OK(builder.Append(text + std::string(random() % 12, '.')));
  }
  ARROW_ASSIGN_OR_RAISE(const auto array, builder.Finish());
  return array->data();
}

// Each of the images as one list of bytes.
arrow::Result<std::shared_ptr<arrow::ArrayData>> Blobs(int64_t count, int64_t bytes, std::mt19937_64& random) {
  ARROW_ASSIGN_OR_RAISE(auto offsets, EvenOffsets(count, bytes));
  ARROW_ASSIGN_OR_RAISE(auto values, Numbers(count * bytes, 1));
  uint8_t* const out = values->mutable_data();
  for (int64_t i = 0; i < count * bytes; i += 8) {
    const uint64_t word = random();
    std::memcpy(out + i, &word, static_cast<size_t>(std::min<int64_t>(8, count * bytes - i)));
  }
  auto items = arrow::ArrayData::Make(arrow::uint8(), count * bytes, {nullptr, std::move(values)}, 0);
  return arrow::ArrayData::Make(arrow::list(arrow::field("item", arrow::uint8(), /*nullable=*/false)), count, {nullptr, std::move(offsets)},
                                {std::move(items)}, 0);
}

ComponentDescriptor DescriptorOf(Content content) {
  switch (content) {
    case Content::kScalars:
      return {"rerun.archetypes.Scalars", "Scalars:scalars", "rerun.components.Scalar"};
    case Content::kText:
      return {"rerun.archetypes.TextLog", "TextLog:text", "rerun.components.Text"};
    case Content::kImages:
      return {"rerun.archetypes.EncodedImage", "EncodedImage:blob", "rerun.components.Blob"};
  }
  return {};
}

}  // namespace

arrow::Result<ChunkPtr> MakeSampleChunk(const std::string& entity, const std::vector<Timeline>& timelines, std::span<const int64_t> times,
                                        Content content, int64_t blob_bytes, std::mt19937_64& random) {
  const auto rows = static_cast<int64_t>(times.size());
  if (rows < 1) return arrow::Status::Invalid("a chunk needs a row");
  std::shared_ptr<arrow::ArrayData> items;
  switch (content) {
    case Content::kScalars: {
      ARROW_ASSIGN_OR_RAISE(items, Doubles(rows, random));
      break;
    }
    case Content::kText: {
      ARROW_ASSIGN_OR_RAISE(items, Texts(rows, random));
      break;
    }
    case Content::kImages: {
      ARROW_ASSIGN_OR_RAISE(items, Blobs(rows, blob_bytes, random));
      break;
    }
  }
  const ChunkColumn column{DescriptorOf(content), arrow::list(arrow::field("item", items->type, /*nullable=*/true))};

  const ChunkId id = ChunkId::New();
  ARROW_ASSIGN_OR_RAISE(auto row_ids, Numbers(rows, RowId::kNumBytes));
  for (int64_t i = 0; i < rows; ++i) RowId::New().ToBytes(row_ids->mutable_data() + i * RowId::kNumBytes);
  arrow::ArrayVector columns = {
      arrow::MakeArray(arrow::ArrayData::Make(arrow::fixed_size_binary(RowId::kNumBytes), rows, {nullptr, std::move(row_ids)}, 0))};
  for (const Timeline& timeline : timelines) {
    ARROW_ASSIGN_OR_RAISE(auto values, Numbers(rows, 8));
    std::memcpy(values->mutable_data(), times.data(), times.size_bytes());
    columns.push_back(arrow::MakeArray(arrow::ArrayData::Make(ArrowType(timeline.type), rows, {nullptr, std::move(values)}, 0)));
  }
  ARROW_ASSIGN_OR_RAISE(auto offsets, EvenOffsets(rows, 1));
  columns.push_back(arrow::MakeArray(arrow::ArrayData::Make(column.type, rows, {nullptr, std::move(offsets)}, {std::move(items)}, 0)));

  ARROW_ASSIGN_OR_RAISE(auto schema, ChunkSchema::Make(MakeChunkArrowSchema(EntityPath::Parse(entity), timelines, {column})));
  auto batch = arrow::RecordBatch::Make(schema->arrow_schema(), rows, std::move(columns));
  return Chunk::Make(id, std::move(schema), std::move(batch));
}

std::vector<Timeline> SampleTimelines(int count) {
  std::vector<Timeline> timelines = {{"frame", TimeType::kSequence}};
  for (int i = 1; i < count; ++i) timelines.push_back({"clock_" + std::to_string(i), TimeType::kDuration});
  return timelines;
}

}  // namespace rushes::benchmarks
