#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#include "arrow/array/builder_binary.h"
#include "arrow/array/builder_primitive.h"
#include "arrow/record_batch.h"
#include "arrow/type.h"
#include "arrow/util/key_value_metadata.h"
#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/wire/arrow_msg.h"
#include "rushes/wire/chunk_query.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/grpc_status.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes::wire {
namespace {

namespace log_msg = ::rerun::log_msg::v1alpha1;

template <typename T>
T Get(arrow::Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().ToString());
  return std::move(result).MoveValueUnsafe();
}

std::shared_ptr<arrow::RecordBatch> SomeBatch(int64_t rows) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder texts;
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE(numbers.Append(i).ok());
    EXPECT_TRUE(i % 3 == 0 ? texts.AppendNull().ok() : texts.Append("text " + std::to_string(i)).ok());
  }
  auto schema = arrow::schema(
      {arrow::field("n", arrow::int64(), false), arrow::field("t", arrow::utf8(), true, arrow::key_value_metadata({"k"}, {"v"}))},
      arrow::key_value_metadata({"sorbet:version"}, {"0.1.4"}));
  return arrow::RecordBatch::Make(schema, rows, {Get(numbers.Finish()), Get(texts.Finish())});
}

// Splits bytes into pieces of random lengths, some empty.
struct Pieces {
  std::vector<std::vector<uint8_t>> owned;
  BytePieces views;

  Pieces(const std::string& bytes, std::mt19937* random, size_t longest) {
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min<size_t>(bytes.size() - at, (*random)() % (longest + 1));
      owned.emplace_back(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.begin() + static_cast<ptrdiff_t>(at + size));
      at += size;
    }
    for (const auto& piece : owned) views.emplace_back(piece.data(), piece.size());
  }
};

// --- texts and codes

TEST(HeadersTest, IdsHaveTheTextFormOfTheProtocol) {
  Tuid id;
  id.time_ns = 0x1860390B087BC65F;
  id.counter = 0x602D68EB646C385C;
  EXPECT_EQ(TuidToText(id), "1860390B087BC65F602d68eb646c385c");
  EXPECT_EQ(Get(TuidFromText("1860390b087bc65f602D68EB646C385C")), id);
  for (const char* text :
       {"", "1860390B087BC65F602d68eb646c385", "1860390B087BC65F602d68eb646c385cc", "g860390B087BC65F602d68eb646c385c"}) {
    EXPECT_TRUE(TuidFromText(text).status().IsInvalid()) << text;
  }
}

TEST(HeadersTest, PercentEscapes) {
  const std::string text = "a b/%\xC3\xA4";
  EXPECT_EQ(PercentEncode(text), "a%20b%2F%25%C3%A4");
  EXPECT_EQ(PercentEncode(text, "/"), "a%20b/%25%C3%A4");
  EXPECT_EQ(Get(PercentDecode(PercentEncode(text))), text);
  EXPECT_EQ(Get(PercentDecode("%41")), "A");
  for (const char* bad : {"%", "%4", "a%", "%zz", "%4g"}) EXPECT_TRUE(PercentDecode(bad).status().IsInvalid()) << bad;
}

