// Products of rows that were rounded to bytes with a weight of bytes, in the panels of column_panels.h. Sums are exact in 32
// bits, so every instruction set gives the same ones.
//
// A way to multiply says what it makes of four inputs of a row (`Inputs`) and of four inputs of kWidth outputs (`Words`), which
// are below 128 or bytes of a panel, and adds their products to sums. Four bytes at once are what newer processors multiply;
// the others take pairs of 16 bits, whose products no sum of two can leave. A panel has its bytes 128 more than they are:
// where a way leaves that (`kBias`), the sums are as many times that of the row too large.
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
  static constexpr int kDigits = 2, kDigitBits = 16;  // of an input of 32 bits
  static constexpr int64_t kMostOfDigits = 256;       // inputs whose sum of products with a digit 32 bits hold

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
  static constexpr int kBias = kByteBias;
  TEMPORT_INLINE static Words words(Int w) { return {w & 0x00ff00ff, w >> 8 & 0x00ff00ff}; }
  TEMPORT_INLINE static Words of_panel(Int w) { return words(w); }
  TEMPORT_INLINE static Int product(Int w, int32_t x) {
#if defined(__AVX512BW__)
    return (Int)_mm512_madd_epi16((__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
    return (Int)_mm256_madd_epi16((__m256i)w, _mm256_set1_epi32(x));
#elif defined(__SSE4_2__)
    return (Int)_mm_madd_epi16((__m128i)w, _mm_set1_epi32(x));
#else
    return (w >> 16) * (x >> 16) + (w & 0xffff) * int32_t(int16_t(x));
#endif
  }
  TEMPORT_INLINE static Int plus(Int sum, const Words& w, const Inputs& x) {
    return sum + product(w.even, x.even) + product(w.odd, x.odd);
  }
};

#if defined(__AVX2__) || defined(__aarch64__)
#define TEMPORT_FOURS
// Inputs of a row as bytes. The instruction is asked for at run time; flags of the compiler would ask for it everywhere.
struct Fours {
  static constexpr int kDigits = 4, kDigitBits = 8;
  static constexpr int64_t kMostOfDigits = 65536;

  using Inputs = int32_t;
  using Words = Int;
  TEMPORT_INLINE static void keep(Int x, Inputs* to) {
    const auto narrow = __builtin_convertvector(x, typename VectorOf<kWidth>::Byte);
    __builtin_memcpy(to, &narrow, sizeof narrow);
  }
  TEMPORT_INLINE static Words words(Int w) { return w; }
#if defined(__aarch64__)
  static constexpr int kBias = 0;  // both sides have signs
  TEMPORT_INLINE static Words of_panel(Int w) { return w ^ int32_t(0x80808080); }
#else
  static constexpr int kBias = kByteBias;
  TEMPORT_INLINE static Words of_panel(Int w) { return w; }
#endif
  TEMPORT_INLINE static Int plus(Int sum, Words w, Inputs x) {
    const Int four = x - Int{};
#if defined(__AVX512F__)
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(four));
#elif defined(__AVX2__)
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(four));
#else
    // sdot %0.4s, %1.16b, %2.16b as a number: no assembler has a switch for it that leaves the file's other ones as they are
    asm(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
        ".equ .Ltemport_v\\n, \\n\n\t.endr\n\t"
        ".inst 0x4e809400 | .Ltemport_%0 | .Ltemport_%1 << 5 | .Ltemport_%2 << 16"
        : "+w"(sum)
        : "w"(w), "w"(four));
#endif
    return sum;
  }
};
#endif

constexpr int64_t fours_of(int64_t inputs) { return (inputs + kFour - 1) / kFour; }
// What a rounded row has: its groups, and at its end what its products with bytes are too large by, and a float that is NaN
// where one of its numbers was, else 0.
constexpr int64_t rounded_fours(int64_t inputs) { return padded(inputs) / kFour + 2; }
struct RowEnd {
  int32_t bias;
  float defect;
};
template <typename Inputs>
TEMPORT_INLINE RowEnd row_end(const Inputs* x, int64_t inputs) {
  RowEnd end;
  __builtin_memcpy(&end, x + padded(inputs) / kFour, sizeof end);
  return end;
}

