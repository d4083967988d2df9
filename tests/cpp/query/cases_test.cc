// The cases of tests/cases, through the engine and through the naive query. tests/cases/README.md has the format.

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "arrow/array/builder_base.h"
#include "arrow/builder.h"
#include "arrow/compute/api_scalar.h"
#include "arrow/json/from_string.h"
#include "arrow/table.h"
#include "arrow/util/key_value_metadata.h"
#include "rushes/chunk/chunk_builder.h"
#include "rushes/query/query.h"
#include "rushes/testing/memory_chunk_source.h"
#include "rushes/testing/naive_query.h"

namespace rushes {
namespace {

namespace cp = arrow::compute;
using Lines = std::vector<std::string>;

// ---- Reading the files

std::string Trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return std::string(text);
}

Lines Split(const std::string& text, const std::string& separators) {
  Lines out;
  std::string part;
  for (const char c : text + separators[0]) {
    if (separators.find(c) == std::string::npos) {
      part += c;
    } else {
      if (!Trim(part).empty()) out.push_back(Trim(part));
      part.clear();
    }
  }
  return out;
}

// The rest of `line` after `prefix` and white space, if it begins so.
std::optional<std::string> After(const std::string& line, const std::string& prefix) {
  if (!line.starts_with(prefix)) return std::nullopt;
  if (line.size() > prefix.size() && line[prefix.size()] != ' ') return std::nullopt;
  return Trim(line.substr(prefix.size()));
}

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "tests/cases: %s\n", what.c_str());
  std::abort();
}

struct TextTable {
  Lines header;
  std::vector<Lines> rows;
};

struct CaseQuery {
  int line = 0;
  Lines options;
  std::optional<TextTable> gives;
  std::optional<int64_t> num_rows;  // when there are no columns
  std::optional<std::string> fails;
};

struct Case {
  std::string file;
  std::string title;
  TextTable data;
  Lines settings;  // "type …", "timeline …"
  std::vector<CaseQuery> queries;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.file << ": " << c.title; }

std::vector<std::pair<int, std::string>> ReadLines(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) Fail("cannot read " + path.string());
  std::vector<std::pair<int, std::string>> out;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    line = Trim(line);
    if (!line.empty() && line[0] != '#') out.emplace_back(number, line);
  }
  return out;
}

std::filesystem::path Folder() { return std::filesystem::path(RUSHES_SOURCE_DIR) / "tests" / "cases"; }

std::vector<Case> ReadCases() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(Folder())) {
    if (entry.path().extension() == ".txt" && entry.path().filename() != "content_filters.txt") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Case> cases;
  for (const auto& path : paths) {
    TextTable* table = nullptr;
    bool in_query = false;
    for (const auto& [number, line] : ReadLines(path)) {
      const std::string where = path.filename().string() + ":" + std::to_string(number);
      if (const auto title = After(line, "case")) {
        cases.push_back({path.filename().string(), *title, {}, {}, {}});
        in_query = false;
        table = nullptr;
        continue;
      }
      if (cases.empty() || cases.back().file != path.filename()) Fail(where + ": no case yet");
      Case& current = cases.back();
      if (line[0] == '|') {
        if (table == nullptr) Fail(where + ": a table here");
        Lines cells = Split(line, "|");
        if (table->header.empty()) {
          table->header = std::move(cells);
        } else {
          if (cells.size() != table->header.size()) Fail(where + ": as many cells as the header has");
          table->rows.push_back(std::move(cells));
        }
        continue;
      }
      table = nullptr;
      if (line == "data") {
        table = &current.data;
      } else if (line == "query") {
        current.queries.emplace_back();
        current.queries.back().line = number;
        in_query = true;
      } else if (!in_query) {
        current.settings.push_back(line);
      } else if (CaseQuery& query = current.queries.back(); line == "gives") {
        query.gives.emplace();
        table = &*query.gives;
      } else if (line == "nothing") {
        query.gives.emplace();
      } else if (const auto rows = After(line, "rows")) {
        query.num_rows = std::stoll(*rows);
      } else if (const auto error = After(line, "fails")) {
        query.fails = *error;
      } else {
        query.options.push_back(line);
      }
    }
  }
  for (const Case& c : cases) {
    for (const CaseQuery& query : c.queries) {
      if (query.gives.has_value() + query.num_rows.has_value() + query.fails.has_value() != 1) {
        Fail(c.file + ":" + std::to_string(query.line) + ": a query without one answer");
      }
    }
  }
  return cases;
}

