// Chunks read in part are those read whole, without the values of some components.
#include <gtest/gtest.h>

#include <random>

#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/io/memory.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

// A source that counts what is read of it.
class CountingSource : public ByteSource {
 public:
  explicit CountingSource(ByteSourcePtr source)
      : ByteSource(source->name(), source->stamp(), source->is_local()), source_(std::move(source)) {}
  mutable int64_t bytes_read = 0;

 protected:
  arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> DoRead(const std::vector<ByteRange>& ranges) const override {
    for (const ByteRange& range : ranges) bytes_read += range.size;
    return source_->ReadRanges(ranges);
  }

 private:
  ByteSourcePtr source_;
};

constexpr int kRows = 50;
constexpr size_t kBlob = 40'000;

ComponentDescriptor Descriptor(const char* component) {
  ComponentDescriptor out;
  out.component = component;
  return out;
}

// Numbers, then blobs, then text; some cells null, except those of numbers.
ChunkPtr MakeChunk(std::mt19937& random, uint64_t id) {
  ChunkBuilder builder(EntityPath::Parse("/camera"), {{"frame", TimeType::kSequence}, {"log_time", TimeType::kTimestamp}});
  builder.AddColumn(Descriptor("A:numbers"), arrow::float64());
  builder.AddColumn(Descriptor("B:bytes"), arrow::binary());
  builder.AddColumn(Descriptor("C:text"), arrow::utf8());
  for (int row = 0; row < kRows; ++row) {
    arrow::DoubleBuilder numbers;
    EXPECT_TRUE(numbers.Append(row * 0.5).ok());
    arrow::BinaryBuilder blobs;
    std::string blob(kBlob, '\0');
    for (char& c : blob) c = static_cast<char>(random());
    EXPECT_TRUE(blobs.Append(blob).ok());
    arrow::StringBuilder texts;
    EXPECT_TRUE(texts.Append("text " + std::to_string(random())).ok());
    const auto text = random() % 3 == 0 ? nullptr : texts.Finish().ValueOrDie();
    EXPECT_TRUE(
        builder
            .AddRow({id, static_cast<uint64_t>(row)}, {row, row * 1000}, {numbers.Finish().ValueOrDie(), blobs.Finish().ValueOrDie(), text})
            .ok());
  }
  return builder.Finish({id, 0}).ValueOrDie();
}

class PartialChunks : public testing::TestWithParam<rrd::Compression> {
 protected:
  void SetUp() override {
    std::mt19937 random(3);
    const auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
    rrd::WriterOptions options;
    options.compression = GetParam();
    auto writer = rrd::Writer::Make(sink, options).ValueOrDie();
    for (uint64_t id = 1; id <= 4; ++id) {
      ASSERT_TRUE(writer->Write({StoreKind::kRecording, "app", "run"}, *MakeChunk(random, id)).ok());
    }
    ASSERT_TRUE(writer->Close().ok());
    source_ = std::make_shared<CountingSource>(MakeBufferSource("parts.rrd", sink->Finish().ValueOrDie()));
    store_ = OpenRecording(source_).ValueOrDie().stores.at(0);
    source_->bytes_read = 0;
  }

  ChunkPtr Read(const std::vector<std::string>& components) {
    const uint32_t chunk = 1;
    const auto values = std::make_shared<const std::vector<std::string>>(components);
    return store_->ReadChunks(std::span(&chunk, 1), std::span<const ComponentList>(&values, 1), nullptr).ValueOrDie()[0];
  }

  std::shared_ptr<CountingSource> source_;
  RecordingStorePtr store_;
};

TEST_P(PartialChunks, HaveTheValuesThatWereAskedFor) {
  const uint32_t position = 1;
  const ChunkPtr whole = store_->ReadChunks(std::span(&position, 1)).ValueOrDie()[0];
  const std::vector<std::string> names = {"A:numbers", "B:bytes", "C:text"};
  for (unsigned mask = 0; mask < 8; ++mask) {
    std::vector<std::string> wanted;
    for (size_t i = 0; i < names.size(); ++i) {
      if (mask >> i & 1) wanted.push_back(names[i]);
    }
    const ChunkPtr part = Read(wanted);
    ASSERT_EQ(part->num_rows(), kRows);
    ASSERT_EQ(part->id(), whole->id());
    for (int64_t row = 0; row < kRows; ++row) EXPECT_EQ(part->row_id(row), whole->row_id(row));
    for (int t = 0; t < 2; ++t) EXPECT_EQ(std::memcmp(part->times(t), whole->times(t), kRows * 8), 0);
    for (const std::string& name : wanted) {
      const int at = part->schema().ColumnIndex(name);
      EXPECT_TRUE(part->column(at)->Equals(*whole->column(whole->schema().ColumnIndex(name)))) << name;
    }
    for (int c = 0; c < 3; ++c) {
      const auto& column = part->column(c);
      EXPECT_TRUE(column->Equals(*whole->column(c)) || (column->null_count() == 0 && column->value_offset(kRows) == 0)) << mask;
    }
  }
}

TEST_P(PartialChunks, CostWhatTheyHold) {
  const ChunkPtr head = Read({});
  EXPECT_LT(source_->bytes_read, 64'000);
  EXPECT_LT(head->byte_size(), 64'000);
  source_->bytes_read = 0;
  const ChunkPtr numbers = Read({"A:numbers"});
  EXPECT_LT(numbers->byte_size(), 64'000);
  const ChunkPtr blobs = Read({"B:bytes"});
  EXPECT_GE(blobs->byte_size(), static_cast<int64_t>(kRows * kBlob));
}

// A part that is kept serves for itself alone, a whole chunk for all.
TEST_P(PartialChunks, AreCachedApart) {
  ChunkCache cache(int64_t{1} << 30);
  const uint32_t position = 1;
  const auto read = [&](const ComponentList& values) {
    return store_->ReadChunks(std::span(&position, 1), std::span<const ComponentList>(&values, 1), &cache).ValueOrDie()[0];
  };
  const auto nothing = std::make_shared<const std::vector<std::string>>();
  const auto numbers = std::make_shared<const std::vector<std::string>>(1, "A:numbers");
  const ChunkPtr head = read(nothing);
  EXPECT_EQ(read(nothing), head);
  const ChunkPtr part = read(numbers);
  EXPECT_EQ(part->column(part->schema().ColumnIndex("A:numbers"))->value_offset(kRows), kRows);
  EXPECT_EQ(read(numbers), part);
  const ChunkPtr whole = read(nullptr);
  EXPECT_GT(whole->byte_size(), static_cast<int64_t>(kRows * kBlob));
  EXPECT_EQ(read(nothing), whole);
}

INSTANTIATE_TEST_SUITE_P(Both, PartialChunks, testing::Values(rrd::Compression::kNone, rrd::Compression::kLz4),
                         [](const auto& info) { return info.param == rrd::Compression::kNone ? "plain" : "lz4"; });

}  // namespace
}  // namespace rushes
