// SHA-256 (FIPS 180-4), enough to check a file against its manifest without a dependency.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "sha256_blocks.h"

namespace temport::internal {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  void update(const void* data, size_t bytes);
  // Either one spends the object; hexadecimal is in lower case.
  Digest digest();
  std::string hex();

 private:
  void compress(const uint8_t* blocks, size_t count);

  Sha256State state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_{};
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

}  // namespace temport::internal
