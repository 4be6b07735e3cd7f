// OnlineSoftmaxAttention: one task is one tile of query rows of one head.
#pragma once

#include "../native/query_tile.h"

namespace temport::TEMPORT_ISA {

// Larger tiles pack each key fewer times; smaller ones keep a short problem divisible among threads.
constexpr int64_t kFewRows = 64, kManyRows = 384;
template <typename Problem>
constexpr void count_tasks(Problem& p) {
  p.tiles = (p.length + p.tile_rows - 1) / p.tile_rows;
  p.tasks = p.batch * p.heads * p.tiles;
}

constexpr void plan_attention(AttentionProblem& p) {
  const int64_t share = p.batch * p.heads * p.length / (4 * p.workers);
  plan_tiles(p, most(kFewRows, least(kManyRows, share)), p.rule.window > 0 ? 512 : 256);
  count_tasks(p);
}

template <typename Problem>
inline bool sees_a_key(const Problem& p, int64_t batch, int64_t row) {
  for (int64_t key = p.rule.lo(row); key < p.rule.hi(row); ++key)
    if (p.key_mask == nullptr || p.key_mask[batch * p.rule.keys + key]) return true;
  return false;
}

template <typename Problem>
inline void run_attention(const Problem& p, int64_t task, float* base) {
  const TileScratch t(p, base);
  // Heads innermost: they share the pages of a packed input. Last rows first: under a causal rule they cost the most.
  const int64_t head = task % p.heads, batch = task / p.heads / p.tiles;
  const int64_t lo = (p.tiles - 1 - task / p.heads % p.tiles) * p.tile_rows, hi = least(lo + p.tile_rows, p.length);
  RowsAhead ahead;  // nothing: here asking early costs as much as it saves
  QueryTile(p, t, ahead, batch, head, lo, hi).run([&](int64_t first, int64_t rows) {
    const StageTimer timer(kStoreStage);
    for (int64_t r = first; r < first + rows; ++r) {
      // Weights that sum to 0 are those of no key, or of scores that are all -inf: 0 / 0.
      const bool empty = t.row_sum[r] == 0.0f && !sees_a_key(p, batch, lo + r);
      const float factor = empty ? 1.0f : 1.0f / t.row_sum[r];
      store_row(t.o + r * t.o_stride, factor, p.value_dim, p.dtype, p.y,
                ((batch * p.length + lo + r) * p.heads + head) * p.value_dim);
    }
  });
}

}  // namespace temport::TEMPORT_ISA
