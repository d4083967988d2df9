#include "rushes/server/message_history.h"

#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rushes/server/proxy_service.h"

namespace rushes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = MessageKind;

constexpr int64_t kBound = MessageHistory::kMinBytes;
const std::vector<Kind> kMessages = {Kind::kStore, Kind::kStatic, Kind::kTemporal};

std::string Text(const grpc::Slice& slice) { return {reinterpret_cast<const char*>(slice.begin()), slice.size()}; }

std::shared_ptr<MessageHistory> Make(int64_t bytes = kBound) { return MessageHistory::Make(bytes).ValueOrDie(); }

void Append(const std::shared_ptr<MessageHistory>& history, Kind kind, const std::string& text, const std::string& table = {}) {
  ASSERT_TRUE(history->Append(kind, grpc::Slice(text), table).ok());
}

std::unique_ptr<MessageHistory::Reader> Read(const std::shared_ptr<MessageHistory>& history, std::vector<Kind> kinds = kMessages) {
  return MessageHistory::Read(history, std::move(kinds), [] {});
}

// All there is, each up to its first space.
std::vector<std::string> Drain(MessageHistory::Reader* reader) {
  std::vector<std::string> out;
  while (const auto message = reader->Next()) {
    const std::string text = Text(*message);
    out.push_back(text.substr(0, text.find(' ')));
  }
  return out;
}

std::string Padded(const std::string& name, size_t bytes) { return name + " " + std::string(bytes, '.'); }

TEST(MessageHistory, NeedsRoom) {
  EXPECT_TRUE(MessageHistory::Make(-1).status().IsInvalid());
  EXPECT_TRUE(MessageHistory::Make(kBound - 1).status().IsInvalid());
  EXPECT_EQ(Make()->max_bytes(), kBound);
}

TEST(MessageHistory, ReplaysByKindThenGoesOnInOrder) {
  const auto history = Make();
  Append(history, Kind::kTemporal, "t1");
  Append(history, Kind::kStatic, "s1");
  Append(history, Kind::kStore, "i1");
  Append(history, Kind::kTable, "table", "a");
  Append(history, Kind::kTemporal, "t2");
  const auto reader = Read(history);
  const auto early = Read(history);
  ASSERT_EQ(Text(*early->Next()), "i1");
  Append(history, Kind::kTemporal, "t3");
  Append(history, Kind::kStore, "i2");
  Append(history, Kind::kStatic, "s2");
  EXPECT_THAT(Drain(reader.get()), ElementsAre("i1", "s1", "t1", "t2", "t3", "i2", "s2"));
  EXPECT_THAT(Drain(early.get()), ElementsAre("s1", "t1", "t2", "t3", "i2", "s2"));
  Append(history, Kind::kStatic, "s3");
  EXPECT_THAT(Drain(reader.get()), ElementsAre("s3"));
  EXPECT_THAT(Drain(Read(history).get()), ElementsAre("i1", "i2", "s1", "s2", "s3", "t1", "t2", "t3"));
}