TEST(StatusTest, EveryCodeSurvivesTheTrip) {
  for (int number = 1; number <= 16; ++number) {
    const auto code = static_cast<RpcCode>(number);
    const arrow::Status status = MakeStatus(code, "words");
    EXPECT_FALSE(status.ok());
    const grpc::Status sent = ToGrpcStatus(status);
    EXPECT_EQ(static_cast<int>(sent.error_code()), number);
    EXPECT_EQ(sent.error_message(), "words");
    const arrow::Status received = FromGrpcStatus(sent, "- server: x");
    EXPECT_EQ(CodeOf(received), code);
    EXPECT_EQ(received.code(), status.code());
    EXPECT_EQ(received.message(), "words\n- server: x");
  }
  EXPECT_TRUE(ToGrpcStatus(arrow::Status::OK()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusTest, ArrowCodesBecomeTheCodesUsersSee) {
  EXPECT_EQ(CodeOf(arrow::Status::KeyError("")), RpcCode::kNotFound);
  EXPECT_EQ(CodeOf(arrow::Status::AlreadyExists("")), RpcCode::kAlreadyExists);
  EXPECT_EQ(CodeOf(arrow::Status::Invalid("")), RpcCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(arrow::Status::TypeError("")), RpcCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(arrow::Status::NotImplemented("")), RpcCode::kUnimplemented);
  EXPECT_EQ(CodeOf(arrow::Status::Cancelled("")), RpcCode::kCancelled);
  EXPECT_EQ(CodeOf(arrow::Status::OutOfMemory("")), RpcCode::kResourceExhausted);
  EXPECT_EQ(CodeOf(arrow::Status::IOError("")), RpcCode::kInternal);
  EXPECT_TRUE(MakeStatus(RpcCode::kNotFound, "").IsKeyError());
  EXPECT_TRUE(MakeStatus(RpcCode::kInvalidArgument, "").IsInvalid());
  EXPECT_TRUE(MakeStatus(RpcCode::kUnavailable, "").IsIOError());
  EXPECT_TRUE(MakeStatus(RpcCode::kUnimplemented, "").IsNotImplemented());
}

// --- dataframes

TEST(DataframeTest, BatchesTravel) {
  for (const int64_t rows : {0, 1, 5000}) {
    for (const auto compression : {PartCompression::kNone, PartCompression::kLz4}) {
      const auto batch = SomeBatch(rows);
      common::DataframePart part;
      ASSERT_TRUE(EncodePart(*batch, &part, compression).ok());
      EXPECT_EQ(part.compression(), compression == PartCompression::kLz4 ? common::COMPRESSION_LZ4 : common::COMPRESSION_NONE);
      const auto back = Get(DecodePart(part, "test"));
      EXPECT_TRUE(back->Equals(*batch, /*check_metadata=*/true));
    }
  }
}

TEST(DataframeTest, SchemasTravel) {
  const auto schema = SomeBatch(0)->schema();
  common::Schema message;
  ASSERT_TRUE(EncodeSchema(*schema, &message).ok());
  EXPECT_TRUE(Get(DecodeSchema(message, "test"))->Equals(*schema, true));
  // The stream ends with its marker.
  EXPECT_EQ(message.arrow_schema().substr(message.arrow_schema().size() - 8), std::string("\xFF\xFF\xFF\xFF\0\0\0\0", 8));
  EXPECT_TRUE(DecodeSchema(common::Schema(), "test").status().IsInvalid());
}

TEST(DataframeTest, RefusesLies) {
  common::DataframePart part;
  EXPECT_TRUE(DecodePart(part, "test").status().IsInvalid());
  ASSERT_TRUE(EncodePart(*SomeBatch(100), &part).ok());
  auto lie = part;
  lie.set_uncompressed_size(std::numeric_limits<uint64_t>::max());
  EXPECT_NE(DecodePart(lie, "test").status().message().find("test"), std::string::npos);
  lie.set_uncompressed_size(part.uncompressed_size() - 1);
  EXPECT_TRUE(DecodePart(lie, "test").status().IsInvalid());
  lie.set_uncompressed_size(part.uncompressed_size() + 1);
  EXPECT_TRUE(DecodePart(lie, "test").status().IsInvalid());
  lie = part;
  lie.set_compression(static_cast<common::Compression>(7));
  EXPECT_TRUE(DecodePart(lie, "test").status().IsInvalid());
  lie = part;
  lie.set_encoder_version(static_cast<common::EncoderVersion>(9));
  EXPECT_TRUE(DecodePart(lie, "test").status().IsInvalid());
  lie = part;
  lie.clear_payload();
  EXPECT_TRUE(DecodePart(lie, "test").status().IsInvalid());
}

TEST(DataframeTest, SurvivesDamage) {
  const auto batch = SomeBatch(50);
  common::DataframePart part;
  ASSERT_TRUE(EncodePart(*batch, &part, PartCompression::kNone).ok());
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    auto damaged = part;
    std::string* bytes = damaged.mutable_payload();
    if (round % 4 == 0) {
      bytes->resize(random() % bytes->size());
    } else {
      for (int i = 0; i < 1 + round % 5; ++i) (*bytes)[random() % bytes->size()] = static_cast<char>(random());
    }
    const auto result = DecodePart(damaged, "test");
    if (!result.ok()) {
      ++refused;
      EXPECT_EQ(result.status().message().substr(0, 4), "test");
    }
  }
  EXPECT_GT(refused, 500);
}

TEST(DataframeTest, StreamsAreJoinedByName) {
  const auto a = SomeBatch(2);
  const auto b = arrow::RecordBatch::Make(arrow::schema({a->schema()->field(1), a->schema()->field(0)}), 2, {a->column(1), a->column(0)});
  const auto c = arrow::RecordBatch::Make(arrow::schema({a->schema()->field(0)}), 2, {a->column(0)});
  const auto table = Get(ConcatenateBatches({a, b, c}, nullptr, "test"));
  EXPECT_EQ(table->num_rows(), 6);
  EXPECT_EQ(table->schema()->field_names(), (std::vector<std::string>{"n", "t"}));
  EXPECT_EQ(table->column(1)->null_count(), 4);
  EXPECT_TRUE(ConcatenateBatches({}, nullptr, "test").status().IsInvalid());
  EXPECT_EQ(Get(ConcatenateBatches({}, a->schema(), "test"))->num_rows(), 0);
  const auto other = arrow::RecordBatch::Make(arrow::schema({arrow::field("n", arrow::utf8())}), 2, {a->column(1)});
  EXPECT_NE(ConcatenateBatches({a, other}, nullptr, "test").status().message().find("'n'"), std::string::npos);
}

// --- chunk messages

TEST(ArrowMsgTest, PrefixAndPayloadAreAResponse) {
  ArrowMsgHead head;
  head.compression = 1;
  head.encoding = 1;
  head.store_kind = 1;
  head.recording_id = "segment";
  head.application_id = "app";
  head.chunk_id = Tuid{5, 6};
  head.is_static = false;
  const std::string payload(300, 'x');
  head.uncompressed_size = payload.size();
  const std::string bytes = FetchChunksPrefix(head, payload.size()) + payload;

  cloud::FetchChunksResponse response;
  ASSERT_TRUE(response.ParseFromString(bytes));
  ASSERT_EQ(response.chunks_size(), 1);
  const auto& msg = response.chunks(0);
  EXPECT_EQ(msg.payload(), payload);
  EXPECT_EQ(msg.store_id().recording_id(), "segment");
  EXPECT_EQ(msg.store_id().application_id().id(), "app");
  EXPECT_EQ(msg.store_id().kind(), common::STORE_KIND_RECORDING);
  EXPECT_EQ(msg.compression(), common::COMPRESSION_NONE);
  EXPECT_EQ(msg.encoding(), log_msg::ENCODING_ARROW_IPC);
  EXPECT_EQ(msg.chunk_id().time_ns(), 5);
  EXPECT_EQ(msg.chunk_id().inc(), 6);
  EXPECT_TRUE(msg.has_is_static());
  EXPECT_EQ(msg.uncompressed_size(), 300);
}

cloud::FetchChunksResponse SomeResponse(std::vector<std::string>* payloads) {
  cloud::FetchChunksResponse response;
  for (int i = 0; i < 5; ++i) {
    auto* msg = response.add_chunks();
    msg->mutable_store_id()->set_kind(common::STORE_KIND_BLUEPRINT);
    msg->mutable_store_id()->set_recording_id("s" + std::to_string(i));
    msg->mutable_store_id()->mutable_application_id()->set_id("app");
    msg->set_encoding(log_msg::ENCODING_ARROW_IPC);
    payloads->push_back(std::string(static_cast<size_t>(i) * 700 + 100, static_cast<char>('a' + i)));
    if (i % 2 == 0) {
      msg->set_payload(payloads->back());
    } else {
      common::DataframePart lz4;
      // An LZ4 block of the same bytes: literals only, as the format allows.
      std::string block;
      size_t length = payloads->back().size();
      block.push_back(static_cast<char>(0xF0));
      for (length -= 15; length >= 255; length -= 255) block.push_back(static_cast<char>(0xFF));
      block.push_back(static_cast<char>(length));
      block += payloads->back();
      msg->set_payload(block);
      msg->set_compression(common::COMPRESSION_LZ4);
    }
    msg->set_uncompressed_size(payloads->back().size());
    msg->mutable_chunk_id()->set_time_ns(7);
    msg->mutable_chunk_id()->set_inc(static_cast<uint64_t>(i));
    msg->set_is_static(i == 3);
  }
  return response;
}

TEST(ArrowMsgTest, ReadsMessagesInAnyPieces) {
  std::vector<std::string> payloads;
  const std::string bytes = SomeResponse(&payloads).SerializeAsString();
  std::mt19937 random(11);
  for (const size_t longest : {1, 2, 7, 100, 1000, 100000}) {
    const Pieces pieces(bytes, &random, longest);
    const auto chunks = Get(ParseFetchChunksResponse(pieces.views));
    ASSERT_EQ(chunks.size(), payloads.size());
    for (size_t i = 0; i < chunks.size(); ++i) {
      EXPECT_EQ(chunks[i].payload->ToString(), payloads[i]);
      EXPECT_EQ(chunks[i].head.recording_id, "s" + std::to_string(i));
      EXPECT_EQ(chunks[i].head.application_id, "app");
      EXPECT_EQ(chunks[i].head.store_kind, 2);
      EXPECT_EQ(chunks[i].head.chunk_id, (Tuid{7, i}));
      EXPECT_EQ(chunks[i].head.is_static, i == 3);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(chunks[i].payload->data()) % 8, 0);
    }
  }
  EXPECT_TRUE(Get(ParseFetchChunksResponse({})).empty());
}

