// RemoteConnection: what happens in the catalog.
#include <mutex>
#include <thread>
#include <utility>

#include "rerun/cloud/v1alpha1/cloud.pb.h"
#include "rushes/client/event_queue.h"
#include "rushes/client/remote_connection.h"
#include "rushes/wire/convert.h"
#include "rushes/wire/status.h"

namespace rushes::client {
namespace {

namespace cloud = ::rerun::cloud::v1alpha1;

// How long the status of a call that has failed may take to be read.
constexpr double kFailureWaitS = 0.2;

// A thread waits for the server, so that whoever waits for events can stop at any time.
class RemoteEventStream final : public EventStream {
 public:
  RemoteEventStream(std::shared_ptr<Session> session, std::unique_ptr<ServerStream> stream)
      : session_(std::move(session)), stream_(std::move(stream)), reader_([this] { Read(); }) {}
  ~RemoteEventStream() override { Close(); }

  arrow::Result<std::optional<CatalogEvent>> Next(double timeout_s) override { return queue_.Next(timeout_s); }
  void Close() override {
    queue_.Close();
    stream_->Cancel();
    std::call_once(joined_, [this] { reader_.join(); });
  }
  bool is_closed() const override { return queue_.is_closed(); }
  // The error, if the call has failed already.
  arrow::Status WaitForFailure() { return queue_.WaitForEnd(kFailureWaitS); }

 private:
  void Read() {
    for (;;) {
      cloud::WatchEventsResponse response;
      const arrow::Result<bool> more = stream_->Read(&response);
      if (!more.ok()) return queue_.End(more.status());
      if (!*more) {
        return queue_.End(wire::MakeStatus(wire::RpcCode::kUnavailable,
                                           "the catalog server at " + session_->rpc().url() + " ended the stream of events"));
      }
      // Kinds of events that we do not know are left out.
      const bool created = response.has_entry_created();
      if (!created && !response.has_entry_deleted()) continue;
      const auto id = created ? wire::FromProto(response.entry_created().id(), "EntryCreatedEvent.id")
                              : wire::FromProto(response.entry_deleted().id(), "EntryDeletedEvent.id");
      if (!id.ok()) return queue_.End(id.status());
      queue_.Push({created, *id});
    }
  }

  const std::shared_ptr<Session> session_;
  const std::unique_ptr<ServerStream> stream_;
  EventQueue queue_;
  std::once_flag joined_;
  std::thread reader_;
};

}  // namespace

arrow::Result<std::shared_ptr<EventStream>> RemoteConnection::WatchEvents() {
  ARROW_ASSIGN_OR_RAISE(auto stream, session_->rpc().Stream("WatchEvents", cloud::WatchEventsRequest(), {}));
  // Headers say that the server watches. A call that has failed has none, nor has that of a server which sends none of its own.
  const bool has_headers = stream->WaitForHeaders();
  auto events = std::make_shared<RemoteEventStream>(session_, std::move(stream));
  if (!has_headers) ARROW_RETURN_NOT_OK(events->WaitForFailure());
  return events;
}

}  // namespace rushes::client
