#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rerun/sdk_comms/v1alpha1/sdk_comms.pb.h"
#include "rushes/server/chunk_key.h"
#include "rushes/server/grpc_web.h"
#include "rushes/server/http_server.h"
#include "server/http_client.h"

namespace rushes {
namespace {

using namespace testing_http;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kOrigin[] = "origin: http://localhost:9090\r\n";

template <typename Condition>
bool Eventually(Condition condition) {
  for (int i = 0; i < 200; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(50ms);
  }
  return false;
}

TEST(Origins, PatternsMatchWholeOrigins) {
  for (const char* origin : {"http://localhost", "https://localhost:9090", "http://127.0.0.1:1", "http://[::1]:80", "https://rerun.io",
                             "https://app.rerun.io"}) {
    EXPECT_TRUE(IsAllowedOrigin(origin, {})) << origin;
  }
  for (const char* origin :
       {"http://app.rerun.io", "https://app.rerun.io.evil.com", "http://localhost.evil.com", "http://evil.com", "null", ""}) {
    EXPECT_FALSE(IsAllowedOrigin(origin, {})) << origin;
  }
  EXPECT_TRUE(IsAllowedOrigin("https://app.example.com", {"https://*.example.com"}));
  EXPECT_FALSE(IsAllowedOrigin("https://app.example.com.evil", {"https://*.example.com"}));
  EXPECT_TRUE(IsAllowedOrigin("anything", {"*"}));
}

TEST(ChunkKeys, RoundTripAndRefuseOthers) {
  const ChunkKey key{Tuid{1, 2}, 7, Tuid{3, 4}};
  const std::string bytes = EncodeChunkKey(key);
  EXPECT_EQ(bytes.size(), kChunkKeyBytes);
  const auto back = DecodeChunkKey(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->layer, key.layer);
  EXPECT_EQ(back->chunk, key.chunk);
  EXPECT_EQ(back->id, key.id);
  EXPECT_TRUE(DecodeChunkKey("").status().IsInvalid());
  EXPECT_TRUE(DecodeChunkKey(bytes.substr(1)).status().IsInvalid());
  EXPECT_TRUE(DecodeChunkKey("X" + bytes.substr(1)).status().IsInvalid());
}

TEST(GrpcWeb, ContentTypes) {
  using grpc_web::Encoding;
  EXPECT_EQ(grpc_web::EncodingOf("application/grpc-web"), Encoding::kBinary);
  EXPECT_EQ(grpc_web::EncodingOf("Application/gRPC-Web+proto; charset=x"), Encoding::kBinary);
  EXPECT_EQ(grpc_web::EncodingOf("application/grpc-web-text"), Encoding::kText);
  for (const char* other : {"", "application/grpc", "application/grpc-webx", "application/grpc-web+json", "text/plain"}) {
    EXPECT_EQ(grpc_web::EncodingOf(other), std::nullopt) << other;
  }
  EXPECT_EQ(grpc_web::AnswerEncoding("", Encoding::kText), Encoding::kText);
  EXPECT_EQ(grpc_web::AnswerEncoding("*/*, application/grpc-web-text", Encoding::kBinary), Encoding::kText);
  EXPECT_EQ(grpc_web::AnswerEncoding("application/grpc-web+proto", Encoding::kText), Encoding::kBinary);
}

TEST(GrpcWeb, Base64InPieces) {
  for (const char* text : {"", "a", "ab", "abc", "abcd"}) {
    EXPECT_EQ(grpc_web::Base64Decode(grpc_web::Base64Encode(text)).ValueOrDie(), text);
  }
  EXPECT_EQ(grpc_web::Base64Decode("YQ==YWI=YWJj").ValueOrDie(), "aababc");
  EXPECT_EQ(grpc_web::Base64Decode("YWI").ValueOrDie(), "ab");
  EXPECT_EQ(grpc_web::Base64Decode("_-8=").ValueOrDie(), "\xff\xef");
  for (const char* bad : {"Y", "YWJjY", "Y Q=", "YQ=a", "=", "YWJj=", "\xff\xff"}) {
    EXPECT_TRUE(grpc_web::Base64Decode(bad).status().IsInvalid()) << bad;
  }
}

TEST(GrpcWeb, Frames) {
  const std::string two = grpc_web::FrameHead(0, 3) + "abc" + grpc_web::FrameHead(0, 0);
  const auto frames = grpc_web::SplitFrames(two).ValueOrDie();
  ASSERT_EQ(frames.size(), 2);
  EXPECT_EQ(frames[0], "abc");
  EXPECT_EQ(frames[1], "");
  const auto error = [](const std::string& body) { return grpc_web::SplitFrames(body).status().ToString(); };
  EXPECT_THAT(error(two + "\0"), HasSubstr("OK"));
  EXPECT_THAT(error(two + "x"), HasSubstr("frame 3 at byte 13 is cut within its head"));
  EXPECT_THAT(error(grpc_web::FrameHead(0, 4) + "abc"), HasSubstr("frame 1 at byte 0 announces 4 bytes, 3 are left"));
  EXPECT_THAT(error(grpc_web::FrameHead(0, 0xffffffff)), HasSubstr("announces 4294967295 bytes, 0 are left"));
  EXPECT_THAT(error(grpc_web::FrameHead(1, 0)), HasSubstr("NotImplemented: gRPC-Web frame 1 at byte 0 is compressed"));
  EXPECT_THAT(error(grpc_web::FrameHead(0x80, 0)), HasSubstr("has the flag 128"));
}

TEST(GrpcWeb, Timeouts) {
  EXPECT_EQ(grpc_web::ParseTimeout("5S").ValueOrDie(), 5s);
  EXPECT_EQ(grpc_web::ParseTimeout("250m").ValueOrDie(), 250ms);
  EXPECT_EQ(grpc_web::ParseTimeout("99999999H").ValueOrDie(), 24h * 365);
  for (const char* bad : {"", "5", "S", "-1S", "123456789S", "1.5S", "5s", "5 S"}) {
    EXPECT_TRUE(grpc_web::ParseTimeout(bad).status().IsInvalid()) << bad;
  }
}

TEST(Http, UnaryInBinaryAndText) {
  HttpHarness harness;
  const auto client = harness.Connect();
  client->Send(Post(kCheck, CheckRequest("ok"), "x-rerun-entry-name-bin: YWJj\r\n"));
  Answer answer = client->ReadAnswer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "application/grpc-web+proto");
  EXPECT_EQ(answer.header("x-name-length"), "3");
  EXPECT_EQ(answer.header("grpc-status"), "");
  ASSERT_EQ(answer.frames().size(), 2);
  EXPECT_EQ(answer.frames()[0].second, "\x08\x01");
  EXPECT_EQ(answer.trailers(), "grpc-status:0\r\nx-tail:end\r\nx-tail-bin:AP8=\r\n");
  // The same connection goes on.
  ASSERT_TRUE(answer.is_open);
  client->Send(Post(kCheck, grpc_web::Base64Encode(CheckRequest("ok")), "", "application/grpc-web-text"));
  answer = client->ReadAnswer();
  EXPECT_EQ(answer.header("content-type"), "application/grpc-web-text+proto");
  ASSERT_EQ(answer.frames().size(), 2);
  EXPECT_EQ(answer.frames()[0].second, "\x08\x01");
  EXPECT_THAT(answer.trailers(), HasSubstr("grpc-status:0"));
}

TEST(Http, AnErrorCanBeReadInBothPlaces) {
  HttpHarness harness;
  const auto client = harness.Connect();
  client->Send(Post(kCheck, CheckRequest("fail"), kOrigin));
  const Answer answer = client->ReadAnswer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("grpc-status"), "9");
  EXPECT_EQ(answer.header("grpc-message"), "100%25 b%C3%A4d%0Areally");
  EXPECT_EQ(answer.header("grpc-status-details-bin"), grpc_web::Base64Encode("details"));
  EXPECT_THAT(answer.trailers(),
              HasSubstr("grpc-status:9\r\ngrpc-message:100%25 b%C3%A4d%0Areally\r\ngrpc-status-details-bin:ZGV0YWlscw==\r\n"));
  EXPECT_EQ(answer.header("access-control-allow-origin"), "http://localhost:9090");
  EXPECT_THAT(answer.header("access-control-expose-headers"), HasSubstr("grpc-message"));
}

