// What the arithmetic units can do at most: independent fused multiply-adds on registers.
#pragma once

#include "multiply.h"

namespace temport::TEMPORT_ISA {

// Runs `rounds` rounds and returns how many floating-point operations that were.
inline double spend_flops(int64_t rounds) {
  constexpr int kChains = kMaxRows * kPanelVectors;
  Float sum[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) sum[i] = broadcast(float(i));
  Float factor = broadcast(0.5f);
  for (int64_t n = 0; n < rounds; ++n) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) {
      sum[i] = sum[i] * factor + factor;
#if defined(__x86_64__)
      __asm__ volatile("" : "+x"(sum[i]));  // neither removed nor merged with the next round
#else
      __asm__ volatile("" : "+w"(sum[i]));
#endif
    }
  }
  return double(rounds) * kChains * kWidth * 2;
}

}  // namespace temport::TEMPORT_ISA