TEST(ArrowMsgTest, SurvivesDamage) {
  std::vector<std::string> payloads;
  const std::string bytes = SomeResponse(&payloads).SerializeAsString();
  std::mt19937 random(13);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = bytes;
    if (round % 3 == 0) damaged.resize(random() % damaged.size());
    // Most of the message is payload; the interesting bytes are at the start of each chunk.
    for (int i = 0; i < round % 4; ++i) {
      if (!damaged.empty())
        damaged[random() % std::min<size_t>(damaged.size(), round % 2 == 0 ? 60 : damaged.size())] = static_cast<char>(random());
    }
    const Pieces pieces(damaged, &random, 500);
    if (!ParseFetchChunksResponse(pieces.views).ok()) ++refused;
  }
  EXPECT_GT(refused, 5000);
}

// --- values

TEST(ConvertTest, EntriesTravel) {
  DatasetEntry entry;
  entry.entry.id = Tuid::New();
  entry.entry.name = "name";
  entry.entry.kind = EntryKind::kBlueprintDataset;
  entry.entry.created_at_ns = -1;
  entry.entry.updated_at_ns = 1'700'000'000'123'456'789;
  entry.details.blueprint_dataset = Tuid{0, 0};
  entry.details.asset_dataset = Tuid{1, 2};
  entry.details.default_blueprint_segment = "";
  cloud::DatasetEntry message;
  ToProto(entry, &message);
  EXPECT_EQ(message.dataset_handle().dataset_url(), "memory:///" + TuidToText(entry.entry.id));
  EXPECT_EQ(message.dataset_handle().dataset_kind(), common::DATASET_KIND_BLUEPRINT);
  EXPECT_EQ(message.dataset_handle().store_kind(), common::STORE_KIND_BLUEPRINT);
  const auto back = Get(FromProto(message));
  EXPECT_EQ(back.entry.id, entry.entry.id);
  EXPECT_EQ(back.entry.name, "name");
  EXPECT_EQ(back.entry.kind, EntryKind::kBlueprintDataset);
  EXPECT_EQ(back.entry.created_at_ns, -1);
  EXPECT_EQ(back.entry.updated_at_ns, entry.entry.updated_at_ns);
  // An id of zeros is present all the same.
  EXPECT_EQ(back.details.blueprint_dataset, (Tuid{0, 0}));
  EXPECT_EQ(back.details.asset_dataset, (Tuid{1, 2}));
  EXPECT_EQ(back.details.default_blueprint_segment, "");
}

