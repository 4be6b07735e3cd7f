// Rows of any element type to float32 and back.
#pragma once

#include "simd.h"

namespace temport::TEMPORT_ISA {

TEMPORT_INLINE float half_to_float(uint16_t h) {
  // Exponent and mantissa moved in place, and the exponent's bias of 15 made 127. Subnormals are counted in units of 2^-24:
  // no number on the way is a subnormal float, which engines take for zero.
  const uint32_t sign = uint32_t(h & 0x8000) << 16, magnitude = h & 0x7fff;
  float x = float(int32_t(magnitude)) * 0x1p-24f;
  uint32_t out;
  __builtin_memcpy(&out, &x, 4);
  if (magnitude >= 0x400) out = (magnitude << 13) + 0x38000000;
  if (magnitude >= 0x7c00) out |= 0x7f800000;  // infinity and NaN
  out |= sign;
  __builtin_memcpy(&x, &out, 4);
  return x;
}

TEMPORT_INLINE uint16_t float_to_half(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  const uint32_t sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);  // rounds to 65536 or above
  if (magnitude < 0x38800000) {  // subnormal: adding 1/2 aligns the mantissa to units of 2^-24, rounded to even
    float m;
    __builtin_memcpy(&m, &magnitude, 4);
    m += 0.5f;
    uint32_t r;
    __builtin_memcpy(&r, &m, 4);
    return uint16_t(sign | (r - 0x3f000000));
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return uint16_t(sign | ((rounded - 0x38000000) >> 13));
}

TEMPORT_INLINE uint16_t float_to_bfloat(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  if ((u & 0x7fffffff) > 0x7f800000) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

TEMPORT_INLINE Float load_halves(const uint16_t* p) {
#if defined(__AVX512F__)
  return (Float)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  return (Float)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#elif defined(__aarch64__)
  return (Float)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
  VectorOf<kWidth>::Short halves;  // as half_to_float
  __builtin_memcpy(&halves, p, sizeof halves);
  const Int h = __builtin_convertvector(halves, Int), magnitude = h & 0x7fff;
  const Int subnormal = bits(__builtin_convertvector(magnitude, Float) * 0x1p-24f);
  const Int number = magnitude < 0x400 ? subnormal : (magnitude << 13) + 0x38000000;
  return from_bits(number | ((magnitude >= 0x7c00) & 0x7f800000) | (h & int32_t(0x80000000)));
#endif
}

TEMPORT_INLINE void store_halves(uint16_t* p, Float x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x)));
#else
  for (int i = 0; i < kWidth; ++i) p[i] = float_to_half(x[i]);
#endif
}

TEMPORT_INLINE float to_float(const void* data, DType dtype, int64_t i) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(data)[i];
  const uint16_t h = static_cast<const uint16_t*>(data)[i];
  if (dtype == DType::kFloat16) return half_to_float(h);
  const uint32_t u = uint32_t(h) << 16;
  float x;
  __builtin_memcpy(&x, &u, 4);
  return x;
}

// dst[0, n) = scale * src[i], then zeros up to the next whole vector. What is left behind whole vectors is counted by lanes:
// a compiler sees that these are few, and takes no sum of the numbers before for one that may overflow.
inline void load_row(const void* src, DType dtype, int64_t i, int64_t n, float scale, float* dst) {
  int64_t j = 0;
  switch (dtype) {
    case DType::kFloat32:
      for (const float* p = static_cast<const float*>(src) + i; j + kWidth <= n; j += kWidth)
        store(dst + j, load(p + j) * scale);
      break;
    case DType::kFloat16:
      for (const uint16_t* p = static_cast<const uint16_t*>(src) + i; j + kWidth <= n; j += kWidth)
        store(dst + j, load_halves(p + j) * scale);
      break;
    case DType::kBFloat16:
      for (const uint16_t* p = static_cast<const uint16_t*>(src) + i; j + kWidth <= n; j += kWidth) {
        Int x;
        for (int l = 0; l < kWidth; ++l) x[l] = int32_t(uint32_t(p[j + l]) << 16);
        store(dst + j, from_bits(x) * scale);
      }
      break;
  }
  if (j < n) {
    float tail[kWidth] = {};
    for (int l = 0; l < kWidth && j + l < n; ++l) tail[l] = to_float(src, dtype, i + j + l) * scale;
    store(dst + j, load(tail));
  }
}

// dst[i + j] = factor * src[j] for j in [0, n).
inline void store_row(const float* src, float factor, int64_t n, DType dtype, void* dst, int64_t i) {
  int64_t j = 0;
  if (dtype == DType::kFloat32) {
    float* out = static_cast<float*>(dst) + i;
    for (; j + kWidth <= n; j += kWidth) store(out + j, load(src + j) * factor);
    for (int l = 0; l < kWidth && j + l < n; ++l) out[j + l] = src[j + l] * factor;
    return;
  }
  uint16_t* out = static_cast<uint16_t*>(dst) + i;
  if (dtype == DType::kFloat16) {
    for (; j + kWidth <= n; j += kWidth) store_halves(out + j, load(src + j) * factor);
    for (int l = 0; l < kWidth && j + l < n; ++l) out[j + l] = float_to_half(src[j + l] * factor);
  } else {
    for (; j < n; ++j) out[j] = float_to_bfloat(src[j] * factor);
  }
}

}  // namespace temport::TEMPORT_ISA
