#include "rushes/rrd/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rushes/rrd/hash.h"
#include "rushes/rrd/messages.h"

namespace rushes::rrd {
namespace {

using testing::HasSubstr;
using namespace std::string_literals;

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const unsigned char c : bytes) {
    char text[3];
    snprintf(text, sizeof(text), "%02x", c);
    out += text;
  }
  return out;
}

TEST(StreamHeader, ReadsKnownHeaders) {
  const auto sdk = StreamHeader::Parse("RRF2\0\x29\0\0\x01\x02\0\0"s);
  ASSERT_TRUE(sdk.ok()) << sdk.status();
  EXPECT_EQ(sdk->version.ToString(), "0.41.0");
  EXPECT_TRUE(sdk->lz4);
  EXPECT_EQ(sdk->Encode(), "RRF2\0\x29\0\0\x01\x02\0\0"s);
  const auto dev = StreamHeader::Parse("RRF2\0\x25\0\xC1\0\x02\0\0"s);
  ASSERT_TRUE(dev.ok()) << dev.status();
  EXPECT_EQ(dev->version.ToString(), "0.37.0-alpha.1+dev");
  EXPECT_FALSE(dev->lz4);
}

TEST(StreamHeader, RefusesOthersAndSaysWhy) {
  const struct {
    std::string bytes;
    const char* words;
  } kCases[] = {
      {"RRF1\0\x29\0\0\x01\x02\0\0"s, "old .rrd file"},
      {"RRF0\0\x29\0\0\x01\x02\0\0"s, "old .rrd file"},
      {"RRF2\0\x16\x01\0\x01\x01\0\0"s, "0.22.1"},
      {"RRF2\0\x16\x01\0\x01\x02\0\0"s, "0.22.1"},
      {"RRF2\0\0\0\0\x01\x02\0\0"s, "0.23"},
      {"hello, world"s, "not an .rrd file"},
      {"RRF2\0\x29\0\0\x02\x02\0\0"s, "compression 2"},
      {"RRF2\0\x29\0\0\x01\x03\0\0"s, "serializer 3"},
      {"RRF2\0\x29\0\0\x01\x02\0\x01"s, "options"},
      {"RRF2"s, "12-byte header"},
      {""s, "12-byte header"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.words);
    const auto header = StreamHeader::Parse(c.bytes);
    ASSERT_TRUE(header.status().IsInvalid());
    EXPECT_THAT(header.status().message(), HasSubstr(c.words));
  }
}

TEST(WriterVersion, HasTheBitsOfStoreInfo) {
  EXPECT_EQ((WriterVersion{0, 41, 0, 0}.bits()), 10496);
  EXPECT_EQ((WriterVersion{0, 36, 2, 0}.bits()), 140288);
  EXPECT_EQ((WriterVersion{0, 37, 0, 0xC1}.bits()), -1056955136);
  EXPECT_TRUE((WriterVersion{0, 37, 0, 0xC1} == WriterVersion{0, 37, 0, 0}));
}

TEST(Trailer, KnowsItsOwn) {
  const Trailer trailer{174, 0, Xxh32("", kFooterChecksumSeed)};
  EXPECT_EQ(Hex(trailer.Encode()), "ae0000000000000000000000000000007136972a52524632464f4f5401000000");
  EXPECT_EQ(Trailer::Parse(trailer.Encode())->footer_offset, 174u);
  std::string two = trailer.Encode();
  two[28] = 2;
  EXPECT_FALSE(Trailer::Parse(two));
}

