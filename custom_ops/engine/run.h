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

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

// Denormals are zero while this lives, where a processor can do that: a stream that goes silent would decay into them, and
// they are slow.
class NoDenormals {
 public:
#if defined(__x86_64__)
  NoDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
  ~NoDenormals() { _mm_setcsr(before_); }
#elif defined(__aarch64__)
  NoDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t{1} << 24)));
  }
  ~NoDenormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }
#elif defined(__ARM_FP)
  NoDenormals() {
    asm volatile("vmrs %0, fpscr" : "=r"(before_));
    asm volatile("vmsr fpscr, %0" : : "r"(before_ | (uint32_t{1} << 24)));
  }
  ~NoDenormals() { asm volatile("vmsr fpscr, %0" : : "r"(before_)); }
#else
  NoDenormals() {}
#endif
  NoDenormals(const NoDenormals&) = delete;
  NoDenormals& operator=(const NoDenormals&) = delete;

 private:
#if defined(__aarch64__)
  uint64_t before_;
#elif defined(__x86_64__) || defined(__ARM_FP)
  uint32_t before_;
#endif
};

// Whether n floats are all finite: 0 times infinity or NaN is NaN.
inline bool all_finite(const float* x, int64_t n) {
  Float defects{};
  for (int64_t i = 0; i < n; i += kWidth) defects += load_first(x + i, n - i) * 0.0f;
  return sum_of(defects) == 0.0f;
}

}  // namespace temport::TEMPORT_ISA
