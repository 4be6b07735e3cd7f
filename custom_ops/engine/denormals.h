#pragma once

#include "../native/problem.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace temport::TEMPORT_ISA {

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

}  // namespace temport::TEMPORT_ISA
