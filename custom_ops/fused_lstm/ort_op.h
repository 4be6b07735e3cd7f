// FusedLSTM as a node.
#pragma once

#include "recurrent_layer.h"

namespace temport {

struct LstmLayer {
  static constexpr const char* kName = "FusedLSTM";
  static constexpr RecurrentKernels Kernels::*kKernels = &Kernels::lstm;
  static constexpr int64_t kGates = 4, kSummed = 4;
  static constexpr size_t kStates = 2;
};

using FusedLstm = RecurrentLayer<LstmLayer>;

}  // namespace temport
