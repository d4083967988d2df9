// Steps through the frames of a recording, without decoding what is in them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "arrow/buffer.h"
#include "arrow/result.h"
#include "rushes/rrd/byte_source.h"
#include "rushes/rrd/format.h"

namespace rushes::rrd {

// One frame.
struct Frame {
  FrameHeader header;
  int64_t payload_offset = 0;  // in the file
  WriterVersion version;       // of the stream it is in
  int64_t stream_begin = 0;    // where that stream starts
  FrameKind kind() const { return static_cast<FrameKind>(header.kind); }
};

// Reads frame headers in order, through streams that follow one another, with or without footers. Not thread safe. Reads in windows, so
// that memory stays bounded whatever the file says; payloads are only read when asked for.
class FrameReader {
 public:
  // Frames of bytes [begin, end), which must start with a stream header.
  FrameReader(ByteSourcePtr source, int64_t begin, int64_t end);

  // The next frame, or nullopt at the end. Bytes that cannot be understood, or an end in the middle of a frame, end the iteration too;
  // problem() then says so. Invalid: there is no stream header at `begin`. IOError: the file cannot be read.
  arrow::Result<std::optional<Frame>> Next();
  // The payload of a frame, whole.
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadPayload(const Frame& frame);
  // The first `size` bytes of it, or all of them.
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadPayloadStart(const Frame& frame, int64_t size);

  // Why the iteration ended before the last byte, in words that name the byte; empty if it did not.
  const std::string& problem() const { return problem_; }

 private:
  // Exactly `size` bytes at `offset`, through the window if they are few.
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(int64_t offset, int64_t size);
  void Stop(std::string problem);

  ByteSourcePtr source_;
  int64_t at_;
  const int64_t end_;
  int64_t stream_begin_ = 0;
  WriterVersion version_;
  bool in_stream_ = false;
  bool first_ = true;
  bool done_ = false;
  std::string problem_;
  int64_t window_offset_ = 0;
  std::shared_ptr<arrow::Buffer> window_;
};

}  // namespace rushes::rrd