// ---- Building the dataset

// The type of a JSON value; advances `at`.
std::shared_ptr<arrow::DataType> TypeOfJson(const std::string& text, size_t* at) {
  const auto skip = [&] {
    while (*at < text.size() && (std::isspace(static_cast<unsigned char>(text[*at])) || text[*at] == ',' || text[*at] == ':')) ++*at;
  };
  const auto string = [&] {
    const size_t end = text.find('"', *at + 1);
    if (end == std::string::npos) Fail("no end of string in " + text);
    const std::string value = text.substr(*at + 1, end - *at - 1);
    *at = end + 1;
    return value;
  };
  skip();
  if (*at >= text.size()) Fail("unfinished value " + text);
  switch (text[*at]) {
    case '[': {
      std::shared_ptr<arrow::DataType> item = arrow::null();
      for (++*at, skip(); *at < text.size() && text[*at] != ']'; skip()) item = UniteTypes(item, TypeOfJson(text, at)).ValueOrDie();
      ++*at;
      return arrow::list(item);
    }
    case '{': {
      arrow::FieldVector fields;
      for (++*at, skip(); *at < text.size() && text[*at] != '}'; skip()) {
        const std::string name = string();
        fields.push_back(arrow::field(name, TypeOfJson(text, at)));
      }
      ++*at;
      return arrow::struct_(fields);
    }
    case '"':
      string();
      return arrow::utf8();
    default: {
      const size_t start = *at;
      while (*at < text.size() && std::string(",]}: ").find(text[*at]) == std::string::npos) ++*at;
      const std::string word = text.substr(start, *at - start);
      if (word == "null") return arrow::null();
      if (word == "true" || word == "false") return arrow::boolean();
      return word.find('.') == std::string::npos ? arrow::int64() : arrow::float64();
    }
  }
}

std::shared_ptr<arrow::DataType> TypeNamed(const std::string& name) {
  static const std::map<std::string, std::shared_ptr<arrow::DataType>> kTypes = {
      {"null", arrow::null()},    {"int64", arrow::int64()},     {"int32", arrow::int32()},    {"utf8", arrow::utf8()},
      {"bool", arrow::boolean()}, {"float64", arrow::float64()}, {"float32", arrow::float32()}};
  const auto it = kTypes.find(name);
  if (it == kTypes.end()) Fail("no type " + name);
  return it->second;
}

ComponentDescriptor DescriptorOf(const std::string& component) {
  const size_t colon = component.find(':');
  if (colon == std::string::npos) return {std::nullopt, component, std::nullopt};
  return {"rerun.archetypes." + component.substr(0, colon), component, std::nullopt};
}

