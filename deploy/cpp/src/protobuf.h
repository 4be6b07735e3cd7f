// Reading protobuf without a library for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace temport::internal {

// The protobuf wire format: a sequence of (field number, wire type, payload).
class Message {
 public:
  Message(const uint8_t* bytes, size_t size) : next_(bytes), end_(bytes + size) {}
  explicit Message(std::string_view bytes) : Message(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) {}

  bool at_end() const { return next_ == end_; }

  // Steps over one field; `payload` is set for length-delimited ones and empty otherwise. False where the bytes are not
  // well formed.
  bool step(uint64_t& number, std::string_view& payload) {
    uint64_t value;
    return step(number, payload, value);
  }
  // The same; `value` is that of a varint, and without meaning for any other field.
  bool step(uint64_t& number, std::string_view& payload, uint64_t& value) {
    uint64_t tag;
    // Beyond 32 bits some readers drop the rest of a tag, and would see another field.
    if (!varint(tag) || tag > UINT32_MAX || tag >> 3 == 0) return false;
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

}  // namespace temport::internal
