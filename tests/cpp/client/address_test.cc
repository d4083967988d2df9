#include "rushes/client/address.h"

#include <gtest/gtest.h>

namespace rushes::client {
namespace {

struct Case {
  const char* text;
  const char* url;
};

TEST(AddressTest, ReadsWhatUsersWrite) {
  const Case cases[] = {
      {"rerun+http://127.0.0.1:1234", "rerun+http://127.0.0.1:1234"},
      {"rerun+http://localhost", "rerun+http://localhost:51234"},
      {"localhost:77", "rerun+http://localhost:77"},
      {"LOCALHOST", "rerun+http://localhost:51234"},
      {"http://0.0.0.0:5/", "rerun+http://127.0.0.1:5"},
      {"rerun+http://[::]:5", "rerun+http://127.0.0.1:5"},
      {"rerun+http://[::1]", "rerun+http://[::1]:51234"},
      {"rerun://example.com", "rerun://example.com:443"},
      {"rerun+https://example.com:8443/catalog", "rerun://example.com:8443"},
      {"http://example.com", "rerun+http://example.com:80"},
      {"example.com:9", "rerun+http://example.com:9"},
      {"api.cloud.rerun.io", "rerun://api.cloud.rerun.io:443"},
      {"rerun+http://h:1/dataset/1860390B087BC65F602d68eb646c385c?segment_id=a#when=x", "rerun+http://h:1"},
      {" rerun+http://h:1/entry/abc \n", "rerun+http://h:1"},
      {"rerun://localhost", "rerun://localhost:51234"},
  };
  for (const Case& c : cases) {
    const auto address = ParseAddress(c.text);
    ASSERT_TRUE(address.ok()) << c.text << ": " << address.status();
    EXPECT_EQ(address->ToString(), c.url) << c.text;
    // What is printed is read back as the same address.
    const auto again = ParseAddress(address->ToString());
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->ToString(), c.url);
  }
}

TEST(AddressTest, RefusesWithTheTextAndTheReason) {
  const Case cases[] = {
      {"", "host is missing"},
      {"rerun+http://", "host is missing"},
      {"rerun+http://:80", "host is missing"},
      {"ftp://h", "unknown scheme 'ftp'"},
      {"rerun+http://h:0", "1 to 65535"},
      {"rerun+http://h:65536", "1 to 65535"},
      {"rerun+http://h:", "1 to 65535"},
      {"rerun+http://h:12a", "1 to 65535"},
      {"rerun+http://h:99999999999999", "1 to 65535"},
      {"rerun+http://h:1/proxy", "/proxy"},
      {"rerun+http://h:1/nonsense", "unknown path"},
      {"rerun+http://me@h:1", "user names"},
      {"rerun+http://[::1", "']' is missing"},
      {"rerun+http://[abc]:1", "brackets are for IPv6"},
      {"::1", "need brackets"},
      {"rerun+http://a b:1", "not allowed"},
  };
  for (const Case& c : cases) {
    const auto address = ParseAddress(c.text);
    ASSERT_TRUE(address.status().IsInvalid()) << c.text;
    EXPECT_NE(address.status().message().find(c.url), std::string::npos) << address.status();
    EXPECT_NE(address.status().message().find(c.text), std::string::npos) << address.status();
  }
}

TEST(AddressTest, LocalHosts) {
  for (const char* host : {"localhost", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "a.localhost"}) EXPECT_TRUE(IsLocalHost(host)) << host;
  for (const char* host : {"example.com", "10.0.0.1", "localhost.example.com", ""}) EXPECT_FALSE(IsLocalHost(host)) << host;
}

}  // namespace
}  // namespace rushes::client