std::vector<MemorySegment> BuildSegments(const Case& c) {
  static const std::set<std::string> kNotTimelines = {"segment", "layer", "chunk", "entity", "row", "cells"};
  std::map<std::string, TimeType> time_types;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<arrow::DataType>> given_types;  // (chunk, component)
  for (const std::string& setting : c.settings) {
    const Lines words = Split(setting, " ");
    if (words.size() == 3 && words[0] == "timeline") {
      time_types[words[1]] = words[2] == "duration"    ? TimeType::kDuration
                             : words[2] == "timestamp" ? TimeType::kTimestamp
                                                       : TimeType::kSequence;
    } else if (words.size() == 4 && words[0] == "type") {
      given_types[{words[1], words[2]}] = TypeNamed(words[3]);
    } else {
      Fail(c.title + ": what is \"" + setting + "\"?");
    }
  }
  struct Row {
    std::string id;
    std::map<std::string, int64_t> times;
    std::map<std::string, std::string> cells;
  };
  struct ChunkText {
    std::string segment, layer, name, entity;
    Lines components;
    std::vector<Row> rows;
  };
  std::vector<ChunkText> chunks;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<arrow::DataType>> column_types;  // (entity, component)
  std::map<std::pair<size_t, std::string>, std::shared_ptr<arrow::DataType>> chunk_types;
  for (const Lines& cells : c.data.rows) {
    std::map<std::string, std::string> row;
    for (size_t i = 0; i < cells.size(); ++i) row[c.data.header[i]] = cells[i];
    const std::string segment = row.contains("segment") ? row["segment"] : "s1";
    const std::string layer = row.contains("layer") ? row["layer"] : "base";
    const auto same = [&](const ChunkText& chunk) {
      return chunk.segment == segment && chunk.layer == layer && chunk.name == row["chunk"] && chunk.entity == row["entity"];
    };
    auto chunk = std::find_if(chunks.begin(), chunks.end(), same);
    if (chunk == chunks.end()) chunk = chunks.insert(chunks.end(), {segment, layer, row["chunk"], row["entity"], {}, {}});
    const size_t position = static_cast<size_t>(chunk - chunks.begin());
    Row out;
    out.id = row["row"];
    for (const std::string& name : c.data.header) {
      if (!kNotTimelines.contains(name) && row[name] != "-" && row[name] != "static") out.times[name] = std::stoll(row[name]);
    }
    for (const std::string& part : Split(row["cells"], ";")) {
      const size_t equals = part.find('=');
      if (equals == std::string::npos) Fail(c.title + ": " + part);
      const std::string component = Trim(part.substr(0, equals));
      const std::string value = Trim(part.substr(equals + 1));
      out.cells[component] = value;
      if (std::find(chunk->components.begin(), chunk->components.end(), component) == chunk->components.end()) {
        chunk->components.push_back(component);
      }
      if (value == "null") continue;
      size_t at = 0;
      const auto item = static_cast<const arrow::ListType&>(*TypeOfJson(value, &at)).value_type();
      for (auto* type : {&column_types[{row["entity"], component}], &chunk_types[{position, component}]}) {
        *type = *type == nullptr ? item : UniteTypes(*type, item).ValueOr(*type);
      }
    }
    chunk->rows.push_back(std::move(out));
  }

  std::map<std::string, uint64_t> chunk_ids;
  std::map<std::string, MemorySegment> segments;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const ChunkText& text = chunks[i];
    std::vector<Timeline> timelines;
    for (const auto& [name, time] : text.rows[0].times) timelines.push_back({name, time_types[name]});
    ChunkBuilder builder(EntityPath::Parse(text.entity), timelines);
    std::vector<std::shared_ptr<arrow::DataType>> types;
    for (const std::string& component : text.components) {
      auto type = chunk_types[{i, component}];
      if (type == nullptr || type->id() == arrow::Type::NA) type = column_types[{text.entity, component}];
      if (type == nullptr || type->id() == arrow::Type::NA) type = component == kClearComponent ? arrow::boolean() : arrow::int64();
      if (const auto given = given_types.find({text.name, component}); given != given_types.end()) type = given->second;
      types.push_back(type);
      builder.AddColumn(DescriptorOf(component), type);
    }
    for (const Row& row : text.rows) {
      std::vector<int64_t> times;
      for (const Timeline& timeline : timelines) {
        if (!row.times.contains(timeline.name)) Fail(c.title + ": a row of " + text.name + " without " + timeline.name);
        times.push_back(row.times.at(timeline.name));
      }
      std::vector<std::shared_ptr<arrow::Array>> cells;
      for (size_t k = 0; k < types.size(); ++k) {
        const auto cell = row.cells.find(text.components[k]);
        if (cell == row.cells.end() || cell->second == "null") {
          cells.push_back(nullptr);
        } else {
          cells.push_back(arrow::json::ArrayFromJSONString(types[k], cell->second).ValueOrDie());
        }
      }
      const auto added = builder.AddRow({uint64_t{1} << 60, std::stoull(row.id.substr(1))}, std::move(times), std::move(cells));
      if (!added.ok()) Fail(c.title + ": " + added.ToString());
    }
    const uint64_t number = chunk_ids.emplace(text.name, chunk_ids.size() + 1).first->second;
    segments[text.segment].id = text.segment;
    segments[text.segment].layers[text.layer].push_back(builder.Finish({uint64_t{2} << 60, number}).ValueOrDie());
  }
  std::vector<MemorySegment> out;
  for (auto& [id, segment] : segments) out.push_back(std::move(segment));
  return out;
}

