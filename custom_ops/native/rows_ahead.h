// Rows that come next, asked for between the products of the rows before them. Rows of one head lie far apart in a
// packed tensor, in a pattern that hardware prefetchers give up on, and asking for all of them at once only waits.
#pragma once

#include "multiply.h"

namespace temport::TEMPORT_ISA {

class RowsAhead {
 public:
  RowsAhead() = default;  // nothing to ask for

  // Rows [from, to) of one head: its keys, values and queries, and the places of its outputs.
  template <typename Problem>
  RowsAhead(const Problem& p, int64_t batch, int64_t head, int64_t from, int64_t to) {
    const int64_t kv_head = head / (p.heads / p.kv_heads), element = p.dtype == DType::kFloat32 ? 4 : 2;
    const auto add = [&](const Operand& x, int64_t nth, int64_t dim, int64_t lo, int64_t hi) {
      if (lo >= hi) return;
      const int64_t at = batch * x.batch_stride + nth * dim + lo * x.row_stride;
      const char* row = static_cast<const char*>(x.data) + at * element;
      rows_[count_++] = {row, x.row_stride * element, dim * element, hi - lo};
    };
    const int64_t key_lo = most(0, from + p.rule.offset), key_hi = least(p.rule.keys, to + p.rule.offset);
    add(p.k, kv_head, p.dim, key_lo, key_hi);
    add(p.v, kv_head, p.value_dim, key_lo, key_hi);
    add(p.q, head, p.dim, from, to);
    const int64_t width = p.heads * p.value_dim;
    add({p.y, width, width * p.length}, head, p.value_dim, from, to);
  }

  // Asks for the next rows, as many as arrive during one small product.
  TEMPORT_INLINE void step() {
    for (int i = 0; i < 2 && at_ < count_; ++i) {
      Rows& r = rows_[at_];
      for (int64_t b = 0; b < r.bytes; b += 64) __builtin_prefetch(r.next + b, 0, 2);
      r.next += r.stride;
      if (--r.left == 0) ++at_;
    }
  }

 private:
  struct Rows {
    const char* next;
    int64_t stride, bytes, left;
  };
  Rows rows_[4];
  int count_ = 0, at_ = 0;
};

}  // namespace temport::TEMPORT_ISA
