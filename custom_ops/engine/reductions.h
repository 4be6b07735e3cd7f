// Sums and other reductions over an axis, and running sums.
//
// Floats that lie next to each other are reduced in kSums lanes, as simd.h says; others in the order of the entries.
#pragma once

#include "elements.h"

namespace temport::TEMPORT_ISA {

TEMPORT_INLINE float sqrt(float x) { return __builtin_sqrtf(x); }
TEMPORT_INLINE float log(float x) { return log(broadcast(x))[0]; }

// A kind of reduction: what it begins with, what it takes of an entry, how it joins two, and what it makes of n of them.
// T is a vector of floats, or any element.
struct Sums {
  template <typename T>
  TEMPORT_INLINE static T first() { return T{}; }
  template <typename T>
  TEMPORT_INLINE static T entry(T a) { return a; }
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return T(a + b); }
  template <typename T>
  TEMPORT_INLINE static T last(T a, int64_t) { return a; }
};
struct Means : Sums {
  template <typename T>
  TEMPORT_INLINE static T last(T a, int64_t n) {
    if constexpr (!kFloating<T>) return T(a / n);
    else return a / float(n);
  }
};
struct Magnitudes : Sums {
  template <typename T>
  TEMPORT_INLINE static T entry(T a) { return magnitude(a); }
};
struct Squares : Sums {
  template <typename T>
  TEMPORT_INLINE static T entry(T a) { return T(a * a); }
};
struct Lengths : Squares {
  template <typename T>
  TEMPORT_INLINE static T last(T a, int64_t) { return sqrt(a); }
};
struct LogSums : Sums {
  template <typename T>
  TEMPORT_INLINE static T last(T a, int64_t) { return log(a); }
};
struct Products : Sums {
  template <typename T>
  TEMPORT_INLINE static T first() { return T{} + T(1); }
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return T(a * b); }
};
template <>
TEMPORT_INLINE Float Products::first<Float>() { return broadcast(1.0f); }

// The least number of a type, or the greatest: of floats an infinity.
template <typename T>
TEMPORT_INLINE T lowest() {
  if constexpr (!kFloating<T>) return kSigned<T> ? T(T(1) << (8 * sizeof(T) - 1)) : T(0);
  else return T{} - __builtin_inff();
}
template <typename T>
TEMPORT_INLINE T highest() {
  if constexpr (kSame<T, bool>) return true;
  else if constexpr (!kFloating<T>) return T(~lowest<T>());
  else return T{} + __builtin_inff();
}
struct Greatest : Sums {  // a NaN stays one
  template <typename T>
  TEMPORT_INLINE static T first() { return lowest<T>(); }
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return maximum(a, b); }
};
struct Least : Sums {
  template <typename T>
  TEMPORT_INLINE static T first() { return highest<T>(); }
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return minimum(a, b); }
};

// n floats in a row.
template <typename Kind>
inline float reduce_row(const float* x, int64_t n) {
  Float sums[kSumVectors];
  for (Float& sum : sums) sum = Kind::template first<Float>();
  for (int64_t i = 0; i < n; i += kSums)
#pragma GCC unroll 4
    for (int c = 0; c < kSumVectors; ++c) {
      const int64_t at = i + c * kWidth, left = n - at;
      if (left >= kWidth)
        sums[c] = Kind::of(sums[c], Kind::entry(load(x + at)));
      else if (left > 0)
        sums[c] = select(lanes() < int32_t(left), Kind::of(sums[c], Kind::entry(load_first(x + at, left))), sums[c]);
    }
  for (int half = kSumVectors / 2; half > 0; half /= 2)
    for (int c = 0; c < half; ++c) sums[c] = Kind::of(sums[c], sums[c + half]);
  float parts[kWidth];
  store(parts, sums[0]);
  for (int half = kWidth / 2; half > 0; half /= 2)
    for (int c = 0; c < half; ++c) parts[c] = Kind::of(parts[c], parts[c + half]);
  return Kind::last(parts[0], n);
}

// x `[before, size, after]` -> y `[before, after]`
template <typename Kind, typename T, typename Size, typename After>
void reduce(const T* x, int64_t before, Size size, After after, T* y) {
  for (int64_t b = 0; b < before; ++b, x += size * after, y += after) {
    int64_t j = 0;
    if constexpr (kSame<T, float>) {
      if (after == 1) {
        *y = reduce_row<Kind>(x, size);
        continue;
      }
      for (; j < after; j += kWidth) {
        const int64_t left = after - j;
        Float sum = Kind::template first<Float>();
        for (int64_t i = 0; i < size; ++i) sum = Kind::of(sum, Kind::entry(load_first(x + i * after + j, left)));
        store_first(y + j, Kind::last(sum, size), left);
      }
    } else {
      for (; j < after; ++j) {
        T sum = Kind::template first<T>();
        for (int64_t i = 0; i < size; ++i) sum = Kind::of(sum, Kind::entry(x[i * after + j]));
        y[j] = Kind::last(sum, size);
      }
    }
  }
}

// x `[before, size, after]` -> y of the same shape: sums of the entries before each, and of its own where not `Exclusive`,
// from the front or from the back.
template <bool Exclusive, bool Backwards, typename T>
void running_sums(const T* x, int64_t before, int64_t size, int64_t after, T* y) {
  const int64_t step = Backwards ? -after : after;
  for (int64_t b = 0; b < before; ++b) {
    int64_t at = (b * size + (Backwards ? size - 1 : 0)) * after;
    for (int64_t i = 0; i < size; ++i, at += step)
      for (int64_t j = 0; j < after; ++j) {
        const T earlier = i > 0 ? y[at - step + j] : T{};
        y[at + j] = Exclusive ? (i > 0 ? T(earlier + x[at - step + j]) : T{}) : i > 0 ? T(earlier + x[at + j]) : x[at + j];
      }
  }
}

}  // namespace temport::TEMPORT_ISA
