// A weight as a node gives it: of floats, or of fewer bits with scales, as DequantizeLinear of ai.onnx takes them.
#pragma once

#include <string>
#include <vector>

#include "checked.h"
#include "node.h"

namespace temport {

// As kernels read it: float32, float16, int8 with a scale per output, or int4 with one per output and block of inputs.
struct StoredWeight : WeightData {
  std::vector<float> unpacked;  // what `data` points to, where the weight is stored otherwise
};

// `outputs` is the axis of w's outputs, and `inputs` of its inputs, the ones beside each other. Scales are `[n]`, one for each
// output, or have as many axes as w, one for each of equal blocks along one axis. Throws NodeError for other types, and where
// the two do not fit.
StoredWeight stored_weight(const std::string& label, const char* name, const Tensor& w, const Tensor& scales,
                           size_t inputs, size_t outputs);

// Floats of memory for a packed weight with so many columns and inputs, in whole cache lines: what lies behind it begins with
// one, since kernels that read across two take a sixth longer.
inline int64_t floats_of_lines(int64_t columns, int64_t inputs, const WeightData& w) {
  return (times(columns, column_bytes(w.type, inputs, w.block)) + 63) / 64 * 16;
}

}  // namespace temport
