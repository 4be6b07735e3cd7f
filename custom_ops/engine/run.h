// What the source of an engine is written in beside its layers.
#pragma once

#include "attention.h"
#include "elementwise.h"
#include "halves.h"
#include "layers.h"
#include "normalise.h"
#include "picks.h"
#include "products.h"
#include "states.h"
#include "temport_engine.h"
#include "windows.h"

namespace temport::TEMPORT_ISA {

extern "C" const unsigned char TEMPORT_WEIGHTS[];

template <typename T>
TEMPORT_INLINE const T* weight(int64_t offset) {
  return reinterpret_cast<const T*>(TEMPORT_WEIGHTS + offset);
}
template <typename T>
TEMPORT_INLINE T* at(unsigned char* memory, int64_t offset) {
  return reinterpret_cast<T*>(memory + offset);
}
template <typename... More>
constexpr int64_t largest(int64_t first, More... more) {
  if constexpr (sizeof...(more) == 0)
    return first;
  else
    return most(first, largest(more...));
}

// Whether n floats are all finite: 0 times infinity or NaN is NaN.
inline bool all_finite(const float* x, int64_t n) {
  Float defects{};
  for (int64_t i = 0; i < n; i += kWidth) defects += load_first(x + i, n - i) * 0.0f;
  return sum_of(defects) == 0.0f;
}

}  // namespace temport::TEMPORT_ISA
