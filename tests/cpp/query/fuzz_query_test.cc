// Queries that nobody should ask, over random datasets: nothing may crash, hang or break what the headers promise.
//
// Every round is made from one seed: a dataset, then a request that fits it and is mutated (names, extreme times and values, expressions of
// all kinds, bounds that make no sense), then a source that may fail, then a reader that may be left early. What is checked: errors have
// words, batches have the announced schema and pass ValidateFull, rows are in order, bounds do not change answers, the projection changes
// rows only where docs/query.md says so, and the naive query agrees where it can answer.
//
// RUSHES_FUZZ_SECONDS: how long (3 if not set; 0 is one round); RUSHES_FUZZ_SEED: where to begin. A failure prints the seed of its round.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include <unistd.h>

#include "arrow/array/builder_primitive.h"
#include "arrow/builder.h"
#include "arrow/compute/api_scalar.h"
#include "arrow/compute/cast.h"
#include "arrow/table.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/query/query.h"
#include "rushes/testing/naive_query.h"
#include "rushes/testing/random_store.h"

// Given by the sanitizers' runtime, absent otherwise.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace rushes {
namespace {

namespace cp = arrow::compute;

// ---- Which round this is, also when the process dies in it

std::atomic<uint64_t> current_seed{0};

void PrintSeed() {
  char text[160];
  const int size = std::snprintf(text, sizeof(text), "\nfuzz_query_test died; again with RUSHES_FUZZ_SECONDS=0 RUSHES_FUZZ_SEED=%llu\n",
                                 static_cast<unsigned long long>(current_seed.load()));
  if (size > 0 && write(STDERR_FILENO, text, static_cast<size_t>(size)) < 0) return;
}

void OnSignal(int signal) {
  PrintSeed();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// Ends the process when a round takes too long.
class Watchdog {
 public:
  Watchdog() : thread_([this] { Watch(); }) {}
  ~Watchdog() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      is_stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void Begin() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++round_;
  }

 private:
  static constexpr std::chrono::seconds kLongestRound{120};

  void Watch() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!is_stopped_) {
      const uint64_t round = round_;
      if (!changed_.wait_for(lock, kLongestRound, [&] { return is_stopped_ || round_ != round; })) {
        std::fprintf(stderr, "a round takes longer than %lld s\n", static_cast<long long>(kLongestRound.count()));
        std::abort();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t round_ = 0;
  bool is_stopped_ = false;
  std::thread thread_;
};

// ---- Random parts

using Random = std::mt19937;

int Pick(Random& random, int below) { return static_cast<int>(random() % static_cast<uint32_t>(below)); }
bool Chance(Random& random, int percent) { return Pick(random, 100) < percent; }
template <typename T>
const T& OneOf(Random& random, const std::vector<T>& from) {
  return from[static_cast<size_t>(Pick(random, static_cast<int>(from.size())))];
}

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

int64_t OddNumber(Random& random) {
  static const std::vector<int64_t> kNumbers = {kLeast, kMinTime, kMinTime + 1, -1'000'000'007, -1,           0,       1, 2, 5,
                                                7,      11,       255,          65536,          kMaxTime - 1, kMaxTime};
  return Chance(random, 50) ? Pick(random, 14) - 1 : OneOf(random, kNumbers);
}

std::string OddText(Random& random) {
  static const std::vector<std::string> kTexts = {"",
                                                  "/",
                                                  "//",
                                                  "/**",
                                                  "-",
                                                  "+ ",
                                                  "s10",
                                                  "s9",
                                                  "nowhere",
                                                  "frame",
                                                  "tick",
                                                  kSegmentIdColumn,
                                                  "/a:x",
                                                  "/a/b:y",
                                                  ":",
                                                  "\x01"
                                                  "0",
                                                  "\xff\xfe",
                                                  std::string("a\0b", 3),
                                                  "\\",
                                                  "-/a/**",
                                                  "'\"",
                                                  "🤖",
                                                  std::string(3000, '/'),
                                                  "property:run:x"};
  if (Chance(random, 70)) return OneOf(random, kTexts);
  std::string out;
  for (int i = Pick(random, 20); i > 0; --i) out += static_cast<char>(Pick(random, 256));
  return out;
}

// One more segment, whose times are the least and greatest there are.
MemorySegment ExtremeSegment(Random& random) {
  MemorySegment segment;
  segment.id = "extreme";
  static const std::vector<int64_t> kTimes = {kMinTime, kMinTime + 1, -1, 0, 1, kMaxTime - 1, kMaxTime};
  uint64_t row = 1;
  for (uint64_t c = 0; c < 1 + static_cast<uint64_t>(Pick(random, 4)); ++c) {
    std::vector<Timeline> timelines = {{"frame", TimeType::kSequence}};
    if (Chance(random, 50)) timelines.push_back({"tick", TimeType::kDuration});
    ChunkBuilder builder(EntityPath::Parse(Chance(random, 70) ? "/a" : "/a/b"), timelines);
    builder.AddColumn({std::nullopt, "x", std::nullopt}, arrow::int64());
    for (int r = 1 + Pick(random, 6); r > 0; --r) {
      std::vector<int64_t> times;
      for (size_t t = 0; t < timelines.size(); ++t) times.push_back(OneOf(random, kTimes));
      arrow::Int64Builder items;
      for (int i = Pick(random, 3); i > 0; --i) EXPECT_TRUE(items.Append(OddNumber(random)).ok());
      EXPECT_TRUE(builder.AddRow({1, row++}, std::move(times), {Chance(random, 20) ? nullptr : items.Finish().ValueOrDie()}).ok());
    }
    segment.layers["base"].push_back(builder.Finish({9, c + 1}).ValueOrDie());
  }
  return segment;
}

std::shared_ptr<arrow::Scalar> OddScalar(Random& random, const arrow::Schema& schema) {
  const auto from_number = [&](const std::shared_ptr<arrow::DataType>& type) -> std::shared_ptr<arrow::Scalar> {
    const auto cast = arrow::MakeScalar(OddNumber(random))->CastTo(type);
    return cast.ok() ? *cast : arrow::MakeNullScalar(type);
  };
  switch (Pick(random, 12)) {
    case 0:
      return arrow::MakeScalar(OddNumber(random));
    case 1:
      return from_number(OneOf<std::shared_ptr<arrow::DataType>>(
          random, {arrow::int8(), arrow::int16(), arrow::int32(), arrow::uint8(), arrow::uint64(), arrow::date32(), arrow::date64()}));
    case 2:
      return arrow::MakeScalar(OneOf<double>(
          random, {0.0, -0.0, 1.5, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 1e300}));
    case 3:
      return arrow::MakeScalar(OddText(random));
    case 4:
      return arrow::MakeScalar(Chance(random, 50));
    case 5:
      return arrow::MakeNullScalar(arrow::null());
    case 6:
      return from_number(
          arrow::timestamp(OneOf<arrow::TimeUnit::type>(random, {arrow::TimeUnit::NANO, arrow::TimeUnit::SECOND, arrow::TimeUnit::MICRO}),
                           Chance(random, 20) ? "UTC" : ""));
    case 7:
      return from_number(
          arrow::duration(OneOf<arrow::TimeUnit::type>(random, {arrow::TimeUnit::NANO, arrow::TimeUnit::SECOND, arrow::TimeUnit::MILLI})));
    case 8: {
      // A cell of a list column.
      arrow::Int64Builder items;
      for (int i = Pick(random, 3); i > 0; --i) EXPECT_TRUE(items.Append(OddNumber(random)).ok());
      return std::make_shared<arrow::ListScalar>(items.Finish().ValueOrDie());
    }
    case 9:
      return arrow::MakeNullScalar(schema.field(Pick(random, schema.num_fields()))->type());
    default:
      return from_number(schema.field(Pick(random, std::min(4, schema.num_fields())))->type());
  }
}

cp::Expression OddExpression(Random& random, const arrow::Schema& schema, int depth);

cp::Expression OddColumn(Random& random, const arrow::Schema& schema) {
  if (Chance(random, 90)) return cp::field_ref(schema.field(Pick(random, schema.num_fields()))->name());
  switch (Pick(random, 4)) {
    case 0:
      return cp::field_ref(OddText(random));
    case 1:
      return cp::field_ref(arrow::FieldRef(Pick(random, schema.num_fields() + 2)));
    case 2:
      return cp::field_ref(arrow::FieldRef(schema.field(Pick(random, schema.num_fields()))->name(), "u"));
    default:
      return cp::field_ref(arrow::FieldRef(std::vector<arrow::FieldRef>{arrow::FieldRef(0), arrow::FieldRef(0)}));
  }
}

std::vector<cp::Expression> OddArguments(Random& random, const arrow::Schema& schema, int count, int depth) {
  // A call with too few or too many arguments now and then.
  if (Chance(random, 2)) count += Pick(random, 3) - 1;
  std::vector<cp::Expression> out;
  for (int i = 0; i < count; ++i) out.push_back(OddExpression(random, schema, depth - 1));
  return out;
}

cp::Expression OddExpression(Random& random, const arrow::Schema& schema, int depth) {
  if (depth <= 0 || Chance(random, 10)) {
    return Chance(random, 60) ? OddColumn(random, schema) : cp::literal(arrow::Datum(OddScalar(random, schema)));
  }
  static const std::vector<std::string> kComparisons = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"};
  switch (Pick(random, 12)) {
    case 0:
    case 1:
    case 2: {
      std::vector<cp::Expression> sides = {OddColumn(random, schema), cp::literal(arrow::Datum(OddScalar(random, schema)))};
      if (Chance(random, 30)) std::swap(sides[0], sides[1]);
      if (Chance(random, 10)) sides = OddArguments(random, schema, 2, depth);
      return cp::call(OneOf(random, kComparisons), std::move(sides));
    }
    case 3: {
      const auto type = OddScalar(random, schema)->type;
      std::unique_ptr<arrow::ArrayBuilder> builder;
      if (!arrow::MakeBuilder(arrow::default_memory_pool(), type, &builder).ok()) return cp::literal(true);
      for (int i = Pick(random, Chance(random, 5) ? 2000 : 6); i > 0; --i) {
        const auto value = OddScalar(random, schema);
        const auto status = value->is_valid && value->type->Equals(*type) ? builder->AppendScalar(*value) : builder->AppendNull();
        if (!status.ok()) return cp::literal(true);
      }
      auto values = builder->Finish();
      if (!values.ok()) return cp::literal(true);
      return cp::call("is_in", {OddColumn(random, schema)},
                      cp::SetLookupOptions(*values, OneOf<cp::SetLookupOptions::NullMatchingBehavior>(
                                                        random, {cp::SetLookupOptions::MATCH, cp::SetLookupOptions::SKIP,
                                                                 cp::SetLookupOptions::EMIT_NULL, cp::SetLookupOptions::INCONCLUSIVE})));
    }
    case 4:
      return cp::call("is_valid", OddArguments(random, schema, 1, depth));
    case 5:
      return cp::call("is_null", OddArguments(random, schema, 1, depth), cp::NullOptions(Chance(random, 50)));
    case 6:
    case 7:
      return cp::call(OneOf<std::string>(random, {"and_kleene", "and_kleene", "or_kleene", "or_kleene", "and", "or", "xor"}),
                      OddArguments(random, schema, 2, depth));
    case 8:
      return cp::call("invert", OddArguments(random, schema, 1, depth));
    case 9:
      return cp::call(OneOf<std::string>(random, {"add", "add_checked", "subtract", "divide", "coalesce", "min_element_wise"}),
                      OddArguments(random, schema, 2, depth));
    case 10:
      return cp::call(OneOf<std::string>(random, {"list_value_length", "negate", "abs", "true_unless_null", "is_nan", "utf8_upper",
                                                  "no_such_function", "sum", "list_flatten"}),
                      OddArguments(random, schema, 1, depth));
    default:
      if (Chance(random, 50)) return cp::call("if_else", OddArguments(random, schema, 3, depth));
      return cp::call(
          "cast", OddArguments(random, schema, 1, depth),
          cp::CastOptions::Safe(OneOf<std::shared_ptr<arrow::DataType>>(
              random, {arrow::int64(), arrow::utf8(), arrow::boolean(), arrow::float32(), arrow::timestamp(arrow::TimeUnit::NANO)})));
  }
}

// ---- Requests

// Arrow's own ToString crashes on calls with too few arguments.
std::string TextOf(const cp::Expression& expression) {
  if (const auto* ref = expression.field_ref()) return ref->ToString();
  if (const auto* literal = expression.literal()) return literal->is_scalar() ? literal->scalar()->ToString() : literal->ToString();
  const auto* call = expression.call();
  if (call == nullptr) return "?";
  std::string out = call->function_name + "(";
  for (const cp::Expression& argument : call->arguments) out += TextOf(argument) + ", ";
  return out + (call->options == nullptr ? ")" : call->options->ToString() + ")");
}

struct FuzzRequest {
  RandomRequest request;
  bool is_sane = true;               // the naive query must have the same answer
  bool has_repeated_values = false;  // chosen values that are not unique
  std::string ToString() const {
    const ScanOptions& o = request.options;
    RandomRequest without_filter = request;
    without_filter.filter.reset();
    const std::string filter = request.filter ? " filter=" + TextOf(*request.filter) : "";
    return without_filter.ToString() + filter + " batch_bytes=" + std::to_string(o.max_batch_bytes) +
           " parallelism=" + std::to_string(o.max_parallelism) + " budget=" + std::to_string(o.memory_budget) +
           (o.sql_filter_semantics ? " sql" : "");
  }
};

FuzzRequest MakeRequest(const DatasetSchema& schema, const std::vector<MemorySegment>& segments, Random& random) {
  FuzzRequest out;
  out.request = RandomRequestFor(schema, segments, random);
  Query& query = out.request.query;
  if (Chance(random, 6)) query.index = OddText(random);
  if (Chance(random, 15)) {
    std::vector<std::string> rules;
    for (int i = Pick(random, 5); i > 0; --i) rules.push_back(OddText(random));
    query.contents.Add(ContentFilter(rules));
  }
  if (Chance(random, 10)) {
    query.segments.emplace();
    for (int i = Pick(random, 6); i > 0; --i) query.segments->push_back(OddText(random));
  }
  if (Chance(random, 20)) query.fill_max_age = OddNumber(random);
  if (Chance(random, 25)) {
    query.using_index_values.emplace();
    std::vector<std::string> ids = {"extreme"};
    for (const MemorySegment& segment : segments) ids.push_back(segment.id);
    for (const std::string& id : ids) {
      auto& values = (*query.using_index_values)[id];
      for (int i = Pick(random, Chance(random, 5) ? 3000 : 8); i > 0; --i) values.push_back(OddNumber(random));
      if (std::set<int64_t>(values.begin(), values.end()).size() != values.size()) {
        if (Chance(random, 20)) {
          out.has_repeated_values = true;
        } else {
          std::sort(values.begin(), values.end());
          values.erase(std::unique(values.begin(), values.end()), values.end());
        }
      }
    }
  }

  const auto query_schema = MakeQuerySchema(schema, query);
  if (query_schema.ok()) {
    if (out.request.columns) {
      std::erase_if(*out.request.columns, [&](const std::string& name) { return (*query_schema)->GetFieldIndex(name) < 0; });
    }
    if (Chance(random, 40)) out.request.filter = OddExpression(random, **query_schema, 1 + Pick(random, 4));
  } else {
    out.request.columns.reset();
    out.request.filter.reset();
  }
  if (Chance(random, 1)) {
    // As an engine writes a long chain of OR.
    auto chain = out.request.filter.value_or(cp::literal(true));
    for (int i = Pick(random, 500); i > 0; --i) chain = cp::call("or_kleene", {chain, cp::literal(Chance(random, 1))});
    out.request.filter = chain;
  }
  if (Chance(random, 8)) {
    if (!out.request.columns) out.request.columns.emplace();
    out.request.columns->push_back(OddText(random));
    if (Chance(random, 30)) out.request.columns->push_back(out.request.columns->front());
    out.is_sane = false;
  }

  ScanOptions& options = out.request.options;
  const auto odd_bound = [&](auto otherwise) {
    using T = decltype(otherwise);
    if (!Chance(random, 8)) return otherwise;
    return OneOf<T>(random, {T{0}, T{-1}, T{1}, T{3}, std::numeric_limits<T>::max(), std::numeric_limits<T>::min()});
  };
  options.max_batch_rows = odd_bound(options.max_batch_rows);
  options.max_batch_bytes = odd_bound(options.max_batch_bytes);
  options.memory_budget = odd_bound(options.memory_budget);
  if (Chance(random, 20)) options.memory_budget = 1 + Pick(random, 5000);
  options.max_parallelism = odd_bound(options.max_parallelism);
  options.sql_filter_semantics = Chance(random, 30);
  return out;
}

// ---- A source that fails now and then

class FaultySource : public ChunkSource {
 public:
  FaultySource(std::shared_ptr<ChunkSource> source, int calls_until_failure, bool hides_sizes)
      : source_(std::move(source)), calls_left_(calls_until_failure), hides_sizes_(hides_sizes) {}

  bool has_failed() const { return has_failed_; }

  arrow::Result<std::shared_ptr<const DatasetSchema>> GetSchema() override { return source_->GetSchema(); }
  arrow::Result<SegmentIds> ListSegments() override {
    ARROW_RETURN_NOT_OK(Call());
    return source_->ListSegments();
  }
  arrow::Result<std::vector<IndexRange>> GetIndexRanges(const std::string& timeline) override {
    ARROW_RETURN_NOT_OK(Call());
    return source_->GetIndexRanges(timeline);
  }
  arrow::Result<std::vector<SegmentChunks>> FindChunks(const ChunkSelection& selection) override {
    ARROW_RETURN_NOT_OK(Call());
    ARROW_ASSIGN_OR_RAISE(auto found, source_->FindChunks(selection));
    if (hides_sizes_) {
      for (SegmentChunks& segment : found) {
        for (ChunkInfo& chunk : segment.chunks) {
          chunk.num_rows = -1;
          chunk.end = kMaxTime;
          chunk.byte_size = 0;
        }
      }
    }
    return found;
  }
  std::optional<std::vector<ChunkComponent>> ComponentsOf(const SegmentChunks& segment, uint32_t chunk) override {
    return source_->ComponentsOf(segment, chunk);
  }
  arrow::Result<std::vector<FetchedChunk>> FetchChunks(const SegmentChunks& segment, std::span<const uint32_t> chunks,
                                                       std::span<const ComponentList> values) override {
    ARROW_RETURN_NOT_OK(Call());
    return source_->FetchChunks(segment, chunks, values);
  }

 private:
  arrow::Status Call() {
    if (calls_left_.fetch_sub(1) > 0) return arrow::Status::OK();
    has_failed_ = true;
    return arrow::Status::IOError("the source was made to fail");
  }

  const std::shared_ptr<ChunkSource> source_;
  std::atomic<int> calls_left_;
  const bool hides_sizes_;
  std::atomic<bool> has_failed_{false};
};

// ---- One execution

struct Outcome {
  arrow::Status status;
  std::shared_ptr<arrow::Schema> schema;  // null if there was no scan
  arrow::RecordBatchVector batches;
  int64_t rows = 0;
  std::string broken;  // what promise, or nothing
};

std::string CheckOrder(const Outcome& outcome, const Query& query) {
  if (outcome.schema == nullptr || outcome.schema->num_fields() == 0) return "";
  const int id_at = outcome.schema->GetFieldIndex(kSegmentIdColumn);
  const int index_at = query.index ? outcome.schema->GetFieldIndex(*query.index) : -1;
  if (id_at < 0) return "";
  std::string segment;
  int64_t time = 0;
  bool is_first = true;
  for (const auto& batch : outcome.batches) {
    const auto& ids = static_cast<const arrow::StringArray&>(*batch->column(id_at));
    const int64_t* times = index_at < 0 ? nullptr : batch->column(index_at)->data()->GetValues<int64_t>(1);
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      const std::string id(ids.GetView(row));
      if (!is_first && id < segment) return "segment " + id + " after " + segment;
      if (times != nullptr) {
        if (batch->column(index_at)->IsNull(row)) return "a null index";
        if (!is_first && id == segment && times[row] <= time) {
          return "index " + std::to_string(times[row]) + " after " + std::to_string(time);
        }
        time = times[row];
      } else if (!query.index && !is_first && id == segment) {
        return "two rows of segment " + id + " without an index";
      }
      segment = id;
      is_first = false;
    }
  }
  return "";
}

// Reads to the end, or `max_batches` of them and then leaves the reader in one of the ways there are.
Outcome Execute(const PreparedQuery& prepared, const RandomRequest& request, int max_batches, int way_to_leave) {
  Outcome out;
  const auto scan = prepared.Scan(request.columns, request.filter, request.options);
  if (!scan.ok()) {
    out.status = scan.status();
    if (out.status.message().empty()) out.broken = "an error without words: " + out.status.ToString();
    return out;
  }
  std::shared_ptr<arrow::RecordBatchReader> reader = *scan;
  out.schema = reader->schema();
  arrow::FieldVector fields = prepared.schema()->fields();
  if (request.columns) {
    fields.clear();
    for (const std::string& name : *request.columns) fields.push_back(prepared.schema()->GetFieldByName(name));
  }
  if (std::find(fields.begin(), fields.end(), nullptr) != fields.end()) {
    out.broken = "a scan of a column that is not in the schema";
    return out;
  }
  if (!out.schema->Equals(*arrow::schema(fields, prepared.schema()->metadata()), /*check_metadata=*/true)) {
    out.broken = "schema of the scan: " + out.schema->ToString(true);
    return out;
  }
  if (max_batches == 0 && way_to_leave == 1) {
    // Cancelled before it began.
    EXPECT_TRUE(reader->Close().ok());
  }
  for (int n = 0; max_batches < 0 || n < max_batches; ++n) {
    std::shared_ptr<arrow::RecordBatch> batch;
    out.status = reader->ReadNext(&batch);
    if (!out.status.ok()) {
      if (out.status.message().empty()) out.broken = "an error without words: " + out.status.ToString();
      if (batch != nullptr) out.broken = "an error with a batch";
      std::shared_ptr<arrow::RecordBatch> after;
      const auto again = reader->ReadNext(&after);
      if (again.ok() || after != nullptr) out.broken = "a reader goes on after " + out.status.ToString();
      break;
    }
    if (batch == nullptr) {
      const auto again = reader->ReadNext(&batch);
      if (!again.ok() || batch != nullptr) out.broken = "a reader goes on after its end";
      break;
    }
    if (batch->num_rows() < 1) out.broken = "an empty batch";
    if (request.options.max_batch_rows > 0 && batch->num_rows() > request.options.max_batch_rows) {
      out.broken = "a batch of " + std::to_string(batch->num_rows()) + " rows";
    }
    if (!batch->schema()->Equals(*out.schema, /*check_metadata=*/true))
      out.broken = "schema of a batch: " + batch->schema()->ToString(true);
    if (const auto status = batch->ValidateFull(); !status.ok()) out.broken = status.ToString();
    if (!out.broken.empty()) return out;
    out.rows += batch->num_rows();
    out.batches.push_back(std::move(batch));
  }
  if (max_batches >= 0) {
    if (way_to_leave >= 1) {
      EXPECT_TRUE(reader->Close().ok());
      EXPECT_TRUE(reader->Close().ok());
      std::shared_ptr<arrow::RecordBatch> batch;
      if (const auto status = reader->ReadNext(&batch); status.ok() && batch != nullptr) out.broken = "a batch after Close";
    }
    reader.reset();
    // Batches outlive their reader.
    for (const auto& batch : out.batches) {
      if (const auto status = batch->ValidateFull(); !status.ok()) out.broken = "after its reader was dropped: " + status.ToString();
    }
  }
  if (out.broken.empty()) out.broken = CheckOrder(out, prepared.query());
  return out;
}

// What differs, or nothing. Both ended without an error.
std::string CompareTables(const Outcome& a, const std::shared_ptr<arrow::Table>& b) {
  if (a.rows != b->num_rows()) return std::to_string(a.rows) + " and " + std::to_string(b->num_rows()) + " rows";
  if (a.schema->num_fields() == 0) return "";
  const auto table = arrow::Table::FromRecordBatches(a.schema, a.batches);
  if (!table.ok()) return table.status().ToString();
  for (int c = 0; c < b->num_columns(); ++c) {
    if (!(*table)->column(c)->Equals(*b->column(c))) {
      return "column " + b->field(c)->name() + "\none " + (*table)->column(c)->ToString() + "\nother " + b->column(c)->ToString();
    }
  }
  return "";
}

std::shared_ptr<arrow::Table> TableOf(const Outcome& outcome) {
  if (outcome.schema->num_fields() == 0) return arrow::Table::Make(outcome.schema, arrow::ArrayVector{}, outcome.rows);
  return arrow::Table::FromRecordBatches(outcome.schema, outcome.batches).ValueOrDie();
}

bool IsOutOfBudget(const arrow::Status& status) { return status.IsOutOfMemory() || status.IsCapacityError(); }

// The rows are those of the view, whatever is projected.
bool ViewDecides(const Query& query) { return !query.index || query.fill_latest_at || query.view_decides_rows; }

bool NamesItsColumns(const std::optional<cp::Expression>& filter) {
  if (!filter) return true;
  const auto refs = cp::FieldsInExpression(*filter);
  return std::all_of(refs.begin(), refs.end(), [](const arrow::FieldRef& ref) { return ref.IsName(); });
}

struct Counts {
  int64_t rounds = 0, planned = 0, answered = 0, refused = 0, judged = 0, faults = 0, left = 0;
};

std::string Round(uint64_t seed, Counts* counts) {
  Random random(static_cast<uint32_t>(seed ^ (seed >> 32)));
  std::vector<MemorySegment> segments = RandomSegments(random);
  if (Chance(random, 30)) segments.push_back(ExtremeSegment(random));
  const bool is_generous = Chance(random, 50);
  const auto source = MemoryChunkSource::Make(segments, is_generous ? Answers::kGenerous : Answers::kExact);
  if (!source.ok()) return "";  // layers whose types do not unite
  const auto other_source = MemoryChunkSource::Make(segments, Answers::kRemote).ValueOrDie();
  const DatasetSchema schema = *(*source)->GetSchema().ValueOrDie();

  for (int repeat = 0; repeat < 4; ++repeat) {
    FuzzRequest fuzz = MakeRequest(schema, segments, random);
    RandomRequest& request = fuzz.request;
    const int mode = Pick(random, 10);
    const std::string where = "repeat " + std::to_string(repeat) + " mode " + std::to_string(mode) + ": " + fuzz.ToString() + "\n";

    const auto prepared = PreparedQuery::Make(*source, request.query);
    if (!prepared.ok()) {
      ++counts->refused;
      if (prepared.status().message().empty()) return where + "an error without words: " + prepared.status().ToString();
      continue;
    }
    ++counts->planned;

    if (mode == 0) {  // left early
      ++counts->left;
      const Outcome outcome = Execute(**prepared, request, Pick(random, 4), Pick(random, 3));
      if (!outcome.broken.empty()) return where + outcome.broken;
      continue;
    }
    if (mode == 1) {  // a source that fails
      ++counts->faults;
      const auto faulty = std::make_shared<FaultySource>(*source, Pick(random, 6), Chance(random, 50));
      const auto on_faulty = PreparedQuery::Make(faulty, request.query).ValueOrDie();
      const Outcome outcome = Execute(*on_faulty, request, -1, 0);
      if (!outcome.broken.empty()) return where + outcome.broken;
      // What a limit leaves unread may have failed.
      if (faulty->has_failed() && outcome.status.ok() && request.options.limit < 0) return where + "a failure of the source is no error";
      continue;
    }

    const Outcome outcome = Execute(**prepared, request, -1, 0);
    if (!outcome.broken.empty()) return where + outcome.broken;
    if (!outcome.status.ok()) {
      ++counts->refused;
    } else {
      ++counts->answered;
    }
    if (fuzz.has_repeated_values) continue;

    // Bounds, sources and threads do not change answers.
    {
      RandomRequest same = request;
      same.options = ScanOptions();
      same.options.sql_filter_semantics = request.options.sql_filter_semantics;
      same.options.limit = request.options.limit;
      same.options.max_batch_rows = 1 + Pick(random, 100);
      const auto hidden = std::make_shared<FaultySource>(other_source, std::numeric_limits<int>::max(), Chance(random, 50));
      const auto again = PreparedQuery::Make(hidden, request.query).ValueOrDie();
      Outcome second;
      if (mode == 2) {
        // Two at the same time.
        Outcome beside;
        std::thread thread([&] { beside = Execute(*again, same, -1, 0); });
        second = Execute(*again, same, -1, 0);
        thread.join();
        if (!beside.broken.empty()) return where + "beside: " + beside.broken;
        if (beside.status.ok() && second.status.ok()) {
          if (const auto difference = CompareTables(beside, TableOf(second)); !difference.empty()) return where + "beside: " + difference;
        }
      } else {
        second = Execute(*again, same, -1, 0);
      }
      if (!second.broken.empty()) return where + "again: " + second.broken;
      if (outcome.status.ok() != second.status.ok() && !IsOutOfBudget(outcome.status) && !IsOutOfBudget(second.status) &&
          outcome.schema == nullptr) {
        return where + "once: " + outcome.status.ToString() + "\nagain: " + second.status.ToString();
      }
      if (outcome.status.ok() && second.status.ok()) {
        if (const auto difference = CompareTables(outcome, TableOf(second)); !difference.empty()) return where + "again: " + difference;
      }
    }
    if (!outcome.status.ok()) continue;

    // The projection changes rows only where it may.
    if (request.columns && ViewDecides(request.query)) {
      RandomRequest whole = request;
      whole.columns.reset();
      whole.options = ScanOptions();
      whole.options.limit = request.options.limit;
      whole.options.sql_filter_semantics = request.options.sql_filter_semantics;
      const Outcome all = Execute(**prepared, whole, -1, 0);
      if (!all.broken.empty()) return where + "all columns: " + all.broken;
      if (!all.status.ok()) return where + "all columns: " + all.status.ToString();
      if (all.rows != outcome.rows) return where + std::to_string(outcome.rows) + " rows, of all columns " + std::to_string(all.rows);
    }
    // A filter only removes rows.
    if (request.filter && ViewDecides(request.query)) {
      RandomRequest whole = request;
      whole.filter.reset();
      whole.options = ScanOptions();
      const Outcome all = Execute(**prepared, whole, -1, 0);
      if (!all.broken.empty()) return where + "no filter: " + all.broken;
      if (!all.status.ok()) return where + "no filter: " + all.status.ToString();
      if (all.rows < outcome.rows) return where + std::to_string(outcome.rows) + " rows, unfiltered " + std::to_string(all.rows);
    }
    // The naive query does not know SQL's null and NaN.
    if (fuzz.is_sane && !request.options.sql_filter_semantics && NamesItsColumns(request.filter)) {
      auto expected = NaiveQuery(segments, request.query, request.columns, request.filter);
      if (expected.ok()) {
        if (request.options.limit >= 0) *expected = (*expected)->Slice(0, std::min(request.options.limit, (*expected)->num_rows()));
        ++counts->judged;
        if (const auto difference = CompareTables(outcome, *expected); !difference.empty()) return where + "naive query: " + difference;
      }
    }
  }
  return "";
}

double FromEnvironment(const char* name, double otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atof(value);
}

TEST(FuzzQuery, NothingCrashesHangsOrBreaksAPromise) {
  const char* given = std::getenv("RUSHES_FUZZ_SEED");
  const uint64_t first = given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
  const auto length = std::chrono::duration<double>(FromEnvironment("RUSHES_FUZZ_SECONDS", 3));
  const auto began = std::chrono::steady_clock::now();
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(PrintSeed);
  } else {
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, OnSignal);
  }
  std::signal(SIGABRT, OnSignal);
  Watchdog watchdog;
  Counts counts;
  uint64_t seed = first;
  do {
    current_seed = seed;
    watchdog.Begin();
    const std::string broken = Round(seed, &counts);
    ASSERT_EQ(broken, "") << "again with RUSHES_FUZZ_SECONDS=0 RUSHES_FUZZ_SEED=" << seed;
    ++counts.rounds;
    ++seed;
  } while (std::chrono::steady_clock::now() - began < length);
  std::printf(
      "seeds %llu to %llu: %lld queries planned, %lld answered, %lld refused, %lld left early, %lld on failing sources, "
      "%lld judged by the naive query\n",
      static_cast<unsigned long long>(first), static_cast<unsigned long long>(seed - 1), static_cast<long long>(counts.planned),
      static_cast<long long>(counts.answered), static_cast<long long>(counts.refused), static_cast<long long>(counts.left),
      static_cast<long long>(counts.faults), static_cast<long long>(counts.judged));
  if (counts.rounds > 100) {
    // Most of it must not be turned away at the door.
    EXPECT_GT(counts.answered, counts.planned / 3);
    EXPECT_GT(counts.judged, counts.rounds / 4);
    EXPECT_GT(counts.refused, 0);
  }
}

TEST(FuzzQuery, PositionsInFiltersAreThoseOfTheDataframe) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    Random random(seed);
    const auto segments = RandomSegments(random);
    const auto source = MemoryChunkSource::Make(segments);
    if (!source.ok() || (*(*source)->GetSchema())->timelines().empty()) continue;
    Query query;
    query.index = (*(*source)->GetSchema())->timelines()[0].name;
    const auto prepared = PreparedQuery::Make(*source, query).ValueOrDie();
    for (int i = 0; i < prepared->schema()->num_fields(); ++i) {
      RandomRequest by_name, by_position;
      by_name.filter = cp::call("is_valid", {cp::field_ref(prepared->schema()->field(i)->name())});
      by_position.filter = cp::call("is_valid", {cp::field_ref(arrow::FieldRef(i))});
      const Outcome named = Execute(*prepared, by_name, -1, 0), positioned = Execute(*prepared, by_position, -1, 0);
      ASSERT_TRUE(named.status.ok() && positioned.status.ok()) << named.status.ToString() << positioned.status.ToString();
      EXPECT_EQ(CompareTables(positioned, TableOf(named)), "") << "seed " << seed << " column " << i;
    }
  }
}

}  // namespace
}  // namespace rushes
