#include "rushes/testing/random_store.h"

#include <algorithm>
#include <functional>

#include "arrow/builder.h"
#include "arrow/compute/api_scalar.h"
#include "rushes/chunk/chunk_builder.h"

namespace rushes {
namespace {

int Pick(std::mt19937& random, int below) { return static_cast<int>(random() % static_cast<uint32_t>(below)); }
bool Chance(std::mt19937& random, int percent) { return Pick(random, 100) < percent; }

template <typename Builder, typename Value>
std::shared_ptr<arrow::Array> Array(const std::vector<Value>& values) {
  Builder builder;
  for (const Value& value : values) {
    if (!builder.Append(value).ok()) return nullptr;
  }
  return builder.Finish().ValueOrDie();
}

const std::shared_ptr<arrow::DataType> kNarrow = arrow::struct_({arrow::field("u", arrow::int64())});
const std::shared_ptr<arrow::DataType> kWide = arrow::struct_({arrow::field("u", arrow::int64()), arrow::field("v", arrow::utf8())});

// Component names and the item types their chunks may have.
struct Component {
  const char* name;
  std::vector<std::shared_ptr<arrow::DataType>> types;
};
const std::vector<Component>& Components() {
  static const std::vector<Component> kComponents = {
      {"x", {arrow::int64()}},
      {"y", {arrow::utf8()}},
      {"z", {kNarrow, kWide, arrow::null()}},
      {"p", {arrow::fixed_size_list(arrow::field("item", arrow::float32(), false), 2)}},
      {"b", {arrow::list(arrow::uint8())}},
  };
  return kComponents;
}

// Instances of a cell.
std::shared_ptr<arrow::Array> RandomItems(const std::shared_ptr<arrow::DataType>& type, std::mt19937& random) {
  const int count = Chance(random, 15) ? 0 : 1 + Pick(random, 3) / 2;
  switch (type->id()) {
    case arrow::Type::NA:
      return std::make_shared<arrow::NullArray>(count);
    case arrow::Type::STRING: {
      std::vector<std::string> values;
      for (int i = 0; i < count; ++i)
        values.push_back(std::string(static_cast<size_t>(Pick(random, 4)), static_cast<char>('a' + Pick(random, 26))));
      return Array<arrow::StringBuilder>(values);
    }
    case arrow::Type::STRUCT: {
      std::vector<int64_t> numbers;
      std::vector<std::string> texts;
      for (int i = 0; i < count; ++i) {
        numbers.push_back(Pick(random, 100));
        texts.push_back(std::string(1, static_cast<char>('a' + Pick(random, 26))));
      }
      arrow::ArrayVector children = {Array<arrow::Int64Builder>(numbers)};
      if (type->num_fields() == 2) children.push_back(Array<arrow::StringBuilder>(texts));
      return std::make_shared<arrow::StructArray>(type, count, children);
    }
    case arrow::Type::FIXED_SIZE_LIST: {
      std::vector<float> values;
      for (int i = 0; i < 2 * count; ++i) values.push_back(static_cast<float>(Pick(random, 100)));
      return std::make_shared<arrow::FixedSizeListArray>(type, count, Array<arrow::FloatBuilder>(values));
    }
    case arrow::Type::LIST: {
      auto values = std::make_shared<arrow::UInt8Builder>();
      arrow::ListBuilder builder(arrow::default_memory_pool(), values, type);
      for (int i = 0; i < count; ++i) {
        if (Chance(random, 10)) {
          if (!builder.AppendNull().ok()) return nullptr;
          continue;
        }
        if (!builder.Append().ok()) return nullptr;
        for (int k = Pick(random, 4); k > 0; --k) {
          const auto status = Chance(random, 10) ? values->AppendNull() : values->Append(static_cast<uint8_t>(Pick(random, 256)));
          if (!status.ok()) return nullptr;
        }
      }
      return builder.Finish().ValueOrDie();
    }
    case arrow::Type::BOOL: {
      arrow::BooleanBuilder builder;
      for (int i = 0; i < count; ++i) {
        if (!builder.Append(Chance(random, 50)).ok()) return nullptr;
      }
      return builder.Finish().ValueOrDie();
    }
    default: {
      std::vector<int64_t> values;
      for (int i = 0; i < count; ++i) values.push_back(Pick(random, 100));
      return Array<arrow::Int64Builder>(values);
    }
  }
}

ChunkPtr RandomChunk(std::mt19937& random, std::vector<uint64_t>* row_ids, uint64_t chunk_number) {
  static const char* const kEntities[] = {"/", "/a", "/a/b", "/a/b/c", "/ab", "/__properties/run"};
  const EntityPath entity = EntityPath::Parse(kEntities[Pick(random, 10) % 6]);
  std::vector<Timeline> timelines;
  const bool is_static = Chance(random, 12) || (entity.IsProperty() && Chance(random, 80));
  if (!is_static) {
    if (Chance(random, 85)) timelines.push_back({"frame", TimeType::kSequence});
    if (timelines.empty() || Chance(random, 50)) timelines.push_back({"tick", TimeType::kDuration});
    if (Chance(random, 10)) timelines.push_back({"when", TimeType::kTimestamp});
  }
  ChunkBuilder builder(entity, timelines);
  std::vector<std::shared_ptr<arrow::DataType>> types;
  if (Chance(random, 20)) {
    builder.AddColumn({"rerun.archetypes.Clear", kClearComponent, "rerun.components.ClearIsRecursive"}, arrow::boolean());
    types.push_back(arrow::boolean());
  }
  if (types.empty() || Chance(random, 20)) {
    for (const Component& component : Components()) {
      if (!Chance(random, 40)) continue;
      types.push_back(component.types[static_cast<size_t>(Pick(random, static_cast<int>(component.types.size())))]);
      builder.AddColumn({std::nullopt, component.name, std::nullopt}, types.back());
    }
  }
  const int rows = 1 + Pick(random, Chance(random, 10) ? 20 : 5);
  const int64_t first = Pick(random, 8);
  const bool in_order = Chance(random, 60);
  for (int r = 0; r < rows; ++r) {
    std::vector<int64_t> times;
    for (size_t t = 0; t < timelines.size(); ++t) {
      int64_t time = in_order ? first + r : Pick(random, 12);
      if (Chance(random, 1)) time = Chance(random, 50) ? kMinTime : kMaxTime;
      times.push_back(time);
    }
    std::vector<std::shared_ptr<arrow::Array>> cells;
    for (const auto& type : types) cells.push_back(Chance(random, 30) ? nullptr : RandomItems(type, random));
    const size_t at = static_cast<size_t>(Pick(random, static_cast<int>(row_ids->size())));
    const uint64_t id = (*row_ids)[at];
    row_ids->erase(row_ids->begin() + static_cast<int64_t>(at));
    if (!builder.AddRow({1, id}, std::move(times), std::move(cells)).ok()) return nullptr;
  }
  return builder.Finish({2, chunk_number}).ValueOrDie();
}

}  // namespace

std::vector<MemorySegment> RandomSegments(std::mt19937& random) {
  std::vector<MemorySegment> segments;
  static const char* const kIds[] = {"s10", "s9", "S1"};
  const int num_segments = Chance(random, 60) ? 1 : 1 + Pick(random, 3);
  uint64_t chunk_number = 0;
  for (int s = 0; s < num_segments; ++s) {
    MemorySegment segment;
    segment.id = kIds[s];
    std::vector<uint64_t> row_ids(400);
    for (size_t i = 0; i < row_ids.size(); ++i) row_ids[i] = i + 1;
    const int num_chunks = 1 + Pick(random, 9);
    for (int c = 0; c < num_chunks; ++c) {
      const char* layer = Chance(random, 25) ? "fix" : "base";
      const ChunkPtr chunk = RandomChunk(random, &row_ids, ++chunk_number);
      segment.layers[layer].push_back(chunk);
      if (Chance(random, 5)) segment.layers["copy"].push_back(chunk);
    }
    segments.push_back(std::move(segment));
  }
  return segments;
}

std::vector<MemorySegment> AlignedSegments(std::mt19937& random) {
  std::vector<MemorySegment> segments;
  const int num_segments = 1 + Pick(random, 40);
  const bool has_tick = Chance(random, 50), has_static = Chance(random, 40);
  const int oddities = Chance(random, 50) ? 0 : 30;  // percent
  uint64_t number = 0;
  for (int s = 0; s < num_segments; ++s) {
    MemorySegment segment;
    segment.id = "s" + std::to_string(s);
    const int rows = 1 + Pick(random, 6);
    const int64_t first = Pick(random, 8);
    for (const char* const entity : {"/a", "/a/b", "/c"}) {
      const bool is_odd = Chance(random, oddities);
      const int oddity = is_odd ? Pick(random, 9) : -1;
      if (oddity == 0) continue;
      std::vector<Timeline> timelines = {{"frame", TimeType::kSequence}};
      if (has_tick && oddity != 1) timelines.push_back({"tick", TimeType::kDuration});
      const int num_chunks = oddity == 2 && rows > 1 ? 2 : 1;
      for (int c = 0; c < num_chunks; ++c) {
        ChunkBuilder builder(EntityPath::Parse(entity), timelines);
        std::vector<std::shared_ptr<arrow::DataType>> types = {arrow::int64(), arrow::utf8()};
        builder.AddColumn({std::nullopt, "x", std::nullopt}, types[0]);
        builder.AddColumn({std::nullopt, "y", std::nullopt}, types[1]);
        if (std::string_view(entity) == "/c") {
          types.push_back(oddity == 3 ? kWide : kNarrow);
          builder.AddColumn({std::nullopt, "z", std::nullopt}, types.back());
        }
        if (oddity == 4) {
          types.push_back(arrow::boolean());
          builder.AddColumn({"rerun.archetypes.Clear", kClearComponent, "rerun.components.ClearIsRecursive"}, types.back());
        }
        for (int r = c; r < rows; r += num_chunks) {
          std::vector<int64_t> times = {oddity == 5 ? first + 2 * r : oddity == 6 ? first : first + r};
          if (timelines.size() > 1) times.push_back(oddity == 7 ? Pick(random, 9) : 100 + first + r);
          std::vector<std::shared_ptr<arrow::Array>> cells;
          for (const auto& type : types) cells.push_back(oddity == 8 && Chance(random, 30) ? nullptr : RandomItems(type, random));
          if (!builder.AddRow({1, ++number}, std::move(times), std::move(cells)).ok()) std::abort();
        }
        segment.layers["base"].push_back(builder.Finish({2, ++number}).ValueOrDie());
      }
    }
    for (int c = has_static ? Pick(random, 3) : 0; c > 0; --c) {
      ChunkBuilder builder(EntityPath::Parse(Chance(random, 50) ? "/a" : "/d"), {});
      builder.AddColumn({std::nullopt, "y", std::nullopt}, arrow::utf8());
      for (int r = 1 + Pick(random, 2); r > 0; --r) {
        if (!builder.AddRow({1, ++number}, {}, {Chance(random, 15) ? nullptr : RandomItems(arrow::utf8(), random)}).ok()) std::abort();
      }
      segment.layers[Chance(random, 30) ? "fix" : "base"].push_back(builder.Finish({2, ++number}).ValueOrDie());
    }
    segments.push_back(std::move(segment));
  }
  return segments;
}

RandomRequest RandomRequestFor(const DatasetSchema& schema, const std::vector<MemorySegment>& segments, std::mt19937& random) {
  namespace cp = arrow::compute;
  RandomRequest out;
  Query& query = out.query;
  if (!schema.timelines().empty() && !Chance(random, 8)) {
    const auto& timelines = schema.timelines();
    query.index =
        Chance(random, 70) ? timelines[0].name : timelines[static_cast<size_t>(Pick(random, static_cast<int>(timelines.size())))].name;
  }
  static const std::vector<std::vector<std::string>> kContents = {
      {"/**"}, {"/**", "/__properties/**"}, {"/a/**"}, {"/a"}, {"/**", "- /a/**"}, {"/a/b/**", "/"}, {}};
  if (Chance(random, 30))
    query.contents.Add(ContentFilter(kContents[static_cast<size_t>(Pick(random, static_cast<int>(kContents.size())))]));
  if (Chance(random, 15)) {
    query.segments.emplace();
    for (const MemorySegment& segment : segments) {
      if (Chance(random, 60)) query.segments->push_back(segment.id);
    }
    if (Chance(random, 30)) query.segments->push_back("nowhere");
  }
  query.include_semantically_empty_columns = Chance(random, 20);
  query.include_tombstone_columns = Chance(random, 20);
  query.fill_latest_at = Chance(random, 50);
  if (Chance(random, 20)) query.fill_max_age = Pick(random, 6);
  query.fill_respects_clears = Chance(random, 30);
  query.view_decides_rows = Chance(random, 20);
  query.include_origin_times = Chance(random, 20);
  query.include_row_ids = Chance(random, 15);
  if (Chance(random, 20)) {
    query.using_index_values.emplace();
    for (const MemorySegment& segment : segments) {
      if (!Chance(random, 80)) continue;
      auto& values = (*query.using_index_values)[segment.id];
      for (int64_t value = -1; value < 14; ++value) {
        if (Chance(random, 30)) values.push_back(value);
      }
      std::shuffle(values.begin(), values.end(), random);
    }
    if (Chance(random, 20)) (*query.using_index_values)["nowhere"] = {1};
  }

  const auto query_schema = MakeQuerySchema(schema, query).ValueOrDie();
  const auto any_column = [&] { return query_schema->field(Pick(random, query_schema->num_fields()))->name(); };
  if (Chance(random, 50)) {
    out.columns.emplace();
    for (const auto& field : query_schema->fields()) {
      if (Chance(random, 40)) out.columns->push_back(field->name());
    }
    std::shuffle(out.columns->begin(), out.columns->end(), random);
  }

  const auto time_literal = [&](const std::string& timeline) {
    const auto& type = ArrowType(schema.FindTimeline(timeline)->type);
    return cp::literal(arrow::MakeScalar(static_cast<int64_t>(Pick(random, 12)))->CastTo(type).ValueOrDie());
  };
  const std::function<cp::Expression(int)> make_filter = [&](int depth) -> cp::Expression {
    const int kind = Pick(random, depth > 0 ? 8 : 6);
    if (kind < 3 && !schema.timelines().empty()) {
      const auto& timelines = schema.timelines();
      const std::string name = query.index && Chance(random, 70)
                                   ? *query.index
                                   : timelines[static_cast<size_t>(Pick(random, static_cast<int>(timelines.size())))].name;
      static const char* const kFunctions[] = {"equal", "less", "less_equal", "greater", "greater_equal", "not_equal"};
      auto column = cp::field_ref(name);
      auto literal = time_literal(name);
      if (Chance(random, 25)) {
        const auto& type = ArrowType(schema.FindTimeline(name)->type);
        std::unique_ptr<arrow::ArrayBuilder> builder;
        if (!arrow::MakeBuilder(arrow::default_memory_pool(), type, &builder).ok()) std::abort();
        for (int i = Pick(random, 5); i > 0; --i) {
          if (!builder->AppendScalar(*arrow::MakeScalar(static_cast<int64_t>(Pick(random, 12)))->CastTo(type).ValueOrDie()).ok())
            std::abort();
        }
        return cp::call("is_in", {column}, cp::SetLookupOptions(builder->Finish().ValueOrDie()));
      }
      if (Chance(random, 20)) std::swap(column, literal);
      return cp::call(kFunctions[Pick(random, 6)], {column, literal});
    }
    if (kind == 3)
      return cp::call("equal", {cp::field_ref(kSegmentIdColumn),
                                cp::literal(segments[static_cast<size_t>(Pick(random, static_cast<int>(segments.size())))].id)});
    if (kind <= 5) {
      if (Chance(random, 70)) return cp::call("is_valid", {cp::field_ref(any_column())});
      return cp::call("is_null", {cp::field_ref(any_column())}, cp::NullOptions(/*nan_is_null=*/false));
    }
    if (kind == 6) return cp::call("and_kleene", {make_filter(depth - 1), make_filter(depth - 1)});
    if (Chance(random, 30)) return cp::call("invert", {make_filter(depth - 1)});
    return cp::call("or_kleene", {make_filter(depth - 1), make_filter(depth - 1)});
  };
  if (Chance(random, 50)) out.filter = make_filter(2);
  static const int64_t kBatchRows[] = {1, 2, 7, 1 << 16};
  out.options.max_batch_rows = kBatchRows[Pick(random, 4)];
  if (Chance(random, 20)) out.options.max_batch_bytes = 1;
  out.options.max_parallelism = Pick(random, 3);
  if (Chance(random, 80)) out.options.min_partial_bytes = 0;
  if (Chance(random, 10)) out.options.limit = Pick(random, 12);
  return out;
}

std::string RandomRequest::ToString() const {
  std::string out = "index=" + query.index.value_or("None");
  if (query.fill_latest_at) out += " fill";
  if (query.fill_max_age) out += " max_age=" + std::to_string(*query.fill_max_age);
  if (query.fill_respects_clears) out += " respects_clears";
  if (query.view_decides_rows) out += " view_decides_rows";
  if (query.include_origin_times) out += " origin_times";
  if (query.include_row_ids) out += " row_ids";
  if (query.include_semantically_empty_columns) out += " include_empty";
  if (query.include_tombstone_columns) out += " include_tombstones";
  if (query.segments) {
    out += " segments=[";
    for (const std::string& id : *query.segments) out += id + " ";
    out += "]";
  }
  if (query.using_index_values) {
    out += " values={";
    for (const auto& [id, values] : *query.using_index_values) {
      out += id + ":";
      for (const int64_t value : values) out += " " + std::to_string(value);
      out += "; ";
    }
    out += "}";
  }
  if (columns) {
    out += " columns=[";
    for (const std::string& name : *columns) out += name + " ";
    out += "]";
  }
  if (filter) out += " filter=" + filter->ToString();
  if (options.limit >= 0) out += " limit=" + std::to_string(options.limit);
  if (options.min_partial_bytes == 0) out += " parts";
  return out + " batch_rows=" + std::to_string(options.max_batch_rows);
}

}  // namespace rushes
