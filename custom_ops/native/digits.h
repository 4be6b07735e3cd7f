// Products of one row with a weight of integers, in integers: the row becomes integers of 31 bits, whose digits meet the
// weight as rows of integer_products.h do. Bytes need not become floats, which takes longer than to multiply them.
//
// The largest number of a row says what the last bit counts: the others lose what is below 2^-29 of it, which is less than
// sums of floats lose. Sums of integers are exact, so neither their order nor the instruction set shows; they are rounded
// once, to a float: those of bytes when they are complete, those of 4 bits block by block.
#pragma once

#include "integer_products.h"

namespace temport::TEMPORT_ISA {

constexpr int64_t kMostDigits = 4096;  // inputs of a row, whose digits lie on the stack
constexpr int64_t kMostBlock = 128;    // inputs whose products with 4 bits have two halves that floats hold

// A digit of integers, the lowest ones first: from -2^(kDigitBits - 1) on, in the low bits.
template <typename Way, int Nth>
TEMPORT_INLINE Int digit_of(Int integers) {
  int32_t carries = 0;
#pragma GCC unroll 4
  for (int n = 0; n < Nth; ++n) carries |= 1 << ((n + 1) * Way::kDigitBits - 1);
  return (integers + carries) >> (Nth * Way::kDigitBits);
}
template <typename Way, int Nth = 0, typename Visit>
TEMPORT_INLINE void for_digits(Int integers, const Visit& visit) {
  visit(Nth, digit_of<Way, Nth>(integers));
  if constexpr (Nth + 1 < Way::kDigits) for_digits<Way, Nth + 1>(integers, visit);
}

// A row of at most `Most` inputs; what is missing in the last vectors is 0.
template <typename Way, int64_t Most>
struct DigitRow {
  static constexpr int64_t kRoom = (Most + kSums - 1) / kSums * kSums, kApart = kRoom / kFour;

  // Of the upper and of the lower 16 bits of integers.
  struct Sums {
    int32_t upper, lower;
  };

  // False where a number is not finite: such products are made of floats. `block`: inputs that share a scale, whole groups of
  // kEight where there are several.
  __attribute__((noinline)) bool read(const float* x, int64_t inputs, int64_t block) {
    constexpr int32_t kInfinity = 0x7f800000, kLeast = 31 << 23;  // from 2^-96 up `factor` is a float
    Int sizes{};
    for (int64_t k = 0; k < inputs; k += kWidth) {
      const Int size = bits(load_first(x + k, inputs - k)) & INT32_MAX;
      sizes = size > sizes ? size : sizes;
    }
    int32_t largest = kLeast;
    for (int i = 0; i < kWidth; ++i) largest = sizes[i] > largest ? sizes[i] : largest;
    if (largest >= kInfinity) return false;
    const int32_t exponent = (largest >> 23) - 127;
    const float factor = power_of_two(29 - exponent);
    unit = power_of_two(exponent - 29);
    for (int64_t k = 0; k < (inputs + kSums - 1) / kSums * kSums; k += kWidth) {
      const Float some = k < inputs ? load_first(x + k, inputs - k) * factor : Float{};
      const Int whole = __builtin_convertvector(some, Int);
      __builtin_memcpy(integers + k, &whole, sizeof whole);
      for_digits<Way>(whole, [&](int nth, Int digit) __attribute__((always_inline)) { Way::keep(digit, digits[nth] + k / kFour); });
    }
    for (int64_t k = 0; k < inputs; k += block) of_blocks[k / block] = sums(k, least(block, (inputs - k + kEight - 1) / kEight * kEight));
    return true;
  }

  alignas(64) typename Way::Inputs digits[Way::kDigits][kApart];
  Sums of_blocks[kRoom / kEight];
  float unit;  // what the last bit of an integer counts

