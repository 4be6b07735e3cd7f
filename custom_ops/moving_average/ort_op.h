// MovingAverage as a node: shapes checked, weights turned to `[taps, channels]`, one task per batch entry.
#pragma once

#include "node.h"
#include "scratch.h"
#include "shape_inference.h"

namespace temport {

class MovingAverage {
 public:
  static constexpr const char* kName = "MovingAverage";
  static constexpr size_t kInputs = 3, kOutputs = 1;
  static constexpr OtherInput kOtherInput = kNoOtherInput;

  static ort::Status* infer_shapes(const ShapeInference& node) {
    Shape x;
    return node.input(0, x) ? node.set_output(0, x) : nullptr;
  }

  MovingAverage(const NodeInfo& node, DType, const Kernels& kernels) : label_(node.label()), kernels_(kernels) {
    channels_ = node.required_count("channels");
    taps_ = node.required_count("taps");
    const Tensor near = node.constant(1), far = node.constant(2);
    if (near.data != nullptr && far.data != nullptr) constant_ = std::make_unique<Weights>(*this, near, far);
  }

  void compute(const NodeCall& call) {
    if (constant_) return average(call, *constant_);
    average(call, Weights(*this, call.input(1), call.input(2)));  // one of them is no constant
  }

 private:
  struct Weights {
    Weights(const MovingAverage& op, const Tensor& near_given, const Tensor& far_given)
        : near(by_tap(op, "Near", near_given)), far(by_tap(op, "Far", far_given)) {}

    static std::vector<float> by_tap(const MovingAverage& op, const char* name, const Tensor& given) {
      const float* from = floats(op.label_, name, given, {op.channels_, 1, 1, op.taps_});
      std::vector<float> to(static_cast<size_t>(times(op.channels_, op.taps_)));
      for (int64_t c = 0; c < op.channels_; ++c)
        for (int64_t i = 0; i < op.taps_; ++i) to[size_t(i * op.channels_ + c)] = from[c * op.taps_ + i];
      return to;
    }

    const std::vector<float> near, far;
  };

  void average(const NodeCall& call, const Weights& weights) {
    const Tensor x = call.input(0);
    if (x.shape.size() != 3 || x.shape[2] != channels_)
      throw NodeError(label_ + ": X has shape " + shape_text(x.shape) + "; it must be [batch, T, " +
                      std::to_string(channels_) + "].");
    MovingAverageProblem p;
    p.x = static_cast<const float*>(x.data);
    p.near = weights.near.data();
    p.far = weights.far.data();
    p.y = static_cast<float*>(call.output(x.shape));
    p.length = x.shape[1];
    p.channels = channels_;
    p.taps = taps_;
    if (elements(x.shape) == 0) return;
    const int64_t row = times(p.length, channels_);
    share(call, x.shape[0], 2 * taps_ * row, [&](int64_t entry) {
      const ScratchPool::Loan recent(scratch_, static_cast<size_t>(row));
      kernels_.run_moving_average(p, entry, recent.data());
    });
  }

  const std::string label_;
  const Kernels& kernels_;
  int64_t channels_, taps_;
  std::unique_ptr<const Weights> constant_;
  ScratchPool scratch_;
};

}  // namespace temport
