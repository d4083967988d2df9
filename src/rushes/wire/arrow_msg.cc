#include "rushes/wire/arrow_msg.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "rushes/wire/dataframe.h"

namespace rushes::wire {
namespace {

// Field numbers and wire types, as proto/rerun/log_msg and proto/rerun/cloud have them.
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Reads protobuf's wire format from a sequence of pieces.
class Cursor {
 public:
  explicit Cursor(const BytePieces& pieces) : pieces_(pieces) {
    for (const auto& piece : pieces_) remaining_ += piece.size();
    SkipEmpty();
  }

  uint64_t remaining() const { return remaining_; }

  arrow::Status Varint(uint64_t* out) {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (remaining_ == 0) return Truncated();
      const uint8_t byte = pieces_[piece_][offset_];
      Advance(1);
      value |= shift < 64 ? static_cast<uint64_t>(byte & 0x7F) << shift : 0;
      if (byte < 0x80) {
        *out = value;
        return arrow::Status::OK();
      }
    }
    return arrow::Status::Invalid("a number has more than ten bytes");
  }

  arrow::Status Fixed64(uint64_t* out) {
    if (remaining_ < 8) return Truncated();
    Copy(8, reinterpret_cast<uint8_t*>(out));
    return arrow::Status::OK();
  }

  // The length of a length-delimited field, checked against what is left.
  arrow::Status Length(uint64_t* out) {
    ARROW_RETURN_NOT_OK(Varint(out));
    return *out <= remaining_ ? arrow::Status::OK() : Truncated();
  }

  void Copy(uint64_t size, uint8_t* out) {
    while (size > 0) {
      const auto& piece = pieces_[piece_];
      const uint64_t run = std::min<uint64_t>(size, piece.size() - offset_);
      std::memcpy(out, piece.data() + offset_, run);
      out += run;
      size -= run;
      Advance(run);
    }
  }

  // The next `size` bytes where they lie, if they are contiguous; else an empty span and no move.
  std::span<const uint8_t> Contiguous(uint64_t size) {
    if (size == 0 || pieces_[piece_].size() - offset_ < size) return {};
    const auto out = pieces_[piece_].subspan(offset_, size);
    Advance(size);
    return out;
  }

  void Skip(uint64_t size) {
    while (size > 0) {
      const uint64_t run = std::min<uint64_t>(size, pieces_[piece_].size() - offset_);
      size -= run;
      Advance(run);
    }
  }

  arrow::Status SkipField(uint32_t wire_type) {
    uint64_t value = 0;
    switch (wire_type) {
      case kVarint:
        return Varint(&value);
      case kFixed64:
        if (remaining_ < 8) return Truncated();
        Skip(8);
        return arrow::Status::OK();
      case kFixed32:
        if (remaining_ < 4) return Truncated();
        Skip(4);
        return arrow::Status::OK();
      case kBytes:
        ARROW_RETURN_NOT_OK(Length(&value));
        Skip(value);
        return arrow::Status::OK();
      default:
        return arrow::Status::Invalid("unknown wire type ", wire_type);
    }
  }

  arrow::Result<std::string> String() {
    uint64_t size = 0;
    ARROW_RETURN_NOT_OK(Length(&size));
    std::string out(size, '\0');
    Copy(size, reinterpret_cast<uint8_t*>(out.data()));
    return out;
  }

 private:
  static arrow::Status Truncated() { return arrow::Status::Invalid("the message ends too early"); }

  void Advance(uint64_t size) {
    offset_ += size;
    remaining_ -= size;
    SkipEmpty();
  }
  void SkipEmpty() {
    while (piece_ < pieces_.size() && offset_ >= pieces_[piece_].size()) {
      ++piece_;
      offset_ = 0;
    }
  }

