#include "rushes/wire/chunk_query.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/headers.h"

namespace rushes::wire {
namespace {

constexpr int64_t kStaticTime = std::numeric_limits<int64_t>::min();

std::string Field(std::string_view name) { return "rerun.cloud.v1alpha1." + std::string(name); }

arrow::Result<std::vector<ChunkQuery::Entity>> ParseEntities(const cloud::EntitySelections& selections) {
  std::vector<ChunkQuery::Entity> out;
  std::set<std::string> seen;
  for (const auto& selection : selections.entities()) {
    if (!selection.has_entity_path()) return MissingField(Field("EntitySelection.entity_path"));
    ChunkQuery::Entity entity;
    ARROW_ASSIGN_OR_RAISE(entity.path, EntityPath::ParseStrict(selection.entity_path().path()));
    if (!seen.insert(entity.path.text()).second) {
      return arrow::Status::Invalid("entity '", entity.path.text(), "' is selected twice");
    }
    switch (selection.components_case()) {
      case cloud::EntitySelection::kAll:
        break;
      case cloud::EntitySelection::kExplicit: {
        entity.components.emplace();
        for (const auto& id : selection.explicit_().ids()) {
          if (id.empty()) return arrow::Status::Invalid("an empty component is selected of entity '", entity.path.text(), "'");
          entity.components->push_back(id);
        }
        break;
      }
      default:
        return MissingField(Field("EntitySelection.components"));
    }
    out.push_back(std::move(entity));
  }
  return out;
}

arrow::Status ParseContents(const cloud::ContentSelection& contents, ChunkQuery* out) {
  switch (contents.selection_case()) {
    case cloud::ContentSelection::kAll:
      return arrow::Status::OK();
    case cloud::ContentSelection::kExplicit: {
      ARROW_ASSIGN_OR_RAISE(out->entities, ParseEntities(contents.explicit_()));
      return arrow::Status::OK();
    }
    default:
      return MissingField(Field("ContentSelection.selection"));
  }
}

arrow::Status ParseSegments(bool present, const cloud::SegmentSelection& segments, std::string_view field, ChunkQuery* out) {
  if (!present) return MissingField(Field(field));
  switch (segments.selection_case()) {
    case cloud::SegmentSelection::kAll:
      return arrow::Status::OK();
    case cloud::SegmentSelection::kExplicit: {
      out->segments.emplace();
      for (const auto& id : segments.explicit_().ids()) {
        ARROW_ASSIGN_OR_RAISE(auto text, FromProto(id, Field("SegmentIds.ids")));
        out->segments->push_back(std::move(text));
      }
      return arrow::Status::OK();
    }
    default:
      return MissingField(Field("SegmentSelection.selection"));
  }
}

arrow::Status CheckTime(int64_t time, std::string_view what) {
  if (time == kStaticTime) return arrow::Status::Invalid(what, " must not be ", time, ", which stands for static data");
  return arrow::Status::OK();
}

// `earliest_at`: the caller reports it after all other checks.
arrow::Status ParseFill(int fill_mode, ChunkQuery* out, bool* earliest_at) {
  switch (fill_mode) {
    case cloud::FILL_MODE_UNSPECIFIED:
    case cloud::FILL_MODE_NONE:
      return arrow::Status::OK();
    case cloud::FILL_MODE_LATEST_AT:
      out->latest_at = true;
      return arrow::Status::OK();
    case cloud::FILL_MODE_EARLIEST_AT:
      *earliest_at = true;
      return arrow::Status::OK();
    default:
      return arrow::Status::Invalid("unknown fill mode ", fill_mode);
  }
}

arrow::Status ParseRange(const cloud::RangeSelection& range, ChunkQuery* out, bool* earliest_at) {
  out->mode = ChunkQuery::Mode::kRange;
  if (range.timeline().empty()) return MissingField(Field("RangeSelection.timeline"));
  out->timeline = range.timeline();
  if (range.has_start_inclusive()) {
    ARROW_RETURN_NOT_OK(CheckTime(range.start_inclusive(), "the start of the range"));
    out->start = range.start_inclusive();
  }
  if (range.has_end_inclusive()) {
    ARROW_RETURN_NOT_OK(CheckTime(range.end_inclusive(), "the end of the range"));
    out->end = range.end_inclusive();
  }
  if (out->start && out->end && *out->end < *out->start) {
    return arrow::Status::Invalid("the range ends (", *out->end, ") before it starts (", *out->start, ")");
  }
  ARROW_RETURN_NOT_OK(ParseFill(range.fill_mode(), out, earliest_at));
  if (out->latest_at && !out->start) return arrow::Status::Invalid("filling with the latest values needs a start of the range");
  return ParseSegments(range.has_segments(), range.segments(), "RangeSelection.segments", out);
}

arrow::Status ParseSamples(const cloud::SegmentSamplesSelection& samples, ChunkQuery* out, bool* earliest_at) {
  out->mode = ChunkQuery::Mode::kSamples;
  if (samples.timeline().empty()) return MissingField(Field("SegmentSamplesSelection.timeline"));
  out->timeline = samples.timeline();
  for (const auto& segment : samples.segments()) {
    if (!segment.has_segment_id()) return MissingField(Field("SegmentSamples.segment_id"));
    ARROW_ASSIGN_OR_RAISE(auto id, FromProto(segment.segment_id(), Field("SegmentSamples.segment_id")));
    for (const int64_t value : segment.values()) ARROW_RETURN_NOT_OK(CheckTime(value, "a sample"));
    const auto [at, inserted] = out->samples.emplace(std::move(id), std::vector<int64_t>(segment.values().begin(), segment.values().end()));
    if (!inserted) return arrow::Status::Invalid("segment '", at->first, "' is sampled twice");
  }
  return ParseFill(samples.fill_mode(), out, earliest_at);
}

// The timeline of a selector of the older call.
arrow::Result<std::string> TimelineOf(const common::IndexColumnSelector& selector) {
  if (!selector.has_timeline()) return MissingField("rerun.common.v1alpha1.IndexColumnSelector.timeline");
  if (selector.timeline().name().empty()) return arrow::Status::Invalid("the name of the timeline is empty");
  return selector.timeline().name();
}

arrow::Status Refuse(bool set, std::string_view field) {
  if (!set) return arrow::Status::OK();
  return arrow::Status::Invalid("'", Field("QueryDatasetRequest."), field, "' is not supported");
}

}  // namespace

arrow::Result<ChunkQuery> ParseFindChunks(const cloud::FindChunksRequest& request) {
  ChunkQuery out;
  bool earliest_at = false;
  if (!request.has_contents()) return MissingField(Field("FindChunksRequest.contents"));
  ARROW_RETURN_NOT_OK(ParseContents(request.contents(), &out));
  switch (request.mode_case()) {
    case cloud::FindChunksRequest::kStatic:
      out.mode = ChunkQuery::Mode::kStatic;
      ARROW_RETURN_NOT_OK(ParseSegments(request.static_().has_segments(), request.static_().segments(), "StaticSelection.segments", &out));
      break;
    case cloud::FindChunksRequest::kRange:
      ARROW_RETURN_NOT_OK(ParseRange(request.range(), &out, &earliest_at));
      break;
    case cloud::FindChunksRequest::kSamples:
      ARROW_RETURN_NOT_OK(ParseSamples(request.samples(), &out, &earliest_at));
      break;
    default:
      return MissingField(Field("FindChunksRequest.mode"));
  }
  if (!cloud::DirectUrlMode_IsValid(request.direct_url_mode())) {
    return arrow::Status::Invalid("unknown direct URL mode ", static_cast<int>(request.direct_url_mode()));
  }
  out.direct_urls = request.direct_url_mode() != cloud::DIRECT_URL_MODE_OMIT;
  if (earliest_at) return arrow::Status::NotImplemented("filling with the earliest later value is not implemented");
  return out;
}

arrow::Result<ChunkQuery> ParseQueryDataset(const cloud::QueryDatasetRequest& request) {
  ChunkQuery out;
  ARROW_RETURN_NOT_OK(Refuse(request.chunk_ids_size() > 0, "chunk_ids"));
  ARROW_RETURN_NOT_OK(Refuse(request.exclude_static_data(), "exclude_static_data"));
  ARROW_RETURN_NOT_OK(Refuse(request.exclude_temporal_data(), "exclude_temporal_data"));
  const auto& scan = request.scan_parameters();
  ARROW_RETURN_NOT_OK(Refuse(scan.has_filter(), "scan_parameters.filter"));
  ARROW_RETURN_NOT_OK(Refuse(scan.has_limit_offset(), "scan_parameters.limit_offset"));
  ARROW_RETURN_NOT_OK(Refuse(scan.has_limit_len(), "scan_parameters.limit_len"));
  ARROW_RETURN_NOT_OK(Refuse(scan.order_by_size() > 0, "scan_parameters.order_by"));
  out.columns.assign(scan.columns().begin(), scan.columns().end());
  out.direct_urls = request.generate_direct_urls();

  if (request.select_all_entity_paths()) {
    if (request.entity_paths_size() > 0) {
      return arrow::Status::Invalid("'select_all_entity_paths' excludes a list of entity paths");
    }
  } else {
    out.entities.emplace();
    std::set<std::string> seen;
    std::optional<std::vector<std::string>> components;
    if (request.fuzzy_descriptors_size() > 0) components.emplace(request.fuzzy_descriptors().begin(), request.fuzzy_descriptors().end());
    for (const auto& path : request.entity_paths()) {
      ChunkQuery::Entity entity;
      ARROW_ASSIGN_OR_RAISE(entity.path, EntityPath::ParseStrict(path.path()));
      entity.components = components;
      if (seen.insert(entity.path.text()).second) out.entities->push_back(std::move(entity));
    }
  }

  std::vector<std::string> segments;
  for (const auto& id : request.segment_ids()) {
    ARROW_ASSIGN_OR_RAISE(auto text, FromProto(id, Field("QueryDatasetRequest.segment_ids")));
    segments.push_back(std::move(text));
  }

  const auto& query = request.query();
  const bool has_latest_at = query.has_latest_at();
  const bool latest_at_index = has_latest_at && query.latest_at().has_index();
  const auto& latest_at = query.latest_at();

  if (has_latest_at && latest_at.per_segment_values_size() > 0) {
    if (!latest_at_index) return arrow::Status::Invalid("'per_segment_values' needs an index");
    if (latest_at.has_at() || query.has_range()) {
      return arrow::Status::Invalid("'per_segment_values' excludes 'at' and a range");
    }
    if (segments.empty() || segments.size() != static_cast<size_t>(latest_at.per_segment_values_size())) {
      return arrow::Status::Invalid("'per_segment_values' has ", latest_at.per_segment_values_size(), " lists for ", segments.size(),
                                    " segment ids");
    }
    ARROW_ASSIGN_OR_RAISE(out.timeline, TimelineOf(latest_at.index()));
    out.mode = ChunkQuery::Mode::kSamples;
    out.latest_at = true;
    for (size_t i = 0; i < segments.size(); ++i) {
      const auto& list = latest_at.per_segment_values(static_cast<int>(i)).values();
      for (const int64_t value : list) ARROW_RETURN_NOT_OK(CheckTime(value, "a sample"));
      if (!out.samples.emplace(segments[i], std::vector<int64_t>(list.begin(), list.end())).second) {
        return arrow::Status::Invalid("segment '", segments[i], "' is sampled twice");
      }
    }
    return out;
  }

  if (!segments.empty()) out.segments = std::move(segments);
  if (latest_at_index) {
    if (!latest_at.has_at()) return arrow::Status::Invalid("'latest_at' with an index needs 'at' or 'per_segment_values'");
    ARROW_ASSIGN_OR_RAISE(out.timeline, TimelineOf(latest_at.index()));
    out.start = out.end = std::max(latest_at.at(), kStaticTime + 1);
    out.latest_at = true;
  }
  if (query.has_range()) {
    if (!query.range().has_index()) return MissingField(Field("QueryRange.index"));
    if (!query.range().has_index_range()) return MissingField(Field("QueryRange.index_range"));
    ARROW_ASSIGN_OR_RAISE(auto timeline, TimelineOf(query.range().index()));
    const int64_t start = std::max(query.range().index_range().start(), kStaticTime + 1);
    if (latest_at_index && (timeline != out.timeline || start != *out.start)) {
      return arrow::Status::Invalid("'latest_at' with a range must be at the start of the range, on the same timeline");
    }
    out.timeline = std::move(timeline);
    out.start = start;
    out.end = std::max(query.range().index_range().end(), kStaticTime + 1);
  } else if (has_latest_at && !latest_at_index) {
    out.mode = ChunkQuery::Mode::kStatic;
  }
  return out;
}

namespace {

void FillSegments(const ChunkQuery& query, cloud::SegmentSelection* out) {
  if (!query.segments) {
    out->mutable_all();
    return;
  }
  auto* ids = out->mutable_explicit_();
  for (const auto& id : *query.segments) ids->add_ids()->set_id(id);
}

}  // namespace

void ToProto(const ChunkQuery& query, cloud::FindChunksRequest* out) {
  if (!query.entities) {
    out->mutable_contents()->mutable_all();
  } else {
    auto* entities = out->mutable_contents()->mutable_explicit_();
    for (const auto& entity : *query.entities) {
      auto* selection = entities->add_entities();
      selection->mutable_entity_path()->set_path(entity.path.text());
      if (entity.components) {
        auto* ids = selection->mutable_explicit_();
        for (const auto& id : *entity.components) ids->add_ids(id);
      } else {
        selection->mutable_all();
      }
    }
  }
  const auto fill = query.latest_at ? cloud::FILL_MODE_LATEST_AT : cloud::FILL_MODE_NONE;
  switch (query.mode) {
    case ChunkQuery::Mode::kStatic:
      FillSegments(query, out->mutable_static_()->mutable_segments());
      break;
    case ChunkQuery::Mode::kRange: {
      auto* range = out->mutable_range();
      range->set_timeline(query.timeline);
      if (query.start) range->set_start_inclusive(*query.start);
      if (query.end) range->set_end_inclusive(*query.end);
      range->set_fill_mode(fill);
      FillSegments(query, range->mutable_segments());
      break;
    }
    case ChunkQuery::Mode::kSamples: {
      auto* samples = out->mutable_samples();
      samples->set_timeline(query.timeline);
      samples->set_fill_mode(fill);
      for (const auto& [id, values] : query.samples) {
        auto* segment = samples->add_segments();
        segment->mutable_segment_id()->set_id(id);
        segment->mutable_values()->Add(values.begin(), values.end());
      }
      break;
    }
  }
  out->set_direct_url_mode(query.direct_urls ? cloud::DIRECT_URL_MODE_SIGNED : cloud::DIRECT_URL_MODE_OMIT);
}

void ToProto(const ChunkQuery& query, cloud::QueryDatasetRequest* out) {
  if (!query.entities) {
    out->set_select_all_entity_paths(true);
  } else {
    for (const auto& entity : *query.entities) out->add_entity_paths()->set_path(entity.path.text());
  }
  const auto set_index = [&](common::IndexColumnSelector* index) { index->mutable_timeline()->set_name(query.timeline); };
  if (query.mode == ChunkQuery::Mode::kSamples) {
    auto* latest_at = out->mutable_query()->mutable_latest_at();
    set_index(latest_at->mutable_index());
    for (const auto& [id, values] : query.samples) {
      out->add_segment_ids()->set_id(id);
      latest_at->add_per_segment_values()->mutable_values()->Add(values.begin(), values.end());
    }
  } else {
    if (query.segments) {
      for (const auto& id : *query.segments) out->add_segment_ids()->set_id(id);
    }
    if (query.mode == ChunkQuery::Mode::kStatic) {
      out->mutable_query()->mutable_latest_at();
    } else if (!query.is_unbounded()) {
      auto* range = out->mutable_query()->mutable_range();
      set_index(range->mutable_index());
      range->mutable_index_range()->set_start(query.start.value_or(kStaticTime + 1));
      range->mutable_index_range()->set_end(query.end.value_or(std::numeric_limits<int64_t>::max()));
      if (query.latest_at && query.start) {
        set_index(out->mutable_query()->mutable_latest_at()->mutable_index());
        out->mutable_query()->mutable_latest_at()->set_at(*query.start);
      }
    }
  }
  if (!query.timeline.empty()) {
    auto* scan = out->mutable_scan_parameters();
    scan->set_on_missing_columns(common::IF_MISSING_BEHAVIOR_SKIP);
    for (const char* column : {"chunk_key", "chunk_id", "chunk_segment_id", "rerun_segment_layer", "chunk_byte_len"}) {
      scan->add_columns(column);
    }
    scan->add_columns(query.timeline + ":start");
  }
}

}  // namespace rushes::wire
