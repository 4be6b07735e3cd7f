// Products of a few rows with a dense weight that was packed once, when the model was loaded: panels of kSlice outputs,
// and in a panel kSlice floats for every input. A row then reads the weight from front to back, which is as fast as the
// memory gives it, and every sum has a lane of its own.
#pragma once

#include "simd.h"

namespace temport::TEMPORT_ISA {

constexpr int kSliceVectors = 8;  // sums in flight: two multiply-adds a cycle, four cycles each
constexpr int kSlice = kSliceVectors * kWidth;
constexpr int kTileRows = 3, kTileVectors = 4;  // with more rows a weight's load serves three: 12 sums of 16 registers

inline int64_t panels_of(int64_t outputs) { return (outputs + kSlice - 1) / kSlice; }

// Panels of w `[outputs, inputs]`; what lies beyond the outputs is 0.
// `row_of(panel, column)` is the row of w there, or -1.
template <typename RowOf>
inline void pack_columns(const float* w, int64_t inputs, int64_t panels, const RowOf& row_of, float* to) {
  for (int64_t p = 0; p < panels; ++p, to += inputs * kSlice)
    for (int64_t c = 0; c < kSlice; ++c) {
      const int64_t row = row_of(p, c);
      for (int64_t k = 0; k < inputs; ++k) to[k * kSlice + c] = row < 0 ? 0.0f : w[row * inputs + k];
    }
}

// out row m = start row m + x row m times V vectors of a panel, for M rows.
template <int M, int V>
inline void multiply_tile(const float* x, int64_t x_stride, const float* panel, int64_t inputs, const float* start,
                          int64_t start_stride, float* out, int64_t out_stride) {
  constexpr int kAhead = 1024, kLine = 16;  // floats
  Float sum[M][V] = {};
  for (int64_t k = 0; k < inputs; ++k, panel += kSlice) {
    if constexpr (M == 1)
#pragma GCC unroll 8
      for (int i = 0; i < kSlice; i += kLine) __builtin_prefetch(panel + kAhead + i);
    Float weight[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) weight[v] = load(panel + v * kWidth);
#pragma GCC unroll 3
    for (int m = 0; m < M; ++m) {
      const Float value = broadcast(x[m * x_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[m][v] += value * weight[v];
    }
  }
#pragma GCC unroll 3
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      store(out + m * out_stride + v * kWidth, load(start + m * start_stride + v * kWidth) + sum[m][v]);
}

// out row m = start row m + x row m times the panel, kSlice floats each; a start_stride of 0 gives every row the same.
// All rows meet a few inputs after the other: their part of the panel stays in the first-level cache, and every sum is
// begun anew, which keeps its rounding error that of a short one.
inline void multiply_by_panel(const float* x, int64_t rows, int64_t x_stride, const float* panel, int64_t inputs,
                              const float* start, int64_t start_stride, float* out, int64_t out_stride) {
  constexpr int64_t kInputs = 64;
  for (int64_t first = 0; first == 0 || first < inputs; first += kInputs, x += kInputs, panel += kInputs * kSlice) {
    const int64_t some = inputs - first < kInputs ? inputs - first : kInputs;
    int64_t m = 0;
    for (; m + kTileRows <= rows; m += kTileRows)
      for (int v = 0; v < kSlice; v += kTileVectors * kWidth)
        multiply_tile<kTileRows, kTileVectors>(x + m * x_stride, x_stride, panel + v, some, start + m * start_stride + v,
                                               start_stride, out + m * out_stride + v, out_stride);
    for (; m < rows; ++m)
      multiply_tile<1, kSliceVectors>(x + m * x_stride, x_stride, panel, some, start + m * start_stride, start_stride,
                                      out + m * out_stride, out_stride);
    start = out;
    start_stride = out_stride;
  }
}

// Shares `panels` among as many tasks as the products of one run are worth, and returns how many each gets.
inline int64_t share_panels(int64_t panels, int64_t products, int64_t workers, int64_t& tasks) {
  constexpr int64_t kLeast = 48 << 10;  // products below which waking a thread costs more than it saves
  tasks = products / kLeast;
  tasks = tasks < 1 ? 1 : tasks > workers ? workers : tasks;
  const int64_t share = (panels + tasks - 1) / tasks;
  tasks = (panels + share - 1) / share;
  return share;
}

}  // namespace temport::TEMPORT_ISA
