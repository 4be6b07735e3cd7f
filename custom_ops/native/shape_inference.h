#pragma once

#include "ort_abi.h"

namespace temport {

// Output 0 becomes `[B, T, num_heads * Dv]` of Q's element type, symbolic sizes kept. Sizes that do not fit each
// other are left to the kernel, whose error names the node.
ort::Status* infer_output_shape(const ort::Api& api, ort::ShapeInferContext* context);

}  // namespace temport
