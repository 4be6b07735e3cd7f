// Entries that indices pick. They count from the front or, where negative, from the end; one outside is taken to the nearest
// entry: an engine has no way to fail in the middle of a run.
#pragma once

#include "movement.h"
#include "reductions.h"

namespace temport::TEMPORT_ISA {

template <typename I>
TEMPORT_INLINE int64_t entry_of(I index, int64_t size) {
  const auto i = static_cast<int64_t>(index);
  return between(i < 0 ? i + size : i, 0, size - 1);
}

// x `[before, size, after]` -> y `[before, count, after]`
template <typename T, typename I>
void gather(const T* x, int64_t before, int64_t size, int64_t after, const I* indices, int64_t count, T* y) {
  for (int64_t b = 0; b < before; ++b)
    for (int64_t i = 0; i < count; ++i, y += after) copy(x + (b * size + entry_of(indices[i], size)) * after, after, y);
}

// y[i] = x[i * step + index i * along]
template <typename T, typename I>
TEMPORT_INLINE void gather_elements(int64_t n, const T* x, int64_t step, int64_t along, int64_t size, const I* indices,
                                    T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i * step + entry_of(indices[i], size) * along];
}

// What is put in the place of an element: the new one.
struct Put {
  template <typename T>
  TEMPORT_INLINE static T of(T, T b) { return b; }
};

template <typename Kind, typename T, typename I>
TEMPORT_INLINE void scatter_elements(int64_t n, T* y, int64_t step, int64_t along, int64_t size, const I* indices,
                                     const T* updates) {
  for (int64_t i = 0; i < n; ++i) {
    T& to = y[i * step + entry_of(indices[i], size) * along];
    to = Kind::of(to, updates[i]);
  }
}

// Axes by tuples of K indices, one into each.
template <int K>
struct Axes {
  int64_t sizes[K], strides[K];

  template <typename I>
  TEMPORT_INLINE int64_t at(const I* indices) const {
    int64_t offset = 0;
    for (int k = 0; k < K; ++k) offset += entry_of(indices[k], sizes[k]) * strides[k];
    return offset;
  }
};

// `count` tuples in each of `batches` parts of x that lie `apart`; each picks `slice` elements.
template <int K, typename T, typename I>
void gather_slices(const T* x, int64_t batches, int64_t apart, const Axes<K>& axes, const I* indices, int64_t count,
                   int64_t slice, T* y) {
  for (int64_t b = 0; b < batches; ++b, x += apart)
    for (int64_t i = 0; i < count; ++i, indices += K, y += slice) copy(x + axes.at(indices), slice, y);
}

template <typename Kind, int K, typename T, typename I>
void scatter_slices(T* y, const Axes<K>& axes, const I* indices, int64_t count, int64_t slice, const T* updates) {
  for (int64_t i = 0; i < count; ++i, indices += K)
    for (T *to = y + axes.at(indices), *end = to + slice; to != end; ++to) *to = Kind::of(*to, *updates++);
}

// indices `[before, after]` -> y `[before, depth, after]`; values are off and on. An index outside is nowhere.
template <typename T, typename I>
void one_hot(const I* indices, int64_t before, int64_t depth, int64_t after, const T* values, T* y) {
  fill(y, before * depth * after, values[0]);
  for (int64_t b = 0; b < before; ++b)
    for (int64_t a = 0; a < after; ++a) {
      auto i = static_cast<int64_t>(indices[b * after + a]);
      i += i < 0 ? depth : 0;
      if (i >= 0 && i < depth) y[(b * depth + i) * after + a] = values[1];
    }
}

// Whether a comes before b where the greatest, or the least, is first. A NaN is greater than any number.
template <bool Greatest, typename T>
TEMPORT_INLINE bool precedes(T a, T b) {
  return Greatest ? a > b || (a != a && b == b) : a < b || (a == a && b != b);
}

// x `[before, size, after]` -> the first `count` along the middle axis, the earlier one of equals first; null: not asked for.
template <bool Greatest, typename T>
void top(const T* x, int64_t before, int64_t size, int64_t after, int64_t count, T* values, int64_t* indices, T* row,
         int64_t* places) {
  for (int64_t b = 0; b < before; ++b)
    for (int64_t a = 0; a < after; ++a) {
      for (int64_t i = 0, found = 0; i < size; ++i) {
        const T value = x[(b * size + i) * after + a];
        int64_t at = found;
        for (; at > 0 && precedes<Greatest>(value, row[at - 1]); --at)
          if (at < count) {
            row[at] = row[at - 1];
            places[at] = places[at - 1];
          }
        if (at < count) {
          row[at] = value;
          places[at] = i;
        }
        found = least(found + 1, count);
      }
      if (values != nullptr) copy_steps(row, 1, count, values + b * count * after + a, after);
      if (indices != nullptr) copy_steps(places, 1, count, indices + b * count * after + a, after);
    }
}

// x `[before, size, after]` -> y `[before, after]`: where along the middle axis the greatest or the least entry is, the first
// of equals or the last; the first NaN, where there is one.
template <bool Greatest, bool Last, typename T>
void position(const T* x, int64_t before, int64_t size, int64_t after, int64_t* y) {
  for (int64_t b = 0; b < before; ++b)
    for (int64_t a = 0; a < after; ++a) {
      const T* row = x + b * size * after + a;
      int64_t best = 0;
      for (int64_t i = 1; i < size; ++i) {
        const T value = row[i * after], so_far = row[best * after];
        if (so_far != so_far) break;
        if (value != value || (Greatest ? value > so_far : value < so_far) || (Last && value == so_far)) best = i;
      }
      y[b * after + a] = best;
    }
}

}  // namespace temport::TEMPORT_ISA
