#include "rushes/api/connection.h"
#include "rushes/client/remote_connection.h"

namespace rushes {

arrow::Result<std::shared_ptr<Connection>> Connect(const std::string& address, const std::string& token, double timeout_s) {
  return client::RemoteConnection::Open(address, token, timeout_s);
}

}  // namespace rushes
