#include "rushes/server/upload_grants.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "rushes/catalog/source_url.h"
#include "rushes/rrd/hash.h"
#include "rushes/wire/status.h"

namespace rushes {
namespace {

constexpr std::string_view kPathPrefix = "/upload/";
constexpr uint32_t kMaxParts = 10'000;
// Requests that come with the grant; more are asked for.
constexpr uint32_t kPartsWithGrant = 32;
constexpr size_t kMaxPartsPerCall = 1'000;
constexpr size_t kMaxCompleted = 4096;
constexpr size_t kMaxTokenBytes = 2048;
// From this size on an object is better sent in parts, if the client can.
constexpr uint64_t kMultipartFromBytes = uint64_t{256} << 20;

using wire::MakeStatus;
using wire::RpcCode;

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string RandomBytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t n = ::getrandom(bytes.data() + done, size - done, 0);
    if (n > 0) done += static_cast<size_t>(n);
  }
  return bytes;
}

// HMAC-SHA256, RFC 2104.
std::string KeyedHash(std::string_view key, std::string_view text) {
  std::string inner(64, '\x36'), outer(64, '\x5c');
  for (size_t i = 0; i < key.size(); ++i) {
    inner[i] = static_cast<char>(inner[i] ^ key[i]);
    outer[i] = static_cast<char>(outer[i] ^ key[i]);
  }
  return rrd::Sha256(outer + rrd::Sha256(inner + std::string(text)));
}

// In time that does not depend on where they differ.
bool SameBytes(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string ToUrlText(std::string_view bytes) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : bytes) {
    bits = (bits << 8) | static_cast<unsigned char>(c);
    for (have += 8; have >= 6; have -= 6) out.push_back(kDigits[(bits >> (have - 6)) & 63]);
  }
  if (have > 0) out.push_back(kDigits[(bits << (6 - have)) & 63]);
  return out;
}

std::optional<std::string> FromUrlText(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    const char* digit = c == '\0' ? nullptr : std::strchr(kDigits, c);
    if (digit == nullptr) return std::nullopt;
    bits = (bits << 6) | static_cast<uint32_t>(digit - kDigits);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out.push_back(static_cast<char>(bits >> have));
    }
  }
  // One text for each sequence of bytes only.
  if ((bits & ((1u << have) - 1)) != 0) return std::nullopt;
  return out;
}

void PutNumber(uint64_t value, std::string* out) {
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

uint64_t TakeNumber(std::string_view* text) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = (value << 8) | static_cast<unsigned char>((*text)[static_cast<size_t>(i)]);
  text->remove_prefix(8);
  return value;
}

arrow::Status NotAGrant() { return MakeStatus(RpcCode::kInvalidArgument, "this is no grant of an upload"); }
arrow::Status Denied(const char* why) { return MakeStatus(RpcCode::kPermissionDenied, std::string("the grant is not valid: ") + why); }
arrow::Status Ended() { return MakeStatus(RpcCode::kNotFound, "the upload is not open: it was completed, given up, or has expired"); }

// An upload's Status as the protocol has it.
arrow::Status Coded(const arrow::Status& status) {
  return status.IsCapacityError() ? MakeStatus(RpcCode::kResourceExhausted, status.message()) : status;
}

}  // namespace

enum class ClaimKind : char { kObject = 'O', kSession = 'S', kPart = 'P' };

struct UploadGrants::Claims {
  ClaimKind kind = ClaimKind::kObject;
  int64_t expires_at_ns = 0;
  std::optional<uint64_t> size;  // of the object
  uint32_t part = 0;
  std::string id;   // 16 random bytes
  std::string key;  // of the object
};

// An object that arrives in parts. Each is written at its place, whatever the order.
struct UploadGrants::Session {
  std::string id;
  std::string key;
  std::optional<uint64_t> size;
  uint64_t part_bytes = 0;
  uint32_t max_parts = 0;
  int64_t expires_at_ns = 0;
  std::unique_ptr<StagingArea::Draft> draft;