// ---- Reading a query

// Words; what stands in double quotes is one word, without them.
struct Word {
  std::string text;
  char quote = 0;
};

std::vector<Word> WordsOf(const std::string& text) {
  std::vector<Word> out;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (std::isspace(static_cast<unsigned char>(c))) {
      ++i;
    } else if (c == '(' || c == ')') {
      out.push_back({std::string(1, c), 0});
      ++i;
    } else if (c == '"' || c == '\'') {
      const size_t end = text.find(c, i + 1);
      if (end == std::string::npos) Fail("no end of string in " + text);
      out.push_back({text.substr(i + 1, end - i - 1), c});
      i = end + 1;
    } else {
      const size_t end = std::min(text.find_first_of(" ()", i), text.size());
      out.push_back({text.substr(i, end - i), 0});
      i = end;
    }
  }
  return out;
}

// (and A B), (is_not_null "/a:x"), (<= frame 10), (in frame 1 7), …; numbers take the type of the column they are compared with.
class FilterReader {
 public:
  FilterReader(const std::string& text, const arrow::Schema& schema) : words_(WordsOf(text)), schema_(schema) {}

  cp::Expression Read() {
    if (Next().text != "(") Fail("a filter begins with (");
    const std::string name = Next().text;
    if (name == "and" || name == "or" || name == "not") {
      std::vector<cp::Expression> parts;
      while (words_[at_].text != ")") parts.push_back(Read());
      ++at_;
      if (name == "not") return cp::call("invert", {parts.at(0)});
      cp::Expression all = parts.at(0);
      for (size_t i = 1; i < parts.size(); ++i) all = cp::call(name + "_kleene", {all, parts[i]});
      return all;
    }
    const std::string column = Next().text;
    std::vector<std::shared_ptr<arrow::Scalar>> values;
    const auto field = schema_.GetFieldByName(column);
    while (words_[at_].text != ")") {
      const Word word = Next();
      if (word.quote != 0) {
        values.push_back(std::make_shared<arrow::StringScalar>(word.text));
      } else {
        const auto number = arrow::MakeScalar(static_cast<int64_t>(std::stoll(word.text)));
        values.push_back(field == nullptr ? number : number->CastTo(field->type()).ValueOrDie());
      }
    }
    ++at_;
    if (name == "is_not_null") return cp::call("is_valid", {cp::field_ref(column)});
    if (name == "is_null") return cp::call("is_null", {cp::field_ref(column)}, cp::NullOptions(/*nan_is_null=*/false));
    if (name == "in") {
      std::unique_ptr<arrow::ArrayBuilder> builder = arrow::MakeBuilder(values.at(0)->type).ValueOrDie();
      for (const auto& value : values) {
        if (!builder->AppendScalar(*value).ok()) Fail("values of one type");
      }
      return cp::call("is_in", {cp::field_ref(column)}, cp::SetLookupOptions(arrow::Datum(builder->Finish().ValueOrDie())));
    }
    static const std::map<std::string, std::string> kFunctions = {{"=", "equal"},       {"!=", "not_equal"}, {"<", "less"},
                                                                  {"<=", "less_equal"}, {">", "greater"},    {">=", "greater_equal"}};
    const auto function = kFunctions.find(name);
    if (function == kFunctions.end()) Fail("no function " + name);
    return cp::call(function->second, {cp::field_ref(column), cp::literal(values.at(0))});
  }

