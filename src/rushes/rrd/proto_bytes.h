// The protobuf wire format, by hand: fields as views, without copying payloads.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace rushes::rrd {

// Steps through the fields of one message. Never reads outside the bytes.
class ProtoReader {
 public:
  // `may_be_cut`: the bytes are the first ones of a message; bytes() of a field that they do not hold whole are those that are there.
  explicit ProtoReader(std::string_view bytes, bool may_be_cut = false)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()), may_be_cut_(may_be_cut) {}

  // Moves to the next field; false at the end, or when the bytes are malformed (then ok() is false).
  bool Next() {
    if (at_ == end_ || !ok_) return false;
    uint64_t key;
    if (!Varint(&key) || (key >> 3) == 0 || (key >> 3) > 0x1fffffff) return Fail();
    field_ = static_cast<uint32_t>(key >> 3);
    type_ = static_cast<uint32_t>(key & 7);
    switch (type_) {
      case 0:
        return Varint(&value_) || Fail();
      case 1:
        return Fixed(8) || Fail();
      case 2: {
        uint64_t length;
        if (!Varint(&length)) return Fail();
        if (length > static_cast<uint64_t>(end_ - at_)) {
          if (!may_be_cut_) return Fail();
          length = static_cast<uint64_t>(end_ - at_);
        }
        bytes_ = std::string_view(at_, length);
        at_ += length;
        return true;
      }
      case 5:
        return Fixed(4) || Fail();
      default:
        return Fail();  // groups were never used
    }
  }

  bool ok() const { return ok_; }
  uint32_t field() const { return field_; }
  bool is_varint(uint32_t field) const { return field_ == field && type_ == 0; }
  bool is_fixed64(uint32_t field) const { return field_ == field && type_ == 1; }
  bool is_bytes(uint32_t field) const { return field_ == field && type_ == 2; }
  uint64_t value() const { return value_; }
  std::string_view bytes() const { return bytes_; }

 private:
  bool Fail() {
    ok_ = false;
    return false;
  }
  bool Varint(uint64_t* out) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) return false;
      const uint8_t byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) {
        *out = value;
        return true;
      }
    }
    return false;
  }
  bool Fixed(int size) {
    if (end_ - at_ < size) return false;
    value_ = 0;
    std::memcpy(&value_, at_, static_cast<size_t>(size));
    at_ += size;
    return true;
  }

  const char* at_;
  const char* end_;
  bool may_be_cut_;
  bool ok_ = true;
  uint32_t field_ = 0;
  uint32_t type_ = 0;
  uint64_t value_ = 0;
  std::string_view bytes_;
};

// Appends fields to a string.
class ProtoWriter {
 public:
  void Varint(uint32_t field, uint64_t value) {
    Raw(uint64_t{field} << 3);
    Raw(value);
  }
  void Fixed64(uint32_t field, uint64_t value) {
    Raw(uint64_t{field} << 3 | 1);
    out_.append(reinterpret_cast<const char*>(&value), 8);
  }
  void Bytes(uint32_t field, std::string_view bytes) {
    BytesHeader(field, bytes.size());
    out_ += bytes;
  }
  // What precedes `size` bytes.
  void BytesHeader(uint32_t field, uint64_t size) {
    Raw(uint64_t{field} << 3 | 2);
    Raw(size);
  }
  std::string Finish() { return std::move(out_); }

 private:
  void Raw(uint64_t value) {
    while (value >= 0x80) {
      out_.push_back(static_cast<char>(value | 0x80));
      value >>= 7;
    }
    out_.push_back(static_cast<char>(value));
  }
  std::string out_;
};

}  // namespace rushes::rrd