TEST(ConvertTest, MissingFieldsAreNamed) {
  cloud::EntryDetails entry;
  EXPECT_EQ(FromProto(entry).status().message(), "missing required field: 'rerun.cloud.v1alpha1.EntryDetails.id'");
  entry.mutable_id()->mutable_id()->set_inc(1);
  entry.set_name("x");
  entry.mutable_created_at();
  entry.mutable_updated_at();
  EXPECT_EQ(FromProto(entry).status().message(), "missing required field: 'rerun.cloud.v1alpha1.EntryDetails.id.id.time_ns'");
  entry.mutable_id()->mutable_id()->set_time_ns(1);
  EXPECT_TRUE(FromProto(entry).ok());
  entry.mutable_created_at()->set_seconds(std::numeric_limits<int64_t>::max());
  EXPECT_TRUE(FromProto(entry).status().IsInvalid());

  cloud::DataSource source;
  EXPECT_TRUE(FromProto(source).status().IsInvalid());
  source.set_storage_url("file:///x");
  EXPECT_TRUE(FromProto(source).status().IsInvalid());
  source.set_typ(cloud::DATA_SOURCE_KIND_RRD);
  EXPECT_EQ(Get(FromProto(source)).layer, "base");
  source.set_layer("");
  EXPECT_EQ(Get(FromProto(source)).layer, "base");
}

