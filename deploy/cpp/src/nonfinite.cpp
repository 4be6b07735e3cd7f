#include "nonfinite.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace temport::internal {
namespace {

// Nearly always all is finite, which vector instructions see where no element ends the loop early.
constexpr size_t kBlock = 64;

// A floating-point number is not finite where all bits of its exponent are set; then a fraction makes it NaN.
template <class Bits>
std::optional<NonFinite> find(const void* data, size_t bytes, Bits exponent) {
  const auto fraction = static_cast<Bits>((exponent & (~exponent + 1)) - 1);  // the bits below
  const auto value_at = [&](size_t i) {
    Bits value;
    std::memcpy(&value, static_cast<const uint8_t*>(data) + i * sizeof(Bits), sizeof(Bits));
    return value;
  };
  const auto is_bad = [&](Bits value) { return static_cast<Bits>((value & exponent) == exponent); };
  const size_t count = bytes / sizeof(Bits);
  for (size_t block = 0; block < count; block += kBlock) {
    const size_t end = std::min(block + kBlock, count);
    Bits bad = 0;
    for (size_t i = block; i < end; ++i) bad |= is_bad(value_at(i));
    for (size_t i = block; bad && i < end; ++i)
      if (is_bad(value_at(i))) return NonFinite{i, (value_at(i) & fraction) != 0};
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
