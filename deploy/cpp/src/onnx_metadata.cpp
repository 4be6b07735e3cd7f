#include "onnx_metadata.h"

namespace temport::internal {
namespace {

constexpr uint64_t kMetadataProps = 14, kKey = 1, kValue = 2;

// The protobuf wire format: a sequence of (field number, wire type, payload).
class Message {
 public:
  Message(const uint8_t* bytes, size_t size) : next_(bytes), end_(bytes + size) {}

  bool at_end() const { return next_ == end_; }

  // Steps over one field; `payload` is set for length-delimited ones and empty otherwise.
  bool step(uint64_t& number, std::string_view& payload) {
    uint64_t tag, value;
    if (!varint(tag)) return false;
    number = tag >> 3;
    payload = {};
    switch (tag & 7) {
      case 0: return varint(value);
      case 1: return skip(8);
      case 5: return skip(4);
      case 2:
        if (!varint(value) || value > static_cast<uint64_t>(end_ - next_)) return false;
        payload = {reinterpret_cast<const char*>(next_), static_cast<size_t>(value)};
        return skip(value);
      default: return false;  // groups (3, 4) are not part of proto3
    }
  }

 private:
  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && next_ != end_; shift += 7) {
      const uint8_t byte = *next_++;
      value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) return true;
    }
    return false;
  }
  bool skip(uint64_t count) {
    if (count > static_cast<uint64_t>(end_ - next_)) return false;
    next_ += count;
    return true;
  }

  const uint8_t* next_;
  const uint8_t* end_;
};

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
