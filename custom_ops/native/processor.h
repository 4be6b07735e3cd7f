// Whether this processor is of a kind, and has the instructions of a set by the name that exporter/native/isa.py gives it.
#pragma once

#include <sys/utsname.h>

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace temport {

#if defined(__x86_64__)
// The registers whose state the system saves: XMM, YMM, and the three parts of ZMM, a bit each. 0 where it does not say it.
inline unsigned saved_registers(unsigned features) {
  if (!(features & bit_OSXSAVE)) return 0;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
#endif

#if defined(__x86_64__)
// The processor itself is asked: what __builtin_cpu_supports knows depends on the compiler, and Zig links a table of zeros.
inline bool processor_has(const char* isa) {
  const auto asked = [&](const char* name) { return std::strcmp(isa, name) == 0; };
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6, kAvxVnni = 1 << 4;
  unsigned a, b, c = 0, d, wide = 0, more = 0, newer = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) c = 0;
  const unsigned saved = saved_registers(c);
  if (!__get_cpuid_count(7, 0, &a, &wide, &more, &d)) wide = more = 0;
  if (!__get_cpuid_count(7, 1, &newer, &b, &a, &d)) newer = 0;
  const bool avx2 = (saved & kYmm) == kYmm && (c & bit_FMA) && (c & bit_F16C) && (wide & bit_AVX2);
  const bool avx512 = avx2 && (saved & kZmm) == kZmm && (wide & bit_AVX512F) && (wide & bit_AVX512BW) &&
                      (wide & bit_AVX512DQ) && (wide & bit_AVX512VL);
  if (asked("avx512vnni")) return avx512 && (more & bit_AVX512VNNI);
  if (asked("avx512")) return avx512;
  if (asked("avx2vnni")) return avx2 && (newer & kAvxVnni);
  if (asked("avx2")) return avx2;
  if (asked("sse42")) return (c & bit_SSE4_2) != 0;
  return asked("portable");
}
#elif defined(__aarch64__)
inline bool has_dot_product() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  int told = 0;
  size_t size = sizeof told;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &told, &size, nullptr, 0) == 0 && told != 0;
#else
  return false;
#endif
}
inline bool processor_has(const char* isa) {
  const auto asked = [&](const char* name) { return std::strcmp(isa, name) == 0; };
  return asked("neon") || asked("portable") || (asked("neondot") && has_dot_product());
}
#else
inline bool processor_has(const char* isa) { return std::strcmp(isa, "portable") == 0; }
#endif

// Whether kernels of an instruction set may multiply four integers at a time here.
inline bool multiplies_fours(const char* isa) {
  const auto is = [&](const char* name) { return std::strcmp(isa, name) == 0; };
  return (is("avx512") && processor_has("avx512vnni")) || (is("avx2") && processor_has("avx2vnni")) ||
         (is("neon") && processor_has("neondot"));
}

// Two names of one kind of processor: a compiler's target says `arm` of what calls itself armv7l, and i486 of an i686.
inline bool same_machine(const char* a, const char* b) {
  const auto arm = [](const char* name) { return !std::strncmp(name, "arm", 3) && std::strcmp(name, "arm64") != 0; };
  const auto x86 = [](const char* name) { return std::strlen(name) == 4 && name[0] == 'i' && !std::strcmp(name + 2, "86"); };
  return std::strcmp(a, b) == 0 || (arm(a) && arm(b)) || (x86(a) && x86(b));
}

// Whether code for `machine`, as a compiler's target or `uname -m` says it, is for this one.
inline bool processor_is(const char* machine) {
  utsname own;
  return uname(&own) == 0 && same_machine(machine, own.machine);
}

}  // namespace temport
