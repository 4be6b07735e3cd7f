// Convolutions and pooling over one or two axes; one axis is an image of one row.
#pragma once

#include "../native/column_panels.h"
#include "movement.h"
#include "reductions.h"

namespace temport::TEMPORT_ISA {

// Along one axis: entries in and out, and the entries that the taps of an output meet.
struct Along {
  int64_t in, out, taps, stride, dilation, lead;

  TEMPORT_INLINE int64_t at(int64_t place, int64_t tap) const { return place * stride + tap * dilation - lead; }
  // The first tap of an output that meets an entry, and the one behind the last.
  TEMPORT_INLINE int64_t first(int64_t place) const {
    const int64_t missing = lead - place * stride;
    return missing <= 0 ? 0 : least((missing + dilation - 1) / dilation, taps);
  }
  TEMPORT_INLINE int64_t end(int64_t place) const {
    const int64_t left = in - 1 + lead - place * stride;
    return left < 0 ? 0 : least(left / dilation + 1, taps);
  }
};
struct Window {
  Along rows, columns;

  TEMPORT_INLINE int64_t in() const { return rows.in * columns.in; }
  TEMPORT_INLINE int64_t out() const { return rows.out * columns.out; }
  TEMPORT_INLINE int64_t taps() const { return rows.taps * columns.taps; }
};

// What output `place` meets in each of `channels` images, `[channels, taps]`; 0 outside of them.
inline void meet(const float* x, int64_t channels, const Window& w, int64_t place, float* to) {
  const int64_t row = place / w.columns.out, column = place % w.columns.out;
  const int64_t begin = w.columns.first(column), end = most(w.columns.end(column), begin);
  for (int64_t c = 0; c < channels; ++c, x += w.in())
    for (int64_t i = 0; i < w.rows.taps; ++i, to += w.columns.taps) {
      const int64_t r = w.rows.at(row, i);
      if (r < 0 || r >= w.rows.in) {
        fill(to, w.columns.taps, 0.0f);
        continue;
      }
      fill(to, begin, 0.0f);
      copy_steps(x + r * w.columns.in + w.columns.at(column, begin), w.columns.dilation, end - begin, to + begin, 1);
      fill(to + end, w.columns.taps - end, 0.0f);
    }
}

// The sums of some places, `[places, kPanel]`, into `[channels, out]` from channel `first` on.
inline void store_places(const float* sums, int64_t places, const float* bias, int64_t first, int64_t channels,
                         int64_t out, float* y) {
  const int64_t count = least(channels - first, kPanel);
  for (int64_t c = 0; c < count; ++c)
    for (int64_t p = 0; p < places; ++p) y[(first + c) * out + p] = sums[p * kPanel + c] + bias[c];
}

// x `[batch, groups * channels, in]` -> y `[batch, groups * outputs, out]`: of kBlockRows places the entries that they meet
// are rows of a product with the weights, packed as `[groups, channels * taps, outputs]`, in `scratch` of as many floats.
// One place that meets all there is needs no copy.
template <int64_t Groups, int64_t Inputs, int64_t Outputs>
void convolve(const float* x, int64_t batch, int64_t channels, const Window& w, const float* weights, const float* bias,
              float* scratch, float* y) {
  constexpr int64_t kPanels = (Outputs + kPanel - 1) / kPanel;
  const bool whole = w.out() == 1 && w.in() == w.taps() && w.rows.lead == 0 && w.columns.lead == 0;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t g = 0; g < Groups; ++g, x += channels * w.in(), y += Outputs * w.out())
      for (int64_t first = 0; first < w.out(); first += kBlockRows) {
        const int64_t places = least(w.out() - first, kBlockRows);
        for (int64_t p = 0; p < places && !whole; ++p) meet(x, channels, w, first + p, scratch + p * Inputs);
        multiply_panels(whole ? x : scratch, places, Inputs, weights + g * kPanels * Inputs * kPanel, Fixed<Inputs>{}, Outputs,
                        [&](int64_t m, int64_t some, int64_t q, const float* sums) {
                          store_places(sums, some, bias + (g * kPanels + q) * kPanel, q * kPanel, Outputs, w.out(),
                                       y + first + m);
                        });
      }
}

