// LZ4 blocks of which many begin alike, decompressed one after another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/result.h"

namespace rushes::rrd {

// Chunks of one writer begin with the same schema message but for their id, which is most of a chunk of few rows and mostly compresses to
// the same bytes. What a block has in common with one that was learned is not decoded again but copied, and its own literals put in. The
// result is that of LZ4_decompress_safe, which judges it in the tests (similar_blocks_test.cc). Not thread safe.
class SimilarBlocks {
 public:
  struct Result {
    std::string_view payload;  // in the scratch
    // Up to here it is a learned payload, but for some of the bytes from changes_begin to before changes_end.
    size_t num_common = 0;
    size_t changes_begin = 0;
    size_t changes_end = 0;
  };
  // Errors as those of Decompress (messages.h).
  arrow::Result<Result> Decompress(std::string_view block, uint64_t size_uncompressed, std::string* scratch);

  // Whether to Learn from the block that was decompressed last: those that were learned do not help any more.
  bool wants_to_learn() const { return misses_ >= patience_; }
  // `block` decompressed to `payload`, of which the first `num_bytes` bytes are those that others have, too.
  void Learn(std::string_view block, std::string_view payload, size_t num_bytes);

 private:
  struct End {
    uint32_t block;    // position behind a sequence
    uint32_t payload;  // what precedes decompresses to as many bytes
  };
  static constexpr uint32_t kFixed = ~uint32_t{0};
  static constexpr size_t kMaxChanges = 64;
  // Literals of a sequence that differ from block to block.
  struct Change {
    uint32_t block;
    uint32_t payload;
    uint32_t size;
  };
  struct Changes {
    std::array<Change, kMaxChanges> items;
    size_t size = 0;
  };
  // The start of a block: whole sequences.
  struct Learned {
    std::string block;
    std::string payload;
    std::vector<End> ends;       // of the sequences, ascending
    std::vector<uint32_t> free;  // per byte of `block`: where it is in `payload` if it may differ: it is a literal that nothing refers to
    // What another block has in common with it.
    End Compare(std::string_view other, Changes* changes) const;
    // The position from which on it is another one.
    size_t FindEnd(std::string_view other, Changes* changes) const;
    bool Suffices(const End& common) const { return !payload.empty() && 4 * size_t{common.payload} >= 3 * payload.size(); }
  };
  static constexpr size_t kMaxBlockBytes = size_t{8} << 10;  // of what is learned
  // What the format demands of the end of a block (5 bytes of literals, no copy within 12) must not concern what is copied.
  static constexpr size_t kPayloadLeft = 64, kBlockLeft = 16;

  // Where the digits of an id happen to recur the compressor goes another way for a while, so that one is not enough.
  std::array<Learned, 2> learned_;
  size_t last_ = 0;  // the one that helped last
  int num_learned_ = 0;
  int misses_ = 0;    // in a row
  int patience_ = 1;  // how many it takes to learn again
};

}  // namespace rushes::rrd