TEST(ConvertTest, Filters) {
  EntryFilter filter;
  filter.kind = EntryKind::kTable;
  filter.name = "n";
  cloud::EntryFilter message;
  ToProto(filter, &message);
  EXPECT_EQ(message.entry_kind(), cloud::ENTRY_KIND_TABLE);
  ASSERT_EQ(message.entry_kinds_size(), 1);
  const auto query = Get(FromProto(message));
  EXPECT_TRUE(query.MatchesKind(EntryKind::kTable));
  EXPECT_FALSE(query.MatchesKind(EntryKind::kDataset));
  const auto any = Get(FromProto(cloud::EntryFilter()));
  EXPECT_TRUE(any.MatchesKind(EntryKind::kBlueprintDataset));
  EXPECT_FALSE(any.MatchesKind(EntryKind::kAssetDataset));
  message.add_entry_kinds(cloud::ENTRY_KIND_UNSPECIFIED);
  EXPECT_TRUE(FromProto(message).status().IsInvalid());
  EXPECT_EQ(Get(FromProto(common::IF_DUPLICATE_BEHAVIOR_UNSPECIFIED)), IfDuplicate::kSkip);
  for (const auto behavior : {IfDuplicate::kOverwrite, IfDuplicate::kSkip, IfDuplicate::kError}) {
    EXPECT_EQ(Get(FromProto(ToProto(behavior))), behavior);
  }
  EXPECT_TRUE(FromProto(static_cast<common::IfDuplicateBehavior>(9)).status().IsInvalid());
}

// --- chunk queries

void ExpectSame(const ChunkQuery& a, const ChunkQuery& b) {
  EXPECT_EQ(a.mode, b.mode);
  EXPECT_EQ(a.segments, b.segments);
  ASSERT_EQ(a.entities.has_value(), b.entities.has_value());
  if (a.entities) {
    ASSERT_EQ(a.entities->size(), b.entities->size());
    for (size_t i = 0; i < a.entities->size(); ++i) {
      EXPECT_EQ((*a.entities)[i].path, (*b.entities)[i].path);
      EXPECT_EQ((*a.entities)[i].components, (*b.entities)[i].components);
    }
  }
  EXPECT_EQ(a.timeline, b.timeline);
  EXPECT_EQ(a.start, b.start);
  EXPECT_EQ(a.end, b.end);
  EXPECT_EQ(a.latest_at, b.latest_at);
  EXPECT_EQ(a.samples, b.samples);
}

ChunkQuery RangeQuery() {
  ChunkQuery out;
  out.timeline = "log_tick";
  out.start = -5;
  out.end = 10;
  out.latest_at = true;
  out.segments = {"a", "b"};
  out.entities = {{EntityPath::Parse("/x/y"), std::nullopt}, {EntityPath::Parse("/z"), std::vector<std::string>{"C:a", "C:b"}}};
  return out;
}

TEST(ChunkQueryTest, FindChunksTravels) {
  std::vector<ChunkQuery> queries(5);
  queries[0] = RangeQuery();
  queries[1].timeline = "t";
  queries[2].mode = ChunkQuery::Mode::kStatic;
  queries[2].segments.emplace();
  queries[3].mode = ChunkQuery::Mode::kSamples;
  queries[3].timeline = "t";
  queries[3].samples = {{"a", {3, 1, 2}}, {"b", {}}};
  queries[3].latest_at = true;
  queries[4] = RangeQuery();
  queries[4].entities.emplace();
  for (const auto& query : queries) {
    cloud::FindChunksRequest request;
    ToProto(query, &request);
    cloud::FindChunksRequest again;
    ASSERT_TRUE(again.ParseFromString(request.SerializeAsString()));
    ExpectSame(Get(ParseFindChunks(again)), query);
  }
}

TEST(ChunkQueryTest, QueryDatasetTravels) {
  auto range = RangeQuery();
  range.entities = {{EntityPath::Parse("/x/y"), std::nullopt}};
  std::vector<ChunkQuery> queries(4);
  queries[0] = range;
  queries[1].mode = ChunkQuery::Mode::kStatic;
  queries[2].mode = ChunkQuery::Mode::kSamples;
  queries[2].timeline = "t";
  queries[2].samples = {{"a", {3, 1, 2}}, {"b", {}}};
  queries[2].latest_at = true;
  queries[3] = range;
  queries[3].latest_at = false;
  for (const auto& query : queries) {
    cloud::QueryDatasetRequest request;
    ToProto(query, &request);
    const auto back = Get(ParseQueryDataset(request));
    ExpectSame(back, query);
  }
  // Everything: no query, and no timeline but the start column's.
  ChunkQuery all;
  all.timeline = "t";
  cloud::QueryDatasetRequest request;
  ToProto(all, &request);
  const auto back = Get(ParseQueryDataset(request));
  EXPECT_TRUE(back.is_unbounded());
  EXPECT_EQ(back.columns.back(), "t:start");
}

