// The right to put one object into the staging area: grants that clients redeem over HTTP, in one request or in parts.
//
// A grant is a URL with claims and a keyed hash of them; nothing is kept for a grant until it is redeemed, so that asking for many costs
// nothing. The key of the hash is made at start: grants end with the server.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arrow/result.h"
#include "rushes/catalog/catalog.h"
#include "rushes/chunk/mutex.h"
#include "rushes/server/upload_options.h"

namespace rushes {

// Errors carry the code that gRPC gives (wire/status.h); HttpStatusOf says what HTTP makes of it. Thread safe.
class UploadGrants {
 public:
  explicit UploadGrants(std::shared_ptr<Catalog> catalog, UploadOptions options = {});

  // One HTTP request that may be made.
  struct PartRequest {
    std::string path;          // "/upload/…", on the server's own origin
    bool must_be_new = false;  // with the header `if-none-match: *`
  };
  struct Grant {
    std::string storage_url;
    int64_t expires_at_ns = 0;
    std::optional<PartRequest> single;
    // Otherwise in parts.
    std::string upload_token;
    uint64_t part_bytes = 0;
    std::vector<PartRequest> parts;  // the first ones
  };
  // Invalid: a bad key or size; AlreadyExists: the key is taken; FAILED_PRECONDITION: neither way is offered; RESOURCE_EXHAUSTED: it is too
  // large, or too many uploads are open.
  arrow::Result<Grant> Make(const std::string& key, std::optional<uint64_t> size, bool can_single, bool can_multipart);
  // Requests for parts (numbers from 1) of an upload. Invalid: a bad token or number; NOT_FOUND: the upload has ended.
  arrow::Result<std::vector<PartRequest>> MakeParts(const std::string& upload_token, const std::vector<uint32_t>& numbers);
  struct UploadedPart {
    uint32_t number = 0;
    std::string etag;  // may be empty
  };
  // Makes the object visible; once more if it is already. Invalid: parts that are missing, of the wrong size, or not those that arrived;
  // AlreadyExists: another object has taken the key.
  arrow::Status Complete(const std::string& upload_token, const std::vector<UploadedPart>& parts);
  // Drops what has arrived. Does nothing for an upload that has ended or never was.
  void Abort(const std::string& upload_token);

  // The body of one HTTP request, on its way to the disk. Not thread safe. Dropped before Finish, nothing of it is left.
  class Upload {
   public:
    virtual ~Upload() = default;
    virtual arrow::Status Write(std::string_view bytes) = 0;
    // Gives the ETag of a part, with its quotes; empty for an object.
    virtual arrow::Result<std::string> Finish() = 0;
  };
  // `path`: the target of a PUT, with its `/upload/`. `if_none_match`: that header's value, if any. `length`: of the body, if it is known.
  // INVALID_ARGUMENT: no grant; PERMISSION_DENIED: a wrong, changed or expired one; others as above.
  arrow::Result<std::unique_ptr<Upload>> Begin(std::string_view path, std::optional<std::string_view> if_none_match,
                                               std::optional<uint64_t> length);

 private:
  struct Claims;
  struct Session;
  class SingleUpload;
  class PartUpload;

  std::string Sign(const Claims& claims) const;
  arrow::Result<Claims> Verify(std::string_view token) const;
  PartRequest SignPart(const Session& session, uint32_t number) const;
  // The open session of a token.
  arrow::Result<std::shared_ptr<Session>> FindSession(const std::string& upload_token);
  void DropExpired() RUSHES_EXCLUDES(mutex_);

  const std::shared_ptr<Catalog> catalog_;
  const UploadOptions options_;
  const std::string key_;  // of the hash

  Mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Session>> sessions_ RUSHES_GUARDED_BY(mutex_);
  // Ids of uploads that were completed, so that doing it again is no error; the oldest go first.
  std::set<std::string> completed_ RUSHES_GUARDED_BY(mutex_);
  std::deque<std::string> completed_order_ RUSHES_GUARDED_BY(mutex_);
};

// 400, 403, 404, 409, 412, 413, 500 or 507.
int HttpStatusOf(const arrow::Status& status);

}  // namespace rushes
