// The vector type of the instruction set this file is compiled for, and the few operations that plain vector
// arithmetic of GCC and Clang does not spell well. Everything lives in the namespace of the instruction set, so that
// no inline function of a wide one can be linked into a narrow one.
#pragma once

#include <stdint.h>

#include "intrinsics.h"
#include "problem.h"

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || __FINITE_MATH_ONLY__ > 0
#error "compile temport's kernels without -ffast-math and -ffinite-math-only: they look for NaN and infinity, and sums have an order"
#endif

namespace temport::TEMPORT_ISA {

// Floats per vector, and vectors per column panel: a tile of 6 rows of a panel has its sums in registers. Who packs
// weights before it compiles says how wide a panel is.
#if defined(__AVX512F__)
constexpr int kWidth = 16, kUsualPanelVectors = 4;  // of 32 registers
#elif defined(__AVX2__)
constexpr int kWidth = 8, kUsualPanelVectors = 2;  // of 16
#elif defined(__aarch64__)
constexpr int kWidth = 4, kUsualPanelVectors = 4;
#else
constexpr int kWidth = 4, kUsualPanelVectors = 2;
#endif
#ifdef TEMPORT_PANEL
constexpr int kPanelVectors = TEMPORT_PANEL / kWidth;
#else
constexpr int kPanelVectors = kUsualPanelVectors;
#endif
constexpr int kPanel = kWidth * kPanelVectors;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kFewRegisters = false;
#else
constexpr bool kFewRegisters = true;
#endif

template <int N>
struct VectorOf {
  typedef float Float __attribute__((vector_size(N * 4)));
  typedef int Int __attribute__((vector_size(N * 4)));  // what a comparison gives; int32_t may be a long
  typedef short Short __attribute__((vector_size(N * 2)));
  typedef int8_t Byte __attribute__((vector_size(N)));
  typedef double Double __attribute__((vector_size(N * 8)));
};
using Float = VectorOf<kWidth>::Float;
using Int = VectorOf<kWidth>::Int;

TEMPORT_INLINE Float load(const float* p) {
  Float x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
TEMPORT_INLINE Int load(const int32_t* p) {
  Int x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
TEMPORT_INLINE void store(float* p, Float x) { __builtin_memcpy(p, &x, sizeof x); }
// 0, 1, 2, ... in the lanes.
TEMPORT_INLINE Int lanes() {
  Int x{};
  for (int i = 0; i < kWidth; ++i) x[i] = i;
  return x;
}

// A vector of which only the first `count` floats are there; the others are 0.
TEMPORT_INLINE Float load_first(const float* p, int64_t count) {
  if (count >= kWidth) return load(p);
#if defined(__AVX512F__)
  return (Float)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
#elif defined(__AVX2__)
  return (Float)_mm256_maskload_ps(p, (__m256i)(lanes() < int32_t(count)));
#endif
  Float x{};
  __builtin_memcpy(&x, p, static_cast<size_t>(count) % kWidth * sizeof(float));
  return x;
}
TEMPORT_INLINE void store_first(float* p, Float x, int64_t count) {
  if (count >= kWidth) return store(p, x);
#if defined(__AVX512F__)
  return _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), (__m512)x);
#endif
  __builtin_memcpy(p, &x, static_cast<size_t>(count) % kWidth * sizeof(float));
}
TEMPORT_INLINE Float broadcast(float x) { return x - Float{}; }
TEMPORT_INLINE Int bits(Float x) {
  Int y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}
TEMPORT_INLINE Float from_bits(Int x) {
  Float y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}

// Lane by lane `mask ? x : y`; mask lanes are 0 or -1.
TEMPORT_INLINE Float select(Int mask, Float x, Float y) { return mask ? x : y; }

// The greater of a and b; b where either is NaN.
TEMPORT_INLINE Float max(Float a, Float b) {
#if defined(__AVX512F__)
  return (Float)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Float)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE4_2__)
  return (Float)_mm_max_ps((__m128)a, (__m128)b);
#else
  return select(a > b, a, b);
#endif
}

// The lesser of a and b; b where either is NaN.
TEMPORT_INLINE Float min(Float a, Float b) {
#if defined(__AVX512F__)
  return (Float)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Float)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE4_2__)
  return (Float)_mm_min_ps((__m128)a, (__m128)b);
#else
  return select(a < b, a, b);
#endif
}

