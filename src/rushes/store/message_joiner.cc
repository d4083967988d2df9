#include "rushes/store/message_joiner.h"

#include <string>

#include "rushes/rrd/messages.h"

namespace rushes {

arrow::Result<bool> MessageJoiner::Add(const ChunkId& id, std::string_view bytes) {
  ARROW_ASSIGN_OR_RAISE(const auto message, rrd::ParseArrowPayload(bytes));
  if (message.compression == rrd::Compression::kNone) return joiner_.Add(id, message.payload);
  thread_local std::string scratch;
  ARROW_ASSIGN_OR_RAISE(const auto block, blocks_.Decompress(message.payload, message.size_uncompressed, &scratch));
  ARROW_ASSIGN_OR_RAISE(const bool fits, joiner_.Add(id, block.payload, {block.num_common, block.changes_begin, block.changes_end}));
  // What precedes the values is the same in all, as long as they have as many rows.
  if (fits && blocks_.wants_to_learn()) blocks_.Learn(message.payload, block.payload, joiner_.last_head_size());
  return fits;
}

}  // namespace rushes
