#include "rushes/server/fetch_chunks.h"

#include <algorithm>

#include <grpcpp/impl/codegen/proto_utils.h>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/server/chunk_key.h"
#include "rushes/wire/dataframe.h"
#include "rushes/wire/layouts.h"
#include "rushes/wire/status.h"

namespace rushes {
namespace {

constexpr int64_t kMaxReadBytes = 4 << 20;
// Chunks are put together until a message has this many bytes. A message costs a few wake-ups, here and in the client, whatever its
// size; with more than a megabyte it fits neither into a socket's buffer nor into a core's cache, and a byte costs no less.
constexpr int64_t kMessageBytes = 1 << 20;
constexpr size_t kMaxChunksPerMessage = 512;
// Pieces below this size are copied: cheaper than a slice that keeps its buffer.
constexpr int64_t kCopyBelowBytes = 512;

grpc::Slice ToSlice(const std::shared_ptr<arrow::Buffer>& buffer) {
  if (buffer->size() < kCopyBelowBytes) return grpc::Slice(buffer->data(), static_cast<size_t>(buffer->size()));
  auto* owner = new std::shared_ptr<arrow::Buffer>(buffer);
  return grpc::Slice(
      const_cast<uint8_t*>(buffer->data()), static_cast<size_t>(buffer->size()),
      [](void* data) { delete static_cast<std::shared_ptr<arrow::Buffer>*>(data); }, owner);
}

// Tag of `chunks` and length of the message that follows.
std::string FieldPrefix(uint64_t length) {
  std::string prefix = "\x0A";
  while (length >= 0x80) {
    prefix.push_back(static_cast<char>((length & 0x7F) | 0x80));
    length >>= 7;
  }
  prefix.push_back(static_cast<char>(length));
  return prefix;
}

}  // namespace

arrow::Status ChunkFetcher::Open(const Catalog& catalog, const grpc::ByteBuffer& request_bytes) {
  rerun::cloud::v1alpha1::FetchChunksRequest request;
  grpc::ByteBuffer copy = request_bytes;
  if (!grpc::SerializationTraits<rerun::cloud::v1alpha1::FetchChunksRequest>::Deserialize(&copy, &request).ok()) {
    return arrow::Status::Invalid("FetchChunksRequest is not a protobuf message");
  }
  for (const auto& part : request.chunk_infos()) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, wire::DecodePart(part, "FetchChunksRequest.chunk_infos"));
    ARROW_ASSIGN_OR_RAISE(const auto keys, wire::ReadFetchKeys(*batch));
    for (const std::string_view bytes : keys) {
      ARROW_ASSIGN_OR_RAISE(const ChunkKey key, DecodeChunkKey(bytes));
      if (runs_.empty() || runs_.back().layer->id != key.layer) {
        LayerPtr layer = catalog.FindLayer(key.layer);
        if (!layer) return arrow::Status::KeyError("Invalid chunk key: its recording is no longer registered");
        runs_.push_back({std::move(layer), {}});
      }
      Run& run = runs_.back();
      const SegmentIndex& index = *run.layer->store->index();
      if (key.chunk >= index.num_chunks() || index.id(key.chunk) != key.id) {
        return arrow::Status::KeyError("Invalid chunk key: segment '", run.layer->segment_id, "' has no such chunk");
      }
      run.chunks.push_back(key.chunk);
    }
  }
  return arrow::Status::OK();
}

arrow::Status ChunkFetcher::ReadAhead() {
  ready_.clear();
  next_ready_ = 0;
  int64_t bytes = 0;
  while (run_ < runs_.size() && bytes < read_bytes_) {
    const Run& run = runs_[run_];
    const SegmentIndex& index = *run.layer->store->index();
    const size_t begin = chunk_;
    while (chunk_ < run.chunks.size() && (bytes == 0 || bytes < read_bytes_)) {
      bytes += static_cast<int64_t>(index.place(run.chunks[chunk_]).size) + 1;
      ++chunk_;
    }
    auto messages = run.layer->store->ReadMessages(std::span(run.chunks).subspan(begin, chunk_ - begin));
    if (!messages.ok()) {
      // Bad bytes in a file are no fault of the request.
      return messages.status().IsInvalid() ? wire::MakeStatus(wire::RpcCode::kDataLoss, messages.status().message()) : messages.status();
    }
    std::move(messages->begin(), messages->end(), std::back_inserter(ready_));
    if (chunk_ == run.chunks.size()) {
      ++run_;
      chunk_ = 0;
    }
  }
  read_bytes_ = std::min(2 * read_bytes_, kMaxReadBytes);
  return arrow::Status::OK();
}

arrow::Result<bool> ChunkFetcher::Next(grpc::ByteBuffer* response) {
  if (next_ready_ == ready_.size()) ARROW_RETURN_NOT_OK(ReadAhead());
  if (ready_.empty()) return false;
  std::vector<grpc::Slice> slices;
  int64_t bytes = 0;
  for (size_t n = 0; n < kMaxChunksPerMessage && next_ready_ < ready_.size() && bytes < kMessageBytes; ++n) {
    ChunkMessage& message = ready_[next_ready_++];
    const int64_t size = message.size();
    slices.emplace_back(FieldPrefix(static_cast<uint64_t>(size)));
    for (const auto& piece : message.pieces) {
      if (piece->size() > 0) slices.push_back(ToSlice(piece));
    }
    bytes += size;
    message.pieces.clear();
  }
  *response = grpc::ByteBuffer(slices.data(), slices.size());
  return true;
}

}  // namespace rushes
