// Elements in other places.
#pragma once

#include "../native/multiply.h"

namespace temport::TEMPORT_ISA {

template <typename T>
TEMPORT_INLINE void copy(const T* from, int64_t n, T* to) {
  __builtin_memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

// Elements that lie `step` and `to_step` apart.
template <typename T>
TEMPORT_INLINE void copy_steps(const T* from, int64_t step, int64_t n, T* to, int64_t to_step) {
  for (int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * step];
}

template <typename T>
TEMPORT_INLINE void fill(T* to, int64_t n, T value) {
  for (int64_t i = 0; i < n; ++i) to[i] = value;
}

// `rows` rows of n elements, which begin every from_step and to_step elements.
template <typename T>
TEMPORT_INLINE void copy_rows(const T* from, int64_t from_step, int64_t rows, int64_t n, T* to, int64_t to_step) {
  for (int64_t r = 0; r < rows; ++r) copy(from + r * from_step, n, to + r * to_step);
}

TEMPORT_INLINE constexpr int64_t between(int64_t i, int64_t low, int64_t high) { return most(least(i, high), low); }

// Rounded down, where C++ rounds towards 0: sizes are expressions that do.
TEMPORT_INLINE constexpr int64_t floor_quotient(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
TEMPORT_INLINE constexpr int64_t floor_remainder(int64_t a, int64_t b) { return a - floor_quotient(a, b) * b; }

// Where a slice along an axis of so many entries begins.
TEMPORT_INLINE constexpr int64_t slice_start(int64_t start, int64_t size, int64_t step) {
  start += start < 0 ? size : 0;
  return step > 0 ? between(start, 0, size) : between(start, -1, size - 1);
}

// What a padded axis holds outside of what it is made of.
enum class Edge { kConstant, kEdge, kReflect, kWrap };

// The entry of `size` that stands at i, outside them; -1 for the constant.
template <Edge E>
TEMPORT_INLINE int64_t entry_at(int64_t i, int64_t size) {
  if (E == Edge::kConstant) return -1;
  if (E == Edge::kEdge) return between(i, 0, size - 1);
  const int64_t period = E == Edge::kWrap ? size : most(2 * (size - 1), 1);
  const int64_t rest = ((i % period) + period) % period;
  return rest < size ? rest : period - rest;
}

// x `[before, size, after]` -> y `[before, total, after]`, whose entry `lead` is the first of x; a negative `lead` cuts.
template <Edge E, typename T>
void pad(const T* x, int64_t before, int64_t size, int64_t after, int64_t lead, int64_t total, T value, T* y) {
  const int64_t begin = between(lead, 0, total), end = between(lead + size, begin, total);
  for (int64_t b = 0; b < before; ++b, x += size * after, y += total * after) {
    for (int64_t i = 0; i < total; ++i) {
      if (i == begin && end > begin) {
        copy(x + (begin - lead) * after, (end - begin) * after, y + begin * after);
        i = end;
        if (i == total) break;
      }
      const int64_t from = entry_at<E>(i - lead, size);
      if (from < 0)
        fill(y + i * after, after, value);
      else
        copy(x + from * after, after, y + i * after);
    }
  }
}

// Of matrices the part from diagonal k up, or down; the rest is 0.
template <bool Upper, typename T>
void triangle(const T* x, int64_t matrices, int64_t rows, int64_t columns, int64_t k, T* y) {
  for (int64_t m = 0; m < matrices; ++m)
    for (int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
      const int64_t at = between(Upper ? r + k : r + k + 1, 0, columns);
      copy(Upper ? x + at : x, Upper ? columns - at : at, Upper ? y + at : y);
      fill(Upper ? y : y + at, Upper ? at : columns - at, T{});
    }
}

template <typename T>
void unit_matrix(int64_t rows, int64_t columns, int64_t k, T* y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) y[r * columns + c] = T(c - r == k);
}

template <typename T>
TEMPORT_INLINE void count_up(int64_t n, T start, T delta, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = T(start + T(i) * delta);
}

}  // namespace temport::TEMPORT_ISA