  struct Part {
    uint64_t size = 0;
    std::string etag;
  };
  Mutex mutex;
  std::map<uint32_t, Part> arrived RUSHES_GUARDED_BY(mutex);
  std::set<uint32_t> arriving RUSHES_GUARDED_BY(mutex);
  bool is_completing RUSHES_GUARDED_BY(mutex) = false;
};

UploadGrants::UploadGrants(std::shared_ptr<Catalog> catalog, UploadOptions options)
    : catalog_(std::move(catalog)), options_(options), key_(RandomBytes(32)) {}

std::string UploadGrants::Sign(const Claims& claims) const {
  std::string text(1, static_cast<char>(claims.kind));
  PutNumber(static_cast<uint64_t>(claims.expires_at_ns), &text);
  PutNumber(claims.size ? *claims.size + 1 : 0, &text);
  PutNumber(claims.part, &text);
  text += claims.id + claims.key;
  return ToUrlText(text) + "." + ToUrlText(KeyedHash(key_, text));
}

arrow::Result<UploadGrants::Claims> UploadGrants::Verify(std::string_view token) const {
  const size_t dot = token.find('.');
  if (token.size() > kMaxTokenBytes || dot == std::string_view::npos) return NotAGrant();
  const auto text = FromUrlText(token.substr(0, dot));
  const auto hash = FromUrlText(token.substr(dot + 1));
  if (!text || !hash || text->size() < 1 + 3 * 8 + 16) return NotAGrant();
  if (!SameBytes(*hash, KeyedHash(key_, *text))) return Denied("it was not given by this server, or was changed");
  std::string_view rest = *text;
  Claims claims;
  claims.kind = static_cast<ClaimKind>(rest[0]);
  rest.remove_prefix(1);
  claims.expires_at_ns = static_cast<int64_t>(TakeNumber(&rest));
  if (const uint64_t size = TakeNumber(&rest); size > 0) claims.size = size - 1;
  claims.part = static_cast<uint32_t>(TakeNumber(&rest));
  claims.id = rest.substr(0, 16);
  claims.key = rest.substr(16);
  return claims;
}

UploadGrants::PartRequest UploadGrants::SignPart(const Session& session, uint32_t number) const {
  Claims claims{ClaimKind::kPart, 0, session.size, number, session.id, session.key};
  claims.expires_at_ns = std::min(session.expires_at_ns, NowNs() + int64_t{options_.grant_seconds} * 1'000'000'000);
  return {std::string(kPathPrefix) + Sign(claims), false};
}

arrow::Result<UploadGrants::Grant> UploadGrants::Make(const std::string& key, std::optional<uint64_t> size, bool can_single,
                                                      bool can_multipart) {
  ARROW_RETURN_NOT_OK(StagingArea::CheckKey(key));
  if (!can_single && !can_multipart) {
    return MakeStatus(RpcCode::kFailedPrecondition, "uploads are taken in a single request or in parts; the client offers neither");
  }
  ARROW_ASSIGN_OR_RAISE(const auto area, catalog_->staging());
  const auto most = static_cast<uint64_t>(area->options().max_object_bytes);
  if (size && *size > most) {
    return MakeStatus(RpcCode::kResourceExhausted,
                      "an object of " + std::to_string(*size) + " bytes is larger than the limit of " + std::to_string(most) + " bytes");
  }
  if (area->IsTaken(key)) return arrow::Status::AlreadyExists("object '", key, "' already exists");
  Grant grant;
  grant.storage_url = FileUrl(area->ObjectPath(key));
  if (can_single && !(can_multipart && size && *size >= kMultipartFromBytes)) {
    grant.expires_at_ns = NowNs() + int64_t{options_.grant_seconds} * 1'000'000'000;
    grant.single =
        PartRequest{std::string(kPathPrefix) + Sign({ClaimKind::kObject, grant.expires_at_ns, size, 0, RandomBytes(16), key}), true};
    return grant;
  }

  DropExpired();
  auto session = std::make_shared<Session>();
  session->id = RandomBytes(16);
  session->key = key;
  session->size = size;
  const uint64_t largest = size.value_or(most);
  session->part_bytes = std::max(options_.part_bytes, (largest + kMaxParts - 1) / kMaxParts);
  session->max_parts = static_cast<uint32_t>(std::max<uint64_t>(1, (largest + session->part_bytes - 1) / session->part_bytes));
  session->expires_at_ns = NowNs() + int64_t{options_.session_seconds} * 1'000'000'000;
  ARROW_ASSIGN_OR_RAISE(session->draft, area->NewDraft());
  grant.expires_at_ns = session->expires_at_ns;
  grant.part_bytes = session->part_bytes;
  grant.upload_token = Sign({ClaimKind::kSession, session->expires_at_ns, size, 0, session->id, key});
  const uint32_t first = size ? std::min(session->max_parts, kPartsWithGrant) : 1;
  for (uint32_t number = 1; number <= first; ++number) grant.parts.push_back(SignPart(*session, number));
  MutexLock lock(mutex_);
  if (sessions_.size() >= options_.max_sessions) {
    return MakeStatus(RpcCode::kResourceExhausted,
                      "there are " + std::to_string(sessions_.size()) + " uploads in parts already; complete or abort one first");
  }
  std::string id = session->id;
  sessions_.emplace(std::move(id), std::move(session));
  return grant;
}

void UploadGrants::DropExpired() {
  std::vector<std::shared_ptr<Session>> expired;  // their files are removed outside the lock
  const int64_t now_ns = NowNs();
  MutexLock lock(mutex_);
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    if (it->second->expires_at_ns > now_ns) {
      ++it;
      continue;
    }
    expired.push_back(std::move(it->second));
    it = sessions_.erase(it);
  }
}

