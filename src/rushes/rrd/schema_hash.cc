#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/ipc/writer.h"
#include "arrow/type.h"
#include "arrow/util/key_value_metadata.h"
#include "rushes/rrd/hash.h"
#include "rushes/rrd/manifest.h"

// The hash of a schema is taken over the bytes of its Arrow IPC schema message, so those bytes must be laid out exactly as the
// ecosystem's writers do: a FlatBuffer built from its end, objects in the order of docs/format.md, "Schema hash".

namespace rushes {
namespace {

// Builds a FlatBuffer back to front. Positions count from the end of the finished buffer.
class FlatBuilder {
 public:
  using Position = uint32_t;

  struct Slot {
    uint16_t vtable_offset;
    Position position;
  };

  void Align(size_t size, size_t alignment) {
    largest_ = std::max(largest_, alignment);
    while ((reversed_.size() + size) % alignment != 0) reversed_.push_back(0);
  }
  template <typename T>
  Position Scalar(T value) {
    Align(sizeof(T), sizeof(T));
    Prepend(&value, sizeof(T));
    return used();
  }
  Position Offset(Position target) {
    Align(4, 4);
    return Scalar(static_cast<uint32_t>(used() + 4 - target));
  }
  Position String(const std::string& text) {
    Align(text.size() + 1, 4);
    reversed_.push_back(0);
    Prepend(text.data(), text.size());
    return Scalar(static_cast<uint32_t>(text.size()));
  }
  Position Offsets(const std::vector<Position>& targets) {
    Align(4 * targets.size(), 4);
    for (size_t i = targets.size(); i-- > 0;) Offset(targets[i]);
    return Scalar(static_cast<uint32_t>(targets.size()));
  }
  Position Integers(const std::vector<int32_t>& values) {
    Align(4 * values.size(), 4);
    for (size_t i = values.size(); i-- > 0;) Scalar(values[i]);
    return Scalar(static_cast<uint32_t>(values.size()));
  }
  // Ends a table whose fields were pushed since `begin`.
  Position Table(Position begin, const std::vector<Slot>& slots) {
    const Position object = Scalar(int32_t{0});
    uint16_t size = 4;
    for (const Slot& slot : slots) size = std::max<uint16_t>(size, slot.vtable_offset + 2);
    std::vector<uint16_t> vtable(size / 2, 0);
    vtable[0] = size;
    vtable[1] = static_cast<uint16_t>(object - begin);
    for (const Slot& slot : slots) vtable[slot.vtable_offset / 2] = static_cast<uint16_t>(object - slot.position);
    auto [known, added] = vtables_.try_emplace(vtable, 0);
    if (added) {
      for (size_t i = vtable.size(); i-- > 0;) Prepend(&vtable[i], 2);
      known->second = used();
    }
    // The placeholder's bytes lie at `object`, reversed.
    const int32_t distance = static_cast<int32_t>(known->second) - static_cast<int32_t>(object);
    uint8_t bytes[4];
    std::memcpy(bytes, &distance, 4);
    for (size_t i = 0; i < 4; ++i) reversed_[object - 1 - i] = bytes[i];
    return object;
  }
  std::string Finish(Position root) {
    Align(4, largest_);
    Offset(root);
    return std::string(reversed_.rbegin(), reversed_.rend());
  }
  Position used() const { return static_cast<Position>(reversed_.size()); }

 private:
  void Prepend(const void* data, size_t size) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    for (size_t i = size; i-- > 0;) reversed_.push_back(bytes[i]);
  }
  std::vector<uint8_t> reversed_;
  size_t largest_ = 1;
  std::map<std::vector<uint16_t>, Position> vtables_;
};

using Position = FlatBuilder::Position;

struct TypeParts {
  uint8_t kind;
  Position type;
  Position children;
};

class SchemaWriter {
 public:
  // The encapsulated schema message, without an end marker.
  arrow::Result<std::string> Message(const arrow::FieldVector& fields) {
    std::vector<Position> positions;
    for (const auto& field : fields) {
      ARROW_ASSIGN_OR_RAISE(const Position position, Field(*field));
      positions.push_back(position);
    }
    const Position vector = out_.Offsets(positions);
    Position begin = out_.used();
    const Position fields_slot = out_.Offset(vector);
    const Position schema = out_.Table(begin, {{6, fields_slot}});  // slot 4, the byte order, has its default
    begin = out_.used();
    constexpr int16_t kVersion5 = 4;
    constexpr uint8_t kSchemaHeader = 1;
    const Position version = out_.Scalar(kVersion5);
    const Position header_type = out_.Scalar(kSchemaHeader);
    const Position header = out_.Offset(schema);
    const Position message = out_.Table(begin, {{4, version}, {6, header_type}, {8, header}});
    std::string bytes = out_.Finish(message);
    const size_t padded = (bytes.size() + 8 + 63) / 64 * 64;
    bytes.resize(padded - 8, '\0');
    const uint32_t marker = 0xFFFFFFFFu;
    const auto length = static_cast<int32_t>(bytes.size());
    std::string out(8, '\0');
    std::memcpy(out.data(), &marker, 4);
    std::memcpy(out.data() + 4, &length, 4);
    return out + bytes;
  }

