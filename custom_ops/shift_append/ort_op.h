// ShiftAppend as a node: one copy where a Slice and a Concat make two.
#pragma once

#include <cstring>

#include "node.h"
#include "shape_inference.h"

namespace temport {

class ShiftAppend {
 public:
  static constexpr const char* kName = "ShiftAppend";
  static constexpr size_t kInputs = 2, kOutputs = 1;
  static constexpr OtherInput kOtherInput = kNoOtherInput;

  static ort::Status* infer_shapes(const ShapeInference& node) {
    Shape cache;
    return node.input(0, cache) ? node.set_output(0, cache) : nullptr;
  }

  ShiftAppend(const NodeInfo& node, DType, const Kernels&) : label_(node.label()) {}

  void compute(const NodeCall& call) {
    const Tensor cache = call.input(0);
    if (cache.shape.size() < 2 || cache.shape[1] < 1)
      throw NodeError(label_ + ": Cache has shape " + shape_text(cache.shape) + "; it must be [batch, entries, ...].");
    std::vector<int64_t> one = cache.shape;
    one[1] = 1;
    const float* newest = floats(label_, "Newest", call.input(1), one);
    const float* before = static_cast<const float*>(cache.data);
    float* after = static_cast<float*>(call.output(cache.shape));
    int64_t entry = 1;  // floats
    for (size_t i = 2; i < cache.shape.size(); ++i) entry *= cache.shape[i];
    const int64_t kept = (cache.shape[1] - 1) * entry;
    for (int64_t b = 0; b < cache.shape[0]; ++b, before += kept + entry, newest += entry, after += kept + entry) {
      std::memcpy(after, before + entry, static_cast<size_t>(kept) * sizeof(float));
      std::memcpy(after + kept, newest, static_cast<size_t>(entry) * sizeof(float));
    }
  }

 private:
  const std::string label_;
};

}  // namespace temport
