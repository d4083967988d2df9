#include "gtest/gtest.h"
#include "rushes/server/chunk_key.h"
#include "rushes/server/http_server.h"

namespace rushes {
namespace {

TEST(Origins, PatternsMatchWholeOrigins) {
  for (const char* origin : {"http://localhost", "https://localhost:9090", "http://127.0.0.1:1", "https://rerun.io"}) {
    EXPECT_TRUE(IsAllowedOrigin(origin, {})) << origin;
  }
  for (const char* origin : {"https://app.rerun.io", "http://localhost.evil.com", "http://evil.com", "null", ""}) {
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

}  // namespace
}  // namespace rushes
