// Recurrent layers as nodes: attributes and shapes checked, the weights packed when the model is loaded, tasks run on the
// session's threads.
//
// A layer says its name, its kernels (kKernels), how many gates and states it has (kGates, kStates: h, then c), and of how
// many gates the two biases are one sum (kSummed); those of the others stay apart.
#pragma once

#include <algorithm>
#include <functional>
#include <thread>

#include "node.h"
#include "processor.h"
#include "scratch.h"
#include "shape_inference.h"
#include "step_turns.h"
#include "stored_weight.h"
#include "weight_memory.h"

namespace temport {

template <typename Layer>
class RecurrentLayer {
 public:
  static constexpr const char* kName = Layer::kName;
  static constexpr size_t kInputs = 6 + Layer::kStates, kOutputs = 1 + Layer::kStates;
  static constexpr OtherInput kOtherInput = {1, ort::kUndefined, 2};  // W and R

  static ort::Status* infer_shapes(const ShapeInference& node) {
    Shape x;
    const int64_t hidden = node.count("hidden_size", 0);
    if (hidden == 0 || !node.input(0, x) || !x.has_rank(3)) return nullptr;
    Shape y, state;
    y.element_type = state.element_type = x.element_type;
    y.append(x, 0);
    for (Shape* shape : {&y, &state}) {
      shape->append(1);
      shape->append(x, 1);
      shape->append(hidden);
    }
    ort::Status* status = node.set_output(0, y);
    for (size_t i = 1; i < kOutputs && status == nullptr; ++i) status = node.set_output(i, state);
    return status;
  }

  RecurrentLayer(const NodeInfo& node, DType, const Kernels& kernels)
      : label_(node.label()), kernels_(kernels.*Layer::kKernels), fours_(multiplies_fours(kernels.isa)) {
    hidden_ = node.required_count("hidden_size");
    workers_ = std::max(1u, std::thread::hardware_concurrency());
    const Tensor w = node.constant(1), r = node.constant(2), b = node.constant(3);
    const Tensor of_w = node.constant(kScales), of_r = node.constant(kScales + 1);
    if (w.data != nullptr && r.data != nullptr) constant_ = std::make_unique<Weights>(*this, w, r, b, of_w, of_r);
  }

  void compute(const NodeCall& call) {
    if (constant_ && constant_->biased == call.has_input(3) && constant_->scaled_w == call.has_input(kScales) &&
        constant_->scaled_r == call.has_input(kScales + 1))
      return run(call, *constant_);
    run(call, Weights(*this, call.input(1), call.input(2), call.input(3), call.input(kScales), call.input(kScales + 1)));
  }

 private:
  static constexpr int64_t kGates = Layer::kGates;
  static constexpr bool kApart = Layer::kSummed < kGates;
  static constexpr size_t kScales = 4 + Layer::kStates;  // the input with those of W, and behind it of R

  // Two biases and two scales, then W and R.
  struct Weights {
    Weights(const RecurrentLayer& op, const Tensor& w_given, const Tensor& r_given, const Tensor& b_given,
            const Tensor& w_scales, const Tensor& r_scales)
        : Weights(op, b_given, checked_inputs(op, w_given, r_given), stored_weight(op.label_, "W", w_given, w_scales, 2, 1),
                  stored_weight(op.label_, "R", r_given, r_scales, 2, 1), w_scales.data != nullptr,
                  r_scales.data != nullptr) {}
    Weights(const RecurrentLayer& op, const Tensor& b_given, int64_t x_width, const StoredWeight& of_w,
            const StoredWeight& of_r, bool w_scaled, bool r_scaled)
        : inputs(x_width), hidden(op.hidden_), columns(op.kernels_.elements(hidden)), w_type(of_w.type),
          r_type(of_r.type), w_block(of_w.block), r_block(of_r.block), biased(b_given.data != nullptr), scaled_w(w_scaled), scaled_r(r_scaled),
          w_floats(floats_of_lines(columns, inputs, of_w)),
          memory(static_cast<size_t>(plus(plus(4 * columns, w_floats), floats_of_lines(columns, hidden, of_r)))) {
      const int64_t H = hidden;
      const auto pack = [&](const float* from, int64_t width, float* to) {
        op.kernels_.pack({Weight::kFloat32, from}, H, width, to);
      };
      op.kernels_.pack(of_w, H, inputs, w());
      op.kernels_.pack(of_r, H, H, r());
      if (w_type == Weight::kInt8) pack(of_w.scale, 1, w_scale());
      if (r_type == Weight::kInt8) pack(of_r.scale, 1, r_scale());
      std::vector<float> added(static_cast<size_t>(kGates * H)), apart(kApart ? added.size() : 0);
      if (biased) {
        const float* of_x = temport::floats(op.label_, "B", b_given, {1, 2 * kGates * H});
        const float* of_h = of_x + kGates * H;
        const int64_t summed = Layer::kSummed * H;
        std::transform(of_x, of_x + summed, of_h, added.begin(), std::plus<float>());
        if constexpr (kApart) {
          std::copy(of_x + summed, of_x + kGates * H, added.begin() + summed);
          std::copy(of_h + summed, of_h + kGates * H, apart.begin() + summed);
        }
      }
      pack(added.data(), 1, bias());
      if constexpr (kApart) pack(apart.data(), 1, recurrent_bias());
    }
    // Before memory is asked for: a wrong hidden_size would ask for any amount.
    static int64_t checked_inputs(const RecurrentLayer& op, const Tensor& w, const Tensor& r) {
      const int64_t H = op.hidden_, gates = times(kGates, H);
      if (w.shape.size() != 3)
        throw NodeError(op.label_ + ": W has shape " + shape_text(w.shape) + "; it must be [1, " + std::to_string(gates) +
                        ", inputs].");
      data_of(op.label_, "W", w, {1, gates, w.shape[2]});
      data_of(op.label_, "R", r, {1, gates, H});
      return w.shape[2];
    }
    float* bias() const { return memory.data(); }
    float* recurrent_bias() const { return kApart ? bias() + columns : nullptr; }
    float* w_scale() const { return bias() + 2 * columns; }
    float* r_scale() const { return bias() + 3 * columns; }
    void* w() const { return bias() + 4 * columns; }
    void* r() const { return bias() + 4 * columns + w_floats; }

