// FusedDense as a node: shapes checked, the weight packed when the model is loaded, tasks run on the session's threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <thread>

#include "node.h"
#include "processor.h"
#include "scratch.h"
#include "shape_inference.h"
#include "stored_weight.h"
#include "weight_memory.h"

namespace temport {

class FusedDense {
 public:
  static constexpr const char* kName = "FusedDense";
  static constexpr size_t kInputs = 7, kOutputs = 1;
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

  FusedDense(const NodeInfo& node, DType, const Kernels& kernels)
      : label_(node.label()), kernels_(kernels), fours_(multiplies_fours(kernels.isa)) {
    groups_ = node.integer("groups", 1, 1, kMostCount);
    activation_ = Activation(node.choice("activation", {"none", "relu", "gelu", "sigmoid", "silu"}));
    workers_ = std::max(1u, std::thread::hardware_concurrency());
    const Tensor w = node.constant(1), b = node.constant(2), s = node.constant(5), of_x = node.constant(6);
    if (w.data != nullptr && b.data != nullptr) constant_ = std::make_unique<Packed>(*this, w, b, s, of_x);
  }

  void compute(const NodeCall& call) {
    if (constant_ && constant_->scaled == call.has_input(5) && constant_->rounds() == call.has_input(6))
      return multiply(call, *constant_);
    multiply(call, Packed(*this, call.input(1), call.input(2), call.input(5), call.input(6)));  // one of them is no constant
  }

 private:
  // Bias and, of bytes, scales, then the weight.
  struct Packed {
    Packed(const FusedDense& op, const Tensor& w, const Tensor& b, const Tensor& s, const Tensor& of_x)
        : Packed(op, w, b, stored(op, w, s, checked(op, w, b).size()), s.data != nullptr, x_scale_of(op, of_x)) {}
    Packed(const FusedDense& op, const Tensor& w, const Tensor& b, const StoredWeight& as_stored, bool given, float scale_of_x)
        : inputs(w.shape[w.shape.size() - 2]), outputs(w.shape.back()), type(as_stored.type), block(as_stored.block),
          scaled(given), x_scale(scale_of_x), rounding(rounding_of(op, scale_of_x, as_stored, inputs, outputs)),
          columns(op.kernels_.dense_elements(op.groups_, outputs)),
          memory(static_cast<size_t>(plus(2 * columns, floats_of_lines(columns, inputs, as_stored)))) {
      // Elements of four bytes are copied, whatever they are.
      const auto pack = [&](const void* from, void* to) {
        op.kernels_.pack_dense({Weight::kFloat32, from}, op.groups_, 1, outputs, to);
      };
      pack(b.data, bias());
      if (type == Weight::kInt8) {
        std::vector<float> scales(as_stored.scale, as_stored.scale + op.groups_ * outputs);
        if (rounding == Rounding::kIntegers)
          for (float& value : scales) value *= x_scale;
        pack(scales.data(), scale());
      }
      op.kernels_.pack_dense(as_stored, op.groups_, inputs, outputs, w_packed());
    }
    static StoredWeight stored(const FusedDense& op, const Tensor& w, const Tensor& s, size_t rank) {
      return stored_weight(op.label_, "W", w, s, rank - 2, rank - 1);
    }
    bool rounds() const { return rounding != Rounding::kNone; }
    static float x_scale_of(const FusedDense& op, const Tensor& of_x) {
      if (of_x.data == nullptr) return 0;
      const float scale = *temport::floats(op.label_, "X_scale", of_x, {});
      if (!(scale > 0) || scale > std::numeric_limits<float>::max())
        throw NodeError(op.label_ + ": X_scale is " + std::to_string(scale) + "; it must be a number above 0.");
      return scale;
    }
    // The products are of floats where weights are no bytes with a scale per output, or a product of both scales would be
    // too large or too small for a float.
    static Rounding rounding_of(const FusedDense& op, float scale_of_x, const WeightData& w, int64_t inputs, int64_t outputs) {
      if (scale_of_x == 0) return Rounding::kNone;
      if (w.type != Weight::kInt8 || inputs > kMostIntegers) return Rounding::kFloats;
      const bool normal = std::all_of(w.scale, w.scale + op.groups_ * outputs,
                                      [&](float scale) { return scale == 0 || std::isnormal(scale * scale_of_x); });
      if (!normal) return Rounding::kFloats;
      return Rounding::kIntegers;
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
    const int64_t block;
    const bool scaled;
    const float x_scale;
    const Rounding rounding;
    const int64_t columns;  // of all panels
    const WeightMemory memory;
  };

  void multiply(const NodeCall& call, const Packed& weight) {
    const Tensor x = call.input(0), factor = call.input(3), addend = call.input(4);
    const int64_t width = times(groups_, weight.inputs);
    if (x.shape.empty() || x.shape.back() != width || (groups_ > 1 && x.shape.size() != 2))
      throw NodeError(label_ + ": X has shape " + shape_text(x.shape) + "; it must be [" + (groups_ > 1 ? "rows" : "...") +
                      ", " + std::to_string(width) + "].");
    DenseProblem p;
    p.x = static_cast<const float*>(x.data);
    p.w = weight.w_packed();
    p.weight = weight.type;
    p.block = weight.block;
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
    p.rounding = weight.rounding;
    p.x_scale = weight.x_scale;
    p.fours = fours_;
    constexpr int64_t kWidest = 16;  // floats of a vector
    const int64_t room = weight.rounds() ? times(times(p.rows, p.groups), plus(p.inputs, kWidest)) : 0;
    std::optional<ScratchPool::Loan> integers;
    if (weight.rounds()) {
      p.integers = integers.emplace(integers_, static_cast<size_t>(room)).data();
      share(call, p.rows, width, [&](int64_t row) { kernels_.round_dense(p, row, row + 1); });
      if (weight.rounding == Rounding::kFloats) p.x = static_cast<const float*>(p.integers);
    }
    kernels_.plan_dense(p);
    call.parallel(p.tasks, [&](int64_t task) { kernels_.run_dense(p, task); });
  }

  const std::string label_;
  const Kernels& kernels_;
  const bool fours_;
  int64_t groups_, workers_;
  Activation activation_;
  std::unique_ptr<const Packed> constant_;
  ScratchPool integers_;
};

}  // namespace temport