TEST(ChunkQueryTest, FindChunksRefusals) {
  using Edit = std::function<void(cloud::FindChunksRequest*)>;
  const std::vector<std::pair<const char*, Edit>> edits = {
      {"contents", [](auto* r) { r->clear_contents(); }},
      {"ContentSelection.selection", [](auto* r) { r->mutable_contents()->Clear(); }},
      {"FindChunksRequest.mode", [](auto* r) { r->clear_range(); }},
      {"RangeSelection.timeline", [](auto* r) { r->mutable_range()->clear_timeline(); }},
      {"RangeSelection.segments", [](auto* r) { r->mutable_range()->clear_segments(); }},
      {"SegmentSelection.selection", [](auto* r) { r->mutable_range()->mutable_segments()->Clear(); }},
      {"before it starts", [](auto* r) { r->mutable_range()->set_end_inclusive(-6); }},
      {"static data", [](auto* r) { r->mutable_range()->set_start_inclusive(std::numeric_limits<int64_t>::min()); }},
      {"needs a start", [](auto* r) { r->mutable_range()->clear_start_inclusive(); }},
      {"fill mode", [](auto* r) { r->mutable_range()->set_fill_mode(static_cast<cloud::FillMode>(99)); }},
      {"direct URL mode", [](auto* r) { r->set_direct_url_mode(static_cast<cloud::DirectUrlMode>(99)); }},
      {"entity_path", [](auto* r) { r->mutable_contents()->mutable_explicit_()->add_entities()->mutable_all(); }},
      {"EntitySelection.components",
       [](auto* r) { r->mutable_contents()->mutable_explicit_()->add_entities()->mutable_entity_path()->set_path("/q"); }},
      {"twice", [](auto* r) { *r->mutable_contents()->mutable_explicit_()->add_entities() = r->contents().explicit_().entities(0); }},
      {"empty component",
       [](auto* r) { r->mutable_contents()->mutable_explicit_()->mutable_entities(1)->mutable_explicit_()->add_ids(""); }},
      {"SegmentIds.ids", [](auto* r) { r->mutable_range()->mutable_segments()->mutable_explicit_()->add_ids(); }},
      {"segment_id",
       [](auto* r) {
         r->mutable_samples()->set_timeline("t");
         r->mutable_samples()->add_segments();
       }},
      {"twice",
       [](auto* r) {
         r->mutable_samples()->set_timeline("t");
         r->mutable_samples()->add_segments()->mutable_segment_id()->set_id("a");
         r->mutable_samples()->add_segments()->mutable_segment_id()->set_id("a");
       }},
  };
  for (const auto& [words, edit] : edits) {
    cloud::FindChunksRequest request;
    ToProto(RangeQuery(), &request);
    ASSERT_TRUE(ParseFindChunks(request).ok());
    edit(&request);
    const auto status = ParseFindChunks(request).status();
    EXPECT_TRUE(status.IsInvalid()) << words << ": " << status;
    EXPECT_NE(status.message().find(words), std::string::npos) << status;
  }
  cloud::FindChunksRequest request;
  ToProto(RangeQuery(), &request);
  request.mutable_range()->set_fill_mode(cloud::FILL_MODE_EARLIEST_AT);
  EXPECT_TRUE(ParseFindChunks(request).status().IsNotImplemented());
  // Other faults come first.
  request.set_direct_url_mode(static_cast<cloud::DirectUrlMode>(99));
  EXPECT_TRUE(ParseFindChunks(request).status().IsInvalid());
}

