// Functions of float32 vectors that are computed in double precision, half a vector at a time: where a float's 24 bits do
// not hold what is in between, and in functions that are rare enough to be short rather than quick.
#pragma once

#include "../native/simd.h"

namespace temport::TEMPORT_ISA {

constexpr int kHalf = kWidth / 2;
using Double = VectorOf<kHalf>::Double;
typedef int64_t Long __attribute__((vector_size(kHalf * 8)));

// f of double vectors, which takes a vector of each x.
template <typename F, typename... X>
TEMPORT_INLINE Float in_doubles(const F& f, const X&... x) {
  using Half = VectorOf<kHalf>::Float;
  Half halves[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const auto half = [i](const Float& whole) __attribute__((always_inline)) {
      Half parts[2];
      __builtin_memcpy(parts, &whole, sizeof whole);
      return __builtin_convertvector(parts[i], Double);
    };
    halves[i] = __builtin_convertvector(f(half(x)...), Half);
  }
  Float y;
  __builtin_memcpy(&y, halves, sizeof y);
  return y;
}

TEMPORT_INLINE Double select(Long mask, Double x, Double y) { return mask ? x : y; }
TEMPORT_INLINE Long bits(Double x) {
  Long y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}
TEMPORT_INLINE Double from_bits(Long x) {
  Double y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}
TEMPORT_INLINE Double magnitude(Double x) { return from_bits(bits(x) & INT64_MAX); }
TEMPORT_INLINE Double with_sign_of(Double magnitude, Double sign) {
  return from_bits(bits(magnitude) | (bits(sign) & INT64_MIN));
}
TEMPORT_INLINE Double sqrt(Double x) {
  for (int i = 0; i < kHalf; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
}

constexpr double kRounder = 6755399441055744.0;  // 1.5 * 2^52: a sum with it has the nearest whole number in its low bits
constexpr double kLog2EDouble = 1.4426950408889634074, kLn2Double = 0.69314718055994530942;

// 2^x, 0 or infinity once it is a float: far enough beyond the floats it stands still.
TEMPORT_INLINE Double exp2(Double x) {
  x = select(x > 300.0, Double{} + 300.0, x);
  x = select(x < -300.0, Double{} - 300.0, x);
  const Double shifted = x + kRounder, r = (x - (shifted - kRounder)) * kLn2Double;
  Double p = r * (1.0 / 362880) + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  return p * from_bits((bits(shifted) + 1023) << 52);
}

// log2(x) = n + log2(m) with m from sqrt(1/2) to sqrt(2), where log(m) = 2 artanh((m - 1) / (m + 1)).
TEMPORT_INLINE Double log2(Double x) {
  constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd;
  const Long given = bits(x), n = (given - kRootHalf) >> 52;
  const Double m = from_bits(given - (n << 52)), s = (m - 1.0) / (m + 1.0), z = s * s;
  Double p = z * (1.0 / 13) + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  p = p * z + 1.0;
  const Double whole = from_bits(n + 0x4338000000000000) - kRounder;
  const Double inside = whole + p * s * (2.0 * kLog2EDouble);
  const Double infinite = Double{} + __builtin_inf();
  const Double outside = select(x == 0.0, -infinite, select(x > 0.0, infinite, x * __builtin_nan("")));
  return select((x > 0.0) & (x < infinite), inside, outside);
}
TEMPORT_INLINE Double log(Double x) { return log2(x) * kLn2Double; }

// An angle as `quarters` * pi/2 + rest with |rest| <= pi/4.
struct Circular {
  Long quarters;
  Double rest;

  TEMPORT_INLINE Double of(Long quarter) const {
    const Double z = rest * rest;
    Double s = z * (-1.0 / 39916800) + 1.0 / 362880;
    s = s * z - 1.0 / 5040;
    s = s * z + 1.0 / 120;
    s = s * z - 1.0 / 6;
    Double c = z * (1.0 / 479001600) - 1.0 / 3628800;
    c = c * z + 1.0 / 40320;
    c = c * z - 1.0 / 720;
    c = c * z + 1.0 / 24;
    c = c * z - 0.5;
    const Double value = select((quarter & 1) != 0, c * z + 1.0, s * z * rest + rest);
    return from_bits(bits(value) ^ ((quarter & 2) << 62));
  }
  TEMPORT_INLINE Double sin() const { return of(quarters); }
  TEMPORT_INLINE Double cos() const { return of(quarters + 1); }
};

constexpr double kLarge = 1048576.0;  // up to here a quotient by pi/2 has so few bits that its first product is exact

// x = m 2^e beyond kLarge as in `Circular`: of m 2^e 2/pi only the bits from 2 on downwards count, so only 96 of 2/pi
// meet m (M. Payne and R. Hanek, 1983).
inline int64_t reduce_large(float x, double& rest) {
  constexpr uint32_t kTwoOverPi[] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                     0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
  uint32_t given;
  __builtin_memcpy(&given, &x, sizeof given);
  const int begin = int(given >> 23 & 0xff) - 150 + 30;  // of the bits, from 32 before the point: 2 in the product
  const uint64_t m = (given & 0x7fffff) | 0x800000;
  const auto word = [&](int i) {
    const uint64_t two = uint64_t{kTwoOverPi[begin / 32 + i]} << 32 | kTwoOverPi[begin / 32 + i + 1];
    return two << begin % 32 >> 32;
  };
  const uint64_t sum = (m * word(0) << 32) + m * word(1) + (m * word(2) >> 32);  // of quarters, 2^62 each
  const uint64_t nearest = sum + (uint64_t{1} << 61);
  rest = double(int64_t(nearest << 2 >> 2) - (int64_t{1} << 61)) * (1.57079632679489661923 / 4611686018427387904.0);
  if (x < 0) rest = -rest;
  return x < 0 ? -int64_t(nearest >> 62) : int64_t(nearest >> 62);
}

// f of the angles x as `Circular`.
template <typename F>
TEMPORT_INLINE Float circular(Float x, const F& f) {
  return in_doubles(
      [&](Double v) {
        const Double shifted = v * 0.63661977236758134308 + kRounder, n = shifted - kRounder;
        // pi/2 in two parts, the first of 33 bits
        Circular c{bits(shifted), v - n * 0x1.921fb544p+0 - n * 0x1.0b4611a626331p-34};
        for (int i = 0; i < kHalf; ++i)
          if ((v[i] > kLarge || v[i] < -kLarge) && v[i] - v[i] == 0.0) {
            double rest;
            c.quarters[i] = reduce_large(float(v[i]), rest);
            c.rest[i] = rest;
          }
        return f(c);
      },
      x);
}

}  // namespace temport::TEMPORT_ISA
