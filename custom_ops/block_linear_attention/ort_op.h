// BlockLinearAttention as a node: attributes and shapes checked, tasks run on the session's threads.
#pragma once

#include <cmath>
#include <thread>

#include "node.h"
#include "scratch.h"

namespace temport {

class BlockLinearAttention {
 public:
  static constexpr const char* kName = "BlockLinearAttention";
  static constexpr size_t kInputs = 3, kMaskInput = 3;

  BlockLinearAttention(const NodeInfo& node, DType dtype, const Kernels& kernels)
      : label_(node.label()), kernels_(kernels) {
    AttentionProblem& a = fixed_.attention;
    a.dtype = dtype;
    a.heads = a.kv_heads = node.required_integer("num_heads", 1);
    a.rule.block = std::min(node.required_integer("block_size", 1), int64_t{1} << 40);
    a.rule.causal = true;
    default_scale_ = !node.has("scale");
    a.scale = node.number("scale", 1.0f);
    fixed_.elu1 = node.choice("feature_map", "identity", "elu1") == "elu1";
    fixed_.divide = node.choice("normalizer", "key_sum", "none") == "key_sum";
    fixed_.eps = node.number("eps", 1e-8f);
    if (fixed_.eps < 1e-30f)
      throw NodeError(label_ + ": attribute eps is " + std::to_string(fixed_.eps) + "; it must be at least 1e-30.");
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
    a.y = call.output({a.batch, a.length, a.heads * a.value_dim});
    kernels_.plan_block_linear(p);
    const int64_t sequences = a.batch * a.heads;
    std::vector<LinearState> states(static_cast<size_t>(sequences));
    const int64_t each = p.several_blocks ? p.state_floats * (p.split_blocks ? 2 : 1) : 0;
    std::vector<float> sums(static_cast<size_t>(sequences * each), 0.0f);
    for (int64_t i = 0; i < sequences && each > 0; ++i) {
      states[size_t(i)].sum = sums.data() + i * each;
      states[size_t(i)].snapshot = states[size_t(i)].sum + p.state_floats;
    }
    p.states = states.data();
    call.parallel(sequences * a.tiles, [&](int64_t task) {
      try {
        const ScratchPool::Loan scratch(scratch_, a.scratch_floats);
        kernels_.run_block_linear(p, task, scratch.data());
      } catch (...) {  // no memory: the call fails, but later chunks must not wait for this one for ever
        LinearState& state = states[size_t(task % sequences)];
        while (state.turn.load(std::memory_order_acquire) != task / sequences) std::this_thread::yield();
        state.turn.store(task / sequences + 1, std::memory_order_release);
        throw;
      }
    });
  }

 private:
  const std::string label_;
  const Kernels& kernels_;
  BlockLinearProblem fixed_;
  bool default_scale_;
  ScratchPool scratch_;
};

}  // namespace temport