 private:
  const Word& Next() {
    if (at_ >= words_.size()) Fail("the filter ends early");
    return words_[at_++];
  }
  const std::vector<Word> words_;
  const arrow::Schema& schema_;
  size_t at_ = 0;
};

std::vector<std::string> Texts(const std::vector<Word>& words) {
  std::vector<std::string> out;
  for (const Word& word : words) out.push_back(word.text);
  return out;
}

struct Call {
  Query query;
  std::optional<std::vector<std::string>> columns;
  std::string filter;
};

Call ReadCall(const CaseQuery& text, MemoryChunkSource& source) {
  Call call;
  Query& query = call.query;
  for (const std::string& line : text.options) {
    if (const auto index = After(line, "index")) {
      if (*index != "none") query.index = *index;
    } else if (const auto contents = After(line, "contents")) {
      query.contents.Add(ContentFilter(Texts(WordsOf(*contents))));
    } else if (const auto segments = After(line, "segments")) {
      query.segments = Texts(WordsOf(*segments));
    } else if (line == "include empty columns") {
      query.include_semantically_empty_columns = true;
    } else if (line == "include tombstone columns") {
      query.include_tombstone_columns = true;
    } else if (line == "include origin times") {
      query.include_origin_times = true;
    } else if (line == "fill") {
      query.fill_latest_at = true;
    } else if (const auto age = After(line, "fill max age")) {
      query.fill_max_age = std::stoll(*age);
    } else if (line == "fill respects clears") {
      query.fill_respects_clears = true;
    } else if (line == "view decides rows") {
      query.view_decides_rows = true;
    } else if (line == "values of no segment") {
      query.using_index_values.emplace();
    } else if (line.starts_with("values")) {
      if (!query.using_index_values) query.using_index_values.emplace();
      std::vector<int64_t> values;
      const size_t colon = line.find(':');
      if (colon == std::string::npos) Fail(line);
      for (const std::string& value : Split(line.substr(colon + 1), " ")) values.push_back(std::stoll(value));
      if (const auto of = After(line, "values of")) {
        (*query.using_index_values)[Trim(of->substr(0, of->find(':')))] = values;
      } else {
        // As the API gives plain values to segments: to those whose range on the index holds them.
        for (const IndexRange& range : source.GetIndexRanges(*query.index).ValueOrDie()) {
          for (const int64_t value : values) {
            if (value >= range.start && value <= range.end) (*query.using_index_values)[range.segment_id].push_back(value);
          }
        }
      }
    } else if (const auto columns = After(line, "columns")) {
      call.columns = Split(*columns, ",");
    } else if (const auto filter = After(line, "filter")) {
      call.filter = *filter;
    } else {
      Fail("what is \"" + line + "\"?");
    }
  }
  return call;
}

// ---- Running

arrow::Result<std::shared_ptr<arrow::Table>> RunEngine(const std::shared_ptr<MemoryChunkSource>& source, const Call& call,
                                                       const std::optional<cp::Expression>& filter, const ScanOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const auto prepared, PreparedQuery::Make(source, call.query));
  ARROW_ASSIGN_OR_RAISE(const auto reader, prepared->Scan(call.columns, filter, options));
  arrow::RecordBatchVector batches;
  int64_t num_rows = 0;
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) break;
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    num_rows += batch->num_rows();
    batches.push_back(std::move(batch));
  }
  if (reader->schema()->num_fields() == 0) return arrow::Table::Make(reader->schema(), arrow::ChunkedArrayVector{}, num_rows);
  return arrow::Table::FromRecordBatches(reader->schema(), batches);
}

