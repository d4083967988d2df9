// Reading a dataset: sources, planned queries, scans.

#include <cstring>

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include "arrow_objects.h"
#include "bindings.h"
#include "rushes/query/query.h"
#include "scan.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

struct QueryObject {
  Owned<const PreparedQuery> query;
  std::shared_ptr<ScanStatistics> statistics = std::make_shared<ScanStatistics>();
};

std::vector<int64_t> ToInt64s(const nb::bytes& bytes) {
  std::vector<int64_t> values(bytes.size() / sizeof(int64_t));
  std::memcpy(values.data(), bytes.c_str(), values.size() * sizeof(int64_t));
  return values;
}

}  // namespace

void BindDataset(nb::module_& module) {
  module.def(
      "match_contents",
      [](const std::vector<std::vector<std::string>>& filters, const std::vector<std::string>& paths) {
        ContentView view;
        for (const auto& expressions : filters) view.Add(ContentFilter(expressions));
        std::vector<bool> matches;
        for (const std::string& path : paths) matches.push_back(view.Matches(EntityPath::Parse(path)));
        return matches;
      },
      nb::arg("filters"), nb::arg("paths"), "Which of the entity paths pass all filters.");

  nb::class_<QueryObject>(module, "Query")
      .def_prop_ro(
          "schema", [](const QueryObject& self) { return PyarrowSchema(self.query.get()->schema()); },
          nb::sig("def schema(self) -> object"))
      .def(
          "scan",
          [](const QueryObject& self, std::optional<std::vector<std::string>> columns, std::optional<nb::bytes> filter,
             bool sql_filter_semantics, std::optional<int64_t> memory_budget, std::optional<int64_t> limit) {
            ScanOptions options;
            options.statistics = self.statistics;
            if (limit) options.limit = *limit;
            options.sql_filter_semantics = sql_filter_semantics;
            if (memory_budget) options.memory_budget = *memory_budget;
            std::optional<arrow::compute::Expression> expression;
            if (filter) expression = ParseFilter(*filter);
            const auto query = self.query.get();
            const auto reads = query->source()->FetchesLocally() ? ScanObject::Reads::kPromptly : ScanObject::Reads::kLong;
            return ScanObject(
                [query, columns = std::move(columns), expression = std::move(expression), options](ScanObject::StopCheck check) {
                  ScanOptions checked = options;
                  checked.check = std::move(check);
                  return query->Scan(columns, expression, checked);
                },
                reads);
          },
          nb::arg("columns") = nb::none(), nb::arg("filter") = nb::none(), nb::arg("sql_filter_semantics") = false,
          nb::arg("memory_budget") = nb::none(), nb::arg("limit") = nb::none())
      .def("statistics", [](const QueryObject& self) {
        const ScanStatistics& counts = *self.statistics;
        return std::map<std::string, int64_t>{{"segments", counts.segments.load()},
                                              {"chunks_found", counts.chunks_found.load()},
                                              {"chunks_fetched", counts.chunks_fetched.load()},
                                              {"chunks_in_part", counts.chunks_in_part.load()},
                                              {"bytes_fetched", counts.bytes_fetched.load()},
                                              {"rows", counts.rows.load()}};
      });

  nb::class_<SourceObject>(module, "Source")
      .def("segments",
           [](const SourceObject& self) {
             auto source = self.source.get();
             return *Check(CallBlocking([source] { return source->ListSegments(); }));
           })
      .def(
          "index_ranges",
          [](const SourceObject& self, std::string timeline) {
            auto source = self.source.get();
            std::vector<std::tuple<std::string, int64_t, int64_t>> out;
            for (IndexRange& range : Check(CallBlocking([source, timeline] { return source->GetIndexRanges(timeline); }))) {
              out.emplace_back(std::move(range.segment_id), range.start, range.end);
            }
            return out;
          },
          nb::arg("timeline"))
      .def(
          "query",
          [](const SourceObject& self, std::optional<std::string> index, const std::vector<std::vector<std::string>>& contents,
             std::optional<std::vector<std::string>> segments, bool include_semantically_empty_columns, bool include_tombstone_columns,
             bool fill_latest_at, const std::optional<std::map<std::string, nb::bytes>>& using_index_values,
             std::optional<int64_t> fill_max_age, bool fill_respects_clears, bool view_decides_rows, bool include_origin_times,
             bool include_row_ids) {
            Query query;
            query.index = std::move(index);
            for (const auto& expressions : contents) query.contents.Add(ContentFilter(expressions));
            query.segments = std::move(segments);
            query.include_semantically_empty_columns = include_semantically_empty_columns;
            query.include_tombstone_columns = include_tombstone_columns;
            query.fill_latest_at = fill_latest_at;
            query.fill_max_age = fill_max_age;
            query.fill_respects_clears = fill_respects_clears;
            query.view_decides_rows = view_decides_rows;
            query.include_origin_times = include_origin_times;
            query.include_row_ids = include_row_ids;
            if (using_index_values) {
              query.using_index_values.emplace();
              for (const auto& [segment, values] : *using_index_values) (*query.using_index_values)[segment] = ToInt64s(values);
            }
            auto source = self.source.get();
            const auto make = [source, query = std::move(query)] { return PreparedQuery::Make(source, query); };
            return QueryObject{Owned<const PreparedQuery>(Check(source->is_local() ? CallHere(make) : CallBlocking(make)))};
          },
          nb::arg("index").none(), nb::arg("contents"), nb::arg("segments").none(), nb::arg("include_semantically_empty_columns"),
          nb::arg("include_tombstone_columns"), nb::arg("fill_latest_at"), nb::arg("using_index_values").none(),
          nb::arg("fill_max_age").none(), nb::arg("fill_respects_clears"), nb::arg("view_decides_rows"), nb::arg("include_origin_times"),
          nb::arg("include_row_ids"));
}

}  // namespace rushes::python