// Likewise with few outputs for a group, for which a panel would be empty: weights `[groups * outputs, channels, taps]`, a
// vector of places at a time.
inline void convolve_few(const float* x, int64_t batch, int64_t groups, int64_t channels, int64_t outputs,
                         const Window& w, const float* weights, const float* bias, float* y) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t o = 0; o < groups * outputs; ++o)
      for (int64_t row = 0; row < w.rows.out; ++row, y += w.columns.out) {
        fill(y, w.columns.out, bias[o]);
        const float* tap = weights + o * channels * w.taps();
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t i = 0; i < w.rows.taps; ++i) {
            const int64_t r = w.rows.at(row, i);
            const float* from = x + ((b * groups + o / outputs) * channels + c) * w.in() + r * w.columns.in;
            for (int64_t j = 0; j < w.columns.taps; ++j, ++tap) {
              if (r < 0 || r >= w.rows.in) continue;
              const int64_t at = w.columns.at(0, j), step = w.columns.stride;
              const int64_t begin = at < 0 ? (step - 1 - at) / step : 0;
              const int64_t end = least(w.columns.out, at < w.columns.in ? (w.columns.in - 1 - at) / step + 1 : 0);
              for (int64_t p = begin; p < end; ++p) y[p] = fused(*tap, from[at + p * step], y[p]);
            }
          }
      }
}

// x `[batch, groups * channels, out]` -> y `[batch, groups * outputs, in]`, as the gradient of a convolution from y to x: the
// products of some places with weights, packed as `[groups, channels, outputs * taps]`, are added where their taps meet.
// `scratch` holds kBlockRows * channels floats.
template <int64_t Groups, int64_t Channels, int64_t Outputs, int64_t Taps>
void convolve_transposed(const float* x, int64_t batch, const Window& w, const float* weights, const float* bias,
                         float* scratch, float* y) {
  constexpr int64_t kColumns = Outputs * Taps, kPanels = (kColumns + kPanel - 1) / kPanel;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t g = 0; g < Groups; ++g, x += Channels * w.out(), y += Outputs * w.in()) {
      for (int64_t o = 0; o < Outputs; ++o) fill(y + o * w.in(), w.in(), bias[g * Outputs + o]);
      for (int64_t first = 0; first < w.out(); first += kBlockRows) {
        const int64_t places = least(w.out() - first, kBlockRows);
        for (int64_t c = 0; c < Channels; ++c) copy_steps(x + c * w.out() + first, 1, places, scratch + c, Channels);
        multiply_panels(scratch, places, Channels, weights + g * kPanels * Channels * kPanel, Fixed<Channels>{}, kColumns,
                        [&](int64_t m, int64_t some, int64_t q, const float* sums) {
                          for (int64_t p = 0; p < some; ++p, sums += kPanel) {
                            const int64_t place = first + m + p;
                            for (int64_t k = q * kPanel, end = least(k + kPanel, kColumns); k < end; ++k) {
                              const int64_t r = w.rows.at(place / w.columns.out, k % Taps / w.columns.taps);
                              const int64_t c = w.columns.at(place % w.columns.out, k % w.columns.taps);
                              if (r >= 0 && r < w.rows.in && c >= 0 && c < w.columns.in)
                                y[k / Taps * w.in() + r * w.columns.in + c] += sums[k - q * kPanel];
                            }
                          }
                        });
      }
    }
}

// What becomes of each of `images` under a window; of a mean, what is outside counts where `padded`, up to `tail` entries
// behind the last.
template <typename Kind>
void pool(const float* x, int64_t images, const Window& w, bool padded, int64_t row_tail, int64_t column_tail, float* y) {
  const auto counted = [padded](const Along& a, int64_t place, int64_t tail) {
    if (!padded) return most(a.end(place) - a.first(place), 0);
    return least(a.taps, (a.in + a.lead + tail - 1 - place * a.stride) / a.dilation + 1);
  };
  for (int64_t n = 0; n < images; ++n, x += w.in())
    for (int64_t row = 0; row < w.rows.out; ++row)
      for (int64_t column = 0; column < w.columns.out; ++column) {
        float value = Kind::template first<float>();
        for (int64_t i = w.rows.first(row); i < w.rows.end(row); ++i)
          for (int64_t j = w.columns.first(column); j < w.columns.end(column); ++j)
            value = Kind::of(value, x[w.rows.at(row, i) * w.columns.in + w.columns.at(column, j)]);
        *y++ = Kind::last(value, counted(w.rows, row, row_tail) * counted(w.columns, column, column_tail));
      }
}

}  // namespace temport::TEMPORT_ISA