// What is wrong with an answer; empty if nothing.
std::string Judge(const arrow::Result<std::shared_ptr<arrow::Table>>& answer, const CaseQuery& query, bool all_columns) {
  if (query.fails) {
    if (answer.ok()) return "no error, but\n" + (*answer)->ToString();
    return answer.status().message().find(*query.fails) != std::string::npos ? "" : "another error: " + answer.status().ToString();
  }
  if (!answer.ok()) return answer.status().ToString();
  const arrow::Table& table = **answer;
  if (query.num_rows) {
    return table.num_rows() == *query.num_rows ? "" : std::to_string(table.num_rows()) + " rows";
  }
  const TextTable& want = *query.gives;
  if (want.header.empty()) return table.num_rows() == 0 ? "" : "rows:\n" + table.ToString();
  Lines names = table.schema()->field_names();
  // Of one segment the id may be left out.
  if (all_columns && !names.empty() && names[0] != want.header[0] && names[0] == kSegmentIdColumn) names.erase(names.begin());
  if (names != want.header) return "other columns:\n" + table.schema()->ToString();
  for (size_t i = 0; i < names.size(); ++i) {
    const auto column = table.GetColumnByName(names[i]);
    std::string json = "[";
    for (const Lines& row : want.rows) {
      if (json.size() > 1) json += ", ";
      const bool bare_text = column->type()->id() == arrow::Type::STRING && row[i] != "null";
      json += bare_text ? "\"" + row[i] + "\"" : row[i];
    }
    const auto expected = arrow::json::ArrayFromJSONString(column->type(), json + "]");
    if (!expected.ok()) return names[i] + ": " + expected.status().ToString();
    if (!column->Equals(arrow::ChunkedArray(*expected))) {
      return "column " + names[i] + " expected " + (*expected)->ToString() + "\ngot " + column->ToString();
    }
  }
  return "";
}

class Cases : public testing::TestWithParam<Case> {};

TEST_P(Cases, EngineAndNaiveQueryAnswerThis) {
  const Case& c = GetParam();
  const std::vector<MemorySegment> segments = BuildSegments(c);
  ASSERT_FALSE(c.queries.empty());
  for (const CaseQuery& text : c.queries) {
    SCOPED_TRACE("tests/cases/" + c.file + ":" + std::to_string(text.line));
    std::shared_ptr<MemoryChunkSource> exact, generous, remote;
    {
      const auto made = MemoryChunkSource::Make(segments);
      if (!made.ok() && text.fails) {  // types that cannot be united
        EXPECT_NE(made.status().message().find(*text.fails), std::string::npos) << made.status();
        continue;
      }
      ASSERT_TRUE(made.ok()) << made.status();
      exact = *made;
      generous = MemoryChunkSource::Make(segments, Answers::kGenerous).ValueOrDie();
      remote = MemoryChunkSource::Make(segments, Answers::kRemote).ValueOrDie();
    }
    const Call call = ReadCall(text, *exact);
    std::optional<cp::Expression> filter;
    if (!call.filter.empty()) {
      const auto schema = MakeQuerySchema(*exact->GetSchema().ValueOrDie(), call.query);
      ASSERT_TRUE(schema.ok()) << schema.status();
      filter = FilterReader(call.filter, **schema).Read();
    }
    EXPECT_EQ(Judge(NaiveQuery(segments, call.query, call.columns, filter), text, !call.columns), "") << "the naive query";
    ScanOptions row_by_row;
    row_by_row.max_batch_rows = 1;
    row_by_row.max_batch_bytes = 1;
    ScanOptions alone;
    alone.max_parallelism = 1;
    for (const auto& source : {exact, generous, remote}) {
      const char* which = source == exact ? "exactly the chunks" : source == generous ? "all chunks" : "as over a network";
      EXPECT_EQ(Judge(RunEngine(source, call, filter, {}), text, !call.columns), "") << which;
      EXPECT_EQ(Judge(RunEngine(source, call, filter, row_by_row), text, !call.columns), "") << which << ", row by row";
      EXPECT_EQ(Judge(RunEngine(source, call, filter, alone), text, !call.columns), "") << which << ", in one thread";
    }
  }
}

