#include "dispatch.h"

#include <cstdlib>

#include "processor.h"

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

const Kernels* choose_kernels(std::string& error) {
#if !defined(__x86_64__)
  const Kernels* const levels[] = {&neon::kKernels};
#elif defined(TEMPORT_ONE_LEVEL)
  const Kernels* const levels[] = {&avx2::kKernels};
#else
  const Kernels* const levels[] = {&avx512::kKernels, &avx2::kKernels, &sse42::kKernels};
#endif
  const char* named = std::getenv("TEMPORT_ISA");
  const bool any = named == nullptr || *named == 0;
  std::string runnable;
  for (const Kernels* kernels : levels) {
    if (!processor_has(kernels->isa)) continue;
    if (any || std::string(named) == kernels->isa) return kernels;
    runnable += (runnable.empty() ? "" : ", ") + std::string(kernels->isa);
  }
  error = "temport: this processor has none of the instruction sets the op library was built for.";
  if (!any)
    error = std::string("temport: TEMPORT_ISA is '") + named + "'; on this processor it must be one of " + runnable + ".";
  return nullptr;
}

}  // namespace temport