 private:
  Position EmptyTable() { return out_.Table(out_.used(), {}); }

  arrow::Result<Position> Field(const arrow::Field& field) {
    Position metadata = 0;
    if (field.HasMetadata() && field.metadata()->size() > 0) {
      std::map<std::string, std::string> sorted;
      for (int64_t i = 0; i < field.metadata()->size(); ++i) sorted.emplace(field.metadata()->key(i), field.metadata()->value(i));
      std::vector<Position> pairs;
      for (const auto& [key, value] : sorted) {
        const Position key_text = out_.String(key);
        const Position value_text = out_.String(value);
        const Position begin = out_.used();
        const Position key_slot = out_.Offset(key_text);
        const Position value_slot = out_.Offset(value_text);
        pairs.push_back(out_.Table(begin, {{4, key_slot}, {6, value_slot}}));
      }
      metadata = out_.Offsets(pairs);
    }
    const Position name = out_.String(field.name());
    ARROW_ASSIGN_OR_RAISE(const TypeParts parts, Type(*field.type()));
    const Position begin = out_.used();
    std::vector<FlatBuilder::Slot> slots;
    slots.push_back({4, out_.Offset(name)});
    slots.push_back({8, out_.Scalar(parts.kind)});
    if (field.nullable()) slots.push_back({6, out_.Scalar(uint8_t{1})});
    slots.push_back({14, out_.Offset(parts.children)});
    slots.push_back({10, out_.Offset(parts.type)});
    if (metadata != 0) slots.push_back({16, out_.Offset(metadata)});
    return out_.Table(begin, slots);
  }

  arrow::Result<std::vector<Position>> Children(const arrow::DataType& type) {
    std::vector<Position> children;
    for (const auto& field : type.fields()) {
      ARROW_ASSIGN_OR_RAISE(const Position child, Field(*field));
      children.push_back(child);
    }
    return children;
  }

  TypeParts Plain(uint8_t kind) {
    const Position type = EmptyTable();
    return {kind, type, out_.Offsets({})};
  }
  TypeParts Integer(bool is_signed, int32_t bits) {
    const Position children = out_.Offsets({});
    const Position begin = out_.used();
    std::vector<FlatBuilder::Slot> slots;
    if (is_signed) slots.push_back({6, out_.Scalar(uint8_t{1})});
    slots.push_back({4, out_.Scalar(bits)});
    return {2, out_.Table(begin, slots), children};
  }
  TypeParts Float(int16_t precision) {
    const Position children = out_.Offsets({});
    const Position begin = out_.used();
    std::vector<FlatBuilder::Slot> slots;
    if (precision != 0) slots.push_back({4, out_.Scalar(precision)});
    return {3, out_.Table(begin, slots), children};
  }