arrow::Result<std::shared_ptr<UploadGrants::Session>> UploadGrants::FindSession(const std::string& upload_token) {
  const auto claims = Verify(upload_token);
  if (!claims.ok() || claims->kind != ClaimKind::kSession) {
    return MakeStatus(RpcCode::kInvalidArgument, "this is no token of an upload in parts");
  }
  DropExpired();
  MutexLock lock(mutex_);
  const auto it = sessions_.find(claims->id);
  return it == sessions_.end() ? nullptr : it->second;
}

arrow::Result<std::vector<UploadGrants::PartRequest>> UploadGrants::MakeParts(const std::string& upload_token,
                                                                              const std::vector<uint32_t>& numbers) {
  ARROW_ASSIGN_OR_RAISE(const auto session, FindSession(upload_token));
  if (numbers.empty()) return arrow::Status::Invalid("at least one part number is needed");
  if (numbers.size() > kMaxPartsPerCall) {
    return arrow::Status::Invalid("at most ", kMaxPartsPerCall, " parts can be asked for at once, not ", numbers.size());
  }
  if (!session) return Ended();
  std::set<uint32_t> seen;
  std::vector<PartRequest> requests;
  for (const uint32_t number : numbers) {
    if (number < 1 || number > session->max_parts) {
      return arrow::Status::Invalid("part ", number, " is not between 1 and ", session->max_parts);
    }
    if (!seen.insert(number).second) return arrow::Status::Invalid("part ", number, " is asked for twice");
    requests.push_back(SignPart(*session, number));
  }
  return requests;
}

