#include "rushes/store/list_stores.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "rushes/rrd/format.h"
#include "rushes/rrd/frame_reader.h"

namespace rushes {
namespace {

// Files up to this size are read in less time than it takes to come back to them.
constexpr int64_t kSmallBytes = 16 << 20;
// Enough for the store id of any message that official writers make.
constexpr int64_t kMessageStart = 512;

}  // namespace

arrow::Result<bool> IsSlowToOpen(const ByteSource& source) {
  if (source.size() <= kSmallBytes) return false;
  ARROW_ASSIGN_OR_RAISE(const auto bytes, source.ReadAt({source.size() - rrd::kTrailerSize, rrd::kTrailerSize}));
  const auto trailer = rrd::Trailer::Parse(std::string_view(*bytes));
  return !trailer || trailer->footer_size == 0;
}

arrow::Result<std::vector<ListedStore>> ListStores(const ByteSourcePtr& source, bool accept_damaged) {
  rrd::FrameReader frames(source, 0, source->size());
  std::vector<ListedStore> stores;
  std::set<std::string> seen;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto frame, frames.Next());
    if (!frame) break;
    if (frame->kind() != rrd::FrameKind::kArrowMessage) continue;
    ARROW_ASSIGN_OR_RAISE(auto payload, frames.ReadPayloadStart(*frame, kMessageStart));
    auto raw = rrd::ParseArrowMessageStore(std::string_view(*payload));
    if (!raw.ok()) {
      ARROW_ASSIGN_OR_RAISE(payload, frames.ReadPayload(*frame));
      const auto message = rrd::ParseArrowMessage(std::string_view(*payload));
      if (!message.ok()) {
        if (accept_damaged) continue;
        return message.status().WithMessage(source->name(), ": byte ", frame->payload_offset, ": ", message.status().message());
      }
      raw = message->store_id;
    }
    ListedStore store{raw->kind, std::string(raw->recording_id), std::string(ToString(raw->kind))};
    store.key += '\0';
    store.key += raw->application_id.value_or("");
    store.key += '\0';
    store.key += store.recording_id;
    if (seen.insert(store.key).second) stores.push_back(std::move(store));
  }
  if (!frames.problem().empty() && !accept_damaged) return arrow::Status::Invalid(source->name(), ": ", frames.problem());
  return stores;
}

}  // namespace rushes
