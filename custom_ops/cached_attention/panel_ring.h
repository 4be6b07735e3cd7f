// CachedAttention over a ring that a native engine keeps in the layout of dense weights: the keys of a head are its
// columns, so that scores are a product with packed panels, and so are its values, so that what they weigh is one too.
// A frame writes one column of the keys and one row of the values.
#pragma once

#include "../native/column_panels.h"
#include "../native/convert.h"
#include "../native/softmax_row.h"

namespace temport::TEMPORT_ISA {

// The ring of one batch entry: `heads` heads of `dim` numbers, for the newest `slots` frames. They are floats, or halves
// (uint16_t), which a frame is rounded to before it is read.
template <int64_t Heads, int64_t Dim, int64_t Slots, typename Element = float>
struct PanelRing {
  static constexpr int64_t kKeyPanels = (Slots + kPanel - 1) / kPanel, kValuePanels = (Dim + kPanel - 1) / kPanel;
  static constexpr int64_t kScores = kKeyPanels * kPanel;
  static constexpr int64_t kKeys = Heads * kKeyPanels * Dim * kPanel;        // [heads, panels, dim, kPanel]
  static constexpr int64_t kValues = Heads * kValuePanels * Slots * kPanel;  // [heads, panels, slots, kPanel]

  Element *keys, *values;

  TEMPORT_INLINE static int64_t key_at(int64_t head, int64_t slot) {
    return (head * kKeyPanels + slot / kPanel) * Dim * kPanel + slot % kPanel;
  }
  TEMPORT_INLINE static int64_t value_at(int64_t head, int64_t slot) {
    return (head * kValuePanels * Slots + slot) * kPanel;
  }

  // Where a frame goes that has so many before it.
  TEMPORT_INLINE static int64_t slot_of(int64_t frame) {
    const int64_t rest = frame % Slots;
    return rest < 0 ? rest + Slots : rest;
  }

  // One frame of `batch` streams, whose rings lie behind each other: qkv `[batch, 3 * heads * dim]`, y `[batch, heads *
  // dim]`; `frames` counts those before it. Where InBlocks, a frame sees none from before slot 0 was written last.
  template <bool InBlocks = false>
  void step(int64_t batch, const float* qkv, const int64_t* frames, float scale, float* y) const {
    constexpr int64_t kWide = Heads * Dim;
    for (int64_t b = 0; b < batch; ++b) {
      const PanelRing ring{keys + b * kKeys, values + b * kValues};
      const float* row = qkv + b * 3 * kWide;
      const int64_t frame = frames[b], slot = slot_of(frame);
      put(row + kWide, ring.keys + slot / kPanel * Dim * kPanel + slot % kPanel, kKeyPanels * Dim * kPanel, kPanel);
      for (int64_t d = 0; d < Dim; d += kPanel)
        for (int64_t h = 0; h < Heads; ++h)
          hold(row + 2 * kWide + h * Dim + d, least(kPanel, Dim - d), ring.values + value_at(h, slot) + d * Slots);
      ring.attend(row, (InBlocks ? slot : least(frame, Slots - 1)) + 1, scale, y + b * kWide);
    }
  }

  // Between rings and caches in the layout of the op, `[batch, slots, heads * dim]`, of the same elements.
  static void load_keys(const Element* cache, int64_t batch, Element* keys) {
    each(batch, [&](int64_t b, int64_t slot, int64_t h, int64_t d, int64_t at) {
      keys[b * kKeys + key_at(h, slot) + d * kPanel] = cache[at];
    });
  }
  static void store_keys(const Element* keys, int64_t batch, Element* cache) {
    each(batch, [&](int64_t b, int64_t slot, int64_t h, int64_t d, int64_t at) {
      cache[at] = keys[b * kKeys + key_at(h, slot) + d * kPanel];
    });
  }
  static void load_values(const Element* cache, int64_t batch, Element* values) {
    each(batch, [&](int64_t b, int64_t slot, int64_t h, int64_t d, int64_t at) {
      values[b * kValues + value_at(h, slot) + d / kPanel * Slots * kPanel + d % kPanel] = cache[at];
    });
  }
  static void store_values(const Element* values, int64_t batch, Element* cache) {
    each(batch, [&](int64_t b, int64_t slot, int64_t h, int64_t d, int64_t at) {
      cache[at] = values[b * kValues + value_at(h, slot) + d / kPanel * Slots * kPanel + d % kPanel];
    });
  }

