#pragma once

#include "../native/intrinsics.h"
#include "../native/problem.h"

namespace temport::TEMPORT_ISA {

// How a thread computes while this lives, whatever its caller has chosen: sums and products are rounded to nearest, no number
// traps, and denormals are zero where a processor can do that: a stream that goes silent would decay into them, and they are
// slow. The caller's mode is set back.
class FloatMode {
 public:
#if defined(__x86_64__)
  FloatMode() : before_(_mm_getcsr()) { _mm_setcsr(0x9fc0u); }  // all exceptions masked, denormals to zero, inputs and results
  ~FloatMode() { _mm_setcsr(before_); }
#elif defined(__aarch64__)
  FloatMode() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(uint64_t{1} << 24));
  }
  ~FloatMode() { asm volatile("msr fpcr, %0" : : "r"(before_)); }
#elif defined(__ARM_FP)
  FloatMode() {
    asm volatile("vmrs %0, fpscr" : "=r"(before_));
    asm volatile("vmsr fpscr, %0" : : "r"(uint32_t{1} << 24));
  }
  ~FloatMode() { asm volatile("vmsr fpscr, %0" : : "r"(before_)); }
#else
  FloatMode() {}
#endif
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
#if defined(__aarch64__)
  uint64_t before_;
#elif defined(__x86_64__) || defined(__ARM_FP)
  uint32_t before_;
#endif
};

}  // namespace temport::TEMPORT_ISA