TEST(ChunkQueryTest, QueryDatasetRules) {
  cloud::QueryDatasetRequest nothing;
  const auto none = Get(ParseQueryDataset(nothing));
  ASSERT_TRUE(none.entities.has_value());
  EXPECT_TRUE(none.entities->empty());
  EXPECT_TRUE(none.is_unbounded());

  cloud::QueryDatasetRequest latest;
  latest.set_select_all_entity_paths(true);
  latest.mutable_query()->mutable_latest_at()->mutable_index()->mutable_timeline()->set_name("t");
  EXPECT_TRUE(ParseQueryDataset(latest).status().IsInvalid());
  latest.mutable_query()->mutable_latest_at()->set_at(7);
  const auto at = Get(ParseQueryDataset(latest));
  EXPECT_EQ(at.start, 7);
  EXPECT_EQ(at.end, 7);
  EXPECT_TRUE(at.latest_at);

  auto both = latest;
  both.mutable_query()->mutable_range()->mutable_index()->mutable_timeline()->set_name("t");
  both.mutable_query()->mutable_range()->mutable_index_range()->set_start(8);
  both.mutable_query()->mutable_range()->mutable_index_range()->set_end(9);
  EXPECT_TRUE(ParseQueryDataset(both).status().IsInvalid());
  both.mutable_query()->mutable_range()->mutable_index_range()->set_start(7);
  EXPECT_EQ(Get(ParseQueryDataset(both)).end, 9);

  using Edit = std::function<void(cloud::QueryDatasetRequest*)>;
  const std::vector<std::pair<const char*, Edit>> edits = {
      {"chunk_ids", [](auto* r) { r->add_chunk_ids(); }},
      {"exclude_static_data", [](auto* r) { r->set_exclude_static_data(true); }},
      {"exclude_temporal_data", [](auto* r) { r->set_exclude_temporal_data(true); }},
      {"filter", [](auto* r) { r->mutable_scan_parameters()->set_filter("x"); }},
      {"limit_len", [](auto* r) { r->mutable_scan_parameters()->set_limit_len(0); }},
      {"limit_offset", [](auto* r) { r->mutable_scan_parameters()->set_limit_offset(0); }},
      {"order_by", [](auto* r) { r->mutable_scan_parameters()->add_order_by(); }},
      {"select_all", [](auto* r) { r->add_entity_paths()->set_path("/a"); }},
      {"per_segment_values", [](auto* r) { r->mutable_query()->mutable_latest_at()->add_per_segment_values(); }},
  };
  for (const auto& [words, edit] : edits) {
    auto request = latest;
    edit(&request);
    const auto status = ParseQueryDataset(request).status();
    EXPECT_TRUE(status.IsInvalid()) << words;
    EXPECT_NE(status.message().find(words), std::string::npos) << status;
  }
}

// --- layouts

TEST(LayoutsTest, ChunkRowsTravel) {
  for (const bool find_chunks : {true, false}) {
    ChunkRowsLayout layout;
    layout.find_chunks = find_chunks;
    if (!find_chunks) layout.start_timelines = {"a b", "t"};
    ChunkRowsBuilder builder(layout);
    ChunkRow row;
    row.id = Tuid{1, 2};
    row.segment_id = "s";
    row.layer = "base";
    row.key = std::string_view("\0k", 2);
    row.entity_path = "/e";
    row.is_static = true;
    row.byte_len = 77;
    ASSERT_TRUE(
        builder.Append(row, find_chunks ? std::vector<std::optional<int64_t>>() : std::vector<std::optional<int64_t>>{1, std::nullopt})
            .ok());
    row.byte_size_uncompressed = 99;
    row.timeline_start = -4;
    row.is_static = false;
    ASSERT_TRUE(builder.Append(row, find_chunks ? std::vector<std::optional<int64_t>>() : std::vector<std::optional<int64_t>>{2, -4}).ok());
    const auto batch = Get(builder.Finish());
    ASSERT_TRUE(batch->ValidateFull().ok());
    EXPECT_EQ(builder.num_rows(), 0);
    common::DataframePart part;
    ASSERT_TRUE(EncodePart(*batch, &part).ok());
    const auto rows = Get(ChunkRows::Make(Get(DecodePart(part, "test")), "t"));
    ASSERT_EQ(rows.num_rows(), 2);
    EXPECT_EQ(rows.row(0).id, (Tuid{1, 2}));
    EXPECT_EQ(rows.row(0).key, std::string_view("\0k", 2));
    EXPECT_TRUE(rows.row(0).is_static);
    EXPECT_FALSE(rows.row(0).byte_size_uncompressed);
    EXPECT_FALSE(rows.row(0).timeline_start);
    EXPECT_EQ(rows.row(1).timeline_start, -4);
    EXPECT_EQ(rows.row(1).byte_size_uncompressed, 99);
    EXPECT_EQ(Get(ReadFetchKeys(*Get(MakeFetchBatch({rows.row(0), rows.row(1)})))).at(1), std::string_view("\0k", 2));
  }
}

