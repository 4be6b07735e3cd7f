#include "nonfinite.h"

#include <cstdint>
#include <cstring>

namespace temport::internal {
namespace {

// A floating-point number is not finite where all bits of its exponent are set; then a fraction makes it NaN.
template <class Bits>
std::optional<NonFinite> find(const void* data, size_t bytes, Bits exponent) {
  const auto fraction = static_cast<Bits>((exponent & (~exponent + 1)) - 1);  // the bits below
  for (size_t i = 0; i < bytes / sizeof(Bits); ++i) {
    Bits value;
    std::memcpy(&value, static_cast<const uint8_t*>(data) + i * sizeof(Bits), sizeof(Bits));
    if ((value & exponent) == exponent) return NonFinite{i, (value & fraction) != 0};
  }
  return std::nullopt;
}

}  // namespace

std::optional<NonFinite> first_nonfinite(temport_dtype dtype, const void* data, size_t bytes) {
  switch (dtype) {
    case TEMPORT_FLOAT16: return find<uint16_t>(data, bytes, 0x7c00);
    case TEMPORT_BFLOAT16: return find<uint16_t>(data, bytes, 0x7f80);
    case TEMPORT_FLOAT32: return find<uint32_t>(data, bytes, 0x7f800000);
    case TEMPORT_FLOAT64: return find<uint64_t>(data, bytes, 0x7ff0000000000000);
    default: return std::nullopt;
  }
}

}  // namespace temport::internal