 private:
  TEMPORT_INLINE Sums sums(int64_t k, int64_t count) const {
    using Eight = VectorOf<kEight>::Int;
    Eight uppers{}, lowers{};
    for (const int64_t end = k + count; k < end; k += kEight) {
      Eight some;
      __builtin_memcpy(&some, integers + k, sizeof some);
      const Eight upper = (some + 0x8000) >> 16;
      uppers += upper;
      lowers += some - (upper << 16);
    }
    Sums sums{};
    for (int i = 0; i < kEight; ++i) sums.upper += uppers[i], sums.lower += lowers[i];
    return sums;
  }
  TEMPORT_INLINE static float power_of_two(int32_t exponent) {
    const int32_t as_bits = (exponent + 127) << 23;
    float power;
    __builtin_memcpy(&power, &as_bits, sizeof power);
    return power;
  }

  alignas(64) int32_t integers[kRoom];
};

// Panels that a row meets at once: their sums stay in registers.
template <typename Way>
constexpr int64_t kDigitPanels = most(1, (kWidth == 16 ? 16 : 8) / (Way::kDigits * kPanelVectors));

template <int P>
using DigitSums = Float[P][kPanelVectors];

// Sums of a row with P panels of bytes, in kUnit as those of floats.
template <typename Way, int P, typename Row, typename Size>
TEMPORT_INLINE void multiply_digits(const Row& row, const int8_t* panels, int64_t apart, Size inputs, DigitSums<P>& sums) {
  constexpr int kDoubles = kWidth / 2;
  using Doubles = VectorOf<kDoubles>::Double;
  constexpr int64_t kStep = Way::kMostOfDigits / kFour;
  const int64_t fours = fours_of(inputs);
  Doubles totals[P][kPanelVectors][2] = {};
  for (int64_t first = 0; first < fours; first += kStep) {
    Int sum[P][Way::kDigits][kPanelVectors] = {};
    add_integers<Way>(row.digits[0] + first, Row::kApart, panels + first * kFour * kPanel, apart, least(kStep, fours - first), sum);
    for_sums<P, Way::kDigits>([&](int p, int d, int v, int) __attribute__((always_inline)) {
      const double base = double(int64_t(1) << d * Way::kDigitBits);
      VectorOf<kDoubles>::Int halves[2];
      __builtin_memcpy(halves, &sum[p][d][v], sizeof halves);
      for (int i = 0; i < 2; ++i) totals[p][v][i] += __builtin_convertvector(halves[i], Doubles) * base;
    });
  }
  const auto of_row = row.of_blocks[0];
  const double bias = Way::kBias * (double(of_row.upper) * 0x1p16 + double(of_row.lower));
  for_sums<P, 1>([&](int p, int, int v, int) __attribute__((always_inline)) {
    VectorOf<kDoubles>::Float halves[2];
    for (int i = 0; i < 2; ++i) halves[i] = __builtin_convertvector(totals[p][v][i] - bias, VectorOf<kDoubles>::Float);
    __builtin_memcpy(&sums[p][v], halves, sizeof halves);
    sums[p][v] *= row.unit * kUnit;
  });
}

// The same of 4 bits.
template <typename Way, int P, typename Row>
TEMPORT_INLINE void multiply_digits(const Row& row, const Nibbles* panels, int64_t apart, InBlocks inputs, DigitSums<P>& sums) {
  for_sums<P, 1>([&](int p, int, int v, int) __attribute__((always_inline)) { sums[p][v] = Float{}; });
  for (int64_t k = 0; k < inputs; k += inputs.block) {
    const Nibbles* scales = panels;
    panels += kPanel;
    Int sum[P][Way::kDigits][kPanelVectors] = {};
    for (int64_t four = k / kFour; four < (k + inputs.block) / kFour; four += 2, panels += kPanel)
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < kPanelVectors; ++v) {
          const Int words = load_words(panels + p * apart + v * kWidth);
          const auto first = Way::words(words & 0x0f0f0f0f), second = Way::words(words >> 4 & 0x0f0f0f0f);
#pragma GCC unroll 4
          for (int d = 0; d < Way::kDigits; ++d) {
            sum[p][d][v] = Way::plus(sum[p][d][v], first, row.digits[d][four]);
            sum[p][d][v] = Way::plus(sum[p][d][v], second, row.digits[d][four + 1]);
          }
        }
    const auto of_block = row.of_blocks[k / inputs.block];
    for_sums<P, 1>([&](int p, int, int v, int) __attribute__((always_inline)) {
      constexpr int kEach = Way::kDigits / 2;
      Int lower = sum[p][0][v], upper = sum[p][kEach][v];
#pragma GCC unroll 2
      for (int d = 1; d < kEach; ++d) {
        lower += sum[p][d][v] << d * Way::kDigitBits;
        upper += sum[p][kEach + d][v] << d * Way::kDigitBits;
      }
      lower -= kNibbleBias * of_block.lower;
      upper -= kNibbleBias * of_block.upper;
      const Float value = fused(__builtin_convertvector(upper, Float), broadcast(0x1p16f), __builtin_convertvector(lower, Float));
      sums[p][v] = fused(value, load_scales(scales + p * apart + v * kWidth), sums[p][v]);
    });
  }
  for_sums<P, 1>([&](int p, int, int v, int) __attribute__((always_inline)) { sums[p][v] *= row.unit; });
}

