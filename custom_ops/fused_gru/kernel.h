// FusedGRU: the cell of three gates whose state is h.
#pragma once

#include "../native/recurrence.h"

namespace temport::TEMPORT_ISA {

struct GruCell {
  static constexpr int kGates = 3, kCellPanels = kGates;  // z, r, h; eight panels are no multiple of three

  // The reset gate multiplies the recurrent part of h alone, so what comes from the input is not added to that.
  TEMPORT_INLINE static const float* addend(const float* projected, const float* recurrent_bias, int64_t gate) {
    return (gate < 2 ? projected : recurrent_bias) + gate * kPanel;
  }

  // n = tanh(projected + sigmoid(r) recurrent), h = (1 - z) n + z h for the units of a team.
  TEMPORT_INLINE static void apply(const float* summed, const float* projected, const float* recurrent_bias, float* state,
                                   float* h) {
    const float* gates = summed != nullptr ? summed : projected;
    const float* recurrent = summed != nullptr ? summed : recurrent_bias;
#pragma GCC unroll 4
    for (int v = 0; v < kPanel; v += kWidth) {
      const Float z = sigmoid(load(gates + v)), r = sigmoid(load(gates + kPanel + v));
      const Float n = tanh(fused(r, load(recurrent + 2 * kPanel + v), load(projected + 2 * kPanel + v)));
      const Float after = fused(z, load(state + v), (1.0f - z) * n);
      store(state + v, after);
      store(h + v, after);
    }
  }
};

}  // namespace temport::TEMPORT_ISA