  // y = attention of the query `q` over slots [0, filled), both `[heads * dim]`; zeros over none.
  void attend(const float* q, int64_t filled, float scale_given, float* y) const {
    alignas(64) float scores[Heads * kScores];
    if (filled <= 0) return (void)__builtin_memset(y, 0, Heads * Dim * sizeof(float));
    const Scale scale(scale_given);
    const int64_t panels = (filled + kPanel - 1) / kPanel;
    constexpr int kPanelsTogether = int(least(kRowPanels, kKeyPanels));
    for (int64_t h = 0; h < Heads; ++h) {
      alignas(64) float query[Dim];
      for (int64_t d = 0; d < Dim; ++d) query[d] = q[h * Dim + d] * scale.queries;
      float* s = scores + h * kScores;
      for (int64_t p = 0; p < panels; p += kPanelsTogether)
        multiply_some<kPanelsTogether>(least(kPanelsTogether, panels - p), query, 0, keys + key_at(h, p * kPanel),
                                       Dim * kPanel, Fixed<Dim>{}, s + p * kPanel);
      const float greatest = mask_and_max(s, filled, 0, filled, nullptr);
      const float factor = 1.0f / exponentials(s, filled, scale.factor, greatest == kNothing ? 0.0f : greatest);
      for (int64_t j = 0; j < filled; j += kWidth) store(s + j, load(s + j) * factor);
    }
    // Narrow heads together: one alone has too few sums to keep the arithmetic units busy.
    constexpr int64_t kHeadsTogether = kValuePanels == 1 ? kRowPanels : 1;
    for (int64_t h = 0; h < Heads; h += kHeadsTogether)
      for (int64_t p = 0; p < kValuePanels; p += kRowPanels) {
        alignas(64) float sums[kRowPanels * kPanel];
        const int64_t heads = least(kHeadsTogether, Heads - h), wide = least(kRowPanels, kValuePanels - p);
        const int64_t count = kHeadsTogether > 1 ? heads : wide, apart = kHeadsTogether > 1 ? kScores : 0;
        const Element* v = values + value_at(h, 0) + p * Slots * kPanel;
        multiply_some<kRowPanels>(count, scores + h * kScores, apart, v, Slots * kPanel, least(kSumKeys, filled), sums);
        if constexpr (Slots > kSumKeys)
          for (int64_t j = kSumKeys; j < filled; j += kSumKeys) {
            alignas(64) float sum[kRowPanels * kPanel];
            multiply_some<kRowPanels>(count, scores + h * kScores + j, apart, v + j * kPanel, Slots * kPanel,
                                      least(kSumKeys, filled - j), sum);
            add_sum(sum, count * kPanel, sums);
          }
        if constexpr (kHeadsTogether > 1)
          for (int64_t i = 0; i < heads; ++i) copy_floats(sums + i * kPanel, Dim, y + (h + i) * Dim);
        else
          copy_floats(sums, least(wide * kPanel, Dim - p * kPanel), y + h * Dim + p * kPanel);
      }
  }

 private:
  template <typename Visit>
  static void each(int64_t batch, const Visit& visit) {
    for (int64_t b = 0, at = 0; b < batch; ++b)
      for (int64_t slot = 0; slot < Slots; ++slot)
        for (int64_t h = 0; h < Heads; ++h)
          for (int64_t d = 0; d < Dim; ++d, ++at) visit(b, slot, h, d, at);
  }
  // The row of all heads as one column of their panels.
  TEMPORT_INLINE static void put(const float* row, Element* column, int64_t head_apart, int64_t apart) {
    alignas(64) Element held[Heads * Dim];
    hold(row, Heads * Dim, held);
    for (int64_t h = 0; h < Heads; ++h)
      for (int64_t d = 0; d < Dim; ++d) column[h * head_apart + d * apart] = held[h * Dim + d];
  }
  // to[0, n) = from, as the ring has it.
  TEMPORT_INLINE static void hold(const float* from, int64_t n, float* to) { copy_floats(from, n, to); }
  TEMPORT_INLINE static void hold(const float* from, int64_t n, uint16_t* to) {
    store_row(from, 1.0f, n, DType::kFloat16, to, 0);
  }
  TEMPORT_INLINE static void copy_floats(const float* from, int64_t n, float* to) {
    __builtin_memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  }
};

}  // namespace temport::TEMPORT_ISA
