#include "dispatch.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace temport {

#if defined(__x86_64__)
namespace sse42 {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#else
namespace neon {
extern const Kernels kKernels;
}
#endif

namespace {

struct Level {
  const Kernels* kernels;
  bool supported;
};

#if defined(__x86_64__)
// __builtin_cpu_supports knows no "f16c" in every compiler.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

}  // namespace

const Kernels* choose_kernels(std::string& error) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#ifdef TEMPORT_ONE_LEVEL
  const Level levels[] = {{&avx2::kKernels, avx2}};
#else
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const Level levels[] = {{&avx512::kKernels, avx512},
                          {&avx2::kKernels, avx2},
                          {&sse42::kKernels, bool(__builtin_cpu_supports("sse4.2"))}};
#endif
#else
  const Level levels[] = {{&neon::kKernels, true}};
#endif
  const char* named = std::getenv("TEMPORT_ISA");
  const bool any = named == nullptr || *named == 0;
  std::string runnable;
  for (const Level& level : levels) {
    if (!level.supported) continue;
    if (any || std::string(named) == level.kernels->isa) return level.kernels;
    runnable += (runnable.empty() ? "" : ", ") + std::string(level.kernels->isa);
  }
  error = "temport: this processor has none of the instruction sets the op library was built for.";
  if (!any)
    error = std::string("temport: TEMPORT_ISA is '") + named + "'; on this processor it must be one of " + runnable + ".";
  return nullptr;
}

}  // namespace temport
