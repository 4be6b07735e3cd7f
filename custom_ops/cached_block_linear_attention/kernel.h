// CachedBlockLinearAttention, the linear branch of one frame: phi(q) with the sums over the earlier blocks, and the
// sums over this block with phi(k)^T [v 1] added to them.
//
// The addition is compensated (Kahan 1965): `lost` is what rounding took from the last one. Every product and sum is
// rounded where the definition rounds it: float32 sums with the identity as phi are the definition's bit by bit.
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

struct LinearStepScratch {
  float *phi_q, *phi_k, *values, *y;  // values: [v 1]; y: phi(q) with the earlier sums, the divisor last
  size_t floats;

  LinearStepScratch(int64_t dim, float* base) {
    const int64_t each = (padded(dim + 1) + 15) / 16 * 16;
    phi_q = base;
    phi_k = phi_q + each;
    values = phi_k + each;
    y = values + each;
    floats = static_cast<size_t>(4 * each);
  }
};

inline size_t linear_step_floats(int64_t dim) {
  float nothing;
  return LinearStepScratch(dim, &nothing).floats;
}

template <DType T>
class LinearStep {
 public:
  LinearStep(const LinearStepProblem& p, int64_t entry, int64_t head, bool ends, float* scratch)
      : p_(p),
        s_(p.dim, scratch),
        columns_(p.dim + 1),
        sums_at_((entry * p.heads + head) * p.dim * columns_),
        row_at_(head * p.dim),
        entry_(entry),
        complete_(Int{} - (ends ? 1 : 0)) {}

  void run() {
    prepare();
    int64_t column = 0;
    for (; column + 4 * kWidth <= columns_; column += 4 * kWidth) add_columns<4>(column, kWidth);
    for (; column + kWidth <= columns_; column += kWidth) add_columns<1>(column, kWidth);
    // The rest begins inside what is done already, which comes out the same once more.
    if (column < columns_) add_columns<1>(most(0, columns_ - kWidth), least(kWidth, columns_));
    add_to_output();
  }

 private:
  void prepare() {
    const int64_t at = 3 * entry_ * p_.heads * p_.dim + row_at_, width = p_.heads * p_.dim;
    load_row(p_.qkv, T, at, p_.dim, 1.0f, s_.phi_q);
    load_row(p_.qkv, T, at + width, p_.dim, 1.0f, s_.phi_k);
    for (int64_t d = 0; p_.elu1 && d < p_.dim; d += kWidth) {
      store(s_.phi_q + d, elu1(load(s_.phi_q + d)));
      store(s_.phi_k + d, elu1(load(s_.phi_k + d)));
    }
    load_row(p_.qkv, T, at + 2 * width, p_.dim, 1.0f, s_.values);
    s_.values[p_.dim] = 1.0f;
  }

  // V vectors of columns, all rows; `count` of the lanes where V is 1.
  template <int V>
  TEMPORT_INLINE void add_columns(int64_t column, int64_t count) {
    Float value[V], y[V] = {};
    for (int v = 0; v < V; ++v) value[v] = load_some<DType::kFloat32>(s_.values, column + v * kWidth, count);
    for (int64_t d = 0, at = sums_at_ + column; d < p_.dim; ++d, at += columns_) {
      const Float q = broadcast(s_.phi_q[d]), k = broadcast(s_.phi_k[d]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const int64_t i = at + v * kWidth;
        const Float earlier = load_some<T>(p_.earlier, i, count), block = load_some<T>(p_.block, i, count);
        y[v] += q * earlier;
        const Float added = as_rounded(k * value[v]) - load_some<T>(p_.lost, i, count);
        const Float grown = as_held<T>(block + added);
        const Float complete = from_bits(bits(grown) & complete_);
        store_some<T>(p_.next_earlier, i, count, earlier + complete);
        store_some<T>(p_.next_block, i, count, grown - complete);
        store_some<T>(p_.next_lost, i, count, (grown - block) - added);
      }
    }
    for (int v = 0; v < V; ++v) store_some<DType::kFloat32>(s_.y, column + v * kWidth, count, y[v]);
  }

  void add_to_output() {
    const float divisor = p_.divide ? s_.y[p_.dim] + p_.eps : 1.0f;
    const int64_t at = entry_ * p_.heads * p_.dim + row_at_;
    for (int64_t d = 0; d < p_.dim; d += kWidth) {
      const int64_t count = least(kWidth, p_.dim - d);
      const Float before = load_some<DType::kFloat32>(s_.y, d, count) / broadcast(divisor);
      store_some<T>(p_.y, at + d, count, load_some<T>(p_.y, at + d, count) + before);
    }
  }

  const LinearStepProblem& p_;
  const LinearStepScratch s_;
  const int64_t columns_, sums_at_, row_at_, entry_;
  const Int complete_;  // all bits where the block ends
};

inline void run_linear_step(const LinearStepProblem& p, int64_t entry, int64_t head, bool ends, float* scratch) {
  switch (p.dtype) {
    case DType::kFloat32: return LinearStep<DType::kFloat32>(p, entry, head, ends, scratch).run();
    case DType::kFloat16: return LinearStep<DType::kFloat16>(p, entry, head, ends, scratch).run();
    case DType::kBFloat16: return LinearStep<DType::kBFloat16>(p, entry, head, ends, scratch).run();
  }
}

}  // namespace temport::TEMPORT_ISA
