// Which instruction set runs.
#pragma once

#include <string>

#include "problem.h"

namespace temport {

// The kernels of the widest instruction set this processor has, or of the one that the environment variable
// TEMPORT_ISA names (sse42, avx2, avx512, neon). Null, with a sentence in `error`, when the named one cannot run here.
const Kernels* choose_kernels(std::string& error);

}  // namespace temport