    const int64_t inputs, hidden, columns;  // of all panels
    const Weight w_type, r_type;
    const int64_t w_block, r_block;
    const bool biased, scaled_w, scaled_r;
    const int64_t w_floats;
    const WeightMemory memory;
  };

  void run(const NodeCall& call, const Weights& weights) {
    const Tensor x = call.input(0);
    if (x.shape.size() != 3 || x.shape[2] != weights.inputs)
      throw NodeError(label_ + ": X has shape " + shape_text(x.shape) + "; it must be [seq, batch, " +
                      std::to_string(weights.inputs) + "].");
    RecurrentProblem p;
    p.x = static_cast<const float*>(x.data);
    p.w = weights.w();
    p.r = weights.r();
    p.w_type = weights.w_type;
    p.r_type = weights.r_type;
    p.w_block = weights.w_block;
    p.r_block = weights.r_block;
    p.fours = fours_;
    p.w_scale = weights.w_scale();
    p.r_scale = weights.r_scale();
    p.bias = weights.bias();
    p.recurrent_bias = weights.recurrent_bias();
    p.frames = x.shape[0];
    p.batch = x.shape[1];
    p.inputs = weights.inputs;
    p.hidden = hidden_;
    p.workers = workers_;
    const std::vector<int64_t> shape{1, p.batch, hidden_};
    constexpr const char* kStateNames[] = {"initial_h", "initial_c"};
    const float* before[Layer::kStates] = {};
    for (size_t i = 0; i < Layer::kStates; ++i)
      if (const Tensor given = call.input(4 + i); given.data != nullptr)
        before[i] = floats(label_, kStateNames[i], given, shape);
    p.hidden_before = before[0];
    p.y = static_cast<float*>(call.output(0, {p.frames, 1, p.batch, hidden_}));
    float* last[Layer::kStates];
    for (size_t i = 0; i < Layer::kStates; ++i) last[i] = static_cast<float*>(call.output(1 + i, shape));
    const int64_t size = times(p.batch, hidden_);
    if (p.frames == 0 || p.batch == 0) {  // the states stay what they are
      for (size_t i = 0; i < Layer::kStates; ++i)
        if (last[i] != nullptr) copy_state(before[i], size, last[i]);
      return;
    }

    kernels_.plan(p);
    const int64_t gates = p.frames * p.batch * p.gate_floats;
    const ScratchPool::Loan shared(shared_, static_cast<size_t>(gates + p.batch * p.state_floats));
    p.gates = shared.data();
    p.state = p.gates + gates;
    std::fill_n(p.state, p.batch * p.state_floats, 0.0f);
    constexpr size_t kKept = Layer::kStates - 1;  // of the states the one that the cell keeps apart from y
    for (int64_t b = 0; b < p.batch && before[kKept] != nullptr; ++b)
      std::copy_n(before[kKept] + b * hidden_, hidden_, p.state + b * p.state_floats);
    run_frames(call, p);

    if (last[0] != nullptr) std::copy_n(p.y + (p.frames - 1) * size, size, last[0]);
    for (int64_t b = 0; b < p.batch && kKept > 0 && last[kKept] != nullptr; ++b)
      std::copy_n(p.state + b * p.state_floats, hidden_, last[kKept] + b * hidden_);
  }

  // `from` null: zeros.
  static void copy_state(const float* from, int64_t size, float* to) {
    if (from != nullptr)
      std::copy_n(from, size, to);
    else
      std::fill_n(to, size, 0.0f);
  }

  void run_frames(const NodeCall& call, const RecurrentProblem& p) {
    call.parallel(p.tasks, [&](int64_t task) { kernels_.project(p, task); });
    StepTurns turns(p.frames, p.tasks);
    call.parallel(p.tasks, [&](int64_t own) {
      const ScratchPool::Loan scratch(scratch_, p.scratch_floats);
      turns.work(own, [&](int64_t frame, int64_t task) { kernels_.step(p, frame, task, scratch.data()); });
    });
  }

  const std::string label_;
  const RecurrentKernels& kernels_;
  const bool fours_;
  int64_t hidden_, workers_;
  std::unique_ptr<const Weights> constant_;
  ScratchPool shared_, scratch_;
};

}  // namespace temport
