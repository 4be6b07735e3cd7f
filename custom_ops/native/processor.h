// Whether this processor is of a kind, and has the instructions of a set of kernels.
#pragma once

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace temport {

// `isa` by its name: avx512, avx2, sse42, neon or portable; no processor has any other one.
inline bool processor_has(const char* isa) {
  const auto asked = [&](const char* name) { return std::strcmp(isa, name) == 0; };
#if defined(__x86_64__)
  __builtin_cpu_init();
  // __builtin_cpu_supports knows no "f16c" in every compiler.
  unsigned a, b, c, d;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
  if (asked("avx512"))
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (asked("avx2")) return avx2;
  if (asked("sse42")) return __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__)
  if (asked("neon")) return true;
#endif
  return asked("portable");
}

// Whether code for `machine`, as `uname -m` says it, is for this one.
inline bool processor_is(const char* machine) {
#if defined(__x86_64__)
  return std::strcmp(machine, "x86_64") == 0;
#elif defined(__aarch64__)
  return std::strcmp(machine, "aarch64") == 0;
#else
  return false;
#endif
}

}  // namespace temport
