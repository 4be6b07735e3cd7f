// Functions of float32 vectors to a few units in the last place. Overflow is infinity, what is outside a domain NaN, and a
// NaN stays one. Numbers below 2^-126 are 0, in and out, as in all of an engine.
#pragma once

#include "../native/activations.h"
#include "doubles.h"

namespace temport::TEMPORT_ISA {

TEMPORT_INLINE Float with_sign_of(Float magnitude, Float sign) {
  return from_bits((bits(magnitude) & 0x7fffffff) | (bits(sign) & int32_t(0x80000000)));
}
TEMPORT_INLINE Float nan_of() { return broadcast(__builtin_nanf("")); }

TEMPORT_INLINE Float sqrt(Float x) {
#if defined(__AVX512F__)
  return (Float)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (Float)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE4_2__)
  return (Float)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
  return (Float)vsqrtq_f32((float32x4_t)x);
#else
  for (int i = 0; i < kWidth; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// The greater and the lesser of two, NaN where either is.
TEMPORT_INLINE Float maximum(Float a, Float b) { return select(a != a, a, max(a, b)); }
TEMPORT_INLINE Float minimum(Float a, Float b) { return select(a != a, a, min(a, b)); }

// The nearest whole number, the even one of two. From 2^23 on every float is whole.
TEMPORT_INLINE Float round(Float x) {
  const Float t = magnitude(x), rounder = broadcast(8388608.0f);
  return select(t < rounder, with_sign_of(as_rounded(t + rounder) - rounder, x), x);
}
TEMPORT_INLINE Float floor(Float x) {
  const Float nearest = round(x);
  return with_sign_of(select(nearest > x, nearest - 1.0f, nearest), x);
}
TEMPORT_INLINE Float ceil(Float x) { return -floor(-x); }
TEMPORT_INLINE Float sign(Float x) {
  return select(x > 0.0f, broadcast(1.0f), select(x < 0.0f, broadcast(-1.0f), x));
}

// exp(x) = 2^n exp(r) with |r| <= log(2) / 2, where n log(2) is taken from x in two parts, the first of few bits; the Taylor
// polynomial of degree 7; 2^n in two factors, since it may be no float where the result is one.
TEMPORT_INLINE Float exp(Float x) {
  x = min(broadcast(89.0f), max(broadcast(-104.0f), x));
  const Float rounder = broadcast(12582912.0f);
  const Float shifted = fused(x, broadcast(kLog2E), rounder), n = shifted - rounder;
  const Float r = fused(n, broadcast(2.12194440e-4f), fused(n, broadcast(-0.693359375f), x));
  Float p = fused(r, 1.0f / 5040.0f, 1.0f / 720.0f);
  p = fused(p, r, 1.0f / 120.0f);
  p = fused(p, r, 1.0f / 24.0f);
  p = fused(p, r, 1.0f / 6.0f);
  p = fused(p, r, 0.5f);
  p = fused(p, r, 1.0f);
  p = fused(p, r, 1.0f);
  const Int whole = bits(shifted) - 0x4b400000, half = whole >> 1;
  return p * from_bits((half + 127) << 23) * from_bits((whole - half + 127) << 23);
}

// exp(x) - 1, near 0 by its Taylor polynomial.
TEMPORT_INLINE Float expm1(Float x) {
  Float p = fused(x, 1.0f / 40320.0f, 1.0f / 5040.0f);
  p = fused(p, x, 1.0f / 720.0f);
  p = fused(p, x, 1.0f / 120.0f);
  p = fused(p, x, 1.0f / 24.0f);
  p = fused(p, x, 1.0f / 6.0f);
  p = fused(p, x, 0.5f);
  return select(magnitude(x) < 0.5f, x + x * x * p, exp(x) - 1.0f);
}

// log(x) = n log(2) + log(1 + f) with 1 + f from sqrt(1/2) to sqrt(2), and f - f^2 / 2 + f^3 times a polynomial for the
// latter (S. L. Moshier, Cephes, logf).
TEMPORT_INLINE Float log(Float x) {
  const Int given = bits(x), n = (given - 0x3f3504f3) >> 23;
  const Float f = from_bits(given - (n << 23)) - 1.0f, z = f * f;
  Float p = fused(f, 7.0376836292e-2f, -1.1514610310e-1f);
  p = fused(p, f, 1.1676998740e-1f);
  p = fused(p, f, -1.2420140846e-1f);
  p = fused(p, f, 1.4249322787e-1f);
  p = fused(p, f, -1.6668057665e-1f);
  p = fused(p, f, 2.0000714765e-1f);
  p = fused(p, f, -2.4999993993e-1f);
  p = fused(p, f, 3.3333331174e-1f);
  const Float e = __builtin_convertvector(n, Float);
  const Float rest = p * f * z + e * -2.12194440e-4f - z * 0.5f;
  const Float inside = fused(e, broadcast(0.693359375f), f + rest);
  const Float infinite = broadcast(__builtin_inff());
  const Float outside = select(x == 0.0f, -infinite, select(x > 0.0f, infinite, nan_of()));
  return select((x > 0.0f) & (x < infinite), inside, outside);
}

// log(1 + x): what the sum lost when it was rounded is put back, divided by the sum.
TEMPORT_INLINE Float log1p(Float x) {
  const Float sum = x + 1.0f, lost = select(x < 1.0f, x - (sum - 1.0f), 1.0f - (sum - x));
  return select(sum < 1e30f, log(sum) + select(sum > 0.0f, lost / sum, Float{}), log(sum));
}

// Near 0 the Taylor polynomial; else from the tail of the normal distribution.
TEMPORT_INLINE Float erf(Float x) {
  const Float z = x * x;
  Float p = fused(z, -1.0f / 75600.0f, 1.0f / 9360.0f);
  p = fused(p, z, -1.0f / 1320.0f);
  p = fused(p, z, 1.0f / 216.0f);
  p = fused(p, z, -1.0f / 42.0f);
  p = fused(p, z, 1.0f / 10.0f);
  p = fused(p, z, -1.0f / 3.0f);
  constexpr float kTwoOverRootPi = 1.12837916709551257f;
  const Float far = 1.0f - 2.0f * normal_tail(min(broadcast(16.0f), magnitude(x) * 1.41421356237309505f));
  return select(z < 0.49f, x * kTwoOverRootPi + x * kTwoOverRootPi * (z * p), with_sign_of(far, x));
}

// Polynomials of Cephes, asinf and atanf.
TEMPORT_INLINE Float small_asin(Float x, Float z) {
  Float p = fused(z, 4.2163199048e-2f, 2.4181311049e-2f);
  p = fused(p, z, 4.5470025998e-2f);
  p = fused(p, z, 7.4953002686e-2f);
  p = fused(p, z, 1.6666752422e-1f);
  return p * z * x + x;
}
constexpr float kHalfPi = 1.57079632679489662f, kHalfPiRest = -4.37113883e-8f;
// From 1/2 on, asin(t) = pi/2 - 2 asin(sqrt((1 - t) / 2)).
TEMPORT_INLINE Float asin(Float x) {
  const Float t = magnitude(x), z = (1.0f - t) * 0.5f;
  const Float far = kHalfPi - (2.0f * small_asin(sqrt(z), z) - kHalfPiRest);
  return select(t < 0.5f, small_asin(x, x * x), with_sign_of(far, x));
}
TEMPORT_INLINE Float acos(Float x) {
  const Float t = magnitude(x), z = (1.0f - t) * 0.5f, far = 2.0f * small_asin(sqrt(z), z);
  const Float near = kHalfPi - (small_asin(x, x * x) - kHalfPiRest);
  return select(t < 0.5f, near, select(x < 0.0f, 2.0f * kHalfPi - (far - 2.0f * kHalfPiRest), far));
}
TEMPORT_INLINE Float atan(Float x) {
  const Float t = magnitude(x);
  const auto large = t > 2.414213562373095f, middle = t > 0.4142135623730950f;
  const Float u = select(large, -1.0f / t, select(middle, (t - 1.0f) / (t + 1.0f), t)), z = u * u;
  const Float base = select(large, broadcast(kHalfPi), select(middle, broadcast(kHalfPi / 2), Float{}));
  Float p = fused(z, 8.05374449538e-2f, -1.38776856032e-1f);
  p = fused(p, z, 1.99777106478e-1f);
  p = fused(p, z, -3.33329491539e-1f);
  return with_sign_of(base + (p * z * u + u), x);
}

TEMPORT_INLINE Float sin(Float x) { return circular(x, [](const Circular& c) { return c.sin(); }); }
TEMPORT_INLINE Float cos(Float x) { return circular(x, [](const Circular& c) { return c.cos(); }); }
TEMPORT_INLINE Float tan(Float x) { return circular(x, [](const Circular& c) { return c.sin() / c.cos(); }); }

// In double precision, where only what cancels near 0 has to be spelled out.
TEMPORT_INLINE Float sinh(Float x) {
  return in_doubles(
      [](Double v) {
        const Double z = v * v, e = exp2(v * kLog2EDouble);
        return select(z < 0.25, v + v * z * (1.0 / 6 + z * (1.0 / 120 + z * (1.0 / 5040 + z * (1.0 / 362880)))),
                      (e - 1.0 / e) * 0.5);
      },
      x);
}
TEMPORT_INLINE Float cosh(Float x) {
  return in_doubles(
      [](Double v) {
        const Double e = exp2(v * kLog2EDouble);
        return (e + 1.0 / e) * 0.5;
      },
      x);
}
TEMPORT_INLINE Float asinh(Float x) {
  return in_doubles(
      [](Double v) {
        const Double t = magnitude(v), z = v * v;
        return with_sign_of(select(z < 1e-6, t - t * z * (1.0 / 6), log(t + sqrt(z + 1.0))), v);
      },
      x);
}
TEMPORT_INLINE Float acosh(Float x) {
  return in_doubles(
      [](Double v) { return select(v < 1.0, v * __builtin_nan(""), log(v + sqrt(v * v - 1.0))); }, x);
}
TEMPORT_INLINE Float atanh(Float x) {
  return in_doubles(
      [](Double v) {
        const Double z = v * v;
        return select(z < 1e-6, v + v * z * (1.0 / 3), 0.5 * log((1.0 + v) / (1.0 - v)));
      },
      x);
}

// As IEEE 754 has it: 1 where b is 0 or a is 1, whatever the other is; a below 0 only with whole b.
TEMPORT_INLINE Float pow(Float a, Float b) {
  const Float size = in_doubles([](Double t, Double e) { return exp2(e * log2(t)); }, magnitude(a), b);
  const Float t = magnitude(b), below = floor(t * 0.5f) * 2.0f;  // the even number from which an odd one is 1 away
  const auto whole = (floor(t) == t) | (t > 8388608.0f), odd = (t - below == 1.0f) & (t < 16777216.0f);
  const Float negative = select(odd, -size, select(whole, size, nan_of()));
  const auto end = (a == 0.0f) | (a < -3.4028234e38f);  // whose powers are there for every b
  const Float power = select(bits(a) < 0, select(end, select(odd, -size, size), negative), size);
  const auto one = (b == 0.0f) | (a == 1.0f) | ((a == -1.0f) & (t > 3.4028234e38f));
  return select(one, broadcast(1.0f), select((a != a) | (b != b), a + b, power));
}

// Activations that custom_ops/native/activations.h has no need of.
TEMPORT_INLINE Float softplus(Float x) { return max(Float{}, x) + log1p(exp(-magnitude(x))); }
// x tanh(softplus(x)), in which tanh(log(1 + e)) is a quotient; with exp(-|x|), which does not overflow.
TEMPORT_INLINE Float mish(Float x) {
  const Float e = exp(-magnitude(x)), square = e * e;
  const Float top = select(x < 0.0f, square + 2.0f * e, 1.0f + 2.0f * e);
  const Float below = select(x < 0.0f, top + 2.0f, top + 2.0f * square);
  return max(broadcast(-128.0f), x) * (top / below);
}
TEMPORT_INLINE Float swish(Float x, float alpha) { return alpha == 1.0f ? silu(x) : x * sigmoid(x * alpha); }
TEMPORT_INLINE Float elu(Float x, float alpha) { return select(x < 0.0f, expm1(x) * alpha, x); }
TEMPORT_INLINE Float celu(Float x, float alpha) { return select(x < 0.0f, expm1(x / alpha) * alpha, x); }
TEMPORT_INLINE Float gelu_none(Float x) { return gelu(x); }
// x (1 + tanh(u)) / 2 = x sigmoid(2 u)
TEMPORT_INLINE Float gelu_tanh(Float x) {
  return max(broadcast(-128.0f), x) * sigmoid(x * (x * x * 0.044715f + 1.0f) * 1.59576912160573071f);
}
TEMPORT_INLINE Float hard_sigmoid(Float x, float alpha, float beta) {
  return max(Float{}, min(broadcast(1.0f), x * alpha + beta));
}
TEMPORT_INLINE Float shrink(Float x, float lambda, float bias) {
  return select(x < -lambda, x + bias, select(x > lambda, x - bias, Float{}));
}

}  // namespace temport::TEMPORT_ISA
