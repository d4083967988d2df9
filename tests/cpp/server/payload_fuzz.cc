// Damaged Arrow payloads against everything that takes them: the calls of a server, and what clients read answers with. Each call ends
// with an answer or with an error that a client can act on; memory stays within bounds and comes back; the server goes on.
#include <gtest/gtest.h>
#include <lz4.h>

#include <chrono>
#include <memory>
#include <optional>
#include <set>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "arrow/memory_pool.h"
#include "arrow/record_batch.h"
#include "fuzz_support/mutate.h"
#include "rerun/cloud/v1alpha1/cloud.grpc.pb.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/chunk/chunk_ipc.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/server/catalog_server.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/headers.h"
#include "rushes/wire/layouts.h"

namespace rushes {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;
namespace common = ::rerun::common::v1alpha1;

// What damage may take for a moment. Sizes that are only announced do not count.
constexpr int64_t kMemoryBytes = int64_t{512} << 20;

std::vector<std::string> Corpus() { return ReadCorpus(RUSHES_SOURCE_DIR "/tests/data/payloads", ".arrows"); }

// A dataframe around an Arrow stream, whole or with damage of its own.
common::DataframePart MakePart(std::string stream, FuzzRandom& random) {
  common::DataframePart part;
  part.set_encoder_version(Below(random, 50) == 0 ? common::ENCODER_VERSION_UNSPECIFIED : common::ENCODER_VERSION_V0);
  part.set_uncompressed_size(stream.size());
  if (Below(random, 3) != 0) {
    part.set_payload(std::move(stream));
    part.set_compression(common::COMPRESSION_NONE);
    return part;
  }
  std::string block(static_cast<size_t>(LZ4_compressBound(static_cast<int>(stream.size()))), '\0');
  const int size = LZ4_compress_default(stream.data(), block.data(), static_cast<int>(stream.size()), static_cast<int>(block.size()));
  block.resize(static_cast<size_t>(std::max(size, 0)));
  switch (Below(random, 4)) {
    case 0:
      block = Mutate(block, stream, random);
      break;
    case 1:
      part.set_uncompressed_size(random() >> Below(random, 64));
      break;
    default:
      break;
  }
  part.set_payload(std::move(block));
  part.set_compression(common::COMPRESSION_LZ4);
  return part;
}

// The damaged stream of a round; now and then an undamaged one, so that what lies behind the decoder is reached too.
std::string MakeStream(const std::vector<std::string>& corpus, FuzzRandom& random) {
  const std::string& chosen = corpus[Below(random, corpus.size())];
  if (Below(random, 8) == 0) return chosen;
  return Mutate(chosen, corpus[Below(random, corpus.size())], random);
}

// Codes that say what is wrong with a request. A damaged payload is no failure of the server (INTERNAL, UNKNOWN, DATA_LOSS), except for
// WriteTable, whose clients are used to INTERNAL for batches that do not fit.
void ExpectFit(const grpc::Status& status, const char* call, bool may_be_internal = false) {
  static const std::set<grpc::StatusCode> kFit = {grpc::StatusCode::INVALID_ARGUMENT,   grpc::StatusCode::NOT_FOUND,
                                                  grpc::StatusCode::ALREADY_EXISTS,     grpc::StatusCode::FAILED_PRECONDITION,
                                                  grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::UNIMPLEMENTED};
  if (status.ok()) return;
  const bool fits = kFit.count(status.error_code()) > 0 || (may_be_internal && status.error_code() == grpc::StatusCode::INTERNAL);
  EXPECT_TRUE(fits) << call << ": " << status.error_code() << " " << status.error_message();
  EXPECT_FALSE(status.error_message().empty()) << call;
}

class PayloadFuzz : public testing::Test {
 protected:
  void SetUp() override {
    corpus_ = Corpus();
    ASSERT_GE(corpus_.size(), 20u);
    budget_ = arrow::default_memory_pool()->bytes_allocated() + kMemoryBytes;
  }
  void TearDown() override {
    EXPECT_LT(arrow::default_memory_pool()->max_memory(), std::max(budget_, before_));
    RecordProperty("rounds", std::to_string(done_));
  }

  std::vector<std::string> corpus_;
  int64_t before_ = arrow::default_memory_pool()->max_memory();
  int64_t budget_ = 0;
  uint64_t done_ = 0;
};

struct Call : grpc::ClientContext {
  Call() { set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60)); }
  explicit Call(EntryId id) : Call() { AddMetadata(wire::kEntryIdHeader, EntryIdText(id)); }
};

