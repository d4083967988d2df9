#include "rushes/rrd/byte_source.h"

#include "arrow/status.h"

namespace rushes {
namespace {

class BufferSource : public ByteSource {
 public:
  BufferSource(std::string name, std::shared_ptr<arrow::Buffer> bytes)
      : ByteSource(std::move(name), {bytes->size(), 0, ""}, /*is_local=*/true), bytes_(std::move(bytes)) {}

 protected:
  arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> DoRead(const std::vector<ByteRange>& ranges) const override {
    std::vector<std::shared_ptr<arrow::Buffer>> buffers;
    for (const ByteRange& range : ranges) buffers.push_back(arrow::SliceBuffer(bytes_, range.offset, range.size));
    return buffers;
  }

 private:
  std::shared_ptr<arrow::Buffer> bytes_;
};

}  // namespace

arrow::Result<std::shared_ptr<arrow::Buffer>> ByteSource::ReadAt(ByteRange range) const {
  ARROW_ASSIGN_OR_RAISE(auto buffers, ReadRanges({range}));
  return std::move(buffers[0]);
}

arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> ByteSource::ReadRanges(const std::vector<ByteRange>& ranges) const {
  for (const ByteRange& range : ranges) {
    if (range.offset < 0 || range.size < 0 || range.offset > size() || range.size > size() - range.offset) {
      return arrow::Status::Invalid(name(), ": bytes ", range.offset, " to ",
                                    static_cast<uint64_t>(range.offset) + static_cast<uint64_t>(range.size), " are outside the file of ",
                                    size(), " bytes");
    }
  }
  return DoRead(ranges);
}

ByteSourcePtr MakeBufferSource(std::string name, std::shared_ptr<arrow::Buffer> bytes) {
  return std::make_shared<BufferSource>(std::move(name), std::move(bytes));
}

}  // namespace rushes