TEST(Hash, AgreesWithPublishedDigests) {
  EXPECT_EQ(Hex(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256(std::string(1000000, 'a'))), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(Xxh32("", kFooterChecksumSeed), 0x2A973671u);
}

TEST(ApplicationId, IsNormalisedAsOthersDo) {
  EXPECT_EQ(*NormalizeApplicationId("rushes demo_[1]:x"), "rushes demo_[1]:x");
  EXPECT_EQ(*NormalizeApplicationId("my/app.v2"), "my-app-v2a7bc");
  EXPECT_EQ(*NormalizeApplicationId("my/app"), "my-app9169");
  EXPECT_EQ(*NormalizeApplicationId("app.v2"), "app-v21276");
  EXPECT_EQ(NormalizeApplicationId(std::string(300, 'x'))->size(), 180u);
  EXPECT_EQ(NormalizeApplicationId("caf\xc3\xa9")->substr(0, 4), "caf-");
  EXPECT_TRUE(NormalizeApplicationId("").status().IsInvalid());
}

TEST(Messages, SurviveARoundTrip) {
  const StoreId id{StoreKind::kBlueprint, "app", "rec"};
  const Tuid chunk{0x18EA7D59BF470565, 0x4609112914EDDE42};
  const auto envelope = MakeArrowEnvelope(id, Compression::kLz4, 1736, 5, chunk, true);
  const std::string bytes = envelope.head + "12345" + envelope.tail;
  const auto message = ParseArrowMessage(bytes);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->store_id.kind, StoreKind::kBlueprint);
  EXPECT_EQ(message->store_id.recording_id, "rec");
  EXPECT_EQ(*message->store_id.application_id, "app");
  EXPECT_EQ(message->payload, "12345");
  EXPECT_EQ(message->size_uncompressed, 1736u);
  EXPECT_EQ(*message->chunk_id, chunk);
  EXPECT_TRUE(*message->is_static);
  EXPECT_EQ(ParseArrowMessageStore(std::string_view(bytes).substr(0, envelope.head.size()))->recording_id, "rec");

  // What is parsed points into the bytes.
  const std::string info_bytes = EncodeSetStoreInfo(id, chunk, -1056955136, 6, "rushes");
  const auto info = ParseSetStoreInfo(info_bytes);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->row_id, chunk);
  EXPECT_EQ(*info->version_bits, -1056955136);
  EXPECT_EQ(info->source, "rushes");
  EXPECT_EQ(*info->store_id.application_id, "app");

  const std::string activation_bytes = EncodeBlueprintActivation(id, true, false);
  const auto activation = ParseBlueprintActivation(activation_bytes);
  ASSERT_TRUE(activation.ok()) << activation.status();
  EXPECT_TRUE(activation->make_active);
  EXPECT_FALSE(activation->make_default);
}

TEST(Messages, CutAnywhereGiveAnErrorOrLessButNeverMore) {
  const auto envelope = MakeArrowEnvelope({StoreKind::kRecording, "app", "rec"}, Compression::kNone, 5, 5, Tuid{1, 2}, false);
  const std::string bytes = envelope.head + "12345" + envelope.tail;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    const auto message = ParseArrowMessage(part);
    if (message.ok()) {
      EXPECT_EQ(message->payload, "12345") << size;
    }
  }
}

TEST(Decompress, ChecksSizesBeforeItAllocates) {
  EXPECT_THAT(Decompress("abc", Compression::kLz4, uint64_t{1} << 40).status().message(), HasSubstr("announced"));
  EXPECT_THAT(Decompress("abc", Compression::kLz4, 256 * 3).status().message(), HasSubstr("announced"));
  EXPECT_TRUE(Decompress("abc", Compression::kLz4, 100).status().IsInvalid());
  const std::string text(10000, 'x');
  const auto packed = CompressLz4(text);
  ASSERT_TRUE(packed.ok());
  EXPECT_LT((*packed)->size(), 200);
  EXPECT_EQ(std::string_view(**Decompress(std::string_view(**packed), Compression::kLz4, text.size())), text);
  // More than announced is an error; less is tolerated.
  EXPECT_TRUE(Decompress(std::string_view(**packed), Compression::kLz4, text.size() - 1).status().IsInvalid());
  EXPECT_EQ(std::string_view(**Decompress(std::string_view(**packed), Compression::kLz4, text.size() + 1)), text);
}

}  // namespace
}  // namespace rushes::rrd
