// ResidualLayerNorm: a few rows at a time, which stay in the first-level cache while they are read for their means, for
// their variances and for the result. A variance is that of the differences from the mean: sums of squares would cancel.
// RMS normalisation has 0 for the mean, and one sum less to read for.
#pragma once

#include "../native/multiply.h"

namespace temport::TEMPORT_ISA {

constexpr int kNormRows = 4;  // together: one after the other each would wait for its own sums

inline void plan_layer_norm(LayerNormProblem& p) {
  constexpr int64_t kLeast = 32 << 10;  // floats that take longer than waking a thread
  p.tasks = most(1, least(least(p.workers, p.rows), p.rows * p.width / kLeast));
  p.task_rows = (p.rows + p.tasks - 1) / p.tasks;
  p.tasks = (p.rows + p.task_rows - 1) / p.task_rows;
}

// visit(index of its first float, c, floats left) for every vector of a row of n floats, where c counts from 0 to C.
template <int C, typename Visit>
TEMPORT_INLINE void for_vectors(int64_t n, const Visit& visit) {
  int64_t i = 0;
  for (; i + C * kWidth <= n; i += C * kWidth)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) visit(i + c * kWidth, c, int64_t{kWidth});
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c)
    if (i + c * kWidth < n) visit(i + c * kWidth, c, n - i - c * kWidth);
}

template <int R, bool Add, bool Centred, typename Problem>
inline void normalise_rows(const Problem& p, int64_t row) {
  // Differences are summed along with their squares.
  const int64_t n = p.width;
  const float *x = p.x + row * n, *addend = Add ? p.addend + row * n : nullptr;
  float* y = p.y + row * n;
  Float sums[R][kSumVectors] = {}, differences[R][kSumVectors] = {}, squares[R][kSumVectors] = {};
  if constexpr (Add || Centred)
    for_vectors<kSumVectors>(n, [&](int64_t i, int c, int64_t left) __attribute__((always_inline)) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        Float v = load_first(x + r * n + i, left);
        if constexpr (Add) store_first(y + r * n + i, v += load_first(addend + r * n + i, left), left);
        sums[r][c] += v;
      }
    });
  const float* from = Add ? y : x;
  Float mean[R], factor[R], shift[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) mean[r] = Centred ? broadcast(sum_of(sums[r]) / float(n)) : Float{};
  for_vectors<kSumVectors>(n, [&](int64_t i, int c, int64_t left) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      Float difference = load_first(from + r * n + i, left) - mean[r];
      if (left < kWidth) difference = select(lanes() < int32_t(left), difference, Float{});
      differences[r][c] += difference;
      squares[r][c] = fused(difference, difference, squares[r][c]);
    }
  });
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    // What the mean lost when it was rounded, which is much of a deviation that is small beside it.
    const float rest = Centred ? sum_of(differences[r]) / float(n) : 0.0f;
    const float square = fused(-rest, rest, sum_of(squares[r]) / float(n));
    factor[r] = broadcast(1.0f / __builtin_sqrtf((square < 0.0f ? 0.0f : square) + p.epsilon));
    shift[r] = -rest * factor[r];
  }
  for_vectors<1>(n, [&](int64_t i, int, int64_t left) __attribute__((always_inline)) {
    const Float scale = load_first(p.scale + i, left), bias = load_first(p.bias + i, left);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Float v = load_first(from + r * n + i, left);
      store_first(y + r * n + i, fused(fused(v - mean[r], factor[r], shift[r]), scale, bias), left);
    }
  });
}

template <bool Add, bool Centred, typename Problem, typename Rows>
inline void normalise(const Problem& p, int64_t row, Rows end) {
  if constexpr (kMost<Rows> >= kNormRows)
    for (; row + kNormRows <= end; row += kNormRows) normalise_rows<kNormRows, Add, Centred>(p, row);
  for (; row < end; ++row) normalise_rows<1, Add, Centred>(p, row);
}

inline void run_layer_norm(const LayerNormProblem& p, int64_t task) {
  const int64_t row = task * p.task_rows, end = least(p.rows, row + p.task_rows);
  if (p.centred) return p.addend != nullptr ? normalise<true, true>(p, row, end) : normalise<false, true>(p, row, end);
  return p.addend != nullptr ? normalise<true, false>(p, row, end) : normalise<false, false>(p, row, end);
}

}  // namespace temport::TEMPORT_ISA
