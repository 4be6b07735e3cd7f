// One row of the online softmax over one tile of keys (Milakov and Gimelshein, arXiv 1805.02867).
#pragma once

#include "multiply.h"

namespace temport::TEMPORT_ISA {

constexpr float kNothing = -__builtin_inff();

// Turns base-2 scores s[0, n) into weights 2^(s - max), in place. Only columns [lo, hi) are allowed, and of those only
// the ones whose lane in `mask` (unaligned, -1 = attend) is set where a mask is given; every other weight is 0, up to
// the end of the last vector. Updates the running maximum and sum; returns the factor for what was summed before.
inline float softmax_row(float* s, int64_t n, int64_t lo, int64_t hi, const int32_t* mask, float& row_max,
                         float& row_sum) {
  const int64_t end = padded(n);
  if (hi <= lo) {
    for (int64_t j = 0; j < end; j += kWidth) store(s + j, Float{});
    return 1.0f;
  }
  const Float nothing = broadcast(kNothing);
  for (int64_t j = 0; j < lo; j += kWidth) store(s + j, select(lanes() >= int32_t(lo - j), load(s + j), nothing));
  for (int64_t j = hi / kWidth * kWidth; j < end; j += kWidth)
    store(s + j, select(lanes() < int32_t(hi - j), load(s + j), nothing));
  if (mask != nullptr)
    for (int64_t j = 0; j < end; j += kWidth) store(s + j, select(load(mask + j), load(s + j), nothing));

  Float greatest = load(s), other = greatest;
  int64_t j = kWidth;
  for (; j + kWidth < end; j += 2 * kWidth) {
    greatest = max(load(s + j), greatest);
    other = max(load(s + j + kWidth), other);
  }
  if (j < end) greatest = max(load(s + j), greatest);
  const float tile_max = max_of(max(greatest, other));
  const float before = row_max, now = tile_max > before ? tile_max : before;
  if (now == kNothing) {  // nothing allowed so far: -inf - -inf would be NaN
    for (j = 0; j < end; j += kWidth) store(s + j, Float{});
    return 1.0f;
  }
  Float sum{}, sum_other{};
  const Float reference = broadcast(now);
  for (j = 0; j + kWidth < end; j += 2 * kWidth) {
    const Float a = exp2_nonpositive(load(s + j) - reference);
    const Float b = exp2_nonpositive(load(s + j + kWidth) - reference);
    store(s + j, a);
    store(s + j + kWidth, b);
    sum += a;
    sum_other += b;
  }
  if (j < end) {
    const Float a = exp2_nonpositive(load(s + j) - reference);
    store(s + j, a);
    sum += a;
  }
  const float total = sum_of(sum + sum_other);
  row_max = now;
  if (before == kNothing) {
    row_sum = total;
    return 1.0f;
  }
  const float factor = before == now ? 1.0f : exp2_nonpositive(broadcast(before - now))[0];
  row_sum = row_sum * factor + total;
  return factor;
}

}  // namespace temport::TEMPORT_ISA