TEST_F(PayloadFuzz, CallsOfTheServer) {
  const auto catalog = std::make_shared<Catalog>();
  const EntryPtr dataset = catalog->CreateDataset("mine").ValueOrDie();
  const EntryId id = dataset->entry.id, assets = *dataset->details.asset_dataset;
  DataSource source;
  source.url = RUSHES_SOURCE_DIR "/recordings/howto";
  source.is_prefix = true;
  ASSERT_TRUE(catalog->Register(id, {source}, IfDuplicate::kError).ok());
  const auto server = CatalogServer::Start(catalog).ValueOrDie();
  const auto stub = cloud::RerunCloudService::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()), grpc::InsecureChannelCredentials()));

  // Keys that lead to chunks.
  {
    cloud::FindChunksRequest request;
    request.mutable_contents()->mutable_all();
    request.mutable_static_()->mutable_segments()->mutable_all();
    Call call(id);
    const auto reader = stub->FindChunks(&call, request);
    for (cloud::FindChunksResponse found; reader->Read(&found);) {
      const auto batch = wire::DecodePart(found.data(), "found").ValueOrDie();
      corpus_.push_back(wire::EncodeIpc(*batch).ValueOrDie()->ToString());
    }
    ASSERT_TRUE(reader->Finish().ok());
  }
  std::optional<common::EntryId> table;
  int tables = 0;

  FuzzRounds rounds(3000);
  while (rounds.Next() && !HasFailure()) {
    FuzzRandom random(rounds.seed());
    SCOPED_TRACE("RUSHES_FUZZ_SEED=" + std::to_string(rounds.seed()));
    std::string stream = MakeStream(corpus_, random);
    switch (Below(random, 4)) {
      case 0: {
        cloud::SetSegmentPropertiesRequest request;
        request.mutable_segment_id()->set_id("asset");
        *request.mutable_properties() = MakePart(std::move(stream), random);
        cloud::SetSegmentPropertiesResponse response;
        Call call(assets);
        ExpectFit(stub->SetSegmentProperties(&call, request, &response), "SetSegmentProperties");
        // What was stored is read again, and as the coverage of an asset.
        cloud::GetSegmentPropertiesRequest get;
        get.add_segment_ids()->set_id("asset");
        Call get_call(assets);
        const auto reader = stub->GetSegmentProperties(&get_call, get);
        for (cloud::GetSegmentPropertiesResponse found; reader->Read(&found);) {
          for (const auto& item : found.segments()) {
            const auto batch = wire::DecodePart(item.properties(), "properties");
            ASSERT_TRUE(batch.ok()) << batch.status();
            EXPECT_EQ((*batch)->num_rows(), 1);
          }
        }
        EXPECT_TRUE(reader->Finish().ok());
        cloud::GetAssetsForSegmentRequest covering;
        covering.mutable_segment_id()->set_id("a");
        Call covering_call(id);
        const auto assets_reader = stub->GetAssetsForSegment(&covering_call, covering);
        for (cloud::GetAssetsForSegmentResponse found; assets_reader->Read(&found);) continue;
        EXPECT_TRUE(assets_reader->Finish().ok());
        break;
      }
      case 1: {
        cloud::FetchChunksRequest request;
        for (size_t n = Below(random, 3) + 1; n > 0; --n) *request.add_chunk_infos() = MakePart(stream, random);
        Call call;
        const auto reader = stub->FetchChunks(&call, request);
        for (cloud::FetchChunksResponse found; reader->Read(&found);) continue;
        ExpectFit(reader->Finish(), "FetchChunks");
        break;
      }
      case 2: {
        cloud::CreateTableEntryRequest request;
        request.set_name("table " + std::to_string(++tables));
        request.mutable_schema()->set_arrow_schema(std::move(stream));
        cloud::CreateTableEntryResponse response;
        Call call;
        const grpc::Status status = stub->CreateTableEntry(&call, request, &response);
        ExpectFit(status, "CreateTableEntry");
        if (!status.ok()) break;
        if (table) {
          cloud::DeleteEntryRequest deletion;
          *deletion.mutable_id() = *table;
          cloud::DeleteEntryResponse ignored;
          Call delete_call;
          EXPECT_TRUE(stub->DeleteEntry(&delete_call, deletion, &ignored).ok());
        }
        table = response.table().details().id();
        break;
      }
      default: {
        EntryId target = id;
        if (table) target = wire::FromProto(*table, "table").ValueOrDie();
        Call call(target);
        cloud::WriteTableResponse response;
        const auto writer = stub->WriteTable(&call, &response);
        for (size_t n = Below(random, 3) + 1; n > 0; --n) {
          cloud::WriteTableRequest request;
          *request.mutable_dataframe_part() = MakePart(stream, random);
          request.set_insert_mode(static_cast<cloud::TableInsertMode>(Below(random, 6)));
          if (!writer->Write(request)) break;
        }
        writer->WritesDone();
        ExpectFit(writer->Finish(), "WriteTable", true);
        if (!table) break;
        cloud::ScanTableRequest scan;
        *scan.mutable_table_id() = *table;
        Call scan_call;
        const auto reader = stub->ScanTable(&scan_call, scan);
        for (cloud::ScanTableResponse found; reader->Read(&found);) {
          const auto batch = wire::DecodePart(found.dataframe_part(), "rows");
          ASSERT_TRUE(batch.ok()) << batch.status();
        }
        EXPECT_TRUE(reader->Finish().ok());
      }
    }
  }
  done_ = rounds.done();

  // The server answers as before, and holds one row of properties at most.
  Call call;
  cloud::FindEntriesResponse found;
  EXPECT_TRUE(stub->FindEntries(&call, {}, &found).ok());
  EXPECT_GE(found.entries_size(), 3);
  server->Shutdown();
}

