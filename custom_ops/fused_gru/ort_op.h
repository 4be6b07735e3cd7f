// FusedGRU as a node.
#pragma once

#include "recurrent_layer.h"

namespace temport {

struct GruLayer {
  static constexpr const char* kName = "FusedGRU";
  static constexpr RecurrentKernels Kernels::*kKernels = &Kernels::gru;
  static constexpr int64_t kGates = 3, kSummed = 2;  // the reset gate multiplies the recurrent bias of h
  static constexpr size_t kStates = 1;
};

using FusedGru = RecurrentLayer<GruLayer>;

}  // namespace temport
