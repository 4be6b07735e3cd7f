// FusedLSTM: the cell of four gates whose state is c.
#pragma once

#include "../native/recurrence.h"

namespace temport::TEMPORT_ISA {

struct LstmCell {
  static constexpr int kGates = 4, kCellPanels = kRowPanels;  // i, o, f, c

  TEMPORT_INLINE static const float* addend(const float* projected, const float*, int64_t gate) {
    return projected + gate * kPanel;
  }

  // c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c) for the units of a team.
  TEMPORT_INLINE static void apply(const float* summed, const float* projected, const float*, float* c, float* h) {
    const float* gates = summed != nullptr ? summed : projected;
#pragma GCC unroll 4
    for (int v = 0; v < kPanel; v += kWidth) {
      const Float i = load(gates + v), o = load(gates + kPanel + v), f = load(gates + 2 * kPanel + v);
      const Float cell = fused(sigmoid(f), load(c + v), sigmoid(i) * tanh(load(gates + 3 * kPanel + v)));
      store(c + v, cell);
      store(h + v, sigmoid(o) * tanh(cell));
    }
  }
};

}  // namespace temport::TEMPORT_ISA