  const BytePieces& pieces_;
  size_t piece_ = 0;
  size_t offset_ = 0;
  uint64_t remaining_ = 0;
};

std::span<const uint8_t> Bytes(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

// Calls `field(number, wire type)` for each field until `end` bytes are left.
template <typename F>
arrow::Status ForEachField(Cursor& cursor, uint64_t end, F&& field) {
  while (cursor.remaining() > end) {
    uint64_t tag = 0;
    ARROW_RETURN_NOT_OK(cursor.Varint(&tag));
    ARROW_RETURN_NOT_OK(field(static_cast<uint32_t>(tag >> 3), static_cast<uint32_t>(tag & 7)));
    if (cursor.remaining() < end) return arrow::Status::Invalid("a field reaches beyond its message");
  }
  return arrow::Status::OK();
}

arrow::Status ParseStoreId(const std::string& bytes, ArrowMsgHead* out) {
  const BytePieces pieces{Bytes(bytes)};
  Cursor cursor(pieces);
  return ForEachField(cursor, 0, [&](uint32_t number, uint32_t type) -> arrow::Status {
    if (number == 1 && type == kVarint) {
      uint64_t value = 0;
      ARROW_RETURN_NOT_OK(cursor.Varint(&value));
      out->store_kind = static_cast<int32_t>(value);
    } else if (number == 2 && type == kBytes) {
      ARROW_ASSIGN_OR_RAISE(out->recording_id, cursor.String());
    } else if (number == 3 && type == kBytes) {
      ARROW_ASSIGN_OR_RAISE(std::string application, cursor.String());
      const BytePieces inner_pieces{Bytes(application)};
      Cursor inner(inner_pieces);
      return ForEachField(inner, 0, [&](uint32_t inner_number, uint32_t inner_type) -> arrow::Status {
        if (inner_number == 1 && inner_type == kBytes) {
          ARROW_ASSIGN_OR_RAISE(out->application_id, inner.String());
          return arrow::Status::OK();
        }
        return inner.SkipField(inner_type);
      });
    } else {
      return cursor.SkipField(type);
    }
    return arrow::Status::OK();
  });
}

arrow::Result<Tuid> ParseTuid(const std::string& bytes) {
  Tuid out;
  const BytePieces pieces{Bytes(bytes)};
  Cursor cursor(pieces);
  ARROW_RETURN_NOT_OK(ForEachField(cursor, 0, [&](uint32_t number, uint32_t type) -> arrow::Status {
    if (number == 1 && type == kFixed64) return cursor.Fixed64(&out.time_ns);
    if (number == 2 && type == kFixed64) return cursor.Fixed64(&out.counter);
    return cursor.SkipField(type);
  }));
  return out;
}

// Parses until `end` bytes are left. The compression may come after the payload, so a payload is first found, then read.
arrow::Result<ReceivedChunk> ParseOne(Cursor& cursor, uint64_t end) {
  ReceivedChunk out;
  std::shared_ptr<arrow::Buffer> raw;  // a copy of the payload
  std::span<const uint8_t> view;       // or its place in the message
  bool has_payload = false;
  ARROW_RETURN_NOT_OK(ForEachField(cursor, end, [&](uint32_t number, uint32_t type) -> arrow::Status {
    uint64_t value = 0;
    if (type == kBytes && (number == 1 || number == 5 || number == 6)) {
      if (number == 1) {
        ARROW_ASSIGN_OR_RAISE(auto bytes, cursor.String());
        return ParseStoreId(bytes, &out.head);
      }
      if (number == 6) {
        ARROW_ASSIGN_OR_RAISE(auto bytes, cursor.String());
        ARROW_ASSIGN_OR_RAISE(out.head.chunk_id, ParseTuid(bytes));
        return arrow::Status::OK();
      }
      ARROW_RETURN_NOT_OK(cursor.Length(&value));
      has_payload = true;
      view = cursor.Contiguous(value);
      raw.reset();
      if (view.empty() && value > 0) {
        ARROW_ASSIGN_OR_RAISE(raw, arrow::AllocateBuffer(static_cast<int64_t>(value)));
        cursor.Copy(value, raw->mutable_data());
      }
      return arrow::Status::OK();
    }
    if (type == kVarint && (number == 2 || number == 3 || number == 4 || number == 7)) {
      ARROW_RETURN_NOT_OK(cursor.Varint(&value));
      if (number == 2) out.head.compression = static_cast<int32_t>(value);
      if (number == 3) out.head.uncompressed_size = value;
      if (number == 4) out.head.encoding = static_cast<int32_t>(value);
      if (number == 7) out.head.is_static = value != 0;
      return arrow::Status::OK();
    }
    return cursor.SkipField(type);
  }));
  if (out.head.encoding != 1) return arrow::Status::Invalid("chunk with unknown encoding ", out.head.encoding);
  if (!has_payload) return arrow::Status::Invalid("chunk without payload");
  switch (out.head.compression) {
    case 0:
    case 1:
      if (raw == nullptr) {
        ARROW_ASSIGN_OR_RAISE(raw, arrow::AllocateBuffer(static_cast<int64_t>(view.size())));
        if (!view.empty()) std::memcpy(raw->mutable_data(), view.data(), view.size());
      }
      out.payload = std::move(raw);
      break;
    case 2: {
      if (raw != nullptr) view = {raw->data(), static_cast<size_t>(raw->size())};
      ARROW_ASSIGN_OR_RAISE(out.payload, DecompressLz4(view, out.head.uncompressed_size, "chunk"));
      break;
    }
    default:
      return arrow::Status::Invalid("chunk with unknown compression ", out.head.compression);
  }
  return out;
}

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void AppendTag(uint32_t number, uint32_t type, std::string* out) { AppendVarint(number << 3 | type, out); }

void AppendBytes(uint32_t number, std::string_view bytes, std::string* out) {
  AppendTag(number, kBytes, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

void AppendNumber(uint32_t number, uint64_t value, std::string* out) {
  if (value == 0) return;
  AppendTag(number, kVarint, out);
  AppendVarint(value, out);
}

void AppendFixed64(uint32_t number, uint64_t value, std::string* out) {
  AppendTag(number, kFixed64, out);
  out->append(reinterpret_cast<const char*>(&value), 8);
}

}  // namespace

arrow::Result<std::vector<ReceivedChunk>> ParseFetchChunksResponse(const BytePieces& message) {
  std::vector<ReceivedChunk> out;
  Cursor cursor(message);
  ARROW_RETURN_NOT_OK(ForEachField(cursor, 0, [&](uint32_t number, uint32_t type) -> arrow::Status {
    if (number != 1 || type != kBytes) return cursor.SkipField(type);
    uint64_t size = 0;
    ARROW_RETURN_NOT_OK(cursor.Length(&size));
    ARROW_ASSIGN_OR_RAISE(auto chunk, ParseOne(cursor, cursor.remaining() - size));
    out.push_back(std::move(chunk));
    return arrow::Status::OK();
  }));
  return out;
}

arrow::Result<ReceivedChunk> ParseArrowMsg(const BytePieces& message) {
  Cursor cursor(message);
  return ParseOne(cursor, 0);
}

std::string FetchChunksPrefix(const ArrowMsgHead& head, uint64_t payload_size) {
  std::string store;
  AppendNumber(1, static_cast<uint64_t>(head.store_kind), &store);
  if (!head.recording_id.empty()) AppendBytes(2, head.recording_id, &store);
  std::string application;
  if (!head.application_id.empty()) AppendBytes(1, head.application_id, &application);
  AppendBytes(3, application, &store);

  std::string msg;
  AppendBytes(1, store, &msg);
  AppendNumber(2, static_cast<uint64_t>(head.compression), &msg);
  AppendNumber(3, head.uncompressed_size, &msg);
  AppendNumber(4, static_cast<uint64_t>(head.encoding), &msg);
  if (head.chunk_id) {
    std::string tuid;
    AppendFixed64(1, head.chunk_id->time_ns, &tuid);
    AppendFixed64(2, head.chunk_id->counter, &tuid);
    AppendBytes(6, tuid, &msg);
  }
  if (head.is_static) {
    AppendTag(7, kVarint, &msg);
    AppendVarint(*head.is_static ? 1 : 0, &msg);
  }
  AppendTag(5, kBytes, &msg);
  AppendVarint(payload_size, &msg);

  std::string out;
  out.reserve(msg.size() + 12);
  AppendTag(1, kBytes, &out);
  AppendVarint(msg.size() + payload_size, &out);
  out += msg;
  return out;
}

}  // namespace rushes::wire
