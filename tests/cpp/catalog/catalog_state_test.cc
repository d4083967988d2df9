#include "rushes/catalog/catalog_state.h"

#include "arrow/array/builder_primitive.h"
#include "arrow/io/memory.h"
#include "gtest/gtest.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/rrd/writer.h"
#include "rushes/store/recording.h"

namespace rushes {
namespace {

// Bytes that are read from elsewhere, as those of an object store.
class FarSource : public ByteSource {
 public:
  explicit FarSource(ByteSourcePtr source) : ByteSource(source->name(), source->stamp(), /*is_local=*/false), source_(std::move(source)) {}

 protected:
  arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> DoRead(const std::vector<ByteRange>& ranges) const override {
    return source_->ReadRanges(ranges);
  }

 private:
  const ByteSourcePtr source_;
};

ByteSourcePtr MakeRecording() {
  ChunkBuilder builder(EntityPath::Parse("/signal"), {{"frame", TimeType::kSequence}});
  builder.AddColumn({.archetype = {}, .component = "Scalars:scalars", .component_type = {}}, arrow::float64());
  arrow::DoubleBuilder numbers;
  EXPECT_TRUE(numbers.Append(0.5).ok());
  EXPECT_TRUE(builder.AddRow({1, 1}, {1}, {numbers.Finish().ValueOrDie()}).ok());
  const auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  auto writer = rrd::Writer::Make(sink, {}).ValueOrDie();
  EXPECT_TRUE(writer->Write({StoreKind::kRecording, "app", "run"}, *builder.Finish({1, 0}).ValueOrDie()).ok());
  EXPECT_TRUE(writer->Close().ok());
  return MakeBufferSource("run.rrd", sink->Finish().ValueOrDie());
}

LayerPtr MakeLayer(const char* name, ByteSourcePtr source) {
  auto layer = std::make_shared<Layer>();
  layer->name = name;
  layer->store = OpenRecording(std::move(source)).ValueOrDie().stores.at(0);
  layer->schema = layer->store->schema();
  layer->schema_sha256 = std::string(32, 's');
  return layer;
}

// Where one layer of one segment is read over a network, a read may take long, and Ctrl-C must not wait for it.
TEST(DatasetContent, KnowsWhetherAllIsOnThisMachine) {
  const LayerPtr near = MakeLayer("near", MakeRecording());
  const LayerPtr far = MakeLayer("far", std::make_shared<FarSource>(MakeRecording()));
  const auto is_on_this_machine = [](const std::vector<std::vector<LayerPtr>>& layers) {
    DatasetContent::Segments segments;
    for (size_t i = 0; i < layers.size(); ++i) {
      const std::string id = "segment_" + std::to_string(i);
      segments[id] = MakeSegment(id, layers[i]).ValueOrDie();
    }
    return DatasetContent::Make(std::move(segments)).ValueOrDie()->is_on_this_machine();
  };
  EXPECT_TRUE(is_on_this_machine({}));
  EXPECT_TRUE(is_on_this_machine({{near}, {near, near}}));
  EXPECT_FALSE(is_on_this_machine({{far}}));
  EXPECT_FALSE(is_on_this_machine({{near}, {near, far}, {near}}));
}

}  // namespace
}  // namespace rushes
