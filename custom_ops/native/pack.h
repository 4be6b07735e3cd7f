// Keys and values of a tile brought into the layouts that `multiply` reads: keys transposed, values in column panels.
#pragma once

#include "convert.h"
#include "multiply.h"

namespace temport::TEMPORT_ISA {

#if defined(__clang__) || __GNUC__ >= 12
#define TEMPORT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#error "GCC 12 or Clang is needed: __builtin_shufflevector"
#endif

// Transposes 4 x 4 blocks: within each group of four lanes, x[i][j] becomes x[j][i].
TEMPORT_INLINE void transpose_fours(Float* x) {
#if defined(__AVX512F__)
  const Float a = TEMPORT_SHUFFLE(x[0], x[1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  const Float b = TEMPORT_SHUFFLE(x[0], x[1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const Float c = TEMPORT_SHUFFLE(x[2], x[3], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  const Float d = TEMPORT_SHUFFLE(x[2], x[3], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  x[0] = TEMPORT_SHUFFLE(a, c, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  x[1] = TEMPORT_SHUFFLE(a, c, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  x[2] = TEMPORT_SHUFFLE(b, d, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  x[3] = TEMPORT_SHUFFLE(b, d, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
#elif defined(__AVX2__)
  const Float a = TEMPORT_SHUFFLE(x[0], x[1], 0, 8, 1, 9, 4, 12, 5, 13);
  const Float b = TEMPORT_SHUFFLE(x[0], x[1], 2, 10, 3, 11, 6, 14, 7, 15);
  const Float c = TEMPORT_SHUFFLE(x[2], x[3], 0, 8, 1, 9, 4, 12, 5, 13);
  const Float d = TEMPORT_SHUFFLE(x[2], x[3], 2, 10, 3, 11, 6, 14, 7, 15);
  x[0] = TEMPORT_SHUFFLE(a, c, 0, 1, 8, 9, 4, 5, 12, 13);
  x[1] = TEMPORT_SHUFFLE(a, c, 2, 3, 10, 11, 6, 7, 14, 15);
  x[2] = TEMPORT_SHUFFLE(b, d, 0, 1, 8, 9, 4, 5, 12, 13);
  x[3] = TEMPORT_SHUFFLE(b, d, 2, 3, 10, 11, 6, 7, 14, 15);
#else
  const Float a = TEMPORT_SHUFFLE(x[0], x[1], 0, 4, 1, 5), b = TEMPORT_SHUFFLE(x[0], x[1], 2, 6, 3, 7);
  const Float c = TEMPORT_SHUFFLE(x[2], x[3], 0, 4, 1, 5), d = TEMPORT_SHUFFLE(x[2], x[3], 2, 6, 3, 7);
  x[0] = TEMPORT_SHUFFLE(a, c, 0, 1, 4, 5);
  x[1] = TEMPORT_SHUFFLE(a, c, 2, 3, 6, 7);
  x[2] = TEMPORT_SHUFFLE(b, d, 0, 1, 4, 5);
  x[3] = TEMPORT_SHUFFLE(b, d, 2, 3, 6, 7);
#endif
}

// Four floats from each of the kWidth/4 rows p, p + 4*stride, ...: after transposing the fours of four such vectors
// each of them holds one column of kWidth rows.
TEMPORT_INLINE Float load_fours(const float* p, int64_t stride) {
#if defined(__AVX512F__)
  __m512 x = _mm512_castps128_ps512(_mm_loadu_ps(p));
  x = _mm512_insertf32x4(x, _mm_loadu_ps(p + 4 * stride), 1);
  x = _mm512_insertf32x4(x, _mm_loadu_ps(p + 8 * stride), 2);
  return (Float)_mm512_insertf32x4(x, _mm_loadu_ps(p + 12 * stride), 3);
#elif defined(__AVX2__)
  return (Float)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
#else
  (void)stride;
  return load(p);
#endif
}

// Asks for the row that will be read kAhead rows later: rows of one head lie far apart in a packed tensor, in a pattern
// that hardware prefetchers give up on.
constexpr int64_t kAhead = 8;
TEMPORT_INLINE void prefetch_row(const Operand& src, DType dtype, int64_t at, int64_t dim, int64_t j, int64_t n) {
  if (j + kAhead >= n) return;
  const int64_t element = dtype == DType::kFloat32 ? 4 : 2;
  const char* row = static_cast<const char*>(src.data) + (at + kAhead * src.row_stride) * element;
  for (int64_t b = 0; b < dim * element; b += 64) __builtin_prefetch(row + b);
}

// Keys `[n, dim]`, starting at element `first` of `src`, become `[padded(dim), out_stride]` transposed; columns from n
// up to the next whole vector are zero. `rows` holds kWidth * padded(dim) floats.
inline void pack_keys(const Operand& src, DType dtype, int64_t first, int64_t n, int64_t dim, float* out,
                      int64_t out_stride, float* rows) {
  const int64_t width = padded(dim);
  const bool in_place = dtype == DType::kFloat32 && width == dim;
  for (int64_t j = 0; j < n; j += kWidth) {
    const int64_t from = first + j * src.row_stride;
    const float* x = static_cast<const float*>(src.data) + from;
    int64_t stride = src.row_stride;
    for (int64_t r = 0; r < kWidth; ++r) prefetch_row(src, dtype, from + r * src.row_stride, dim, j + r, n);
    if (!in_place || j + kWidth > n) {
      for (int64_t r = 0; r < kWidth; ++r) {
        if (j + r < n)
          load_row(src.data, dtype, from + r * src.row_stride, dim, 1.0f, rows + r * width);
        else
          __builtin_memset(rows + r * width, 0, size_t(width) * 4);
      }
      x = rows;
      stride = width;
    }
    for (int64_t d = 0; d < width; d += 4) {
      Float column[4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) column[r] = load_fours(x + d + r * stride, stride);
      transpose_fours(column);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) store(out + (d + r) * out_stride + j, column[r]);
    }
  }
}

// Values `[n, dim]` become column panels. Rows whose mask is false become zero: with weight 0 they then add nothing,
// whatever they held. Returns whether every value that was kept is surely finite: sums of the rows are.
inline bool pack_values(const Operand& src, DType dtype, int64_t first, int64_t n, int64_t dim, const uint8_t* mask,
                        float* out, float* row) {
  const bool in_place = dtype == DType::kFloat32 && padded(dim) == dim;
  const int panels = Panel::count(dim);
  const int64_t last = panels - 1, last_vectors = Panel::at(int(last), dim, n).vectors;
  Float defects{};  // 0 times infinity or NaN is NaN
  for (int64_t j = 0; j < n; ++j) {
    const int64_t from = first + j * src.row_stride;
    const float* x = static_cast<const float*>(src.data) + from;
    prefetch_row(src, dtype, from, dim, j, n);
    if (mask != nullptr && !mask[j]) {
      __builtin_memset(row, 0, size_t(padded(dim)) * 4);
      x = row;
    } else if (!in_place) {
      load_row(src.data, dtype, from, dim, 1.0f, row);
      x = row;
    }
    Float total{};
    float* to = out + j * kPanel;
    for (int64_t p = 0; p < last; ++p, x += kPanel, to += kPanel * n) {
      Float y[kPanelVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) {
        y[v] = load(x + v * kWidth);
        store(to + v * kWidth, y[v]);
      }
#pragma GCC unroll 4
      for (int v = 1; v < kPanelVectors; ++v) y[0] += y[v];
      total += y[0];
    }
    to = out + last * kPanel * n + j * last_vectors * kWidth;
    for (int64_t v = 0; v < last_vectors; ++v) {
      const Float y = load(x + v * kWidth);
      store(to + v * kWidth, y);
      total += y;
    }
    defects += total * 0.0f;
  }
  return sum_of(defects) == 0.0f;
}

}  // namespace temport::TEMPORT_ISA
