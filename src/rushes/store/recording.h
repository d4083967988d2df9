// Recording files, opened for reading: which stores they hold, what is in them, and their chunks.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "arrow/buffer.h"
#include "arrow/record_batch.h"
#include "arrow/result.h"
#include "arrow/type.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/rrd/byte_source.h"
#include "rushes/rrd/manifest.h"
#include "rushes/rrd/messages.h"
#include "rushes/rrd/segment_index.h"
#include "rushes/store/chunk_cache.h"
#include "rushes/store/chunk_groups.h"
#include "rushes/store/message_joiner.h"

namespace rushes {

// The bytes of one chunk's ArrowMsg, in pieces to be sent one after another: the file's own bytes, without a copy, where the writer
// completed the envelope; else a new envelope around the file's payload. The payload keeps the compression and the format
// version of the file: whoever decodes chunks handles both.
struct ChunkMessage {
  ChunkId id;
  uint64_t size_uncompressed = 0;
  std::vector<std::shared_ptr<arrow::Buffer>> pieces;
  int64_t size() const;
};

// One store of one file: a recording or a blueprint. Immutable and thread safe; holds metadata and the property chunks in memory, the
// other chunks stay in the file. In a catalog this is one layer of a segment.
class RecordingStore {
 public:
  const StoreId& id() const { return id_; }
  const ByteSource& source() const { return *source_; }
  const SegmentIndexPtr& index() const { return index_; }
  // Never null. `arrow_schema` is the same as fields with the metadata of the format, `sorbet:version` on the schema.
  const std::shared_ptr<const DatasetSchema>& schema() const { return schema_; }
  const std::shared_ptr<arrow::Schema>& arrow_schema() const { return arrow_schema_; }
  // 32 bytes that identify arrow_schema(): docs/format.md, "Schema hash".
  const std::string& schema_sha256() const { return schema_sha256_; }
  // Chunks at and below `/__properties`, decoded.
  const std::vector<ChunkPtr>& property_chunks() const { return property_chunks_; }
  // What is wrong with this store's data, in words for the user: chunks that were cut off or could not be read.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Decoded chunks, in the order of `chunks` (positions in index()). Neighbours in the file are read together. With a cache, chunks are
  // taken from it and added to it. IOError: the file cannot be read or was changed since; Invalid: bad bytes; both name file and byte.
  arrow::Result<std::vector<ChunkPtr>> ReadChunks(std::span<const uint32_t> chunks, ChunkCache* cache = nullptr) const;
  // The same, where `values` (one per chunk) says which components' values are needed; null: all. Of a large chunk only what lies before
  // the end of those is read and decompressed; a chunk may have more values than asked for.
  arrow::Result<std::vector<ChunkPtr>> ReadChunks(std::span<const uint32_t> chunks, std::span<const ComponentList> values,
                                                  ChunkCache* cache) const;
  // The same of the cache alone; KeyError if one is not there.
  arrow::Result<std::vector<ChunkPtr>> FindChunks(std::span<const uint32_t> chunks, std::span<const ComponentList> values,
                                                  ChunkCache* cache) const;
  // Small chunks that can be read as one. Made when they are first asked for.
  const ChunkGroups& groups() const;
  // Decoded groups, in the order of `groups`: each one chunk with the id of its first member; or, where they do not fit together, the
  // members, and the group is dissolved. Errors as above.
  arrow::Result<std::vector<std::vector<ChunkPtr>>> ReadGroups(std::span<const uint32_t> groups, ChunkCache* cache = nullptr) const;
  // The same of the cache alone; KeyError if one is not there.
  arrow::Result<std::vector<std::vector<ChunkPtr>>> FindGroups(std::span<const uint32_t> groups, ChunkCache* cache) const;
  // Adds each chunk to the joiner at its position. False: one did not fit, or was not as the index says; then some may have been added.
  arrow::Result<bool> JoinChunks(std::span<const uint32_t> chunks, std::span<MessageJoiner> joiners) const;
  // Tells this store's items in a ChunkCache from those of others: a number that is never reused.
  uint64_t cache_owner() const { return cache_owner_; }
  // Undecoded messages, in the order of `chunks`. Takes as much memory as the messages, plus at most 64 KiB between any two.
  arrow::Result<std::vector<ChunkMessage>> ReadMessages(std::span<const uint32_t> chunks) const;

  // Everything but the file's bytes, for a catalog's journal; FromBytes needs no access to the file. `source` must have the stamp of
  // the source that was serialized, or the chunks may not be found.
  arrow::Result<std::shared_ptr<arrow::Buffer>> ToBytes() const;
  static arrow::Result<std::shared_ptr<const RecordingStore>> FromBytes(ByteSourcePtr source, std::shared_ptr<arrow::Buffer> bytes);

 private:
  friend class RecordingOpener;
  RecordingStore() = default;
  bool HoldsPlainValues(uint32_t chunk) const;
  arrow::Result<ChunkPtr> DecodePlain(std::string_view bytes, uint32_t chunk, const ChunkCache* cache) const;
  StoreId id_;
  ByteSourcePtr source_;
  SegmentIndexPtr index_;
  std::shared_ptr<const DatasetSchema> schema_;
  std::shared_ptr<arrow::Schema> arrow_schema_;
  std::string schema_sha256_;
  std::vector<ChunkPtr> property_chunks_;
  std::vector<std::string> warnings_;
  uint64_t cache_owner_ = 0;
  mutable std::once_flag groups_once_;
  mutable std::unique_ptr<const ChunkGroups> groups_;
};
using RecordingStorePtr = std::shared_ptr<const RecordingStore>;

// One opened file.
struct Recording {
  ByteSourcePtr source;
  // Sorted by kind, application id, recording id. Empty for a file that holds no store.
  std::vector<RecordingStorePtr> stores;
  // What is wrong with the file, in words for the user, each naming the file: cut off, a damaged footer that was rebuilt, messages
  // that could not be read. Empty for a sound file.
  std::vector<std::string> warnings;
  bool has_footer = false;  // of which use was made
};

// Opens a recording (.rrd) or blueprint (.rbl). With a sound footer this takes two or three small reads; otherwise the file is read
// once from start to end in bounded memory. `path_or_url`: a local path, a file:// URL or what OpenByteSource takes.
//
// KeyError: no such file. IOError: it cannot be read. Invalid: not a recording, or one of a version before 0.23; the message names the
// file, the byte and what was expected there. A damaged or truncated recording is opened with what can be read of it.
arrow::Result<Recording> OpenRecording(const std::string& path_or_url);
arrow::Result<Recording> OpenRecording(ByteSourcePtr source);

// A local path, a file:// URL, or a URL of an object store that Arrow knows (s3://, gs://, abfs://).
arrow::Result<ByteSourcePtr> OpenByteSource(const std::string& path_or_url);
// A source for a file seen before, without touching it: reads fail if it is not the version of `stamp` any more.
ByteSourcePtr MakeFileSource(std::string path, SourceStamp stamp);

}  // namespace rushes
