// The one inner loop of every kernel here: C[rows, columns] (+)= A[rows, n] B[n, columns], a tile held in registers.
#pragma once

#include "simd.h"

namespace temport::TEMPORT_ISA {

constexpr int kMaxRows = 6;

// What the standard library's <type_traits> would say; targets without a C library have none.
template <typename T>
struct PlainOf {
  using Type = T;
};
template <typename T>
struct PlainOf<const T> {
  using Type = T;
};
template <typename T>
using Plain = typename PlainOf<T>::Type;

// A size that is known when the kernel is compiled, where others take an int64_t.
template <int64_t N>
struct Fixed {
  constexpr operator int64_t() const { return N; }
};
template <typename Size>
constexpr int64_t kMost = INT64_MAX;
template <int64_t N>
constexpr int64_t kMost<Fixed<N>> = N;
template <typename Size>
constexpr bool kAtRunTime = kMost<Size> == INT64_MAX;

// What is asked for ahead, and the cache it comes to.
enum class Fetch { kNothing = 0, kToSecond = 2, kToFirst = 3 };

// One tile of R rows by V vectors. A is read element by element (broadcast), B and C vector by vector. Every sum goes on
// from what C holds, in the order of n, whatever the tile and its vectors are; where Anew it begins at 0 and is added to C
// at its end, which keeps the rounding error of many such sums that of short ones.
// With Fetch it asks, at every row of B, for the memory at `next`, which moves on by `stride` bytes.
template <int R, int V, Fetch To = Fetch::kNothing, bool Anew = false>
inline void multiply_tile(const float* a, int64_t a_stride, int64_t n, const float* b, int64_t b_stride, float* c,
                          int64_t c_stride, bool accumulate, const char* next = nullptr, int64_t stride = 0) {
  Float sum[R][V] = {};
  if (accumulate && !Anew)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = load(c + r * c_stride + v * kWidth);
#pragma GCC unroll 2
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (To != Fetch::kNothing) {
      __builtin_prefetch(next, 0, int(To));
      next += stride;
    }
    Float x[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) x[v] = load(b + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Float y = broadcast(a[r * a_stride + i]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = fused(y, x[v], sum[r][v]);
    }
    b += b_stride;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      float* to = c + r * c_stride + v * kWidth;
      store(to, accumulate && Anew ? load(to) + sum[r][v] : sum[r][v]);
    }
}

// The same in a function of its own: among other code GCC spills some sums of a tile that needs 15 of 16 registers.
template <int R, int V, Fetch To, bool Anew>
__attribute__((noinline)) void multiply_tile_alone(const float* a, int64_t a_stride, int64_t n, const float* b, int64_t b_stride,
                                                   float* c, int64_t c_stride, bool accumulate, const char* next,
                                                   int64_t stride) {
  multiply_tile<R, V, To, Anew>(a, a_stride, n, b, b_stride, c, c_stride, accumulate, next, stride);
}

template <int V, Fetch To = Fetch::kNothing, bool Anew = false>
inline void multiply_rows(int rows, const float* a, int64_t a_stride, int64_t n, const float* b, int64_t b_stride,
                          float* c, int64_t c_stride, bool accumulate, const char* next = nullptr,
                          int64_t stride = 0) {
  const auto tile = [&](auto count) __attribute__((always_inline)) {
    constexpr int kRows = int(decltype(count){});
    if constexpr (kFewRegisters && To != Fetch::kNothing)
      multiply_tile_alone<kRows, V, To, Anew>(a, a_stride, n, b, b_stride, c, c_stride, accumulate, next, stride);
    else
      multiply_tile<kRows, V, To, Anew>(a, a_stride, n, b, b_stride, c, c_stride, accumulate, next, stride);
  };
  switch (rows) {
    case 1: return tile(Fixed<1>{});
    case 2: return tile(Fixed<2>{});
    case 3: return tile(Fixed<3>{});
    case 4: return tile(Fixed<4>{});
    case 5: return tile(Fixed<5>{});
    default: return tile(Fixed<6>{});
  }
}

// Calls body with a constant of 1 to kPanelVectors that is `vectors`.
template <typename Body>
TEMPORT_INLINE void with_vectors(int64_t vectors, const Body& body) {
  if constexpr (kPanelVectors == 4) {
    if (vectors == 4) return body(Fixed<4>{});
    if (vectors == 3) return body(Fixed<3>{});
  }
  if (vectors == 2) return body(Fixed<2>{});
  return body(Fixed<1>{});
}

// `rows` <= kMaxRows rows by `vectors` <= kPanelVectors vectors.
template <bool Anew = false>
inline void multiply(int rows, int vectors, const float* a, int64_t a_stride, int64_t n, const float* b,
                     int64_t b_stride, float* c, int64_t c_stride, bool accumulate) {
  with_vectors(vectors, [&](auto count) __attribute__((always_inline)) {
    multiply_rows<int(decltype(count){}), Fetch::kNothing, Anew>(rows, a, a_stride, n, b, b_stride, c, c_stride, accumulate);
  });
}

// The columns of a `[n, columns]` matrix cut into panels of kPanel floats, each `[n, width]` and contiguous, so that a
// multiplication walks them in order; the last panel is as narrow as whole vectors allow.
struct Panel {
  int vectors;
  int64_t stride;  // floats per row
  int64_t offset;  // of row 0, from the start of the panels

  static int count(int64_t columns) { return int((columns + kPanel - 1) / kPanel); }
  static Panel at(int index, int64_t columns, int64_t n) {
    const int64_t rest = (columns - int64_t(index) * kPanel + kWidth - 1) / kWidth;
    const int vectors = rest < kPanelVectors ? int(rest) : kPanelVectors;
    return {vectors, int64_t(vectors) * kWidth, int64_t(index) * kPanel * n};
  }
};

TEMPORT_INLINE constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
TEMPORT_INLINE constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t padded(int64_t n) { return (n + kWidth - 1) / kWidth * kWidth; }

}  // namespace temport::TEMPORT_ISA