// A row of x / scale as integers; what is missing in the last groups is 0.
template <typename Way>
inline void round_row(const float* x, int64_t inputs, float scale, typename Way::Inputs* to) {
  Float defects{};
  Int sums{};
  for (int64_t k = 0; k < inputs; k += kWidth, to += kWidth / kFour) {
    const Float some = load_first(x + k, inputs - k);
    defects = select(some == some, defects, some);
    const Int integers = rounded_byte(some, scale);
    sums += integers;
    Way::keep(integers, to);
  }
  RowEnd end{0, sum_of(defects)};
  for (int i = 0; i < kWidth; ++i) end.bias += Way::kBias * sums[i];
  __builtin_memcpy(to, &end, sizeof end);
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

// Adds the products of R rows with P panels to their sums.
template <typename Way, int P, int R>
TEMPORT_INLINE void add_integers(const typename Way::Inputs* x, int64_t x_stride, const int8_t* panels, int64_t apart, int64_t fours,
                                 Int (&sum)[P][R][kPanelVectors]) {
  for (int64_t k = 0; k < fours; ++k)
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) {
        Int bytes;
        __builtin_memcpy(&bytes, panels + p * apart + (k * kPanel + v * kWidth) * kFour, sizeof bytes);
        const auto words = Way::of_panel(bytes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[p][r][v] = Way::plus(sum[p][r][v], words, x[r * x_stride + k]);
      }
}

// Sums of R rounded rows with P panels, `[P][R][kPanel]`.
template <typename Way, int P, int R>
TEMPORT_INLINE void multiply_integers(const typename Way::Inputs* x, int64_t x_stride, const int8_t* panels, int64_t inputs,
                                      float* sums) {
  const int64_t fours = fours_of(inputs);
  Int sum[P][R][kPanelVectors] = {};
  add_integers<Way>(x, x_stride, panels, fours * kFour * kPanel, fours, sum);
  for_sums<P, R>([&](int p, int r, int v, int at) __attribute__((always_inline)) {
    const RowEnd end = row_end(x + r * x_stride, inputs);
    store(sums + at, __builtin_convertvector(sum[p][r][v] - end.bias, Float) + end.defect);
  });
}

// The same of the last `count` <= P panels, or rows.
template <typename Way, int P, int R>
TEMPORT_INLINE void multiply_some_integers(int64_t count, const typename Way::Inputs* x, int64_t x_stride,
                                           const int8_t* panels, int64_t inputs, float* sums) {
  if ((P == 1 && R == 1) || count == P * R) return multiply_integers<Way, P, R>(x, x_stride, panels, inputs, sums);
  if constexpr (P > 1)
    multiply_some_integers<Way, P - 1, R>(count, x, x_stride, panels, inputs, sums);
  else if constexpr (R > 1)
    multiply_some_integers<Way, P, R - 1>(count, x, x_stride, panels, inputs, sums);
}

// The same as one function for all that do something else with the sums.
template <typename Way, int P, int R>
__attribute__((noinline)) void multiply_any_integers(int64_t count, const typename Way::Inputs* x, int64_t x_stride,
                                                     const int8_t* panels, int64_t inputs, float* sums) {
  multiply_some_integers<Way, P, R>(count, x, x_stride, panels, inputs, sums);
}

// As multiply_panels, of rounded rows; all sums of one are NaN where one of its numbers was.
template <typename Way, typename Finish>
inline void multiply_integer_panels(const typename Way::Inputs* x, int64_t rows, int64_t x_stride, const int8_t* panels,
                                    int64_t inputs, int64_t count, const Finish& finish) {
  alignas(64) float sums[most(kRowPanels, kByteRows) * kPanel];
  const int64_t apart = fours_of(inputs) * kFour * kPanel;
  if (rows == 1) {
    for (int64_t p = 0; p < count; p += kRowPanels) {
      const int64_t some = least(kRowPanels, count - p);
      multiply_any_integers<Way, kRowPanels, 1>(some, x, 0, panels + p * apart, inputs, sums);
      for (int64_t i = 0; i < some; ++i) finish(0, 1, p + i, sums + i * kPanel);
    }
    return;
  }
  for (int64_t q = 0; q < count; ++q)
    for (int64_t m = 0; m < rows; m += kByteRows) {
      const int64_t some = least(kByteRows, rows - m);
      multiply_any_integers<Way, 1, kByteRows>(some, x + m * x_stride, x_stride, panels + q * apart, inputs, sums);
      finish(m, some, q, sums);
    }
}

// body(a way that a problem's processor multiplies by)
template <typename Problem, typename Body>
TEMPORT_INLINE void with_way([[maybe_unused]] const Problem& p, const Body& body) {
#ifdef TEMPORT_FOURS
  if (p.fours) return body(Fours{});
#endif
  body(Pairs{});
}
// body(an element of that type, a way): what is not of integers has one way.
template <typename Problem, typename Body>
TEMPORT_INLINE void with_stored(const Problem& p, Weight type, const Body& body) {
  with_element(type, [&](auto element) __attribute__((always_inline)) {
    if constexpr (kOfIntegers<decltype(element)>)
      with_way(p, [&](auto way) __attribute__((always_inline)) { body(element, way); });
    else
      body(element, Pairs{});
  });
}

}  // namespace temport::TEMPORT_ISA
