// Calls to a catalog server over gRPC: metadata, deadlines, retries, words of errors. No header of gRPC is included here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "arrow/result.h"
#include "arrow/status.h"
#include "rushes/chunk/mutex.h"
#include "rushes/chunk/tuid.h"
#include "rushes/client/address.h"
#include "rushes/wire/arrow_msg.h"

namespace google::protobuf {
class MessageLite;
}  // namespace google::protobuf

namespace rushes::client {

struct CallOptions {
  std::optional<EntryId> entry;      // the entry the call is about
  double timeout_s = -1;             // negative: none, keep-alive finds dead servers
  bool narrow_components = false;    // kNarrowHeader
  bool is_read = true;               // repeated when the server was not reached, is busy or lags behind
  bool on_first_connection = false;  // a stream: there, and not on the one whose turn it is
};

// The responses of a streaming call. Not thread safe, except Cancel. Dropping it cancels the call.
class ServerStream {
 public:
  ~ServerStream();
  // False at the end of the stream; the error if the call failed.
  arrow::Result<bool> Read(google::protobuf::MessageLite* response);
  // The bytes of the next response, valid during `use` only.
  arrow::Result<bool> ReadRaw(const std::function<arrow::Status(const wire::BytePieces&)>& use);
  // Waits until the server has begun to answer or the call has failed. Before the first Read. True: there are headers, so it has not
  // failed.
  bool WaitForHeaders();
  void Cancel();

 private:
  friend class RpcChannel;
  struct Impl;
  explicit ServerStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The requests of a call that sends many. Not thread safe. Dropping it before Finish cancels the call.
class ClientStream {
 public:
  ~ClientStream();
  // Waits until the server has room. An error is that with which the server ended the call.
  arrow::Status Write(const google::protobuf::MessageLite& request);
  // Says that there are no more, and waits for the answer.
  arrow::Status Finish();

 private:
  friend class RpcChannel;
  struct Impl;
  explicit ClientStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Connections to one server. Thread safe.
class RpcChannel {
 public:
  // Does not connect yet. Invalid for a certificate that cannot be read.
  static arrow::Result<std::shared_ptr<RpcChannel>> Make(Address address, std::string token);
  ~RpcChannel();

  const Address& address() const { return address_; }
  const std::string& url() const { return url_; }

  // Waits until a connection stands. IOError (UNAVAILABLE) naming the address when it cannot be made: after `timeout_s`, or sooner when
  // the address refuses for a second.
  arrow::Status WaitUntilConnected(double timeout_s);

  // `method`: the name of the RPC, e.g. "FindEntries". Errors: wire::MakeStatus of the server's code; the server's words come first, then
  // a line naming server and call.
  arrow::Status Unary(const char* method, const google::protobuf::MessageLite& request, google::protobuf::MessageLite* response,
                      const CallOptions& options = {});
  // The call has begun when this returns; errors come from Read.
  arrow::Result<std::unique_ptr<ServerStream>> Stream(const char* method, const google::protobuf::MessageLite& request,
                                                      const CallOptions& options = {});
  // A call whose answer is empty.
  arrow::Result<std::unique_ptr<ClientStream>> OpenClientStream(const char* method, const CallOptions& options = {});
  // Reads a whole stream: each message is put into `scratch`, then `use` is called. A read is begun anew if it fails
  // before its first message in a way that may pass.
  arrow::Status ReadAll(const char* method, const google::protobuf::MessageLite& request, const CallOptions& options,
                        google::protobuf::MessageLite* scratch, const std::function<arrow::Status()>& use);

  // A dataset's revision that an answer came from; later calls about this entry ask for no older one.
  void NoteRevision(const EntryId& entry, uint64_t revision);

 private:
  struct Impl;
  RpcChannel(Address address, std::string token);

  const Address address_;
  const std::string url_;
  const std::string token_;
  const Tuid client_id_;
  const uint64_t fork_generation_;
  Mutex mutex_;
  std::map<EntryId, uint64_t> revisions_ RUSHES_GUARDED_BY(mutex_);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rushes::client
