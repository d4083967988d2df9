#include "rushes/server/upload_handler.h"

#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/write.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/read.hpp>

#include "spdlog/spdlog.h"

namespace rushes {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr size_t kBlockBytes = 256 << 10;

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

void Refuse(const arrow::Status& status, UploadOutcome* outcome) {
  outcome->http_status = HttpStatusOf(status);
  if (outcome->http_status == 500) {
    // Its words name files of the server.
    spdlog::error("upload failed: {}", status.message());
    outcome->text = "the upload could not be stored";
  } else {
    outcome->text = status.message();
  }
}

}  // namespace

bool IsUploadTarget(std::string_view target) { return target.starts_with("/upload/"); }

UploadOutcome HandleUpload(UploadGrants* grants, SocketStream* stream, beast::flat_buffer* buffer,
                           http::request_parser<http::empty_body>&& head) {
  UploadOutcome outcome;
  const auto& request = head.get();
  if (request.method() != http::verb::put) {
    outcome.http_status = 405;
    outcome.text = "uploads are made with PUT";
    return outcome;
  }
  std::optional<std::string_view> if_none_match;
  if (const auto it = request.find(http::field::if_none_match); it != request.end()) if_none_match = View(it->value());
  std::optional<uint64_t> length;
  if (head.content_length()) length = *head.content_length();
  auto begun = grants->Begin(View(request.target()), if_none_match, length);
  if (!begun.ok()) {
    Refuse(begun.status(), &outcome);
    return outcome;
  }
  const std::unique_ptr<UploadGrants::Upload> upload = std::move(*begun);

  boost::system::error_code error;
  if (beast::iequals(request[http::field::expect], "100-continue")) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::write(*stream, asio::buffer(kContinue.data(), kContinue.size()), error);
  }
  http::request_parser<http::buffer_body> body(std::move(head));
  body.body_limit(std::numeric_limits<uint64_t>::max());  // `none` is taken for 0 by this Boost
  std::vector<char> block(kBlockBytes);
  while (!body.is_done()) {
    body.get().body().data = block.data();
    body.get().body().size = block.size();
    http::read(*stream, *buffer, body, error);
    if (error == http::error::need_buffer) error = {};
    if (error) {
      // A chunk that is no chunk is bad; anything else means that the client is gone, before the end of what it announced.
      const bool is_gone = error == http::error::partial_message || error == http::error::end_of_stream ||
                           error.category() == asio::error::get_system_category() || error.category() == asio::error::get_misc_category();
      outcome.is_connected = !is_gone;
      outcome.http_status = 400;
      outcome.text = "the body of the request is broken: " + error.message();
      return outcome;
    }
    const size_t size = block.size() - body.get().body().size;
    if (const arrow::Status written = upload->Write({block.data(), size}); !written.ok()) {
      Refuse(written, &outcome);
      return outcome;
    }
  }
  outcome.is_reusable = true;
  auto finished = upload->Finish();
  if (finished.ok()) {
    outcome.etag = std::move(*finished);
  } else {
    Refuse(finished.status(), &outcome);
  }
  return outcome;
}

}  // namespace rushes
