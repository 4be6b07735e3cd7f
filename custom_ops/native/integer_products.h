// Products of rows that were rounded to bytes with a weight of bytes, in the panels of column_panels.h. Sums are exact in 32
// bits, so every instruction set gives the same ones.
//
// A way to multiply says what it makes of four inputs of a row (`Inputs`) and of four inputs of kWidth outputs (`Words`), and
// adds their products to sums. Four bytes at once are what newer processors multiply; the others take pairs of 16 bits, whose
// products no sum of two can leave.
#pragma once

#include "column_panels.h"

namespace temport::TEMPORT_ISA {

constexpr int64_t kFour = kDepth<int8_t>;
constexpr int kByteRows = 4;  // of a tile: its sums, and words made of a weight, stay in registers

// Round to the nearest, ties to even, of numbers that are within a byte; NaN becomes the least, and is told apart elsewhere.
TEMPORT_INLINE Int rounded_byte(Float x, float scale) {
  const Float bounded = min(max(x / broadcast(scale), broadcast(-128.0f)), broadcast(127.0f));
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: the sum has the integer in its low bits
  return bits(bounded + broadcast(kShift)) - bits(broadcast(kShift));
}

// Inputs of a row as 16 bits, in the order 0, 2, 1, 3.
struct Pairs {
  struct Inputs {
    int32_t even, odd;
  };
  struct Words {
    Int even, odd;
  };
  TEMPORT_INLINE static void keep(Int x, Inputs* to) {
    const auto narrow = __builtin_convertvector(x, typename VectorOf<kWidth>::Short);
    for (int i = 0; i < kWidth / 4; ++i) {
      uint64_t four;
      __builtin_memcpy(&four, reinterpret_cast<const char*>(&narrow) + 8 * i, sizeof four);
      four = (four & 0xffff00000000ffff) | (four >> 16 & 0xffff0000) | (four & 0xffff0000) << 16;
      __builtin_memcpy(to + i, &four, sizeof four);
    }
  }
#if defined(__SSE4_2__)
  TEMPORT_INLINE static Words words(Int w) {
#if defined(__AVX512BW__)
    return {(Int)_mm512_srai_epi16(_mm512_slli_epi16((__m512i)w, 8), 8), (Int)_mm512_srai_epi16((__m512i)w, 8)};
#elif defined(__AVX2__)
    return {(Int)_mm256_srai_epi16(_mm256_slli_epi16((__m256i)w, 8), 8), (Int)_mm256_srai_epi16((__m256i)w, 8)};
#else
    return {(Int)_mm_srai_epi16(_mm_slli_epi16((__m128i)w, 8), 8), (Int)_mm_srai_epi16((__m128i)w, 8)};
#endif
  }
  TEMPORT_INLINE static Int product(Int w, int32_t x) {
#if defined(__AVX512BW__)
    return (Int)_mm512_madd_epi16((__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
    return (Int)_mm256_madd_epi16((__m256i)w, _mm256_set1_epi32(x));
#else
    return (Int)_mm_madd_epi16((__m128i)w, _mm_set1_epi32(x));
#endif
  }
#else
  TEMPORT_INLINE static Words words(Int w) { return {w << 8, w}; }  // the upper byte of each half
  TEMPORT_INLINE static Int product(Int w, int32_t x) {
    return (w >> 24) * (x >> 16) + ((w << 16) >> 24) * int32_t(int16_t(x));
  }
#endif
  TEMPORT_INLINE static Int plus(Int sum, const Words& w, const Inputs& x) {
    return sum + product(w.even, x.even) + product(w.odd, x.odd);
  }
};

#if defined(__AVX512F__)
// Inputs of a row as bytes from 0 to 255: 128 more than they are, which sums begin without. The instruction is asked for at
// run time; flags of the compiler would ask for it everywhere.
struct Fours {
  using Inputs = int32_t;
  using Words = Int;
  TEMPORT_INLINE static void keep(Int x, Inputs* to) {
    _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8((__m512i)(x + 128)));
  }
  TEMPORT_INLINE static Words words(Int w) { return w; }
  TEMPORT_INLINE static Int plus(Int sum, Words w, Inputs x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(_mm512_set1_epi32(x)), "v"(w));
    return sum;
  }
};
#endif

constexpr int64_t fours_of(int64_t inputs) { return (inputs + kFour - 1) / kFour; }
// What a rounded row has: its groups, and at its end a float that is NaN where one of its numbers was, else 0.
constexpr int64_t rounded_fours(int64_t inputs) { return padded(inputs) / kFour + 1; }

// A row of x / scale as integers; what is missing in the last groups is 0.
template <typename Way>
inline void round_row(const float* x, int64_t inputs, float scale, typename Way::Inputs* to) {
  Float defects{};
  for (int64_t k = 0; k < inputs; k += kWidth, to += kWidth / kFour) {
    const Float some = load_first(x + k, inputs - k);
    defects = select(some == some, defects, some);
    Way::keep(rounded_byte(some, scale), to);
  }
  const float defect = sum_of(defects);
  __builtin_memcpy(to, &defect, sizeof defect);
}
// That float of a row whose groups begin at x.
template <typename Inputs>
TEMPORT_INLINE float defect_of(const Inputs* x, int64_t inputs) {
  float defect;
  __builtin_memcpy(&defect, x + rounded_fours(inputs) - 1, sizeof defect);
  return defect;
}

// visit(panel, row, vector, where that vector of sums lies in `[P][R][kPanel]`)
template <int P, int R, typename Visit>
TEMPORT_INLINE void for_sums(const Visit& visit) {
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) visit(p, r, v, (p * R + r) * kPanel + v * kWidth);
}

