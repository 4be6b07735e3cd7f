// OnlineSoftmaxAttention: one task is one tile of query rows of one head.
#pragma once

#include "query_tile.h"

namespace temport::TEMPORT_ISA {

inline void plan_attention(AttentionProblem& p) { plan_tiles(p, 96, 192); }

inline void run_attention(const AttentionProblem& p, int64_t task, float* base) {
  const TileScratch t(p, base);
  const int64_t head = task / p.tiles % p.heads, batch = task / p.tiles / p.heads;
  const int64_t lo = task % p.tiles * p.tile_rows, hi = least(lo + p.tile_rows, p.length);
  QueryTile(p, t, batch, head, lo, hi).run();
  for (int64_t r = 0; r < hi - lo; ++r) {
    normalise(t.o + r * t.o_stride, t.o_stride, t.row_sum[r]);
    store_row(t.o + r * t.o_stride, p.value_dim, p.dtype, p.y,
              ((batch * p.length + lo + r) * p.heads + head) * p.value_dim);
  }
}

}  // namespace temport::TEMPORT_ISA
