#include "rushes/catalog/entry_name.h"

#include <cctype>
#include <cinttypes>
#include <cstdio>

namespace rushes {

arrow::Status ValidateEntryName(std::string_view name) {
  if (name.empty()) return arrow::Status::Invalid("Invalid entry name: must not be empty");
  if (name.size() > kMaxEntryNameBytes) {
    return arrow::Status::Invalid("Invalid entry name: exceeds maximum length of ", kMaxEntryNameBytes, " characters (got ", name.size(),
                                  ")");
  }
  for (size_t i = 0; i < name.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(name[i]);
    if (std::isalnum(c) || std::string_view("_-. []:").find(name[i]) != std::string_view::npos) continue;
    // The whole UTF-8 character, not its first byte, so that the message is valid text.
    size_t length = 1;
    while (c >= 0xC0 && i + length < name.size() && (static_cast<unsigned char>(name[i + length]) & 0xC0) == 0x80) ++length;
    return arrow::Status::Invalid("Invalid entry name: '", name, "' contains invalid character '", name.substr(i, length),
                                  "'; allowed are ASCII letters, digits, '_', '-', '.', ' ', '[', ']' and ':'");
  }
  return arrow::Status::OK();
}

std::string EntryIdText(EntryId id) {
  char text[33];
  std::snprintf(text, sizeof(text), "%016" PRIX64 "%016" PRIx64, id.time_ns, id.counter);
  return text;
}

std::string BlueprintDatasetName(EntryId owner) { return "__bp_" + EntryIdText(owner); }
std::string AssetDatasetName(EntryId owner) { return "__as_" + EntryIdText(owner); }

}  // namespace rushes