  arrow::Result<TypeParts> Type(const arrow::DataType& type) {
    using arrow::Type;
    switch (type.id()) {
      case Type::NA:
        return Plain(1);
      case Type::BINARY:
        return Plain(4);
      case Type::STRING:
        return Plain(5);
      case Type::BOOL:
        return Plain(6);
      case Type::LARGE_BINARY:
        return Plain(19);
      case Type::LARGE_STRING:
        return Plain(20);
      case Type::UINT8:
        return Integer(false, 8);
      case Type::INT8:
        return Integer(true, 8);
      case Type::UINT16:
        return Integer(false, 16);
      case Type::INT16:
        return Integer(true, 16);
      case Type::UINT32:
        return Integer(false, 32);
      case Type::INT32:
        return Integer(true, 32);
      case Type::UINT64:
        return Integer(false, 64);
      case Type::INT64:
        return Integer(true, 64);
      case Type::HALF_FLOAT:
        return Float(0);
      case Type::FLOAT:
        return Float(1);
      case Type::DOUBLE:
        return Float(2);
      case Type::FIXED_SIZE_BINARY: {
        const Position begin = out_.used();
        const Position width = out_.Scalar(static_cast<const arrow::FixedSizeBinaryType&>(type).byte_width());
        const Position table = out_.Table(begin, {{4, width}});
        return TypeParts{15, table, out_.Offsets({})};
      }
      case Type::TIMESTAMP: {
        const auto& timestamp = static_cast<const arrow::TimestampType&>(type);
        const Position zone = out_.String(timestamp.timezone());
        const Position begin = out_.used();
        std::vector<FlatBuilder::Slot> slots;
        if (timestamp.unit() != arrow::TimeUnit::SECOND) slots.push_back({4, out_.Scalar(static_cast<int16_t>(timestamp.unit()))});
        if (!timestamp.timezone().empty()) slots.push_back({6, out_.Offset(zone)});
        const Position table = out_.Table(begin, slots);
        return TypeParts{10, table, out_.Offsets({})};
      }
      case Type::DURATION: {
        const auto unit = static_cast<const arrow::DurationType&>(type).unit();
        const Position begin = out_.used();
        std::vector<FlatBuilder::Slot> slots;
        if (unit != arrow::TimeUnit::MILLI) slots.push_back({4, out_.Scalar(static_cast<int16_t>(unit))});
        const Position table = out_.Table(begin, slots);
        return TypeParts{18, table, out_.Offsets({})};
      }
      case Type::LIST:
      case Type::LARGE_LIST:
      case Type::STRUCT: {
        ARROW_ASSIGN_OR_RAISE(const auto children, Children(type));
        const Position table = EmptyTable();
        const uint8_t kind = type.id() == Type::LIST ? 12 : type.id() == Type::LARGE_LIST ? 21 : 13;
        return TypeParts{kind, table, out_.Offsets(children)};
      }
      case Type::FIXED_SIZE_LIST: {
        ARROW_ASSIGN_OR_RAISE(const auto children, Children(type));
        const Position begin = out_.used();
        const Position size = out_.Scalar(static_cast<const arrow::FixedSizeListType&>(type).list_size());
        const Position table = out_.Table(begin, {{4, size}});
        return TypeParts{16, table, out_.Offsets(children)};
      }
      case Type::SPARSE_UNION:
      case Type::DENSE_UNION: {
        const auto& united = static_cast<const arrow::UnionType&>(type);
        ARROW_ASSIGN_OR_RAISE(const auto children, Children(type));
        const Position ids = out_.Integers({united.type_codes().begin(), united.type_codes().end()});
        const Position begin = out_.used();
        std::vector<FlatBuilder::Slot> slots;
        if (type.id() == Type::DENSE_UNION) slots.push_back({4, out_.Scalar(int16_t{1})});
        slots.push_back({6, out_.Offset(ids)});
        const Position table = out_.Table(begin, slots);
        return TypeParts{14, table, out_.Offsets(children)};
      }
      case Type::MAP: {
        ARROW_ASSIGN_OR_RAISE(const auto children, Children(type));
        const Position begin = out_.used();
        std::vector<FlatBuilder::Slot> slots;
        if (static_cast<const arrow::MapType&>(type).keys_sorted()) slots.push_back({4, out_.Scalar(uint8_t{1})});
        const Position table = out_.Table(begin, slots);
        return TypeParts{17, table, out_.Offsets(children)};
      }
      default:
        return arrow::Status::NotImplemented("no layout is known for type ", type.ToString());
    }
  }

  FlatBuilder out_;
};

}  // namespace

arrow::Result<std::string> EncodeSchema(const arrow::Schema& schema) {
  ARROW_ASSIGN_OR_RAISE(const auto bytes, arrow::ipc::SerializeSchema(schema));
  std::string out = bytes->ToString();
  constexpr std::string_view kEnd("\xFF\xFF\xFF\xFF\0\0\0\0", 8);
  if (!out.ends_with(kEnd)) out += kEnd;
  return out;
}

arrow::Result<std::string> SchemaSha256(const arrow::Schema& schema) {
  arrow::FieldVector fields = schema.fields();
  std::stable_sort(fields.begin(), fields.end(), [](const auto& a, const auto& b) { return a->name() < b->name(); });
  auto message = SchemaWriter().Message(fields);
  if (message.status().IsNotImplemented()) {
    // No writer is known to produce such columns; any stable bytes identify them.
    ARROW_ASSIGN_OR_RAISE(const auto bytes, arrow::ipc::SerializeSchema(arrow::Schema(std::move(fields))));
    return rrd::Sha256(std::string_view(*bytes));
  }
  ARROW_RETURN_NOT_OK(message.status());
  return rrd::Sha256(*message);
}

}  // namespace rushes
