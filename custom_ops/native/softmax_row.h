// One row of the online softmax over one tile of keys (Milakov and Gimelshein, arXiv 1805.02867), in two steps, so that
// the rows of a block can overlap: a row's weights cannot start before its maximum is known.
#pragma once

#include "multiply.h"

namespace temport::TEMPORT_ISA {

// Values that are weighed in one sum; longer ones are made of such, cut where a multiple of it begins. Hundreds of equal
// weights would all be rounded to one side.
constexpr int64_t kSumKeys = 128;
TEMPORT_INLINE constexpr int64_t end_of_sum(int64_t key, int64_t end) {
  return least(end, (key / kSumKeys + 1) * kSumKeys);
}
// `total` with `sum` added, n floats in whole vectors; `sum` begins anew.
TEMPORT_INLINE void add_sum(float* sum, int64_t n, float* total) {
  for (int64_t d = 0; d < n; d += kWidth) {
    store(total + d, load(total + d) + load(sum + d));
    store(sum + d, Float{});
  }
}

constexpr float kNothing = -__builtin_inff();

// Scores are products of queries with keys, and the scale is met where they become weights, by exp2_nonpositive; only its
// sign goes to the queries, so that the greatest product is the greatest score, or all of it where it is out of range.
struct Scale {
  float queries, factor = kLog2E;

  explicit Scale(float scale) : queries(scale < 0 ? -1.0f : 1.0f) {
    const float size = scale * queries;
    if (size >= 0x1p-100f && size <= 0x1p99f)
      factor *= size;
    else
      queries = scale;
  }
};

// The greatest of the scores s[0, n) that are allowed: columns [lo, hi), and of those the lanes set in `mask`
// (unaligned, -1 = attend) where one is given. All others become -inf, up to the end of the last vector.
inline float mask_and_max(float* s, int64_t n, int64_t lo, int64_t hi, const int32_t* mask) {
  const int64_t end = padded(n);
  hi = most(0, least(n, hi));
  const Float nothing = broadcast(kNothing);
  for (int64_t j = 0; j < lo && j < end; j += kWidth)
    store(s + j, select(lanes() >= int32_t(least(lo - j, kWidth)), load(s + j), nothing));
  for (int64_t j = hi / kWidth * kWidth; j < end; j += kWidth)
    store(s + j, select(lanes() < int32_t(most(hi - j, 0)), load(s + j), nothing));
  if (mask != nullptr)
    for (int64_t j = 0; j < end; j += kWidth) store(s + j, select(load(mask + j), load(s + j), nothing));
  Float greatest = load(s), other = greatest;
  int64_t j = kWidth;
  for (; j + kWidth < end; j += 2 * kWidth) {
    greatest = max(load(s + j), greatest);
    other = max(load(s + j + kWidth), other);
  }
  if (j < end) greatest = max(load(s + j), greatest);
  return max_of(max(greatest, other));
}

// s[j] = 2^(factor * (s[j] - greatest)) up to the end of the last vector; returns their sum. `greatest` is not below any
// s[j]. Of large scores only the difference is exact: s[j] * factor - greatest * factor would be what rounding left of the
// second product, fused or not. A NaN and an infinite `greatest` make the sum NaN.
inline float exponentials(float* s, int64_t n, float factor, float greatest) {
  const int64_t end = padded(n);
  Float sums[kSumVectors] = {};
  for (int64_t j = 0; j < end; j += kSums)
#pragma GCC unroll 4
    for (int v = 0; v < kSumVectors; ++v)
      if (const int64_t at = j + v * kWidth; at < end) {
        const Float weight = exp2_nonpositive(load(s + at) - greatest, factor);
        store(s + at, weight);
        sums[v] += weight;
      }
  return sum_of(sums);
}

}  // namespace temport::TEMPORT_ISA
