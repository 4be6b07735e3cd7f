// Numbers of half precision in what a caller gives and gets; inside an engine they are float32.
#pragma once

#include "../native/convert.h"
#include "elements.h"

namespace temport::TEMPORT_ISA {

struct Half {
  uint16_t bits;
  Half() = default;
  explicit Half(float x) : bits(float_to_half(x)) {}
  explicit operator float() const { return half_to_float(bits); }
};
template <>
constexpr bool kFloating<Half> = true;
inline uint16_t* bits_of(Half* x) { return &x->bits; }
inline const uint16_t* bits_of(const Half* x) { return &x->bits; }

// Whether n numbers are all finite: the exponent of one that is not is all ones.
inline bool all_finite(const Half* x, int64_t n) {
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) finite &= (x[i].bits & 0x7c00) != 0x7c00;
  return finite;
}

}  // namespace temport::TEMPORT_ISA