TEST(Http, StreamsAreSentAsTheyCome) {
  HttpHarness harness;
  const auto client = harness.Connect();
  client->Send(Post(kWatch, CheckRequest("abc")));
  const Answer answer = client->ReadAnswer();
  EXPECT_EQ(answer.frames().size(), 4);
  EXPECT_EQ(answer.trailers(), "grpc-status:0\r\n");
  // One that says nothing yet has its head all the same.
  const auto quiet = harness.Connect();
  quiet->Send(Post("/rerun.sdk_comms.v1alpha1.MessageProxyService/ReadMessages", grpc_web::FrameHead(0, 0)));
  EXPECT_EQ(quiet->ReadHead().status, 200);
}

TEST(Http, ClientsThatLeaveCancelTheirCalls) {
  HttpHarness harness;
  for (const auto& [path, name] : {std::pair(kCheck, "slow"), std::pair(kWatch, "~~")}) {
    const int before = harness.service.num_cancelled;
    auto client = harness.Connect();
    client->Send(Post(path, CheckRequest(name)));
    ASSERT_TRUE(Eventually([&] { return harness.service.num_open == 1; }));
    client.reset();
    EXPECT_TRUE(Eventually([&] { return harness.service.num_cancelled == before + 1; })) << name;
    EXPECT_TRUE(Eventually([&] { return harness.service.num_open == 0; })) << name;
  }
}

