#include "rushes/server/message_history.h"

#include <limits>
#include <utility>

namespace rushes {
namespace {

size_t Index(MessageKind kind) { return static_cast<size_t>(kind); }

int64_t Cost(const grpc::Slice& message) { return static_cast<int64_t>(message.size()) + MessageHistory::kMessageOverheadBytes; }

}  // namespace

arrow::Result<std::shared_ptr<MessageHistory>> MessageHistory::Make(int64_t max_bytes) {
  if (max_bytes < kMinBytes) {
    return arrow::Status::Invalid("the history of live messages needs at least ", kMinBytes, " bytes, got ", max_bytes);
  }
  return std::shared_ptr<MessageHistory>(new MessageHistory(max_bytes));
}

int64_t MessageHistory::BytesLocked() const {
  int64_t bytes = 0;
  for (const Lane& lane : lanes_) bytes += lane.bytes;
  return bytes;
}

int64_t MessageHistory::bytes() const {
  MutexLock lock(mutex_);
  return BytesLocked();
}

size_t MessageHistory::num_messages(MessageKind kind) const {
  MutexLock lock(mutex_);
  return lanes_[Index(kind)].messages.size();
}

bool MessageHistory::DropOldest(MessageKind kind) {
  Lane& lane = lanes_[Index(kind)];
  if (lane.messages.empty()) return false;
  const auto oldest = lane.messages.begin();
  if (kind == MessageKind::kTable) tables_.erase(oldest->second.table);
  lane.bytes -= Cost(oldest->second.message);
  lane.messages.erase(oldest);
  return true;
}

arrow::Status MessageHistory::Append(MessageKind kind, grpc::Slice message, std::string_view table_id) {
  const int64_t cost = Cost(message);
  const int64_t kept_max = max_bytes_ / 4 * 3;
  if (cost > kept_max) {
    return arrow::Status::CapacityError("a message of ", message.size(), " bytes is too large: the history of live messages has ",
                                        max_bytes_, " bytes, and one message may take three quarters of it");
  }
  std::set<std::shared_ptr<const std::function<void()>>> wake;
  {
    MutexLock lock(mutex_);
    Lane& lane = lanes_[Index(kind)];
    const uint64_t sequence = ++sequence_;
    Stored stored{++lane.num_ever, std::move(message), tables_.end()};
    if (kind == MessageKind::kTable) {
      stored.table = tables_.find(table_id);
      if (stored.table != tables_.end()) {
        const auto replaced = lane.messages.find(stored.table->second);
        lane.bytes -= Cost(replaced->second.message);
        lane.messages.erase(replaced);
        stored.table->second = sequence;
      } else {
        stored.table = tables_.emplace(table_id, sequence).first;
      }
    }
    lane.bytes += cost;
    lane.messages.emplace_hint(lane.messages.end(), sequence, std::move(stored));

    const Lane& temporal = lanes_[Index(MessageKind::kTemporal)];
    while (BytesLocked() - temporal.bytes > kept_max) {
      if (!DropOldest(MessageKind::kStatic) && !DropOldest(MessageKind::kTable)) DropOldest(MessageKind::kStore);
    }
    while (BytesLocked() > max_bytes_ && DropOldest(MessageKind::kTemporal)) {
    }
    wake.swap(waiting_);
  }
  for (const auto& call : wake) (*call)();
  return arrow::Status::OK();
}

std::unique_ptr<MessageHistory::Reader> MessageHistory::Read(const std::shared_ptr<MessageHistory>& history, std::vector<MessageKind> kinds,
                                                             std::function<void()> wake) {
  return std::unique_ptr<Reader>(new Reader(history, std::move(kinds), std::move(wake)));
}

MessageHistory::Reader::Reader(std::shared_ptr<MessageHistory> history, std::vector<MessageKind> kinds, std::function<void()> wake)
    : history_(std::move(history)), kinds_(std::move(kinds)), wake_(std::make_shared<const std::function<void()>>(std::move(wake))) {
  MutexLock lock(history_->mutex_);
  replay_until_ = history_->sequence_;
}

MessageHistory::Reader::~Reader() {
  MutexLock lock(history_->mutex_);
  history_->waiting_.erase(wake_);
}

std::optional<grpc::Slice> MessageHistory::Reader::Next() {
  MutexLock lock(history_->mutex_);
  const auto& lanes = history_->lanes_;
  const auto next_of = [&](MessageKind kind) RUSHES_NO_THREAD_SAFETY_ANALYSIS {
    return lanes[Index(kind)].messages.upper_bound(last_sequence_[Index(kind)]);
  };
  const auto take = [&](MessageKind kind, const std::pair<const uint64_t, Stored>& message) {
    uint64_t& last_number = last_number_[Index(kind)];
    if (last_number != 0 && kind != MessageKind::kTable) num_lost_ += message.second.number - last_number - 1;
    last_number = message.second.number;
    last_sequence_[Index(kind)] = message.first;
    return message.second.message;
  };
  for (; replaying_ < kinds_.size(); ++replaying_) {
    const MessageKind kind = kinds_[replaying_];
    const auto next = next_of(kind);
    if (next != lanes[Index(kind)].messages.end() && next->first <= replay_until_) return take(kind, *next);
  }
  // The one that came first of those that are next of their kind.
  std::optional<MessageKind> first;
  uint64_t first_sequence = std::numeric_limits<uint64_t>::max();
  for (const MessageKind kind : kinds_) {
    const auto next = next_of(kind);
    if (next == lanes[Index(kind)].messages.end() || next->first >= first_sequence) continue;
    first = kind;
    first_sequence = next->first;
  }
  if (first) return take(*first, *next_of(*first));
  history_->waiting_.insert(wake_);
  return std::nullopt;
}

}  // namespace rushes
