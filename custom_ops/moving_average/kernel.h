// MovingAverage: two causal depthwise convolutions over rows as they lie, a vector of channels at a time.
#pragma once

#include "../native/multiply.h"

namespace temport::TEMPORT_ISA {

// y[t] = sum over i of weight[i] * x[t - (taps - 1 - i) * apart], rows of `channels` floats; weight `[taps, channels]`.
template <typename Channels, typename Taps>
inline void convolve_frames(const float* x, const float* weight, int64_t length, Channels channels, Taps taps,
                            int64_t apart, float* y) {
  for (int64_t t = 0; t < length; ++t) {
    const int64_t first = most(0, taps - 1 - t / apart);  // earlier taps meet frames before the first
    const float* oldest = x + (t - (taps - 1 - first) * apart) * channels;
    int64_t c = 0;
    for (; c + kWidth <= channels; c += kWidth) {
      const float* row = oldest + c;
      Float sum{};
      for (int64_t i = first; i < taps; ++i, row += apart * channels) sum = fused(load(weight + i * channels + c), load(row), sum);
      store(y + t * channels + c, sum);
    }
    for (; c < channels; ++c) {
      const float* row = oldest + c;
      float sum = 0;
      for (int64_t i = first; i < taps; ++i, row += apart * channels) sum = fused(weight[i * channels + c], *row, sum);
      y[t * channels + c] = sum;
    }
  }
}

// `Problem` is a MovingAverageProblem, or has its members.
template <typename Problem>
inline void run_moving_average(const Problem& p, int64_t entry, float* recent) {
  const int64_t at = entry * p.length * p.channels;
  convolve_frames(p.x + at, p.near, p.length, p.channels, p.taps, 1, recent);
  convolve_frames(recent, p.far, p.length, p.channels, p.taps, p.taps, p.y + at);
}

}  // namespace temport::TEMPORT_ISA