// `sums` of R rows and P panels, or of one row where R is 1: `[P][R][kPanel]`, from `start` on (null: 0).
template <typename Way, int P, int R>
TEMPORT_INLINE void multiply_integers(const typename Way::Inputs* x, int64_t x_stride, const int8_t* panels, int64_t fours,
                                      const int32_t* start, float* sums) {
  Int sum[P][R][kPanelVectors];
  for_sums<P, R>([&](int p, int r, int v, int) __attribute__((always_inline)) {
    sum[p][r][v] = start == nullptr ? Int{} : load(start + p * kPanel + v * kWidth);
  });
  const int64_t apart = fours * kFour * kPanel;
  for (int64_t k = 0; k < fours; ++k)
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) {
        Int bytes;
        __builtin_memcpy(&bytes, panels + p * apart + (k * kPanel + v * kWidth) * kFour, sizeof bytes);
        const auto words = Way::words(bytes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[p][r][v] = Way::plus(sum[p][r][v], words, x[r * x_stride + k]);
      }
  for_sums<P, R>([&](int p, int r, int v, int at) __attribute__((always_inline)) {
    store(sums + at, __builtin_convertvector(sum[p][r][v], Float));
  });
}

// The same of the last `count` <= P panels, or rows.
template <typename Way, int P, int R>
TEMPORT_INLINE void multiply_some_integers(int64_t count, const typename Way::Inputs* x, int64_t x_stride,
                                           const int8_t* panels, int64_t fours, const int32_t* start, float* sums) {
  if ((P == 1 && R == 1) || count == P * R)
    return multiply_integers<Way, P, R>(x, x_stride, panels, fours, start, sums);
  if constexpr (P > 1)
    multiply_some_integers<Way, P - 1, R>(count, x, x_stride, panels, fours, start, sums);
  else if constexpr (R > 1)
    multiply_some_integers<Way, P, R - 1>(count, x, x_stride, panels, fours, start, sums);
}

// As multiply_panels, of rows of integers; finish(first row, rows, panel, sums `[rows, kPanel]`).
template <typename Way, typename Finish>
inline void multiply_integer_panels(const typename Way::Inputs* x, int64_t rows, int64_t x_stride, const int8_t* panels,
                                    int64_t fours, int64_t count, const int32_t* start, const Finish& finish) {
  alignas(64) float sums[most(kRowPanels, kByteRows) * kPanel];
  const int64_t apart = fours * kFour * kPanel;
  if (rows == 1) {
    for (int64_t p = 0; p < count; p += kRowPanels) {
      const int64_t some = least(kRowPanels, count - p);
      multiply_some_integers<Way, kRowPanels, 1>(some, x, 0, panels + p * apart, fours,
                                                 start == nullptr ? nullptr : start + p * kPanel, sums);
      for (int64_t i = 0; i < some; ++i) finish(0, 1, p + i, sums + i * kPanel);
    }
    return;
  }
  for (int64_t q = 0; q < count; ++q)
    for (int64_t m = 0; m < rows; m += kByteRows) {
      const int64_t some = least(kByteRows, rows - m);
      multiply_some_integers<Way, 1, kByteRows>(some, x + m * x_stride, x_stride, panels + q * apart, fours,
                                                start == nullptr ? nullptr : start + q * kPanel, sums);
      finish(m, some, q, sums);
    }
}

}  // namespace temport::TEMPORT_ISA
