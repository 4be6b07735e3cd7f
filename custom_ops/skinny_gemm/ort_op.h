// SkinnyGemm as a node: shapes checked, the weight packed when the model is loaded, tasks run on the session's threads.
#pragma once

#include <algorithm>
#include <thread>

#include "node.h"
#include "shape_inference.h"
#include "weight_memory.h"

namespace temport {

class SkinnyGemm {
 public:
  static constexpr const char* kName = "SkinnyGemm";
  static constexpr size_t kInputs = 3, kOutputs = 1, kMaskInput = 3;

  static ort::Status* infer_shapes(const ShapeInference& node) {
    Shape x, w;
    if (!node.input(0, x) || !x.has_rank(2) || !node.input(1, w) || !w.has_rank(2)) return nullptr;
    Shape y;
    y.element_type = x.element_type;
    y.append(x, 0);
    y.append(w, 0);
    return node.set_output(0, y);
  }

  SkinnyGemm(const NodeInfo& node, DType, const Kernels& kernels) : label_(node.label()), kernels_(kernels) {
    workers_ = std::max(1u, std::thread::hardware_concurrency());
    const Tensor w = node.constant(1), b = node.constant(2);
    if (w.data != nullptr && b.data != nullptr) constant_ = std::make_unique<Weight>(*this, w, b);
  }

  void compute(const NodeCall& call) {
    const Tensor x = call.input(0);
    if (constant_) return multiply(call, x, *constant_);
    multiply(call, x, Weight(*this, call.input(1), call.input(2)));  // W or B is no constant
  }

 private:
  struct Weight {
    Weight(const SkinnyGemm& op, const Tensor& w, const Tensor& b)
        : outputs(w.shape.size() == 2 ? w.shape[0] : -1), inputs(w.shape.size() == 2 ? w.shape[1] : -1),
          floats(outputs < 0 ? 0 : op.kernels_.skinny_gemm_floats(outputs)),
          memory(static_cast<size_t>(floats * (inputs + 1))) {
      if (outputs < 0)
        throw NodeError(op.label_ + ": W has shape " + shape_text(w.shape) + "; it must be [outputs, inputs].");
      op.kernels_.pack_skinny_gemm(temport::floats(op.label_, "B", b, {outputs}), outputs, 1, bias());
      op.kernels_.pack_skinny_gemm(static_cast<const float*>(w.data), outputs, inputs, memory.data());
    }
    float* bias() const { return memory.data() + floats * inputs; }

    const int64_t outputs, inputs, floats;  // floats of memory per input
    const WeightMemory memory;
  };

  void multiply(const NodeCall& call, const Tensor& x, const Weight& weight) const {
    if (x.shape.size() != 2 || x.shape[1] != weight.inputs)
      throw NodeError(label_ + ": X has shape " + shape_text(x.shape) + "; it must be [rows, " +
                      std::to_string(weight.inputs) + "].");
    SkinnyGemmProblem p;
    p.x = static_cast<const float*>(x.data);
    p.w = weight.memory.data();
    p.bias = weight.bias();
    p.rows = x.shape[0];
    p.inputs = weight.inputs;
    p.outputs = weight.outputs;
    p.workers = workers_;
    p.y = static_cast<float*>(call.output({p.rows, p.outputs}));
    if (p.rows == 0 || p.outputs == 0) return;
    kernels_.plan_skinny_gemm(p);
    call.parallel(p.tasks, [&](int64_t task) { kernels_.run_skinny_gemm(p, task); });
  }

  const std::string label_;
  const Kernels& kernels_;
  int64_t workers_;
  std::unique_ptr<const Weight> constant_;
};

}  // namespace temport
