// Where the buffers of an Arrow IPC record batch lie, read from its metadata without Arrow's reader, which wants the whole body.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "arrow/type.h"

namespace rushes {

// The layout of an encapsulated record batch message. Offsets count from the start of the body.
struct IpcBatchLayout {
  struct Buffer {
    int64_t offset = 0;
    int64_t length = 0;
    int64_t end() const { return offset + length; }
  };
  int64_t num_rows = 0;
  int64_t metadata_length = 0;  // bytes before the body: marker, size, flatbuffer
  int64_t body_length = 0;
  std::vector<Buffer> buffers;  // of all fields, in the order of the format

  // Reads it from the first bytes of a message, which must hold its metadata. nullopt if they do not, or if it is anything but a plain
  // record batch: dictionaries, compressed buffers, sizes that cannot be.
  static std::optional<IpcBatchLayout> Parse(std::string_view message);
  // The same into this layout, whose memory is used again. False where Parse gives nothing; the layout is worth nothing then.
  bool Read(std::string_view message);
};

// Bytes of the encapsulated message at the start of `bytes` without its body: marker, size, flatbuffer. 0 if there is none.
size_t IpcMessageLength(std::string_view bytes);

// Buffers that a field of the type has in a record batch; nullopt if that depends on the data.
std::optional<int> CountIpcBuffers(const arrow::DataType& type);

}  // namespace rushes
