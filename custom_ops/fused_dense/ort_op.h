// FusedDense as a node: shapes checked, the weight packed when the model is loaded, tasks run on the session's threads.
#pragma once

#include <algorithm>
#include <thread>

#include "node.h"
#include "shape_inference.h"
#include "stored_weight.h"
#include "weight_memory.h"

namespace temport {

class FusedDense {
 public:
  static constexpr const char* kName = "FusedDense";
  static constexpr size_t kInputs = 6, kOutputs = 1;
  static constexpr OtherInput kOtherInput = {1, ort::kUndefined};  // W

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
    const Tensor w = node.constant(1), b = node.constant(2), s = node.constant(5);
    if (w.data != nullptr && b.data != nullptr) constant_ = std::make_unique<Packed>(*this, w, b, s);
  }

  void compute(const NodeCall& call) {
    if (constant_ && constant_->scaled == call.has_input(5)) return multiply(call, *constant_);
    multiply(call, Packed(*this, call.input(1), call.input(2), call.input(5)));  // one of them is no constant
  }

 private:
  // Bias and, of integers, scales, then the weight.
  struct Packed {
    Packed(const FusedDense& op, const Tensor& w, const Tensor& b, const Tensor& s)
        : Packed(op, w, b, stored_weight(op.label_, "W", w, s, checked(op, w, b).size() - 1, op.groups_ == 1), s.data != nullptr) {}
    Packed(const FusedDense& op, const Tensor& w, const Tensor& b, const StoredWeight& stored, bool given)
        : inputs(w.shape[w.shape.size() - 2]), outputs(w.shape.back()), type(stored.type), scaled(given),
          columns(op.kernels_.dense_elements(op.groups_, outputs)),
          memory(static_cast<size_t>(plus(2 * columns, floats_of_lines(columns, inputs, type)))) {
      const auto pack = [&](Weight kind, const void* from, int64_t rows, void* to) {
        op.kernels_.pack_dense(kind, from, op.groups_, rows, outputs, to);
      };
      pack(Weight::kFloat32, b.data, 1, bias());
      if (stored.scale != nullptr) pack(Weight::kFloat32, stored.scale, 1, scale());
      pack(type, stored.data, inputs, w_packed());
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
    float* bias() const { return memory.data(); }
    float* scale() const { return bias() + columns; }
    void* w_packed() const { return scale() + columns; }

    const int64_t inputs, outputs;
    const Weight type;
    const bool scaled;
    const int64_t columns;  // of all panels
    const WeightMemory memory;
  };

  void multiply(const NodeCall& call, const Packed& weight) const {
    const Tensor x = call.input(0), factor = call.input(3), addend = call.input(4);
    const int64_t width = times(groups_, weight.inputs);
    if (x.shape.empty() || x.shape.back() != width || (groups_ > 1 && x.shape.size() != 2))
      throw NodeError(label_ + ": X has shape " + shape_text(x.shape) + "; it must be [" + (groups_ > 1 ? "rows" : "...") +
                      ", " + std::to_string(width) + "].");
    DenseProblem p;
    p.x = static_cast<const float*>(x.data);
    p.w = weight.w_packed();
    p.weight = weight.type;
    p.bias = weight.bias();
    p.scale = weight.scale();
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
  std::unique_ptr<const Packed> constant_;
};

}  // namespace temport
