#include "onnx_metadata.h"

#include "protobuf.h"

namespace temport::internal {
namespace {

constexpr uint64_t kMetadataProps = 14, kKey = 1, kValue = 2;

}  // namespace

Result<std::map<std::string, std::string>> read_onnx_metadata(const uint8_t* bytes, size_t size) {
  const auto malformed = [] { return refused("it is not an ONNX model"); };
  std::map<std::string, std::string> metadata;
  Message model(bytes, size);
  while (!model.at_end()) {
    uint64_t number;
    std::string_view entry;
    if (!model.step(number, entry)) return malformed();
    if (number != kMetadataProps) continue;
    Message pair(reinterpret_cast<const uint8_t*>(entry.data()), entry.size());
    std::string key, value;
    while (!pair.at_end()) {
      std::string_view text;
      if (!pair.step(number, text)) return malformed();
      if (number == kKey) key = text;
      if (number == kValue) value = text;
    }
    metadata[key] = value;
  }
  return metadata;
}

}  // namespace temport::internal
