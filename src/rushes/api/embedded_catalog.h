// A catalog in this process, as a Connection. Internal: users get it from Server::Connect.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "rushes/api/connection.h"
#include "rushes/api/kept_batches.h"
#include "rushes/catalog/catalog.h"
#include "rushes/store/chunk_cache.h"

namespace rushes {

// What the connections and chunk sources of one server share. Thread safe.
struct EmbeddedCatalog {
  EmbeddedCatalog(std::shared_ptr<Catalog> catalog_in, int64_t cache_bytes) : catalog(std::move(catalog_in)), cache(cache_bytes) {}

  const std::shared_ptr<Catalog> catalog;
  ChunkCache cache;
  KeptBatches kept_batches;
  std::string url;  // constant after start
  std::atomic<bool> is_closed = false;

  // Cancelled after shutdown.
  arrow::Status CheckOpen() const;
};

// `keep_alive` is what must live as long as a connection or chunk source does: the server.
std::shared_ptr<Connection> MakeEmbeddedConnection(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive);
// A dataset of it; the segments and chunks are looked up again at each call.
std::shared_ptr<ChunkSource> MakeLocalChunkSource(std::shared_ptr<EmbeddedCatalog> catalog, std::shared_ptr<void> keep_alive,
                                                  EntryId dataset);

}  // namespace rushes
