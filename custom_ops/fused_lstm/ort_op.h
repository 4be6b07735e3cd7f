// FusedLSTM as a node: attributes and shapes checked, the weights packed when the model is loaded, tasks run on the
// session's threads.
#pragma once

#include <algorithm>
#include <functional>
#include <thread>

#include "node.h"
#include "scratch.h"
#include "shape_inference.h"
#include "step_turns.h"
#include "weight_memory.h"

namespace temport {

class FusedLstm {
 public:
  static constexpr const char* kName = "FusedLSTM";
  static constexpr size_t kInputs = 6, kOutputs = 3;
  static constexpr OtherInput kOtherInput = kNoOtherInput;

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
    if (status == nullptr) status = node.set_output(1, state);
    return status != nullptr ? status : node.set_output(2, state);
  }

  FusedLstm(const NodeInfo& node, DType, const Kernels& kernels) : label_(node.label()), kernels_(kernels) {
    hidden_ = node.required_count("hidden_size");
    workers_ = std::max(1u, std::thread::hardware_concurrency());
    const Tensor w = node.constant(1), r = node.constant(2), b = node.constant(3);
    if (w.data != nullptr && r.data != nullptr) constant_ = std::make_unique<Weights>(*this, w, r, b);
  }

  void compute(const NodeCall& call) {
    if (constant_ && constant_->biased == call.has_input(3)) return run(call, *constant_);
    run(call, Weights(*this, call.input(1), call.input(2), call.input(3)));  // one of them is no constant
  }

 private:
  struct Weights {
    Weights(const FusedLstm& op, const Tensor& w_given, const Tensor& r_given, const Tensor& b_given)
        : inputs(checked_inputs(op, w_given, r_given)), hidden(op.hidden_), floats(op.kernels_.lstm_floats(hidden)),
          biased(b_given.data != nullptr), memory(static_cast<size_t>(floats * plus(plus(inputs, hidden), 1))) {
      const int64_t H = hidden;
      const auto pack = [&](const float* from, int64_t width, float* to) { op.kernels_.pack_lstm(from, H, width, to); };
      pack(static_cast<const float*>(w_given.data), inputs, w());
      pack(static_cast<const float*>(r_given.data), H, r());
      std::vector<float> sums(static_cast<size_t>(4 * H));
      if (biased) {
        const float* biases = temport::floats(op.label_, "B", b_given, {1, 8 * H});
        std::transform(biases, biases + 4 * H, biases + 4 * H, sums.begin(), std::plus<float>());
      }
      pack(sums.data(), 1, bias());
    }
    // Before memory is asked for: a wrong hidden_size would ask for any amount.
    static int64_t checked_inputs(const FusedLstm& op, const Tensor& w, const Tensor& r) {
      const int64_t H = op.hidden_, gates = times(4, H);
      if (w.shape.size() != 3)
        throw NodeError(op.label_ + ": W has shape " + shape_text(w.shape) + "; it must be [1, " + std::to_string(gates) +
                        ", inputs].");
      temport::floats(op.label_, "W", w, {1, gates, w.shape[2]});
      temport::floats(op.label_, "R", r, {1, gates, H});
      return w.shape[2];
    }
    float* w() const { return memory.data(); }
    float* r() const { return w() + floats * inputs; }
    float* bias() const { return r() + floats * hidden; }

    const int64_t inputs, hidden, floats;  // floats of memory per input
    const bool biased;
    const WeightMemory memory;
  };

  void run(const NodeCall& call, const Weights& weights) {
    const Tensor x = call.input(0), hidden_before = call.input(4), cell_before = call.input(5);
    if (x.shape.size() != 3 || x.shape[2] != weights.inputs)
      throw NodeError(label_ + ": X has shape " + shape_text(x.shape) + "; it must be [seq, batch, " +
                      std::to_string(weights.inputs) + "].");
    LstmProblem p;
    p.x = static_cast<const float*>(x.data);
    p.w = weights.w();
    p.r = weights.r();
    p.bias = weights.bias();
    p.frames = x.shape[0];
    p.batch = x.shape[1];
    p.inputs = weights.inputs;
    p.hidden = hidden_;
    p.workers = workers_;
    const std::vector<int64_t> state{1, p.batch, hidden_};
    if (hidden_before.data != nullptr) p.hidden_before = floats(label_, "initial_h", hidden_before, state);
    const float* cell = cell_before.data != nullptr ? floats(label_, "initial_c", cell_before, state) : nullptr;
    p.y = static_cast<float*>(call.output(0, {p.frames, 1, p.batch, hidden_}));
    float* last_hidden = static_cast<float*>(call.output(1, state));
    float* last_cell = static_cast<float*>(call.output(2, state));
    const int64_t size = times(p.batch, hidden_);
    if (p.frames == 0 || p.batch == 0) {  // the states stay what they are
      if (last_hidden != nullptr) copy_state(p.hidden_before, size, last_hidden);
      if (last_cell != nullptr) copy_state(cell, size, last_cell);
      return;
    }

    kernels_.plan_lstm(p);
    const int64_t gates = p.frames * p.batch * p.gate_floats;
    const ScratchPool::Loan shared(shared_, static_cast<size_t>(gates + p.batch * p.cell_floats));
    p.gates = shared.data();
    p.cell = p.gates + gates;
    std::fill_n(p.cell, p.batch * p.cell_floats, 0.0f);
    for (int64_t b = 0; b < p.batch && cell != nullptr; ++b)
      std::copy_n(cell + b * hidden_, hidden_, p.cell + b * p.cell_floats);
    run_frames(call, p);

    if (last_hidden != nullptr) std::copy_n(p.y + (p.frames - 1) * size, size, last_hidden);
    for (int64_t b = 0; b < p.batch && last_cell != nullptr; ++b)
      std::copy_n(p.cell + b * p.cell_floats, hidden_, last_cell + b * hidden_);
  }

  // `from` null: zeros.
  static void copy_state(const float* from, int64_t size, float* to) {
    if (from != nullptr)
      std::copy_n(from, size, to);
    else
      std::fill_n(to, size, 0.0f);
  }

  void run_frames(const NodeCall& call, const LstmProblem& p) {
    call.parallel(p.tasks, [&](int64_t task) { kernels_.project_lstm(p, task); });
    StepTurns turns(p.frames, p.tasks);
    call.parallel(p.tasks, [&](int64_t own) {
      const ScratchPool::Loan scratch(scratch_, p.scratch_floats);
      turns.work(own, [&](int64_t frame, int64_t task) { kernels_.step_lstm(p, frame, task, scratch.data()); });
    });
  }

  const std::string label_;
  const Kernels& kernels_;
  int64_t hidden_, workers_;
  std::unique_ptr<const Weights> constant_;
  ScratchPool shared_, scratch_;
};

}  // namespace temport