std::string TestName(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.file.substr(0, info.param.file.find('.')) + "_";
  for (const char c : info.param.title) {
    if (std::isalnum(static_cast<unsigned char>(c))) name += c;
    if (c == ' ') name += '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Text, Cases, testing::ValuesIn(ReadCases()), TestName);

// ---- Content filters: entities, then for each case the calls and what they leave in view

TEST(ContentFilterCases, LeaveTheseEntitiesInView) {
  // Entities end at two spaces, for one may stand in a path.
  const auto entities_of = [](const std::string& text) {
    std::set<std::string> out;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find("  ", at), text.size());
      if (const std::string entity = Trim(text.substr(at, end - at)); !entity.empty()) out.insert(EntityPath::Parse(entity).text());
      at = end + 2;
    }
    return out;
  };
  std::set<std::string> all;
  std::vector<MemorySegment> segments(1);
  segments[0].id = "s1";
  std::shared_ptr<MemoryChunkSource> source;
  Query query;
  query.index = "frame";
  bool next_names_entities = false;
  int num_cases = 0;
  for (const auto& [number, line] : ReadLines(Folder() / "content_filters.txt")) {
    SCOPED_TRACE("content_filters.txt:" + std::to_string(number));
    if (next_names_entities) {
      next_names_entities = false;
      all = entities_of(line);
      uint64_t id = 0;
      for (const std::string& entity : all) {
        ++id;
        ChunkBuilder builder(EntityPath::Parse(entity), {{"frame", TimeType::kSequence}});
        builder.AddColumn({std::nullopt, "v", std::nullopt}, arrow::int64());
        ASSERT_TRUE(builder.AddRow({1, id}, {1}, {arrow::json::ArrayFromJSONString(arrow::int64(), "[7]").ValueOrDie()}).ok());
        segments[0].layers["base"].push_back(builder.Finish({2, id}).ValueOrDie());
      }
      source = MemoryChunkSource::Make(segments).ValueOrDie();
    } else if (line == "entities") {
      next_names_entities = true;
    } else if (const auto contents = After(line, "contents")) {
      query.contents.Add(ContentFilter(Texts(WordsOf(*contents))));
    } else if (const auto view = After(line, "view")) {
      const std::set<std::string> want = entities_of(*view);
      std::set<std::string> passing, in_schema, with_values;
      for (const std::string& entity : all) {
        if (query.contents.Matches(EntityPath::Parse(entity))) passing.insert(entity);
      }
      EXPECT_EQ(passing, want);
      const auto prepared = PreparedQuery::Make(source, query).ValueOrDie();
      for (const auto& field : prepared->schema()->fields()) {
        const auto& metadata = field->metadata();
        if (metadata && metadata->Contains("rerun:entity_path")) in_schema.insert(metadata->Get("rerun:entity_path").ValueOrDie());
      }
      EXPECT_EQ(in_schema, want);
      const auto table = prepared->Scan().ValueOrDie()->ToTable().ValueOrDie();
      EXPECT_EQ(table->num_rows(), want.empty() ? 0 : 1);
      for (int c = 0; c < table->num_columns() && table->num_rows() > 0; ++c) {
        const auto& metadata = table->field(c)->metadata();
        if (metadata && metadata->Contains("rerun:entity_path") && table->column(c)->null_count() == 0) {
          with_values.insert(metadata->Get("rerun:entity_path").ValueOrDie());
        }
      }
      EXPECT_EQ(with_values, want);
      query.contents = ContentView();
      ++num_cases;
    } else {
      FAIL() << line;
    }
  }
  EXPECT_GT(num_cases, 30);
}

}  // namespace
}  // namespace rushes