arrow::Status UploadGrants::Complete(const std::string& upload_token, const std::vector<UploadedPart>& parts) {
  ARROW_ASSIGN_OR_RAISE(const auto session, FindSession(upload_token));
  if (parts.empty()) return arrow::Status::Invalid("an upload is completed with at least one part");
  if (!session) {
    ARROW_ASSIGN_OR_RAISE(const Claims claims, Verify(upload_token));
    MutexLock lock(mutex_);
    return completed_.contains(claims.id) ? arrow::Status::OK() : Ended();
  }
  uint64_t size = 0;
  {
    MutexLock lock(session->mutex);
    if (session->is_completing) {
      return MakeStatus(RpcCode::kFailedPrecondition, "the upload is being completed by another call");
    }
    if (!session->arriving.empty()) {
      return MakeStatus(RpcCode::kFailedPrecondition, "part " + std::to_string(*session->arriving.begin()) + " is still arriving");
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      const UploadedPart& part = parts[i];
      if (part.number != i + 1) {
        return arrow::Status::Invalid("parts must be 1, 2, … without gap; part ", part.number, " is where ", i + 1, " should be");
      }
      const auto arrived = session->arrived.find(part.number);
      if (arrived == session->arrived.end()) return arrow::Status::Invalid("part ", part.number, " has not arrived");
      if (!part.etag.empty() && part.etag != arrived->second.etag) {
        return arrow::Status::Invalid("part ", part.number, " has the ETag ", arrived->second.etag, ", not ", part.etag);
      }
      if (i + 1 < parts.size() && arrived->second.size != session->part_bytes) {
        return arrow::Status::Invalid("part ", part.number, " has ", arrived->second.size, " bytes; only the last may have other than ",
                                      session->part_bytes);
      }
      size += arrived->second.size;
    }
    if (session->size && size != *session->size) {
      return arrow::Status::Invalid("the parts have ", size, " bytes together; ", *session->size, " were announced");
    }
    session->is_completing = true;
  }
  arrow::Status status = session->draft->Truncate(static_cast<int64_t>(size));
  if (status.ok()) status = session->draft->PublishObject(session->key);
  if (!status.ok()) {
    MutexLock lock(session->mutex);
    session->is_completing = false;
    return Coded(status);
  }
  MutexLock lock(mutex_);
  sessions_.erase(session->id);
  if (completed_.insert(session->id).second) completed_order_.push_back(session->id);
  if (completed_order_.size() > kMaxCompleted) {
    completed_.erase(completed_order_.front());
    completed_order_.pop_front();
  }
  return arrow::Status::OK();
}

void UploadGrants::Abort(const std::string& upload_token) {
  const auto found = FindSession(upload_token);
  if (!found.ok() || !*found) return;
  MutexLock lock(mutex_);
  sessions_.erase((*found)->id);
}

// An object in one request.
class UploadGrants::SingleUpload final : public Upload {
 public:
  SingleUpload(std::string key, std::optional<uint64_t> size, std::unique_ptr<StagingArea::Draft> draft)
      : key_(std::move(key)), size_(size), draft_(std::move(draft)) {}

  arrow::Status Write(std::string_view bytes) override { return Coded(draft_->Append(bytes)); }

  arrow::Result<std::string> Finish() override {
    if (size_ && static_cast<uint64_t>(draft_->size()) != *size_) {
      return arrow::Status::Invalid("the body has ", draft_->size(), " bytes; the grant is for ", *size_);
    }
    ARROW_RETURN_NOT_OK(Coded(draft_->PublishObject(key_)));
    return std::string();
  }

 private:
  const std::string key_;
  const std::optional<uint64_t> size_;
  const std::unique_ptr<StagingArea::Draft> draft_;
};

// One part of an object.
class UploadGrants::PartUpload final : public Upload {
 public:
  static arrow::Result<std::unique_ptr<Upload>> Make(std::shared_ptr<Session> session, uint32_t number) {
    MutexLock lock(session->mutex);
    if (session->is_completing) return Ended();
    if (!session->arriving.insert(number).second) {
      return MakeStatus(RpcCode::kFailedPrecondition, "part " + std::to_string(number) + " is arriving by another request");
    }
    // Until it is whole again, it is not there.
    session->arrived.erase(number);
    return std::unique_ptr<Upload>(new PartUpload(session, number));
  }
  ~PartUpload() override {
    MutexLock lock(session_->mutex);
    session_->arriving.erase(number_);
  }

