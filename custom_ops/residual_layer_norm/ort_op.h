// ResidualLayerNorm as a node: shapes checked, rows shared among the session's threads.
#pragma once

#include <algorithm>
#include <thread>

#include "node.h"
#include "shape_inference.h"

namespace temport {

class ResidualLayerNorm {
 public:
  static constexpr const char* kName = "ResidualLayerNorm";
  static constexpr size_t kInputs = 4, kOutputs = 1;
  static constexpr OtherInput kOtherInput = kNoOtherInput;

  static ort::Status* infer_shapes(const ShapeInference& node) {
    Shape x;
    return node.input(0, x) ? node.set_output(0, x) : nullptr;
  }

  ResidualLayerNorm(const NodeInfo& node, DType, const Kernels& kernels) : label_(node.label()), kernels_(kernels) {
    epsilon_ = node.number("epsilon", 1e-5f);
    centred_ = node.integer("centred", 1, 0, 1) == 1;
    workers_ = std::max(1u, std::thread::hardware_concurrency());
    scale_ = node.constant(1);
    bias_ = node.constant(2);
  }

  void compute(const NodeCall& call) const {
    const Tensor x = call.input(0), addend = call.input(3);
    if (x.shape.empty()) throw NodeError(label_ + ": X has no axis; it must be [..., width].");
    LayerNormProblem p;
    p.width = x.shape.back();
    p.rows = elements(std::vector<int64_t>(x.shape.begin(), x.shape.end() - 1));
    p.x = static_cast<const float*>(x.data);
    p.scale = parameter(call, 1, "Scale", scale_, p.width);
    p.bias = parameter(call, 2, "B", bias_, p.width);
    if (addend.data != nullptr) p.addend = floats(label_, "R", addend, x.shape);
    p.epsilon = epsilon_;
    p.centred = centred_;
    p.workers = workers_;
    p.y = static_cast<float*>(call.output(x.shape));
    if (p.rows == 0 || p.width == 0) return;
    kernels_.plan_layer_norm(p);
    call.parallel(p.tasks, [&](int64_t task) { kernels_.run_layer_norm(p, task); });
  }

 private:
  // Asking for a constant again would take as long as normalising a row.
  const float* parameter(const NodeCall& call, size_t input, const char* name, const Tensor& constant, int64_t width) const {
    if (constant.data != nullptr) return floats(label_, name, constant, {width});
    return floats(label_, name, call.input(input), {width});
  }

  const std::string label_;
  const Kernels& kernels_;
  float epsilon_;
  bool centred_;
  int64_t workers_;
  Tensor scale_, bias_;
};

}  // namespace temport
