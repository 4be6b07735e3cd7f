// Normalisation of what ResidualLayerNorm's kernel has no form of: rows whose width is open, a scale for every channel, and
// rows without a mean.
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
      squares[c] += difference * difference;
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

// y = x / sqrt(mean of x^2 + epsilon) * scale, row by row; scale `[width]`.
template <typename Width>
void rms_norm(const float* x, int64_t rows, Width width, float epsilon, const float* scale, float* y) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    const float factor = 1.0f / sqrt(reduce_row<Squares>(x, width) / float(width) + epsilon);
    for_vectors<1>(width, [&](int64_t i, int, int64_t left) {
      store_first(y + i, load_first(x + i, left) * factor * load_first(scale + i, left), left);
    });
  }
}

}  // namespace temport::TEMPORT_ISA
