// CachedAttention: one query row of some heads over the filled rows of a cache, which is read from front to back for
// all these heads together. Head by head it would be read in short pieces, and it is rarely in the nearest memory:
// between two frames the whole model is read.
#pragma once

#include "../native/query_tile.h"

namespace temport::TEMPORT_ISA {

// By head: the query, the scores, the weighted sum and that of the last keys; then rows that have to be converted.
struct SingleRowScratch {
  int64_t width, scores;
  float *q, *s, *o, *sum, *rows;
  size_t floats;

  SingleRowScratch(const AttentionProblem& p, int64_t keys, int64_t heads, float* base)
      : width(padded(p.dim)), scores(padded(keys)) {
    floats = 0;
    const auto take = [&](int64_t n) {
      float* part = base == nullptr ? nullptr : base + floats;
      floats += size_t(n + 15) / 16 * 16;
      return part;
    };
    q = take(heads * width);
    o = take(heads * width);
    sum = take(heads * width);
    rows = take(kTogether * width);
    s = take(heads * scores);
  }
};

inline size_t single_row_floats(const AttentionProblem& p, int64_t heads) {
  return SingleRowScratch(p, p.rule.keys, heads, nullptr).floats;
}

// `keys(head)` and `values(head)` are the rows of a head.
template <typename RowsOf>
inline void attend_single_row(const AttentionProblem& p, int64_t first, int64_t heads, const SingleRowScratch& t,
                              const RowsOf& keys, const RowsOf& values) {
  const int64_t n = p.rule.keys;
  const Scale scale(p.scale);
  for (int64_t h = 0; h < heads; ++h)
    load_row(p.q.data, p.dtype, (first + h) * p.dim, p.dim, scale.queries, t.q + h * t.width);
  for (int64_t j = 0; j < n; j += kTogether)
    for (int64_t h = 0; h < heads; ++h)
      score_row(t.q + h * t.width, keys(first + h), j, least(kTogether, n - j), t.width, t.s + h * t.scores + j);

  for (int64_t h = 0; h < heads && n > 0; ++h) {
    float* s = t.s + h * t.scores;
    const float greatest = mask_and_max(s, n, 0, n, nullptr);
    const float factor = 1.0f / exponentials(s, n, scale.factor, greatest == kNothing ? 0.0f : greatest);
    for (int64_t j = 0; j < n; j += kWidth) store(s + j, load(s + j) * factor);
  }

  __builtin_memset(t.o, 0, size_t(heads * t.width) * 4);
  __builtin_memset(t.sum, 0, size_t(heads * t.width) * 4);
  for (int64_t j = 0; j < n; j += kTogether) {
    for (int64_t h = 0; h < heads; ++h)
      weigh_row(t.s + h * t.scores + j, values(first + h), j, least(kTogether, n - j), t.width, nullptr,
                t.sum + h * t.width);
    if (j + kTogether >= end_of_sum(j, n)) add_sum(t.sum, heads * t.width, t.o);
  }
  for (int64_t h = 0; h < heads; ++h)
    store_row(t.o + h * t.width, 1.0f, p.dim, p.dtype, p.y, (first + h) * p.dim);
}

// Rows of the heads of an operand, in elements that are read where they lie.
template <typename Element>
inline auto plain_rows(const Operand& x, int64_t dim) {
  return [data = static_cast<const Element*>(x.data), dim, stride = x.row_stride](int64_t head) {
    return PlainRows<Element>{data + head * dim, stride};
  };
}

// Heads [first, first + heads) of a problem with one batch entry and one row.
inline void run_single_row(const AttentionProblem& p, int64_t first, int64_t heads, float* base) {
  const SingleRowScratch t(p, p.rule.keys, heads, base);
  const bool whole = t.width == p.dim;
  if (whole && p.ring == DType::kFloat32)
    return attend_single_row(p, first, heads, t, plain_rows<float>(p.k, p.dim), plain_rows<float>(p.v, p.dim));
  if (whole && p.ring == DType::kFloat16)
    return attend_single_row(p, first, heads, t, plain_rows<uint16_t>(p.k, p.dim), plain_rows<uint16_t>(p.v, p.dim));
  const auto converted = [&](const Operand& x) {
    return [&](int64_t head) { return RowReader(x, p.ring, head * p.dim, p.dim, t.rows); };
  };
  attend_single_row(p, first, heads, t, converted(p.k), converted(p.v));
}

inline void round_to_halves(const float* x, int64_t n, uint16_t* to) { store_row(x, 1.0f, n, DType::kFloat16, to, 0); }

}  // namespace temport::TEMPORT_ISA
