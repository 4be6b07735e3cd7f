// FusedDense as a node: shapes checked, the weight packed when the model is loaded, tasks run on the session's threads.
#pragma once

#include <algorithm>
#include <thread>

#include "node.h"
#include "shape_inference.h"
#include "weight_memory.h"

namespace temport {

class FusedDense {
 public:
  static constexpr const char* kName = "FusedDense";
  static constexpr size_t kInputs = 5, kOutputs = 1;
  static constexpr OtherInput kOtherInput = kNoOtherInput;

  static ort::Status* infer_shapes(const ShapeInference& node) {
    Shape x, b;
    const int64_t groups = node.count("groups", 1);
    if (groups == 0 || !node.input(0, x) || (groups > 1 && !x.has_rank(2)) || !node.input(2, b) || !b.has_rank(1))
      return nullptr;
    Shape y;
    y.element_type = x.element_type;
    for (size_t axis = 0; axis + 1 < x.sizes.size(); ++axis) y.append(x, axis);
    y.append(b, 0);
    return node.set_output(0, y);
  }

  FusedDense(const NodeInfo& node, DType, const Kernels& kernels) : label_(node.label()), kernels_(kernels) {
    groups_ = node.integer("groups", 1, 1, kMostCount);
    activation_ = Activation(node.choice("activation", {"none", "relu", "gelu", "sigmoid", "silu"}));
    workers_ = std::max(1u, std::thread::hardware_concurrency());
    const Tensor w = node.constant(1), b = node.constant(2);
    if (w.data != nullptr && b.data != nullptr) constant_ = std::make_unique<Weight>(*this, w, b);
  }

  void compute(const NodeCall& call) {
    if (constant_) return multiply(call, *constant_);
    multiply(call, Weight(*this, call.input(1), call.input(2)));  // W or B is no constant
  }

 private:
  struct Weight {
    Weight(const FusedDense& op, const Tensor& w, const Tensor& b)
        : inputs(checked(op, w, b)[w.shape.size() - 2]), outputs(w.shape.back()),
          floats(op.kernels_.dense_floats(op.groups_, outputs)), memory(static_cast<size_t>(floats * plus(inputs, 1))) {
      op.kernels_.pack_dense(static_cast<const float*>(b.data), op.groups_, 1, outputs, bias());
      op.kernels_.pack_dense(static_cast<const float*>(w.data), op.groups_, inputs, outputs, memory.data());
    }
    // Before memory is asked for: wrong groups would ask for any amount.
    static const std::vector<int64_t>& checked(const FusedDense& op, const Tensor& w, const Tensor& b) {
      const size_t rank = op.groups_ > 1 ? 3 : 2;
      if (w.shape.size() != rank || (rank == 3 && w.shape[0] != op.groups_))
        throw NodeError(op.label_ + ": W has shape " + shape_text(w.shape) + "; it must be [" +
                        (rank == 3 ? std::to_string(op.groups_) + ", " : "") + "inputs, outputs].");
      temport::floats(op.label_, "B", b, {times(op.groups_, w.shape.back())});
      return w.shape;
    }
    float* bias() const { return memory.data() + floats * inputs; }

    const int64_t inputs, outputs, floats;  // floats of memory per input
    const WeightMemory memory;
  };

  void multiply(const NodeCall& call, const Weight& weight) const {
    const Tensor x = call.input(0), factor = call.input(3), addend = call.input(4);
    const int64_t width = times(groups_, weight.inputs);
    if (x.shape.empty() || x.shape.back() != width || (groups_ > 1 && x.shape.size() != 2))
      throw NodeError(label_ + ": X has shape " + shape_text(x.shape) + "; it must be [" + (groups_ > 1 ? "rows" : "...") +
                      ", " + std::to_string(width) + "].");
    DenseProblem p;
    p.x = static_cast<const float*>(x.data);
    p.w = weight.memory.data();
    p.bias = weight.bias();
    p.rows = elements(std::vector<int64_t>(x.shape.begin(), x.shape.end() - 1));
    p.groups = groups_;
    p.inputs = weight.inputs;
    p.outputs = weight.outputs;
    p.activation = activation_;
    p.workers = workers_;
    std::vector<int64_t> shape = x.shape;
    shape.back() = times(p.groups, p.outputs);
    if (factor.data != nullptr) p.factor = floats(label_, "M", factor, shape);
    if (addend.data != nullptr) p.addend = floats(label_, "R", addend, shape);
    p.y = static_cast<float*>(call.output(shape));
    if (p.rows == 0 || p.outputs == 0) return;
    kernels_.plan_dense(p);
    call.parallel(p.tasks, [&](int64_t task) { kernels_.run_dense(p, task); });
  }

  const std::string label_;
  const Kernels& kernels_;
  int64_t groups_, workers_;
  Activation activation_;
  std::unique_ptr<const Weight> constant_;
};

}  // namespace temport