// a * b + c, rounded once where the processor can. Engines are compiled with -ffp-contract=off: what is not written so
// is rounded twice by every compiler for every instruction set, and all that fuse here give the same bits.
#if defined(__FMA__) || defined(__aarch64__) || defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMAF)
TEMPORT_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
TEMPORT_INLINE Float fused(Float a, Float b, Float c) {
#if defined(__AVX512F__)
  return (Float)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (Float)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__x86_64__)
  return (Float)_mm_fmadd_ps((__m128)a, (__m128)b, (__m128)c);
#elif defined(__aarch64__)
  return (Float)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  for (int i = 0; i < kWidth; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#endif
}
#else
TEMPORT_INLINE float fused(float a, float b, float c) { return a * b + c; }
TEMPORT_INLINE Float fused(Float a, Float b, Float c) { return a * b + c; }
#endif
TEMPORT_INLINE Float fused(Float a, Float b, float c) { return fused(a, b, broadcast(c)); }
TEMPORT_INLINE Float fused(Float a, float b, float c) { return fused(a, broadcast(b), broadcast(c)); }

// A product whose rounding is kept: no compiler may fuse it with the sum that it goes into.
TEMPORT_INLINE Float as_rounded(Float product) {
#if defined(__AVX512F__)
  asm("" : "+v"(product));
#elif defined(__aarch64__)
  asm("" : "+w"(product));
#elif defined(__x86_64__)
  asm("" : "+x"(product));
#elif !defined(__wasm__)  // which has nothing to fuse with
  asm("" : "+m"(product));
#endif
  return product;
}

template <int N, typename Op>
TEMPORT_INLINE float reduce(typename VectorOf<N>::Float x, Op op) {
  if constexpr (N == 2) {
    return op(x[0], x[1]);
  } else {
    typename VectorOf<N / 2>::Float half[2];
    __builtin_memcpy(half, &x, sizeof x);
    return reduce<N / 2>(op(half[0], half[1]), op);
  }
}

struct Sum {
  template <typename V>
  TEMPORT_INLINE V operator()(V a, V b) const {
    return a + b;
  }
};
struct Greater {
  template <typename V>
  TEMPORT_INLINE V operator()(V a, V b) const {
    return a > b ? a : b;
  }
};
TEMPORT_INLINE float sum_of(Float x) { return reduce<kWidth>(x, Sum{}); }
TEMPORT_INLINE float max_of(Float x) { return reduce<kWidth>(x, Greater{}); }

// Long sums are made in one order, whatever the instruction set: element i goes to sum i mod kSums, in that many lanes,
// and these are added by halves.
constexpr int kSums = 16, kSumVectors = kSums / kWidth;
TEMPORT_INLINE float sum_of(Float (&sums)[kSumVectors]) {
#pragma GCC unroll 4
  for (int half = kSumVectors / 2; half > 0; half /= 2)
#pragma GCC unroll 4
    for (int c = 0; c < half; ++c) sums[c] += sums[c + half];
  return sum_of(sums[0]);
}

constexpr float kLog2E = 1.44269504088896341f;

// 2^(factor * x) for x <= 0 and a factor of 2^-100 to 2^100, to 2e-9 before rounding; NaN for NaN. From factor * x = -127
// down, -inf included, it is 0.
// factor * x = n + f with |f| <= 1/2; a degree-6 minimax polynomial with p(0) = 1 for 2^f, times 2^n, which is the float
// whose exponent field is n + 127: 0 for n = -127.
TEMPORT_INLINE Float exp2_nonpositive(Float x, float factor) {
  x = max(broadcast(-127.0f / factor), x);
  const Float rounder = broadcast(12582912.0f + 127.0f);  // 1.5 * 2^23: the sum with factor * x has n + 127 in the low bits
  const Float shifted = fused(x, broadcast(factor), rounder);
  const Float f = fused(x, broadcast(factor), rounder - shifted);
  Float p = fused(f, 0x1.41fbbcp-13f, 0x1.5f3e54p-10f);
  p = fused(p, f, 0x1.3b2d4cp-7f);
  p = fused(p, f, 0x1.c6aee8p-5f);
  p = fused(p, f, 0x1.ebfbdcp-3f);
  p = fused(p, f, 0x1.62e430p-1f);
  p = fused(p, f, 1.0f);
  return p * from_bits(bits(shifted) << 23);
}

}  // namespace temport::TEMPORT_ISA