TEST(MessageHistory, DropsTheOldestTemporalDataFirst) {
  const auto history = Make();
  Append(history, Kind::kStore, "info");
  Append(history, Kind::kStatic, "static");
  for (int i = 0; i < 30; ++i) {
    Append(history, Kind::kTemporal, Padded("t" + std::to_string(i), 100'000));
    EXPECT_LE(history->bytes(), kBound);
  }
  const auto got = Drain(Read(history).get());
  ASSERT_EQ(got.size(), 12);
  EXPECT_EQ(got[0], "info");
  EXPECT_EQ(got[1], "static");
  EXPECT_EQ(got[2], "t20");
  EXPECT_EQ(got.back(), "t29");
}

TEST(MessageHistory, WhatIsKeptLeavesAQuarterToTemporalData) {
  const auto history = Make();
  Append(history, Kind::kStore, "info");
  for (int i = 0; i < 4; ++i) Append(history, Kind::kTemporal, Padded("t" + std::to_string(i), 60'000));
  for (int i = 0; i < 30; ++i) {
    Append(history, Kind::kStatic, Padded("s" + std::to_string(i), 100'000));
    EXPECT_LE(history->bytes(), kBound);
  }
  EXPECT_THAT(Drain(Read(history).get()), ElementsAre("info", "s23", "s24", "s25", "s26", "s27", "s28", "s29", "t0", "t1", "t2", "t3"));
  // Tables go after static data, stores last.
  for (int i = 0; i < 30; ++i) Append(history, Kind::kTable, Padded("a" + std::to_string(i), 100'000), std::to_string(i));
  EXPECT_EQ(history->num_messages(Kind::kStatic), 0);
  EXPECT_EQ(history->num_messages(Kind::kTable), 7);
  EXPECT_EQ(history->num_messages(Kind::kStore), 1);
  EXPECT_EQ(history->num_messages(Kind::kTemporal), 4);
  for (int i = 0; i < 30; ++i) Append(history, Kind::kStore, Padded("i" + std::to_string(i), 100'000));
  EXPECT_EQ(history->num_messages(Kind::kTable), 0);
  EXPECT_EQ(history->num_messages(Kind::kStore), 7);
  EXPECT_EQ(history->num_messages(Kind::kTemporal), 4);
  EXPECT_LE(history->bytes(), kBound);
}

TEST(MessageHistory, RefusesAMessageThatCannotStay) {
  const auto history = Make();
  Append(history, Kind::kTemporal, "t");
  const auto status = history->Append(Kind::kTemporal, grpc::Slice(std::string(800'000, '.')));
  EXPECT_TRUE(status.IsCapacityError());
  EXPECT_THAT(status.message(), HasSubstr("a message of 800000 bytes is too large"));
  EXPECT_THAT(Drain(Read(history).get()), ElementsAre("t"));
}

TEST(MessageHistory, SmallMessagesCountForWhatTheyCost) {
  const auto history = Make();
  for (int i = 0; i < 20'000; ++i) Append(history, Kind::kTemporal, "");
  EXPECT_LE(history->num_messages(Kind::kTemporal), kBound / MessageHistory::kMessageOverheadBytes);
}

TEST(MessageHistory, TablesReplaceEachOtherByName) {
  const auto history = Make();
  Append(history, Kind::kTable, "a1", "a");
  Append(history, Kind::kTable, "b1", "b");
  const auto reader = Read(history, {Kind::kTable});
  EXPECT_THAT(Drain(reader.get()), ElementsAre("a1", "b1"));
  Append(history, Kind::kTable, "a2", "a");
  EXPECT_THAT(Drain(reader.get()), ElementsAre("a2"));
  EXPECT_THAT(Drain(Read(history, {Kind::kTable}).get()), ElementsAre("b1", "a2"));
  EXPECT_THAT(Drain(Read(history).get()), IsEmpty());
  EXPECT_EQ(reader->num_lost(), 0);
}

TEST(MessageHistory, ASlowReaderLosesWhatTheHistoryLoses) {
  const auto history = Make();
  const auto reader = Read(history);
  Append(history, Kind::kTemporal, "first");
  EXPECT_THAT(Drain(reader.get()), ElementsAre("first"));
  for (int i = 0; i < 30; ++i) {
    Append(history, Kind::kTemporal, Padded("t" + std::to_string(i), 100'000));
    if (i == 5) Append(history, Kind::kStatic, "static");
  }
  const auto got = Drain(reader.get());
  ASSERT_EQ(got.size(), 11);
  EXPECT_EQ(got[0], "static");
  EXPECT_EQ(got[1], "t20");
  EXPECT_EQ(reader->num_lost(), 20);
}

TEST(MessageHistory, WakesOnceAfterRunningDry) {
  const auto history = Make();
  int woken = 0;
  auto reader = MessageHistory::Read(history, kMessages, [&] { ++woken; });
  Append(history, Kind::kTemporal, "a");
  EXPECT_EQ(woken, 0);
  EXPECT_THAT(Drain(reader.get()), ElementsAre("a"));
  Append(history, Kind::kTemporal, "b");
  Append(history, Kind::kTemporal, "c");
  EXPECT_EQ(woken, 1);
  EXPECT_THAT(Drain(reader.get()), ElementsAre("b", "c"));
  reader.reset();
  Append(history, Kind::kTemporal, "d");
  EXPECT_EQ(woken, 1);
}

// Against a twin that holds everything in one list and looks through it.
TEST(MessageHistory, RandomOrdersAgreeWithAPlainList) {
  struct Message {
    Kind kind;
    std::string text;
  };
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    const auto history = Make();
    std::deque<Message> list;
    const auto cost = [](const Message& message) {
      return static_cast<int64_t>(message.text.size()) + MessageHistory::kMessageOverheadBytes;
    };
    const auto drop = [&](Kind kind) {
      const auto it = std::find_if(list.begin(), list.end(), [&](const Message& message) { return message.kind == kind; });
      if (it == list.end()) return false;
      list.erase(it);
      return true;
    };
    for (int i = 0; i < 60; ++i) {
      const Message message{kMessages[random() % 3], Padded(std::to_string(i), random() % 200'000)};
      Append(history, message.kind, message.text);
      list.push_back(message);
      const auto bytes = [&](bool temporal) {
        int64_t sum = 0;
        for (const Message& m : list) sum += temporal || m.kind != Kind::kTemporal ? cost(m) : 0;
        return sum;
      };
      while (bytes(false) > kBound / 4 * 3) {
        if (!drop(Kind::kStatic)) drop(Kind::kStore);
      }
      while (bytes(true) > kBound) drop(Kind::kTemporal);
      ASSERT_EQ(history->bytes(), bytes(true));
    }
    std::vector<std::string> expected;
    for (const Kind kind : kMessages) {
      for (const Message& message : list) {
        if (message.kind == kind) expected.push_back(message.text.substr(0, message.text.find(' ')));
      }
    }
    ASSERT_EQ(Drain(Read(history).get()), expected) << round;
  }
}

TEST(MessageHistory, ManyThreads) {
  const auto history = Make();
  std::atomic<int> running{4};
  std::vector<std::thread> threads;
  for (int w = 0; w < 4; ++w) {
    threads.emplace_back([&, w] {
      for (int i = 0; i < 2000; ++i) {
        ASSERT_TRUE(history->Append(kMessages[i % 3], grpc::Slice(Padded(std::to_string(w), 1000 + i % 7))).ok());
      }
      --running;
    });
  }
  for (int r = 0; r < 4; ++r) {
    threads.emplace_back([&] {
      while (running > 0) {
        auto reader = Read(history);
        for (int i = 0; i < 500; ++i) reader->Next();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(history->bytes(), kBound);
}

TEST(ProxyRequests, BrokenOnesAreNamed) {
  const auto error = [](std::string_view bytes) { return KindOfWriteMessagesRequest(bytes).status().message(); };
  EXPECT_THAT(error(""), HasSubstr("WriteMessagesRequest.log_msg"));
  EXPECT_THAT(error("\x0a"), HasSubstr("malformed WriteMessagesRequest"));
  EXPECT_THAT(error(std::string_view("\x0a\x00", 2)), HasSubstr("LogMsg.msg"));
  EXPECT_THAT(error("\x0a\x01\x0a"), HasSubstr("malformed LogMsg"));
  EXPECT_THAT(error(std::string_view("\x0a\x02\x0a\x00", 4)), HasSubstr("SetStoreInfo"));
  EXPECT_THAT(error(std::string_view("\x0a\x02\x12\x00", 4)), HasSubstr("ArrowMsg"));
  EXPECT_THAT(error(std::string_view("\x0a\x02\x1a\x00", 4)), HasSubstr("BlueprintActivationCommand"));
  const auto table = [](std::string_view bytes) { return IdOfWriteTableRequest(bytes).status().message(); };
  EXPECT_THAT(table(""), HasSubstr("WriteTableRequest.id"));
  EXPECT_THAT(table(std::string_view("\x0a\x00", 2)), HasSubstr("WriteTableRequest.data"));
  EXPECT_THAT(table(std::string_view("\x0a\x00\x12\x01\x0a", 5)), HasSubstr("malformed DataframePart"));
  EXPECT_EQ(IdOfWriteTableRequest(std::string_view("\x0a\x03\x0a\x01x\x12\x00", 7)).ValueOrDie(), "x");
}

}  // namespace
}  // namespace rushes
