// CachedBlockLinearAttention, the linear branch of one frame: phi(q) with the sums over the earlier blocks, and the
// sums over this block with phi(k)^T [v 1] added to them.
//
// Both additions, to this block's sums and of a whole block's to the earlier ones, are compensated (Kahan 1965): `lost` is
// what rounding gave to the last ones, and the next frame takes it off. Every product and sum is rounded where the
// definition rounds it: float32 sums with the identity as phi are the definition's bit by bit.
#pragma once

#include "../block_linear_attention/kernel.h"

namespace temport::TEMPORT_ISA {

// `count` <= kWidth elements from p[i] on as float32 and back.
template <DType T>
TEMPORT_INLINE Float load_some(const void* p, int64_t i, int64_t count) {
  if (T == DType::kFloat32 && count == kWidth) return load(static_cast<const float*>(p) + i);
  if (T == DType::kFloat16 && count == kWidth) return load_halves(static_cast<const uint16_t*>(p) + i);
  float x[kWidth] = {};
  for (int64_t j = 0; j < count; ++j) x[j] = to_float(p, T, i + j);
  return load(x);
}

template <DType T>
TEMPORT_INLINE void store_some(void* p, int64_t i, int64_t count, Float value) {
  if (T == DType::kFloat32 && count == kWidth) return store(static_cast<float*>(p) + i, value);
  float x[kWidth];
  store(x, value);
  store_row(x, 1.0f, count, T, p, i);
}

// Some of the row's values as the element type holds them.
template <DType T>
TEMPORT_INLINE Float as_held(Float value) {
  if constexpr (T == DType::kFloat32) {
    return value;
  } else {
    uint16_t held[kWidth];
    store_some<T>(held, 0, kWidth, value);
    return load_some<T>(held, 0, kWidth);
  }
}

// Four rows of scratch, each a whole number of cache lines.
constexpr int64_t linear_step_row(int64_t dim) { return (padded(dim + 1) + 15) / 16 * 16; }
constexpr size_t linear_step_floats(int64_t dim) { return size_t(4 * linear_step_row(dim)); }

// The sums of one head are met in whole vectors row after row. Where rows are dense, `[dim, dim + 1]`, the last vector of
// a row also covers the beginning of the rows below, which come later and write over it; towards the end of the head it is
// cut there. Rows of whole vectors, whose last floats mean nothing, do not touch each other: they may stay where they are.
//
// `Problem` is a LinearStepProblem, or has its members.
template <DType T, typename Problem = LinearStepProblem>
class LinearStep {
 public:
  LinearStep(const Problem& p, int64_t entry, int64_t head, float* scratch)
      : p_(p),
        phi_q_(scratch),
        phi_k_(phi_q_ + linear_step_row(p.dim)),
        values_(phi_k_ + linear_step_row(p.dim)),
        y_(values_ + linear_step_row(p.dim)),
        columns_(p.dim + 1),
        begin_((entry * p.heads + head) * p.dim * p.row),
        end_(begin_ + p.dim * p.row),
        whole_rows_(most(0, (end_ - begin_ - padded(columns_) + p.row) / p.row)),
        row_at_(head * p.dim),
        entry_(entry) {}

  void run(bool ends) {
    prepare();
    const Int complete = Int{} - (ends ? 1 : 0);  // all bits, or none
    int64_t d = 0;
    for (; d < whole_rows_; ++d) add_row<true>(d, complete);
    for (; d < p_.dim; ++d) add_row<false>(d, complete);
    add_to_output();
  }

 private:
  void prepare() {
    const int64_t at = 3 * entry_ * p_.heads * p_.dim + row_at_, width = p_.heads * p_.dim;
    load_row(p_.qkv, T, at, p_.dim, 1.0f, phi_q_);
    load_row(p_.qkv, T, at + width, p_.dim, 1.0f, phi_k_);
    for (int64_t d = 0; p_.elu1 && d < p_.dim; d += kWidth) {
      store(phi_q_ + d, elu1(load(phi_q_ + d)));
      store(phi_k_ + d, elu1(load(phi_k_ + d)));
    }
    load_row(p_.qkv, T, at + 2 * width, p_.dim, 1.0f, values_);
    for (int64_t j = p_.dim; j < padded(columns_); ++j) values_[j] = j == p_.dim;
    for (int64_t j = 0; j < padded(columns_); j += kWidth) store(y_ + j, Float{});
  }

  // Row d of all the sums.
  template <bool Whole>
  TEMPORT_INLINE void add_row(int64_t d, Int complete_block) {
    const Problem p = p_;  // what is stored below might lie in p_ itself, for all that the compiler knows
    float *const y = y_, *const values = values_;
    const Float q = broadcast(phi_q_[d]), k = broadcast(phi_k_[d]);
    for (int64_t column = 0, columns = columns_, end = end_, i = begin_ + d * p.row; column < columns;
         column += kWidth, i += kWidth) {
      const int64_t count = Whole ? kWidth : least(kWidth, end - i);
      const Float earlier = load_some<T>(p.earlier, i, count), block = load_some<T>(p.block, i, count);
      store(y + column, fused(q, earlier, load(y + column)));
      const Float added = as_rounded(k * load(values + column)) - load_some<T>(p.lost, i, count);
      const Float grown = as_held<T>(block + added);
      const Float complete = from_bits(bits(grown) & complete_block);
      const Float after = as_held<T>(earlier + complete);
      store_some<T>(p.next_earlier, i, count, after);
      store_some<T>(p.next_block, i, count, grown - complete);
      store_some<T>(p.next_lost, i, count, ((grown - block) - added) + ((after - earlier) - complete));
    }
  }

  void add_to_output() {
    const float divisor = p_.divide ? y_[p_.dim] + p_.eps : 1.0f;
    const int64_t at = entry_ * p_.heads * p_.dim + row_at_;
    for (int64_t d = 0; d < p_.dim; d += kWidth) {
      const int64_t count = least(kWidth, p_.dim - d);
      const Float before = load_some<DType::kFloat32>(y_, d, count) / broadcast(divisor);
      store_some<T>(p_.y, at + d, count, load_some<T>(p_.y, at + d, count) + before);
    }
  }

  const Problem& p_;
  float *const phi_q_, *const phi_k_;
  float *const values_, *const y_;  // [v 1]; phi(q) with the earlier sums, the divisor last
  const int64_t columns_, begin_, end_;  // of the head's sums, in elements
  const int64_t whole_rows_;             // whose last vector ends before the head's sums do
  const int64_t row_at_, entry_;
};

inline void run_linear_step(const LinearStepProblem& p, int64_t entry, int64_t head, bool ends, float* scratch) {
  switch (p.dtype) {
    case DType::kFloat32: return LinearStep<DType::kFloat32>(p, entry, head, scratch).run(ends);
    case DType::kFloat16: return LinearStep<DType::kFloat16>(p, entry, head, scratch).run(ends);
    case DType::kBFloat16: return LinearStep<DType::kBFloat16>(p, entry, head, scratch).run(ends);
  }
}

}  // namespace temport::TEMPORT_ISA