TEST(Http, DeadlinesHold) {
  HttpHarness harness;
  const auto client = harness.Connect();
  const auto start = std::chrono::steady_clock::now();
  client->Send(Post(kCheck, CheckRequest("slow"), "grpc-timeout: 200m\r\n"));
  EXPECT_EQ(client->ReadAnswer().header("grpc-status"), "4");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_TRUE(Eventually([&] { return harness.service.num_cancelled == 1; }));
  client->Send(Post(kWatch, CheckRequest("~~"), "grpc-timeout: 300m\r\n"));
  const Answer answer = client->ReadAnswer();
  EXPECT_EQ(answer.frames().size(), 3);
  EXPECT_THAT(answer.trailers(), HasSubstr("grpc-status:4\r\n"));
  client->Send(Post(kCheck, CheckRequest("ok"), "grpc-timeout: soon\r\n"));
  EXPECT_THAT(client->ReadAnswer().trailers(), HasSubstr("grpc-status:3\r\ngrpc-message:grpc-timeout is at most 8 digits"));
}

TEST(Http, StoppingEndsWhatIsOpen) {
  HttpHarness harness;
  const auto client = harness.Connect();
  client->Send(Post(kWatch, CheckRequest("~")));
  ASSERT_TRUE(Eventually([&] { return harness.service.num_open == 1; }));
  const auto idle = harness.Connect();
  harness.http().Stop();
  EXPECT_TRUE(Eventually([&] { return harness.service.num_open == 0; }));
  EXPECT_EQ(idle->ReadAnswer().status, 0);
  EXPECT_EQ(harness.Connect()->ReadAnswer().status, 503);
}

TEST(Http, BadRequestsGetTheirError) {
  HttpHarness harness;
  const auto client = harness.Connect();
  const auto trailers = [&](const std::string& request) {
    client->Send(request);
    return client->ReadAnswer().trailers();
  };
  EXPECT_THAT(trailers(Post(kCheck, "abc")), HasSubstr("grpc-status:3\r\ngrpc-message:gRPC-Web frame 1 at byte 0 is cut"));
  EXPECT_THAT(trailers(Post(kCheck, grpc_web::FrameHead(1, 0))), HasSubstr("grpc-status:12\r\n"));
  EXPECT_THAT(trailers(Post(kCheck, "%%%", "", "application/grpc-web-text")), HasSubstr("grpc-status:3\r\ngrpc-message:base64"));
  EXPECT_THAT(trailers(Post(kCheck, grpc_web::FrameHead(0, 3) + "\xff\xff\xff")), Not(HasSubstr("grpc-status:0")));
  EXPECT_THAT(trailers(Post(kCheck, "")), Not(HasSubstr("grpc-status:0")));
  EXPECT_THAT(trailers(Post("/no.such.Service/Call", CheckRequest("ok"))), HasSubstr("grpc-status:12\r\n"));
  EXPECT_THAT(trailers(Post("/%00/../x", CheckRequest("ok"))), HasSubstr("grpc-status:12\r\n"));
  // What gRPC would abort for.
  for (const char* header : {"x-rerun-client-id: a\xc3\xa9\r\n", "x-rerun-!: a\r\n", "authorization: \xff\r\n", "x-rerun-a-bin: ?\r\n",
                             "x-rerun-client-id: a\tb\r\n"}) {
    EXPECT_THAT(trailers(Post(kCheck, CheckRequest("ok"), header)), HasSubstr("grpc-status:3\r\ngrpc-message:the header '")) << header;
  }
}

