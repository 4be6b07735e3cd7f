// The activations of dense layers and gates. A NaN stays one: a state that has become NaN must not turn into a number again.
#pragma once

#include "simd.h"

namespace temport::TEMPORT_ISA {

// exp(x) for x <= 0.
TEMPORT_INLINE Float exp_nonpositive(Float x) { return exp2_nonpositive(x, kLog2E); }

TEMPORT_INLINE Float magnitude(Float x) { return from_bits(bits(x) & 0x7fffffff); }

TEMPORT_INLINE Float sigmoid(Float x) {
  const Float e = exp_nonpositive(-magnitude(x));
  return select(x < 0.0f, e, broadcast(1.0f)) / (1.0f + e);
}

// Near 0 a Taylor polynomial, for 1 - exp(-2|x|) cancels there.
TEMPORT_INLINE Float tanh(Float x) {
  const Float e = exp_nonpositive(magnitude(x) * -2.0f);
  const Float far = (1.0f - e) / (1.0f + e), z = x * x;
  Float p = fused(z, 62.0f / 2835.0f, -17.0f / 315.0f);
  p = fused(p, z, 2.0f / 15.0f);
  p = fused(p, z, -1.0f / 3.0f);
  return select(z < 0.0625f, fused(x * z, p, x), select(x < 0.0f, -far, far));
}

// The normal distribution function at -t, for t >= 0: exp(-t^2 / 2) times a polynomial in r = 1 / (1 + 0.3 t) without a
// constant term, to 1.2e-7 of it. Beyond 13 it is 0.
TEMPORT_INLINE Float normal_tail(Float t) {
  const Float r = 1.0f / fused(t, 0.3f, 1.0f), r2 = r * r;
  const Float a = fused(r, 0x1.eefbd0p-4f, 0x1.e9fa14p-4f), b = fused(r, 0x1.0b18a6p-3f, 0x1.96ec76p-4f);
  const Float c = fused(r, 0x1.ae5434p-3f, -0x1.d456fep-5f), d = fused(r, 0x1.2882f4p-5f, -0x1.46690ep-3f);
  const Float p = fused(fused(d, r2, c), r2 * r2, fused(b, r2, a));
  return p * r * exp2_nonpositive(-(t * t), 0.7213475204444817f);
}

// x times the normal distribution function: max(x, 0) - |x| tail(|x|).
TEMPORT_INLINE Float gelu(Float x) {
  const Float t = min(magnitude(x), broadcast(16.0f));
  return fused(-t, normal_tail(t), max(Float{}, x));
}

// x sigmoid(x). The sigmoid ends at 0, and 0 times -inf would be NaN.
TEMPORT_INLINE Float silu(Float x) { return max(broadcast(-128.0f), x) * sigmoid(x); }

template <Activation A>
TEMPORT_INLINE Float activate(Float x) {
  if constexpr (A == Activation::kRelu) return select(x < 0.0f, Float{}, x);
  if constexpr (A == Activation::kGelu) return gelu(x);
  if constexpr (A == Activation::kSigmoid) return sigmoid(x);
  if constexpr (A == Activation::kSilu) return silu(x);
  return x;
}

}  // namespace temport::TEMPORT_ISA
