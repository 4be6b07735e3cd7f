#include "sha256.h"

#include <algorithm>
#include <cstring>

namespace temport::internal {

void Sha256::compress(const uint8_t* blocks, size_t count) {
  const auto fast = sha256_blocks_of_processor();
  (fast ? fast : sha256_blocks_plain)(state_, blocks, count);
}

void Sha256::update(const void* data, size_t bytes) {
  const auto* next = static_cast<const uint8_t*>(data);
  total_ += bytes;
  while (bytes > 0) {
    if (filled_ == 0 && bytes >= block_.size()) {
      const size_t whole = bytes / block_.size();
      compress(next, whole);
      next += whole * block_.size();
      bytes -= whole * block_.size();
      continue;
    }
    const size_t take = std::min(bytes, block_.size() - filled_);
    std::memcpy(block_.data() + filled_, next, take);
    filled_ += take;
    next += take;
    bytes -= take;
    if (filled_ == block_.size()) {
      compress(block_.data(), 1);
      filled_ = 0;
    }
  }
}

Digest Sha256::digest() {
  const uint64_t bits = total_ * 8;
  const uint8_t one = 0x80, zero = 0;
  update(&one, 1);
  while (filled_ != 56) update(&zero, 1);
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  update(length, 8);
  Digest bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return bytes;
}

std::string Sha256::hex() {
  std::string text;
  for (const uint8_t byte : digest()) text += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return text;
}

}  // namespace temport::internal