TEST(Http, OtherRequests) {
  HttpHarness harness;
  const auto client = harness.Connect();
  const auto ask = [&](const std::string& request) {
    client->Send(request);
    return client->ReadAnswer();
  };
  EXPECT_EQ(ask("GET /version HTTP/1.1\r\nhost: x\r\n\r\n").body, "test\n");
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").status, 404);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\ncontent-type: application/grpc-web\r\n\r\n").status, 405);
  EXPECT_EQ(ask(Post(kCheck, "x", "", "application/grpc")).status, 415);
  const Answer preflight =
      ask("OPTIONS /a/b HTTP/1.1\r\norigin: https://app.rerun.io\r\naccess-control-request-method: POST\r\n"
          "access-control-request-headers: x-grpc-web,grpc-timeout\r\naccess-control-request-private-network: true\r\n\r\n");
  EXPECT_EQ(preflight.status, 200);
  EXPECT_EQ(preflight.header("access-control-allow-origin"), "https://app.rerun.io");
  EXPECT_EQ(preflight.header("access-control-allow-headers"), "x-grpc-web,grpc-timeout");
  EXPECT_EQ(preflight.header("access-control-allow-private-network"), "true");
  EXPECT_EQ(preflight.header("access-control-max-age"), "600");
  const Answer foreign = ask("OPTIONS /a/b HTTP/1.1\r\norigin: https://evil.com\r\naccess-control-request-method: POST\r\n\r\n");
  EXPECT_EQ(foreign.header("access-control-allow-origin"), "");
  EXPECT_THAT(foreign.header("vary"), HasSubstr("origin"));
  // Answers to other requests are readable from pages too.
  for (const char* request : {"GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\ncontent-type: application/grpc-web\r\n"}) {
    EXPECT_EQ(ask(std::string(request) + kOrigin + "\r\n").header("access-control-allow-origin"), "http://localhost:9090");
  }
  EXPECT_EQ(ask("POST /grpc.health.v1.Health/Check HTTP/1.0\r\ncontent-type: application/grpc-web\r\n\r\n").status, 505);
}

