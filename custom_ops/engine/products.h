// Products of two matrices of which neither is a weight, and softmax.
#pragma once

#include "../native/column_panels.h"
#include "../native/softmax_row.h"
#include "functions.h"
#include "movement.h"

namespace temport::TEMPORT_ISA {

// y = a b: a `[rows, inputs]` and y `[rows, columns]`, whose rows begin every a_step and y_step floats, b `[inputs, columns]`,
// or where Transposed its transpose. `panels` holds b as panels.
template <bool Transposed, typename Rows, typename Inputs, typename Columns>
void multiply_matrices(Rows rows, Inputs inputs, Columns columns, const float* a, int64_t a_step, const float* b, float* y,
                       int64_t y_step, float* panels) {
  const int64_t step = Transposed ? 1 : columns, apart = Transposed ? inputs : 1;
  pack_columns(b, inputs, step, panels_of(columns),
               [&](int64_t p, int64_t c, int64_t) { return p * kPanel + c < columns ? (p * kPanel + c) * apart : -1; }, panels);
  multiply_panels(a, rows, a_step, panels, inputs, columns,
                  [&](int64_t first, int64_t some, int64_t q, const float* sums) {
                    const int64_t left = least(kPanel, columns - q * kPanel);
                    for (int64_t m = 0; m < some; ++m)
                      copy(sums + m * kPanel, left, y + (first + m) * y_step + q * kPanel);
                  });
}

// Softmax over the middle axis of x and y `[before, size, after]`, or its logarithm; `row` holds `size` floats and as many
// more as whole vectors need.
template <bool Log, typename Size, typename After>
void softmax(const float* x, int64_t before, Size size, After after, float* y, float* row) {
  for (int64_t b = 0; b < before; ++b)
    for (int64_t j = 0; j < after; ++j) {
      const int64_t at = b * size * after + j;
      copy_steps(x + at, after, size, row, 1);
      const float greatest = mask_and_max(row, size, 0, size, nullptr);
      const float sum = exponentials(row, size, kLog2E, greatest);
      if constexpr (Log) {
        const float rest = log(broadcast(sum))[0];
        for (int64_t i = 0; i < size; ++i) y[at + i * after] = (x[at + i * after] - greatest) - rest;
      } else {
        const float factor = 1.0f / sum;
        for (int64_t i = 0; i < size; ++i) y[at + i * after] = row[i] * factor;
      }
    }
}

}  // namespace temport::TEMPORT_ISA
