// `PUT /upload/…`: the body of a request to the staging area, block by block.
#pragma once

#include <string>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "rushes/server/socket_stream.h"
#include "rushes/server/upload_grants.h"

namespace rushes {

// What a request to upload came to.
struct UploadOutcome {
  bool is_connected = true;  // else there is nobody to answer
  bool is_reusable = false;  // the connection is at the end of the request
  int http_status = 200;
  std::string text;  // of an error, for the client
  std::string etag;
};

bool IsUploadTarget(std::string_view target);

// `head`: the parsed header of a request with an upload's target; `buffer` has what was read beyond it. Blocks.
UploadOutcome HandleUpload(UploadGrants* grants, SocketStream* stream, boost::beast::flat_buffer* buffer,
                           boost::beast::http::request_parser<boost::beast::http::empty_body>&& head);

}  // namespace rushes