TEST(Http, BodiesHaveLimits) {
  HttpServerOptions options;
  options.max_request_bytes = 100'000;
  options.large_request_bytes = 1000;
  options.max_large_requests = 1;
  HttpHarness harness(options);
  const auto once = [&](const std::string& request) {
    const auto client = harness.Connect();
    client->Send(request);
    return client->ReadAnswer();
  };
  const std::string fits = grpc_web::FrameHead(0, 99'000) + std::string(99'000, '\x12');
  EXPECT_EQ(once(Post(kCheck, fits)).status, 200);
  const Answer large = once(Post(kCheck, std::string(100'001, 'x'), kOrigin));
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(large.header("grpc-status"), "8");
  EXPECT_EQ(large.header("access-control-allow-origin"), "http://localhost:9090");
  EXPECT_THAT(large.body, HasSubstr("at most 100000 bytes"));
  const std::string head =
      std::string("POST ") + kCheck + " HTTP/1.1\r\ncontent-type: application/grpc-web\r\ntransfer-encoding: chunked\r\n\r\n";
  // The place of the request before is free again a moment after its answer.
  const std::string too_long = head + "186a1\r\n" + std::string(100'001, 'x') + "\r\n0\r\n\r\n";
  EXPECT_TRUE(Eventually([&] { return once(too_long).status == 413; }));
  const std::string chunked = head + "9\r\n" + CheckRequest("ok") + "\r\n0\r\n\r\n";
  EXPECT_TRUE(Eventually([&] { return once(chunked).frames().size() == 2; }));
  // Another large one while one is under way, which may be refused too before the place is free.
  std::vector<decltype(harness.Connect())> slow;
  ASSERT_TRUE(Eventually([&] {
    slow.push_back(harness.Connect());
    slow.back()->Send(head + "5\r\nxxxxx\r\n");
    return once(Post(kCheck, fits)).status == 503;
  }));
  EXPECT_EQ(once(Post(kCheck, CheckRequest("ok"))).status, 200);
  EXPECT_EQ(once("GET / HTTP/1.1\r\nx: " + std::string(100'000, 'x') + "\r\n\r\n").status, 431);
  EXPECT_EQ(once("\x16\x03\x01 no http at all\r\n\r\n").status, 400);
}

TEST(Http, TimeHasLimits) {
  HttpServerOptions options;
  options.idle_timeout = 300ms;
  options.header_timeout = 300ms;
  options.request_timeout = 300ms;
  HttpHarness harness(options);
  const auto idle = harness.Connect();
  EXPECT_EQ(idle->ReadAnswer().status, 0);
  const auto slow_head = harness.Connect();
  slow_head->Send("GET / HT");
  EXPECT_EQ(slow_head->ReadAnswer().status, 408);
  const auto slow_body = harness.Connect();
  const std::string request = Post(kCheck, CheckRequest("ok"));
  slow_body->Send(request.substr(0, request.size() - 1));
  EXPECT_EQ(slow_body->ReadAnswer().status, 408);
  // One byte at a time does not help.
  const auto drip = harness.Connect();
  for (int i = 0; i < 20; ++i) {
    drip->Send("a");
    std::this_thread::sleep_for(30ms);
  }
  EXPECT_EQ(drip->ReadAnswer().status, 408);
  // Who does not read loses the call.
  const auto deaf = harness.Connect();
  deaf->Send(Post(kWatch, CheckRequest("~" + std::string(200'000, 'x'))));
  EXPECT_TRUE(Eventually([&] { return harness.service.num_cancelled == 1; }));
}

TEST(Http, ConnectionsHaveALimit) {
  HttpServerOptions options;
  options.max_connections = 2;
  HttpHarness harness(options);
  auto one = harness.Connect();
  const auto two = harness.Connect();
  EXPECT_EQ(harness.Connect()->ReadAnswer().status, 503);
  one.reset();
  EXPECT_TRUE(Eventually([&] {
    const auto three = harness.Connect();
    three->Send("GET /version HTTP/1.1\r\n\r\n");
    return three->ReadAnswer().status == 200;
  }));
}

TEST(Http, ContinueIsSaidOnRequest) {
  HttpHarness harness;
  const auto client = harness.Connect();
  const std::string request = Post(kCheck, CheckRequest("ok"), "expect: 100-continue\r\n");
  const size_t body = request.find("\r\n\r\n") + 4;
  client->Send(request.substr(0, body));
  EXPECT_THAT(client->ReadSome(), HasSubstr("100 Continue"));
  client->Send(request.substr(body));
  EXPECT_EQ(client->ReadAnswer().frames().size(), 2);
}

// Several messages in one body are a client's stream.
TEST(Http, LiveMessages) {
  namespace comms = ::rerun::sdk_comms::v1alpha1;
  HttpHarness harness;
  std::string body;
  for (const char* payload : {"one", "two"}) {
    comms::WriteMessagesRequest request;
    auto* arrow = request.mutable_log_msg()->mutable_arrow_msg();
    arrow->mutable_store_id()->set_recording_id("run");
    arrow->set_encoding(::rerun::log_msg::v1alpha1::ENCODING_ARROW_IPC);
    arrow->set_payload(payload);
    const std::string bytes = request.SerializeAsString();
    body += grpc_web::FrameHead(0, bytes.size()) + bytes;
  }
  const auto writer = harness.Connect();
  writer->Send(Post("/rerun.sdk_comms.v1alpha1.MessageProxyService/WriteMessages", body));
  EXPECT_EQ(writer->ReadAnswer().trailers(), "grpc-status:0\r\n");
  const auto reader = harness.Connect();
  reader->Send(Post("/rerun.sdk_comms.v1alpha1.MessageProxyService/ReadMessages", grpc_web::FrameHead(0, 0), "grpc-timeout: 1S\r\n"));
  const Answer answer = reader->ReadAnswer();
  ASSERT_EQ(answer.frames().size(), 3);
  EXPECT_EQ(answer.frames()[0].second + answer.frames()[1].second, body.substr(5, body.size() / 2 - 5) + body.substr(body.size() / 2 + 5));
  EXPECT_THAT(answer.trailers(), HasSubstr("grpc-status:4"));
}

}  // namespace
}  // namespace rushes
