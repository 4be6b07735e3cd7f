// Normalisation that ResidualLayerNorm's kernel has no form of: rows of channels, whose width is open and whose scales are
// the channels'.
#pragma once

#include "../residual_layer_norm/kernel.h"
#include "reductions.h"

namespace temport::TEMPORT_ISA {

// x `[rows, channels, size]` -> y: each row to mean 0 and variance 1, then channel c times scale and plus bias. Those of row
// r begin at (r mod groups) * channels. The mean that was lost when it was rounded is put back, as ResidualLayerNorm does.
template <typename Size>
void normalise_channels(const float* x, int64_t rows, int64_t groups, int64_t channels, Size size, float epsilon,
                        const float* scale, const float* bias, float* y) {
  const int64_t n = channels * size;
  for (int64_t r = 0; r < rows; ++r) {
    Float sums[kSumVectors] = {}, differences[kSumVectors] = {}, squares[kSumVectors] = {};
    for_vectors<kSumVectors>(n, [&](int64_t i, int c, int64_t left) { sums[c] += load_first(x + i, left); });
    const Float mean = broadcast(sum_of(sums) / float(n));
    for_vectors<kSumVectors>(n, [&](int64_t i, int c, int64_t left) {
      const Float difference = select(lanes() < int32_t(least(left, kWidth)), load_first(x + i, left) - mean, Float{});
      differences[c] += difference;
      squares[c] = fused(difference, difference, squares[c]);
    });
    const float rest = sum_of(differences) / float(n), square = sum_of(squares) / float(n) - rest * rest;
    const float factor = 1.0f / sqrt((square < 0.0f ? 0.0f : square) + epsilon);
    for (int64_t c = r % groups * channels, end = c + channels; c < end; ++c, x += size, y += size)
      for_vectors<1>(size, [&](int64_t i, int, int64_t left) {
        const Float v = load_first(x + i, left);
        store_first(y + i, ((v - mean) * factor - rest * factor) * scale[c] + bias[c], left);
      });
  }
}

}  // namespace temport::TEMPORT_ISA
