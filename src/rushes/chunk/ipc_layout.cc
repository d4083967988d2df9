#include "rushes/chunk/ipc_layout.h"

#include <cstring>

#include "arrow/type_traits.h"

// The metadata is a flatbuffer (format/Message.fbs and Schema.fbs of Arrow's specification). A table begins with the signed distance
// back to its vtable: two 16-bit sizes, then one 16-bit offset per field, 0 for a field that is not there.

namespace rushes {
namespace {

constexpr uint8_t kRecordBatchHeader = 3;  // of the union MessageHeader

// Reads little-endian values of a flatbuffer; anything outside of it makes the whole unreadable.
class Flatbuffer {
 public:
  explicit Flatbuffer(std::string_view bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }

  template <typename Value>
  Value Read(int64_t at) {
    Value value{};
    if (at < 0 || at > static_cast<int64_t>(bytes_.size()) - static_cast<int64_t>(sizeof(Value))) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, bytes_.data() + at, sizeof(Value));
    return value;
  }
  // What an offset at this position points to.
  int64_t Follow(int64_t at) { return at + Read<uint32_t>(at); }
  // Position of a table's field; 0 if it is not there.
  int64_t Field(int64_t table, int field) {
    const int64_t vtable = table - Read<int32_t>(table);
    const int64_t slot = 4 + 2 * static_cast<int64_t>(field);
    if (slot + 2 > Read<uint16_t>(vtable)) return 0;
    const uint16_t offset = Read<uint16_t>(vtable + slot);
    return offset == 0 ? 0 : table + offset;
  }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace

bool IpcBatchLayout::Read(std::string_view message) {
  constexpr int64_t kPrefix = 8;  // marker and size
  if (message.size() < kPrefix) return false;
  uint32_t marker, length;
  std::memcpy(&marker, message.data(), 4);
  std::memcpy(&length, message.data() + 4, 4);
  if (marker != 0xFFFFFFFFu || length < 8 || length > message.size() - kPrefix) return false;
  Flatbuffer buffer(message.substr(kPrefix, length));

  // table Message { version, header_type, header, bodyLength, ... }
  const int64_t root = buffer.Follow(0);
  const int64_t kind = buffer.Field(root, 1), header = buffer.Field(root, 2), body = buffer.Field(root, 3);
  if (!buffer.ok() || kind == 0 || header == 0 || buffer.Read<uint8_t>(kind) != kRecordBatchHeader) return false;
  metadata_length = kPrefix + length;
  body_length = body == 0 ? 0 : buffer.Read<int64_t>(body);
  // table RecordBatch { length, nodes, buffers, compression, ... }
  const int64_t batch = buffer.Follow(header);
  const int64_t rows = buffer.Field(batch, 0), places = buffer.Field(batch, 2);
  num_rows = rows == 0 ? 0 : buffer.Read<int64_t>(rows);
  if (buffer.Field(batch, 3) != 0 || places == 0 || num_rows < 0 || body_length < 0) return false;
  const int64_t vector = buffer.Follow(places);
  const uint32_t count = buffer.Read<uint32_t>(vector);
  if (!buffer.ok() || count > length / 16) return false;
  buffers.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    Buffer& at = buffers[i];
    at.offset = buffer.Read<int64_t>(vector + 4 + 16 * static_cast<int64_t>(i));
    at.length = buffer.Read<int64_t>(vector + 12 + 16 * static_cast<int64_t>(i));
    if (at.offset < 0 || at.length < 0 || at.offset > body_length || at.length > body_length - at.offset) return false;
  }
  if (!buffer.ok()) return false;
  return true;
}

std::optional<IpcBatchLayout> IpcBatchLayout::Parse(std::string_view message) {
  IpcBatchLayout layout;
  if (!layout.Read(message)) return std::nullopt;
  return layout;
}

size_t IpcMessageLength(std::string_view bytes) {
  if (bytes.size() < 8) return 0;
  uint32_t marker, length;
  std::memcpy(&marker, bytes.data(), 4);
  std::memcpy(&length, bytes.data() + 4, 4);
  if (marker != 0xFFFFFFFFu || length == 0 || length > bytes.size() - 8) return 0;
  return 8 + static_cast<size_t>(length);
}

std::optional<int> CountIpcBuffers(const arrow::DataType& type) {
  int own = 0;
  switch (type.id()) {
    case arrow::Type::NA:
      return 0;
    case arrow::Type::STRUCT:
    case arrow::Type::FIXED_SIZE_LIST:
      own = 1;
      break;
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::MAP:
      own = 2;
      break;
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return 3;
    case arrow::Type::FIXED_SIZE_BINARY:
    case arrow::Type::BOOL:
      return 2;
    default:
      if (arrow::is_primitive(type.id()) || arrow::is_decimal(type.id())) return 2;
      return std::nullopt;
  }
  for (const auto& field : type.fields()) {
    const auto inner = CountIpcBuffers(*field->type());
    if (!inner) return std::nullopt;
    own += *inner;
  }
  return own;
}

}  // namespace rushes
