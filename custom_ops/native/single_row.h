// Products of a single row with keys and values that stay where they are: the newest frame of a stream, or the last
// position of a window, would not pay for packing them.
#pragma once

#include "convert.h"
#include "multiply.h"

namespace temport::TEMPORT_ISA {

constexpr int kTogether = 4;  // keys that share a pass over the query, and over the sums

// Rows of an operand in float32 and whole vectors: in place where they are that already, else converted.
class RowReader {
 public:
  // `buffer` holds kTogether rows.
  RowReader(const Operand& src, DType dtype, int64_t first, int64_t dim, float* buffer)
      : src_(src),
        dtype_(dtype),
        first_(first),
        dim_(dim),
        buffer_(buffer),
        in_place_(dtype == DType::kFloat32 && padded(dim) == dim) {}

  // Row j; a converted one stays until `slot` is used again.
  const float* row(int64_t j, int slot) const {
    const int64_t at = first_ + j * src_.row_stride;
    if (in_place_) return static_cast<const float*>(src_.data) + at;
    float* to = buffer_ + slot * padded(dim_);
    load_row(src_.data, dtype_, at, dim_, 1.0f, to);
    return to;
  }

 private:
  const Operand& src_;
  DType dtype_;
  int64_t first_, dim_;
  float* buffer_;
  bool in_place_;
};

// Rows of floats or of halves in whole vectors, known beforehand: with short rows asking every time is dear.
template <typename Element>
struct PlainRows {
  const Element* data;  // row 0
  int64_t stride;

  const Element* row(int64_t j, int) const { return data + j * stride; }
};
TEMPORT_INLINE Float numbers_of(const float* p) { return load(p); }
TEMPORT_INLINE Float numbers_of(const uint16_t* p) { return load_halves(p); }

// s[j] = q . key j for N keys from `key` on; q and keys have `width` floats, whole vectors.
template <int N, typename Rows>
inline void dot_rows(const float* q, const Rows& keys, int64_t key, int64_t width, float* s) {
  decltype(keys.row(key, 0)) row[N];
  for (int n = 0; n < N; ++n) row[n] = keys.row(key + n, n);
  Float sum[N][kSumVectors] = {};
  for (int64_t d = 0; d < width; d += kSums)
#pragma GCC unroll 4
    for (int v = 0; v < kSumVectors; ++v)
      if (const int64_t at = d + v * kWidth; at < width) {
        const Float x = load(q + at);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[n][v] = fused(x, numbers_of(row[n] + at), sum[n][v]);
      }
  for (int n = 0; n < N; ++n) s[n] = sum_of(sum[n]);
}

// o += sum of weight[n] * value n for N values from `key` on.
template <int N, typename Rows>
inline void add_rows(const float* weight, const Rows& values, int64_t key, int64_t width, float* o) {
  decltype(values.row(key, 0)) row[N];
  for (int n = 0; n < N; ++n) row[n] = values.row(key + n, n);
  for (int64_t d = 0; d < width; d += kWidth) {
    Float sum = load(o + d);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum = fused(broadcast(weight[n]), numbers_of(row[n] + d), sum);
    store(o + d, sum);
  }
}

// s[j] = q . key j for n keys from `key` on.
template <typename Rows>
inline void score_row(const float* q, const Rows& keys, int64_t key, int64_t n, int64_t width, float* s) {
  int64_t j = 0;
  for (; j + kTogether <= n; j += kTogether) dot_rows<kTogether>(q, keys, key + j, width, s + j);
  for (; j < n; ++j) dot_rows<1>(q, keys, key + j, width, s + j);
}

// o += sum of s[j] * value j for n values from `key` on; values whose mask is 0 are not read, whatever their weight.
template <typename Rows>
inline void weigh_row(const float* s, const Rows& values, int64_t key, int64_t n, int64_t width, const int32_t* mask,
                      float* o) {
  int64_t j = 0;
  for (; j + kTogether <= n && mask == nullptr; j += kTogether)
    add_rows<kTogether>(s + j, values, key + j, width, o);
  for (; j < n; ++j)
    if (mask == nullptr || mask[j] != 0) add_rows<1>(s + j, values, key + j, width, o);
}

}  // namespace temport::TEMPORT_ISA