// Sums of the row with the last `count` <= P panels, `[count][kPanel]`.
template <typename Way, int P, typename Row, typename Element, typename Size>
TEMPORT_INLINE void multiply_some_digits(int64_t count, const Row& row, const Element* panels, int64_t apart, Size inputs,
                                         float* to) {
  if constexpr (P > 1)
    if (count < P) return multiply_some_digits<Way, P - 1>(count, row, panels, apart, inputs, to);
  DigitSums<P> sums;
  multiply_digits<Way, P>(row, panels, apart, inputs, sums);
  for_sums<P, 1>([&](int p, int, int v, int at) __attribute__((always_inline)) { store(to + at, sums[p][v]); });
}
// The same with sizes that are known when it runs: one function for all that do something else with the sums.
template <typename Way, int P, typename Row, typename Element>
__attribute__((noinline)) void multiply_any_digits(int64_t count, const Row& row, const Element* panels, int64_t apart,
                                                   RunTimeInputs<Element> inputs, float* to) {
  multiply_some_digits<Way, P>(count, row, panels, apart, inputs, to);
}

// The block of a weight whose sums fit, else 0.
TEMPORT_INLINE constexpr int64_t digit_block(int64_t inputs) { return inputs; }
TEMPORT_INLINE constexpr int64_t digit_block(InBlocks inputs) { return inputs.block <= kMostBlock ? inputs.block : 0; }

template <typename Way, typename Element, typename Size, typename Finish>
inline void multiply_row_in_digits(const float* x, const Element* panels, Size inputs, int64_t columns, const Finish& finish) {
  constexpr int64_t kAtOnce = kDigitPanels<Way>;
  DigitRow<Way, least(kMost<Size>, kMostDigits)> row;
  const int64_t block = digit_block(inputs);
  const bool whole = block > 0 && row.read(x, inputs, block);
  alignas(64) float sums[kAtOnce * kPanel];
  const int64_t count = panels_of(columns), apart = column_elements<Element>(inputs) * kPanel;
  for (int64_t p = 0; p < count; p += kAtOnce) {
    const int64_t some = least(kAtOnce, count - p);
    if (!whole)  // a row with infinity or NaN, or blocks that are too long
      multiply_any<kAtOnce>(some, x, panels + p * apart, apart, inputs, sums);
    else if constexpr (kAtRunTime<Size>)
      multiply_any_digits<Way, kAtOnce>(some, row, panels + p * apart, apart, inputs, sums);
    else
      multiply_some_digits<Way, kAtOnce>(some, row, panels + p * apart, apart, inputs, sums);
    for (int64_t i = 0; i < some; ++i) finish(0, 1, p + i, sums + i * kPanel);
  }
}

// As multiply_panels, of a weight in any type: one row meets integers in digits.
template <typename Way, int P = kRowPanels, typename Element, typename Rows, typename Size, typename Finish>
inline void multiply_weight(const float* x, Rows rows, int64_t x_stride, const Element* panels, Size inputs, int64_t columns,
                            const Finish& finish) {
  if constexpr (kOfIntegers<Element>)
    if (rows == 1 && inputs <= kMostDigits) return multiply_row_in_digits<Way>(x, panels, inputs, columns, finish);
  multiply_panels<P>(x, rows, x_stride, panels, inputs, columns, finish);
}

}  // namespace temport::TEMPORT_ISA