// What clients do with the dataframes of answers.
TEST_F(PayloadFuzz, ReadersOfAnswers) {
  int64_t read = 0;
  FuzzRounds rounds(20000);
  while (rounds.Next() && !HasFailure()) {
    FuzzRandom random(rounds.seed());
    SCOPED_TRACE("RUSHES_FUZZ_SEED=" + std::to_string(rounds.seed()));
    const std::string stream = MakeStream(corpus_, random);
    common::Schema schema_message;
    schema_message.set_arrow_schema(stream);
    const auto schema = wire::DecodeSchema(schema_message, "schema");
    if (schema.ok()) {
      ARROW_UNUSED(DatasetSchema::FromArrow(**schema));
    }
    ARROW_UNUSED(ChunkDecoder::Default().Decode(arrow::Buffer::FromString(stream)));
    const auto batch = wire::DecodePart(MakePart(stream, random), "answer");
    if (!batch.ok()) {
      EXPECT_EQ(batch.status().message().rfind("answer", 0), 0u) << batch.status();
      continue;
    }
    ++read;
    if (const auto rows = wire::ChunkRows::Make(*batch, "frame"); rows.ok()) {
      for (int64_t i = 0; i < std::min<int64_t>(rows->num_rows(), 100); ++i) {
        EXPECT_LE(rows->row(i).key.size(), stream.size());
      }
    }
    ARROW_UNUSED(wire::ReadFetchKeys(**batch));
    ARROW_UNUSED(wire::ReadRegisterBatch(**batch));
    ARROW_UNUSED(wire::ReadTaskBatch(**batch));
    ARROW_UNUSED(ChunkFromRecordBatch(*batch));
    ARROW_UNUSED(wire::ConcatenateBatches({*batch, *batch}, nullptr, "answer"));
  }
  done_ = rounds.done();
  EXPECT_GT(read, static_cast<int64_t>(done_ / 20)) << "too few of the damaged payloads reach what lies behind the decoder";
}

// 400 bytes that announce 16 TiB.
TEST_F(PayloadFuzz, AnnouncedSizesAreNotAllocated) {
  const auto batch = wire::DecodeIpc(ReadFile(RUSHES_SOURCE_DIR "/tests/data/payloads/found_announced_size.arrows"), "answer");
  ASSERT_FALSE(batch.ok());
  EXPECT_TRUE(batch.status().IsInvalid()) << batch.status();
  EXPECT_NE(batch.status().message().find("bytes would take more than"), std::string::npos) << batch.status();
}

TEST_F(PayloadFuzz, TheCorpusIsReadable) {
  int readable = 0;
  for (const std::string& stream : corpus_) readable += wire::DecodeIpc(stream, "corpus").ok();
  EXPECT_GE(readable, 20);
}

}  // namespace
}  // namespace rushes
