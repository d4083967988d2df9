#include "rushes/api/connection.h"
#include "rushes/api/embedded_catalog.h"
#include "rushes/api/load_recordings.h"
#include "rushes/client/remote_connection.h"

namespace rushes {

arrow::Result<std::shared_ptr<Connection>> Connect(const std::string& address, const std::string& token, double timeout_s) {
  return client::RemoteConnection::Open(address, token, timeout_s);
}

arrow::Result<std::shared_ptr<Connection>> OpenRecordings(const std::vector<std::string>& paths, const std::string& name,
                                                          int64_t chunk_cache_bytes) {
  auto embedded = std::make_shared<EmbeddedCatalog>(std::make_shared<Catalog>(), chunk_cache_bytes);
  embedded->url = "local:" + name;
  ARROW_RETURN_NOT_OK(LoadRecordings(embedded->catalog.get(), name, paths, BrokenFiles::kFail));
  return MakeEmbeddedConnection(std::move(embedded), /*keep_alive=*/nullptr);
}

}  // namespace rushes