  arrow::Status Write(std::string_view bytes) override {
    if (size_ + bytes.size() > session_->part_bytes) {
      return MakeStatus(RpcCode::kResourceExhausted, "a part has at most " + std::to_string(session_->part_bytes) + " bytes");
    }
    const uint64_t offset = (number_ - 1) * session_->part_bytes + size_;
    ARROW_RETURN_NOT_OK(Coded(session_->draft->WriteAt(static_cast<int64_t>(offset), bytes)));
    size_ += bytes.size();
    hash_ = rrd::Xxh64(bytes, hash_);
    return arrow::Status::OK();
  }

  arrow::Result<std::string> Finish() override {
    if (size_ == 0 && number_ > 1) return arrow::Status::Invalid("part ", number_, " is empty");
    std::string text;
    PutNumber(hash_, &text);
    std::string etag = "\"" + ToUrlText(text) + "-" + std::to_string(size_) + "\"";
    MutexLock lock(session_->mutex);
    session_->arrived[number_] = {size_, etag};
    return etag;
  }

 private:
  PartUpload(std::shared_ptr<Session> session, uint32_t number) : session_(std::move(session)), number_(number) {}

  const std::shared_ptr<Session> session_;
  const uint64_t number_;
  uint64_t size_ = 0;
  uint64_t hash_ = 0;
};

arrow::Result<std::unique_ptr<UploadGrants::Upload>> UploadGrants::Begin(std::string_view path,
                                                                         std::optional<std::string_view> if_none_match,
                                                                         std::optional<uint64_t> length) {
  if (!path.starts_with(kPathPrefix)) return NotAGrant();
  ARROW_ASSIGN_OR_RAISE(const Claims claims, Verify(path.substr(kPathPrefix.size())));
  if (claims.kind == ClaimKind::kSession) return NotAGrant();
  if (claims.expires_at_ns <= NowNs()) return Denied("it has expired");
  if (claims.kind == ClaimKind::kPart) {
    std::shared_ptr<Session> session;
    {
      MutexLock lock(mutex_);
      const auto it = sessions_.find(claims.id);
      if (it == sessions_.end()) return Ended();
      session = it->second;
    }
    if (length && *length > session->part_bytes) {
      return MakeStatus(RpcCode::kResourceExhausted, "a part has at most " + std::to_string(session->part_bytes) + " bytes");
    }
    return PartUpload::Make(std::move(session), claims.part);
  }
  if (!if_none_match || *if_none_match != "*") return Denied("its header `if-none-match: *` is missing");
  if (length && claims.size && *length != *claims.size) {
    return arrow::Status::Invalid("the body has ", *length, " bytes; the grant is for ", *claims.size);
  }
  ARROW_ASSIGN_OR_RAISE(const auto area, catalog_->staging());
  if (length && *length > static_cast<uint64_t>(area->options().max_object_bytes)) {
    return MakeStatus(RpcCode::kResourceExhausted,
                      "the upload is larger than the limit of " + std::to_string(area->options().max_object_bytes) + " bytes");
  }
  if (area->IsTaken(claims.key)) return arrow::Status::AlreadyExists("object '", claims.key, "' already exists");
  const auto most = claims.size ? static_cast<int64_t>(*claims.size) : int64_t{-1};
  ARROW_ASSIGN_OR_RAISE(auto draft, area->NewDraft(most));
  return std::unique_ptr<Upload>(new SingleUpload(claims.key, claims.size, std::move(draft)));
}

int HttpStatusOf(const arrow::Status& status) {
  switch (wire::CodeOf(status)) {
    case RpcCode::kInvalidArgument:
      return 400;
    case RpcCode::kPermissionDenied:
      return 403;
    case RpcCode::kNotFound:
      return 404;
    case RpcCode::kFailedPrecondition:
      return 409;
    case RpcCode::kAlreadyExists:
      return 412;
    case RpcCode::kResourceExhausted:
      return status.message().find("larger than") != std::string::npos || status.message().starts_with("a part") ? 413 : 507;
    default:
      return 500;
  }
}

}  // namespace rushes
