// Weights of integers of 4 bits in panels: a word holds eight inputs of an output, and in front of the words of a block of
// inputs lie its scales, one for each output.
//
// A number is the integer times the scale as float32 has it, and sums are made of these numbers: they are the same, to the
// last bit, as those of a weight that was unpacked to float32 before.
#pragma once

#include "convert.h"
#include "multiply.h"

namespace temport::TEMPORT_ISA {

// Eight integers, each 8 more than it is: the first four in the lower halves of the bytes, the others in the upper ones. Or, in
// front of a block, the bits of a scale.
struct Nibbles {
  uint32_t word;
};
constexpr int kEight = int(depth_of(Weight::kInt4));
constexpr int kNibbleBias = 8;
// The lowest bit of the Nth of eight.
constexpr int nibble_at(int nth) { return nth % 4 * 8 + nth / 4 * 4; }

// The inputs of an output, in blocks of `block`; whole groups of kEight.
struct InBlocks {
  int64_t inputs, block;
  constexpr operator int64_t() const { return inputs; }
  // Words of a column up to the scale of the block that begins with input k, or with all of them.
  constexpr int64_t words_before(int64_t k) const { return k / kEight + k / block; }
};

// The same of inputs that may be known when the kernel is compiled.
template <typename Size>
struct InBlocksOf : InBlocks {};
template <typename Size>
constexpr int64_t kMost<InBlocksOf<Size>> = kMost<Size>;

// The Nth integers of kWidth words. One becomes a float as the lowest bits of a number whose last bit counts 1.
template <int Nth>
TEMPORT_INLINE Float integers_at(Int words) {
  constexpr int kAt = nibble_at(Nth) % 16;
  constexpr float kFirst = float(1 << (23 - kAt));
  if (nibble_at(Nth) >= 16) words >>= 16;
  return from_bits((words & (15 << kAt)) | bits(broadcast(kFirst))) - (kFirst + kNibbleBias);
}
TEMPORT_INLINE Int load_words(const Nibbles* p) {
  Int words;
  __builtin_memcpy(&words, p, sizeof words);
  return words;
}
TEMPORT_INLINE Float load_scales(const Nibbles* p) { return from_bits(load_words(p)); }

// visit(Fixed<n>, numbers of the nth inputs) for the eight of kWidth outputs, one after the other.
template <int Nth = 0, typename Visit>
TEMPORT_INLINE void for_eight(Int words, Float scales, const Visit& visit) {
  visit(Fixed<Nth>{}, integers_at<Nth>(words) * scales);
  if constexpr (Nth + 1 < kEight) for_eight<Nth + 1>(words, scales, visit);
}

// The products of one row with P panels, added to their sums in the order of the inputs.
template <int P, typename Inputs>
TEMPORT_INLINE void add_row(const float* x, int64_t x_apart, const Nibbles* panels, int64_t apart, Inputs inputs,
                            Float (&sum)[P][kPanelVectors]) {
  for (int64_t k = 0; k < inputs;) {
    const Nibbles* scales = panels;
    panels += kPanel;
    for (const int64_t end = k + inputs.block; k < end; k += kEight, panels += kPanel)
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < kPanelVectors; ++v) {
          const int64_t at = p * apart + v * kWidth;
          for_eight(load_words(panels + at), load_scales(scales + at), [&](auto n, Float numbers) __attribute__((always_inline)) {
            sum[p][v] = fused(broadcast(x[p * x_apart + k + n]), numbers, sum[p][v]);
          });
        }
  }
}

// The numbers of `count` inputs of a panel from `first` on, whole groups, the first V vectors of each: `[count, kPanel]`.
template <int V>
TEMPORT_INLINE void unpack_part(const Nibbles* panel, int64_t first, int64_t count, InBlocks inputs, float* to) {
  for (int64_t k = first; k < first + count; k += kEight, to += kEight * kPanel) {
    const int64_t begin = k / inputs.block * inputs.block;
    const Nibbles* scales = panel + inputs.words_before(begin) * kPanel;
    const Nibbles* words = scales + (1 + (k - begin) / kEight) * kPanel;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      for_eight(load_words(words + v * kWidth), load_scales(scales + v * kWidth),
                [&](auto n, Float numbers) __attribute__((always_inline)) { store(to + n * kPanel + v * kWidth, numbers); });
  }
}

// As pack_columns, of integers and their scales as a file has them; what is missing is 0.
template <typename ColumnOf>
inline void pack_blocks(const WeightData& w, int64_t inputs, int64_t stride, int64_t panels, const ColumnOf& column_of,
                        Nibbles* to) {
  const int64_t blocks = inputs / w.block;
  const auto biased = [&](int64_t at) { return uint32_t(static_cast<const uint8_t*>(w.data)[at / 2] >> at % 2 * 4 & 15) ^ kNibbleBias; };
  for (int64_t p = 0; p < panels; ++p, to += InBlocks{inputs, w.block}.words_before(inputs) * kPanel)
    for (int64_t c = 0; c < kPanel; ++c) {
      const int64_t integers = column_of(p, c, inputs), scales = column_of(p, c, blocks);
      Nibbles* at = to + c;
      for (int64_t b = 0; b < blocks; ++b) {
        const float scale = scales < 0 ? 0 : w.scale[scales + b * stride];
        __builtin_memcpy(at, &scale, sizeof scale);
        at += kPanel;
        for (int64_t k = b * w.block; k < (b + 1) * w.block; k += kEight, at += kPanel) {
          at->word = 0;
          for (int64_t n = 0; n < kEight; ++n)
            at->word |= (integers < 0 ? kNibbleBias : biased(integers + (k + n) * stride)) << nibble_at(int(n));
        }
      }
    }
}

}  // namespace temport::TEMPORT_ISA
