// Elements in other places, and reductions over an axis.
#pragma once

#include "../native/multiply.h"

namespace temport::TEMPORT_ISA {

template <typename T>
TEMPORT_INLINE void copy(const T* from, int64_t n, T* to) {
  __builtin_memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

// Every `step`-th element.
template <typename T>
TEMPORT_INLINE void copy_steps(const T* from, int64_t step, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
}

// `rows` rows of n elements, which begin every from_step and to_step elements.
template <typename T>
TEMPORT_INLINE void copy_rows(const T* from, int64_t from_step, int64_t rows, int64_t n, T* to, int64_t to_step) {
  for (int64_t r = 0; r < rows; ++r) copy(from + r * from_step, n, to + r * to_step);
}

// x `[before, size, after]` -> y `[before, count, after]`, by indices from the front or, where negative, from the end. An
// index outside is taken to the nearest entry: an engine has no way to fail in the middle of a run.
template <typename T, typename I>
void gather(const T* x, int64_t before, int64_t size, int64_t after, const I* indices, int64_t count, T* y) {
  for (int64_t b = 0; b < before; ++b)
    for (int64_t i = 0; i < count; ++i, y += after) {
      int64_t index = indices[i];
      index = least(most(index < 0 ? index + size : index, 0), size - 1);
      copy(x + (b * size + index) * after, after, y);
    }
}

struct Sums {
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return a + b; }
};
struct Products {
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return a * b; }
};
struct Greatest {  // a NaN stays one
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return a > b || a != a ? a : b; }
};
struct Least {
  template <typename T>
  TEMPORT_INLINE static T of(T a, T b) { return a < b || a != a ? a : b; }
};

// x `[before, size, after]` -> y `[before, after]`, in the order of the entries.
template <typename Kind, typename T, typename Size, typename After>
void reduce(const T* x, int64_t before, Size size, After after, T* y) {
  for (int64_t b = 0; b < before; ++b, x += size * after, y += after) {
    copy(x, after, y);
    for (int64_t i = 1; i < size; ++i)
      for (int64_t j = 0; j < after; ++j) y[j] = Kind::of(y[j], x[i * after + j]);
  }
}

}  // namespace temport::TEMPORT_ISA
