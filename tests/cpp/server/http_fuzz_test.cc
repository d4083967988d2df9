// Whatever bytes a connection begins with, the server goes on serving: random damage to the requests in tests/data/http.
// RUSHES_FUZZ_SECONDS: how long each test goes on (`make fuzz-http`), RUSHES_FUZZ_SEED: what it begins with.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>

#include "gtest/gtest.h"
#include "rushes/server/catalog_server.h"
#include "rushes/server/grpc_web.h"
#include "server/http_client.h"

namespace rushes {
namespace {

using namespace testing_http;
using namespace std::chrono_literals;

// Whether another round is due: so many, or as long as the environment says.
class Rounds {
 public:
  explicit Rounds(int number) : number_(number) {
    if (const char* text = std::getenv("RUSHES_FUZZ_SECONDS")) until_ = Clock::now() + std::chrono::seconds(std::atoi(text));
  }
  bool Next() {
    ++round_;
    return until_ ? Clock::now() < *until_ : round_ <= number_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const int number_;
  int round_ = 0;
  std::optional<Clock::time_point> until_;
};

std::mt19937 Random(unsigned seed) {
  const char* text = std::getenv("RUSHES_FUZZ_SEED");
  return std::mt19937(seed + (text != nullptr ? static_cast<unsigned>(std::atoi(text)) : 0));
}

std::vector<std::string> Corpus() {
  const std::string folder = RUSHES_SOURCE_DIR "/tests/data/http";
  std::vector<std::string> names, out;
  DIR* directory = opendir(folder.c_str());
  EXPECT_NE(directory, nullptr) << folder;
  while (const dirent* entry = directory == nullptr ? nullptr : readdir(directory)) {
    if (std::string(entry->d_name).ends_with(".bin")) names.push_back(entry->d_name);
  }
  if (directory != nullptr) closedir(directory);
  std::sort(names.begin(), names.end());
  for (const auto& name : names) {
    std::ifstream file(folder + "/" + name, std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    out.push_back(bytes.str());
  }
  return out;
}

// One of the corpus with bits changed, bytes cut, doubled, or exchanged with those of another.
std::string Damaged(const std::vector<std::string>& corpus, std::mt19937* random) {
  std::string bytes = corpus[(*random)() % corpus.size()];
  for (int n = static_cast<int>((*random)() % 4); n >= 0 && !bytes.empty(); --n) {
    const size_t at = (*random)() % bytes.size();
    const std::string& other = corpus[(*random)() % corpus.size()];
    const size_t from = (*random)() % other.size(), size = (*random)() % 40;
    switch ((*random)() % 6) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << ((*random)() % 8)));
        break;
      case 1:
        bytes[at] = static_cast<char>((*random)());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, size);
        break;
      case 4:
        bytes.insert(at, other.substr(from, size));
        break;
      case 5:
        bytes.insert(at, std::string(size, static_cast<char>((*random)())));
        break;
    }
  }
  return bytes;
}

std::unique_ptr<Client> ConnectTo(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return std::make_unique<Client>(fd);
}

