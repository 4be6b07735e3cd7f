// BlockLinearAttention as a node: attributes and shapes checked, tasks run on the session's threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <thread>

#include "linear_branch.h"
#include "linear_states.h"
#include "node.h"
#include "scratch.h"
#include "shape_inference.h"

namespace temport {

class BlockLinearAttention {
 public:
  static constexpr const char* kName = "BlockLinearAttention";
  static constexpr size_t kInputs = 3, kOutputs = 1;
  static constexpr OtherInput kOtherInput = kNoOtherInput;
  static ort::Status* infer_shapes(const ShapeInference& node) {
    const int64_t heads = node.count("num_heads", 0);
    return infer_attention_shape(node, heads, heads);
  }

  BlockLinearAttention(const NodeInfo& node, DType dtype, const Kernels& kernels)
      : label_(node.label()), kernels_(kernels) {
    AttentionProblem& a = fixed_.attention;
    a.dtype = dtype;
    a.heads = a.kv_heads = node.required_count("num_heads");
    a.rule.block = std::min(node.required_integer("block_size", 1, INT64_MAX), kFar);
    a.rule.causal = true;
    a.workers = std::max(1u, std::thread::hardware_concurrency());
    default_scale_ = !node.has("scale");
    a.scale = node.number("scale", 1.0f);
    read_linear_branch(node, fixed_);
    fixed_.wait = [](int spins) {
      if (spins > 64) std::this_thread::yield();  // the thread in turn may share this core
    };
  }

  void compute(const NodeCall& call) {
    BlockLinearProblem p = fixed_;
    AttentionProblem& a = p.attention;
    read_qkv(label_, call, a);
    if (a.length != a.rule.keys)
      throw NodeError(label_ + ": Q has " + std::to_string(a.length) + " rows but K has " +
                      std::to_string(a.rule.keys) + "; they must be equal.");
    if (default_scale_) a.scale = float(1.0 / std::sqrt(double(a.dim)));
    a.y = call.output({a.batch, a.length, times(a.heads, a.value_dim)});
    if (a.batch == 0 || a.length == 0) return;
    kernels_.plan_block_linear(p);
    const LinearStates states(p);
    call.parallel(a.tasks, [&](int64_t task) {
      try {
        const ScratchPool::Loan scratch(scratch_, a.scratch_floats);
        kernels_.run_block_linear(p, task, scratch.data());
      } catch (...) {  // no memory: the call fails, but later chunks must not wait for this one for ever
        if (p.hands_over) pass_turn(p, task);
        throw;
      }
    });
  }

 private:
  static void pass_turn(const BlockLinearProblem& p, int64_t task) {
    const int64_t sequences = p.attention.batch * p.attention.heads, chunk = task / sequences;
    LinearState& state = p.states[task % sequences];
    while (__atomic_load_n(&state.turn, __ATOMIC_ACQUIRE) != chunk) std::this_thread::yield();
    __atomic_store_n(&state.turn, chunk + 1, __ATOMIC_RELEASE);
  }

  const std::string label_;
  const Kernels& kernels_;
  BlockLinearProblem fixed_;
  bool default_scale_;
  ScratchPool scratch_;
};

}  // namespace temport
