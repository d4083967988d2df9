// What live loggers sent, within a bound of bytes, and where each reader is in it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <grpcpp/support/slice.h>

#include "arrow/result.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

// Messages go by their importance for somebody who comes later. A reader gets what is there in the order below; what is beyond the bound
// goes in the opposite one, the oldest of its kind first.
enum class MessageKind {
  kStore,     // what a recording is; blueprints, their data and their activation
  kStatic,    // data without time
  kTemporal,  // data with times
  kTable,     // dataframes; for readers of tables only
};
inline constexpr size_t kNumMessageKinds = 4;

// The one store of messages behind all readers: there are no queues per reader, so that a slow one costs no memory. It stands where it is
// in the history, and loses what the history loses before it gets there, never more.
//
// Bound: the bytes of all messages and kMessageOverheadBytes for each. Everything but temporal data may take three quarters of it, so that
// live data always has room. Beyond, static data goes first, then tables, then stores. Thread safe.
class MessageHistory {
 public:
  static constexpr int64_t kMinBytes = 1 << 20;
  static constexpr int64_t kMessageOverheadBytes = 160;  // what a message costs beside its bytes

  // One reader's place: first what is there when it is made, ordered by kind; then everything as it comes, in the order it came. Not thread
  // safe, except against Append.
  class Reader {
   public:
    ~Reader();
    // The next message, or nothing: then `wake` is called once, as soon as there is one.
    std::optional<grpc::Slice> Next() RUSHES_NO_THREAD_SAFETY_ANALYSIS;
    // Messages, other than tables, that left the history after this reader's first of their kind and before it got to them.
    uint64_t num_lost() const { return num_lost_; }

   private:
    friend class MessageHistory;
    Reader(std::shared_ptr<MessageHistory> history, std::vector<MessageKind> kinds, std::function<void()> wake);

    std::shared_ptr<MessageHistory> history_;
    const std::vector<MessageKind> kinds_;
    const std::shared_ptr<const std::function<void()>> wake_;
    uint64_t replay_until_ = 0;  // sequence of the last message that was there
    size_t replaying_ = 0;       // index into kinds_; its size: live
    // By kind: sequence and number of the last message taken. The number is 0 before the first.
    std::array<uint64_t, kNumMessageKinds> last_sequence_ = {};
    std::array<uint64_t, kNumMessageKinds> last_number_ = {};
    uint64_t num_lost_ = 0;
  };

  // Invalid if `max_bytes` is below kMinBytes.
  static arrow::Result<std::shared_ptr<MessageHistory>> Make(int64_t max_bytes);

  // Keeps `message`, makes room for it and wakes the readers. A table replaces the one of the same `table_id`. CapacityError if the message
  // alone is beyond three quarters of the bound.
  arrow::Status Append(MessageKind kind, grpc::Slice message, std::string_view table_id = {});

  // `wake` is called on a thread that appends, without a lock, perhaps once more while the reader is destroyed.
  static std::unique_ptr<Reader> Read(const std::shared_ptr<MessageHistory>& history, std::vector<MessageKind> kinds,
                                      std::function<void()> wake);

  int64_t max_bytes() const { return max_bytes_; }
  int64_t bytes() const;
  size_t num_messages(MessageKind kind) const;

 private:
  using TableIndex = std::map<std::string, uint64_t, std::less<>>;  // sequence by id
  struct Stored {
    uint64_t number = 0;  // of its kind, from 1
    grpc::Slice message;
    TableIndex::iterator table;  // of tables only
  };
  // The messages of one kind.
  struct Lane {
    std::map<uint64_t, Stored> messages;  // by sequence, which counts all kinds
    int64_t bytes = 0;
    uint64_t num_ever = 0;
  };

  explicit MessageHistory(int64_t max_bytes) : max_bytes_(max_bytes) {}
  // Removes the oldest message of a kind; false if there is none.
  bool DropOldest(MessageKind kind) RUSHES_REQUIRES(mutex_);
  int64_t BytesLocked() const RUSHES_REQUIRES(mutex_);

  const int64_t max_bytes_;
  mutable Mutex mutex_;
  std::array<Lane, kNumMessageKinds> lanes_ RUSHES_GUARDED_BY(mutex_);
  TableIndex tables_ RUSHES_GUARDED_BY(mutex_);
  uint64_t sequence_ RUSHES_GUARDED_BY(mutex_) = 0;
  std::set<std::shared_ptr<const std::function<void()>>> waiting_ RUSHES_GUARDED_BY(mutex_);
};

}  // namespace rushes