TEST(HttpFuzz, DecodersOfGrpcWeb) {
  const auto corpus = Corpus();
  ASSERT_EQ(corpus.size(), 9);
  std::mt19937 random = Random(3);
  for (Rounds rounds(20'000); rounds.Next();) {
    const std::string bytes = Damaged(corpus, &random);
    size_t total = 0;
    if (const auto frames = grpc_web::SplitFrames(bytes); frames.ok()) {
      for (const auto& frame : *frames) {
        total += 5 + frame.size();
        ASSERT_GE(frame.data(), bytes.data());
      }
      ASSERT_EQ(total, bytes.size());
    }
    if (const auto decoded = grpc_web::Base64Decode(bytes); decoded.ok()) {
      ASSERT_EQ(grpc_web::Base64Decode(grpc_web::Base64Encode(*decoded)).ValueOrDie(), *decoded);
    }
    ASSERT_EQ(grpc_web::Base64Decode(grpc_web::Base64Encode(bytes)).ValueOrDie(), bytes);
    // Built from the bytes, so that it is right more often.
    const std::string framed = grpc_web::FrameHead(0, bytes.size()) + bytes;
    const auto frames = grpc_web::SplitFrames(framed + bytes);
    ASSERT_EQ(grpc_web::SplitFrames(framed).ValueOrDie()[0], bytes);
    if (frames.ok()) {
      ASSERT_GE(frames->size(), bytes.empty() ? 1 : 2);
    }
    (void)grpc_web::ParseTimeout(bytes);
    (void)grpc_web::EncodingOf(bytes);
    (void)grpc_web::AnswerEncoding(bytes, grpc_web::Encoding::kBinary);
    if (grpc_web::IsMethodPath(bytes)) {
      ASSERT_TRUE(grpc_web::IsMetadataValue(bytes));
    }
    const std::string escaped = grpc_web::PercentEncodeMessage(bytes);
    ASSERT_TRUE(grpc_web::IsMetadataValue(escaped));
    (void)KindOfWriteMessagesRequest(bytes);
    (void)IdOfWriteTableRequest(bytes);
  }
}

TEST(HttpFuzz, RequestsOverASocket) {
  const auto corpus = Corpus();
  HttpServerOptions options;
  options.idle_timeout = options.header_timeout = options.request_timeout = 2s;
  HttpHarness harness(options);
  std::mt19937 random = Random(5);
  for (Rounds rounds(750); rounds.Next();) {
    const auto client = harness.Connect();
    client->Send(Damaged(corpus, &random));
    client->HalfClose();
    // Until the server closes: it must, now that nothing more can come.
    for (int reads = 0; !client->ReadSome().empty(); ++reads) ASSERT_LT(reads, 10'000);
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
  const auto client = harness.Connect();
  client->Send(Post(kCheck, CheckRequest("ok")));
  EXPECT_EQ(client->ReadAnswer().frames().size(), 2);
}

// The whole server on a port, the listener's look at the first bytes and gRPC's HTTP/2 included.
TEST(HttpFuzz, FirstBytesOfConnections) {
  const auto corpus = Corpus();
  auto started = CatalogServer::Start(std::make_shared<Catalog>());
  ASSERT_TRUE(started.ok()) << started.status();
  const auto connect = [&] { return ConnectTo((*started)->port()); };
  // Said half a word and wait: they keep nobody else waiting, nor the listener busy.
  std::vector<std::unique_ptr<Client>> hesitant;
  for (int i = 0; i < 300; ++i) {
    hesitant.push_back(connect());
    hesitant.back()->Send(i % 2 == 0 ? "P" : "PR");
  }
  std::mt19937 random = Random(7);
  for (Rounds rounds(750); rounds.Next();) {
    const std::string bytes = Damaged(corpus, &random);
    const auto client = connect();
    // In two pieces, so that the first few bytes may come alone.
    const size_t cut = std::min<size_t>(random() % 8, bytes.size());
    client->Send(bytes.substr(0, cut));
    if (random() % 16 == 0) std::this_thread::sleep_for(2ms);
    client->Send(bytes.substr(cut));
    client->HalfClose();
    if (random() % 4 == 0) client->ReadSome();
  }
  const auto client = connect();
  client->Send("GET /version HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_EQ(client->ReadAnswer().status, 200);
  const auto late = connect();
  late->Send("P");
  std::this_thread::sleep_for(2ms);
  for (const auto& half_said : {late.get(), hesitant[0].get()}) {
    half_said->Send("UT /version HTTP/1.1\r\nhost: x\r\n\r\n");
    const int status = half_said->ReadAnswer().status;
    // Who hesitated for minutes may have been given up, but was not misunderstood.
    EXPECT_TRUE(status == 404 || (status == 0 && half_said != late.get())) << status;
  }
}

// gRPC receives what it would not send: echoed as it is, it would end the process.
TEST(HeadersOverHttp2, AreNotEchoedWhenTheyCannotBeSent) {
  auto started = CatalogServer::Start(std::make_shared<Catalog>());
  ASSERT_TRUE(started.ok()) << started.status();
  std::string headers;
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{":method", "POST"},
                                                        {":scheme", "http"},
                                                        {":path", "/rerun.cloud.v1alpha1.RerunCloudService/Version"},
                                                        {":authority", "x"},
                                                        {"te", "trailers"},
                                                        {"content-type", "application/grpc"},
                                                        {"x-rerun-client-version", "a\xc3\xa9/1"},
                                                        {"x-rerun-entry-id", "\xff"}}) {
    headers += std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
  }
  // Length, type and flags of each frame, and the stream.
  const auto frame = [](char type, char flags, char stream, const std::string& payload) {
    return std::string{0, 0, static_cast<char>(payload.size()), type, flags, 0, 0, 0, stream} + payload;
  };
  ASSERT_LT(headers.size(), 256);
  const auto client = ConnectTo((*started)->port());
  client->Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, "") + frame(1, 4, 1, headers) + frame(0, 1, 1, std::string(5, '\0')));
  std::string answer;
  for (int reads = 0; reads < 20 && answer.find("rushes/") == std::string::npos; ++reads) answer += client->ReadSome();
  EXPECT_NE(answer.find("rushes/"), std::string::npos);
  EXPECT_EQ(answer.find("a\xc3\xa9"), std::string::npos);
}

}  // namespace
}  // namespace rushes
