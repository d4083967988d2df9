#include "rushes/rrd/frame_reader.h"

#include <algorithm>
#include <string_view>

namespace rushes::rrd {
namespace {

constexpr int64_t kWindow = 256 << 10;

std::string Words(std::initializer_list<std::string> parts) {
  std::string out;
  for (const auto& part : parts) out += part;
  return out;
}

}  // namespace

FrameReader::FrameReader(ByteSourcePtr source, int64_t begin, int64_t end) : source_(std::move(source)), at_(begin), end_(end) {}

arrow::Result<std::shared_ptr<arrow::Buffer>> FrameReader::Read(int64_t offset, int64_t size) {
  if (size > kWindow / 2) return source_->ReadAt({offset, size});
  if (window_ == nullptr || offset < window_offset_ || offset + size > window_offset_ + window_->size()) {
    window_offset_ = offset;
    ARROW_ASSIGN_OR_RAISE(window_, source_->ReadAt({offset, std::min(kWindow, end_ - offset)}));
  }
  return arrow::SliceBuffer(window_, offset - window_offset_, size);
}

void FrameReader::Stop(std::string problem) {
  done_ = true;
  problem_ = std::move(problem);
}

arrow::Result<std::optional<Frame>> FrameReader::Next() {
  while (!done_) {
    const int64_t left = end_ - at_;
    if (!in_stream_) {
      if (left == 0 && !first_) break;
      std::string_view bytes;
      std::shared_ptr<arrow::Buffer> buffer;
      ARROW_ASSIGN_OR_RAISE(buffer, Read(at_, std::min(left, kStreamHeaderSize)));
      auto header = StreamHeader::Parse(std::string_view(*buffer));
      if (!header.ok()) {
        if (first_) return header.status();
        Stop(Words({"what follows byte ", std::to_string(at_), " is no message and no new stream"}));
        break;
      }
      first_ = false;
      in_stream_ = true;
      stream_begin_ = at_;
      version_ = header->version;
      at_ += kStreamHeaderSize;
      continue;
    }
    if (left == 0) break;
    if (left < kFrameHeaderSize) {
      // Perhaps the start of another stream; too short for either.
      Stop(Words({"the file ends at byte ", std::to_string(end_), ", inside the header of a message"}));
      break;
    }
    ARROW_ASSIGN_OR_RAISE(const auto bytes, Read(at_, kFrameHeaderSize));
    Frame frame{FrameHeader::Parse(reinterpret_cast<const char*>(bytes->data())), at_ + kFrameHeaderSize, version_, stream_begin_};
    if (!frame.header.is_known()) {
      in_stream_ = false;
      continue;
    }
    const int64_t available = end_ - frame.payload_offset;
    if (frame.header.size > static_cast<uint64_t>(available)) {
      Stop(Words({"the message at byte ", std::to_string(frame.payload_offset), " needs ", std::to_string(frame.header.size),
                  " bytes, but only ", std::to_string(available), " follow"}));
      break;
    }
    at_ = frame.payload_offset + static_cast<int64_t>(frame.header.size);
    if (frame.kind() == FrameKind::kEnd) {
      in_stream_ = false;
      if (end_ - at_ >= kTrailerSize) {
        ARROW_ASSIGN_OR_RAISE(const auto trailer, Read(at_, kTrailerSize));
        const std::string_view text(*trailer);
        // A stream of before 0.28 has no trailer; another one may follow at once. A damaged trailer is skipped like a sound one.
        if (Trailer::Parse(text) || text.substr(0, 4) != kMagic) at_ += kTrailerSize;
      } else if (end_ > at_) {
        ARROW_ASSIGN_OR_RAISE(const auto rest, Read(at_, end_ - at_));
        if (!std::string_view(*rest).starts_with(kMagic)) {
          Stop(Words({"the trailer at byte ", std::to_string(at_), " is cut off"}));
        }
      }
    }
    return frame;
  }
  return std::nullopt;
}

arrow::Result<std::shared_ptr<arrow::Buffer>> FrameReader::ReadPayload(const Frame& frame) {
  return Read(frame.payload_offset, static_cast<int64_t>(frame.header.size));
}

arrow::Result<std::shared_ptr<arrow::Buffer>> FrameReader::ReadPayloadStart(const Frame& frame, int64_t size) {
  const int64_t wanted = std::min(size, static_cast<int64_t>(frame.header.size));
  return source_->ReadAt({frame.payload_offset, wanted});
}

}  // namespace rushes::rrd