TEST(LayoutsTest, FindChunksColumnsAreFixed) {
  const auto schema = ChunkRowsLayout().ToSchema();
  EXPECT_EQ(schema->field_names(),
            (std::vector<std::string>{"chunk_id", "chunk_segment_id", "rerun_segment_layer", "chunk_key", "chunk_entity_path",
                                      "chunk_is_static", "chunk_byte_len", "chunk_byte_size_uncompressed", "chunk_timeline_start",
                                      "rerun_layer_direct_url", "rerun_layer_direct_url_expires_at"}));
  ChunkRowsBuilder empty{ChunkRowsLayout()};
  EXPECT_EQ(Get(empty.Finish())->num_rows(), 0);
}

TEST(LayoutsTest, BadColumnsAreNamed) {
  const auto batch = SomeBatch(1);
  EXPECT_NE(ChunkRows::Make(batch, "").status().message().find("chunk_id"), std::string::npos);
  EXPECT_NE(ReadFetchKeys(*batch).status().message().find("chunk_key"), std::string::npos);
  EXPECT_NE(ReadRegisterBatch(*batch).status().message().find("rerun_segment_id"), std::string::npos);
  EXPECT_NE(ReadTaskBatch(*batch).status().message().find("task_id"), std::string::npos);
  arrow::LargeBinaryBuilder large;
  ASSERT_TRUE(large.Append("k").ok());
  const auto wrong = arrow::RecordBatch::Make(arrow::schema({arrow::field("chunk_key", arrow::large_binary())}), 1, {Get(large.Finish())});
  EXPECT_NE(ReadFetchKeys(*wrong).status().message().find("must be binary"), std::string::npos);
}

TEST(LayoutsTest, RegistrationsAndTasksTravel) {
  const std::vector<RegisteredSource> sources = {{"s", "base", "file:///a", "task_1"}, {"s2", "l", "file:///b", "task_2"}};
  const auto back = Get(ReadRegisterBatch(*Get(MakeRegisterBatch(sources))));
  ASSERT_EQ(back.size(), 2);
  EXPECT_EQ(back[1].segment_id, "s2");
  EXPECT_EQ(back[1].layer, "l");
  EXPECT_EQ(back[1].url, "file:///b");
  EXPECT_EQ(back[1].task_id, "task_2");

  std::vector<TaskInfo> tasks(3);
  tasks[0].id = "a";
  tasks[1].id = "b";
  tasks[1].state = TaskState::kFailed;
  tasks[1].message = "why";
  tasks[1].created_at_ns = 5;
  tasks[2].id = "c";
  tasks[2].state = TaskState::kPending;
  const auto batch = Get(MakeTaskBatch(tasks));
  ASSERT_TRUE(batch->ValidateFull().ok());
  EXPECT_EQ(batch->schema()->field_names(),
            (std::vector<std::string>{"task_id", "kind", "data", "exec_status", "msgs", "blob", "lease_owner", "lease_expiration",
                                      "attempts", "creation_time", "last_update_time"}));
  const auto read = Get(ReadTaskBatch(*batch));
  ASSERT_EQ(read.size(), 3);
  EXPECT_EQ(read[0].state, TaskState::kSuccess);
  EXPECT_EQ(read[1].state, TaskState::kFailed);
  EXPECT_EQ(read[1].message, "why");
  EXPECT_EQ(read[1].created_at_ns, 5);
  EXPECT_EQ(read[2].state, TaskState::kPending);
}

// However long its messages are, the buffers of a stream are aligned in memory.
TEST(Dataframe, BuffersAreAligned) {
  arrow::Int64Builder builder;
  ASSERT_TRUE(builder.AppendValues({1, 2, 3, 4}).ok());
  const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("a", arrow::int64())}), 4, {builder.Finish().ValueOrDie()});
  std::string bytes = Get(EncodeIpc(*batch))->ToString();
  // The schema's message, which begins with a marker and its length, becomes four bytes longer.
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 4, 4);
  bytes.insert(8 + length, 4, '\0');
  length += 4;
  std::memcpy(bytes.data() + 4, &length, 4);
  const auto read = Get(DecodeIpc(bytes, "answer"));
  const auto& values = static_cast<const arrow::Int64Array&>(*read->column(0));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(values.raw_values()) % 8, 0);
  EXPECT_TRUE(values.Equals(*batch->column(0)));
}

}  // namespace
}  // namespace rushes::wire
