// The compression function of SHA-256 over whole blocks of 64 bytes, by the processor's own instructions where it has them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace temport::internal {

using Sha256State = std::array<uint32_t, 8>;
using Sha256Blocks = void (*)(Sha256State& state, const uint8_t* blocks, size_t count);

// FIPS 180-4, 6.2.2, as it stands there and as native engines have it: what the others are tested against.
void sha256_blocks_plain(Sha256State& state, const uint8_t* blocks, size_t count);

// Intel's SHA extensions or ARMv8's Cryptography Extension; null where this processor or build has neither.
Sha256Blocks sha256_blocks_of_processor();

}  // namespace temport::internal
