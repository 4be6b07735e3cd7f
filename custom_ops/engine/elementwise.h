// Operators that treat each element by itself, as loops over one axis.
#pragma once

#include "elements.h"

namespace temport::TEMPORT_ISA {

// Operands of a loop: an element of its own for each turn, or one for all.
template <typename T>
struct Each {
  const T* data;
  TEMPORT_INLINE T at(int64_t i) const { return data[i]; }
  TEMPORT_INLINE Float vector(int64_t i, int64_t count) const { return load_first(data + i, count); }
};
template <typename T>
struct Same {
  const T* data;
  TEMPORT_INLINE T at(int64_t) const { return *data; }
  TEMPORT_INLINE Float vector(int64_t, int64_t) const { return broadcast(*data); }
};

// y[i] = f(x at i...) for n elements, a vector of them at a time; f takes and gives Float.
template <typename F, typename... X>
TEMPORT_INLINE void map_vectors(int64_t n, float* y, const F& f, const X&... x) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, f(x.vector(i, kWidth)...));
  if (i < n) store_first(y + i, f(x.vector(i, n - i)...), n - i);
}

// Likewise element by element, of any types.
template <typename Y, typename F, typename... X>
TEMPORT_INLINE void map_elements(int64_t n, Y* y, const F& f, const X&... x) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<Y>(f(x.at(i)...));
}

}  // namespace temport::TEMPORT_ISA
