// OnlineSoftmaxAttention as a node: attributes and shapes checked, tasks run on the session's threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <thread>

#include "node.h"
#include "scratch.h"
#include "shape_inference.h"

namespace temport {

class OnlineSoftmaxAttention {
 public:
  static constexpr const char* kName = "OnlineSoftmaxAttention";
  static constexpr size_t kInputs = 4, kOutputs = 1;
  static constexpr OtherInput kOtherInput = {3, ort::kBool};
  static ort::Status* infer_shapes(const ShapeInference& node) { return infer_attention_shape(node); }

  OnlineSoftmaxAttention(const NodeInfo& node, DType dtype, const Kernels& kernels)
      : label_(node.label()), kernels_(kernels) {
    constexpr int64_t kFar = int64_t{1} << 40;  // beyond any length, and sums with it cannot overflow
    fixed_.dtype = dtype;
    fixed_.workers = std::max(1u, std::thread::hardware_concurrency());
    fixed_.heads = node.required_integer("num_heads", 1);
    fixed_.kv_heads = node.integer("kv_num_heads", fixed_.heads, 1);
    if (fixed_.heads % fixed_.kv_heads != 0)
      throw NodeError(label_ + ": attribute kv_num_heads is " + std::to_string(fixed_.kv_heads) +
                      "; it must divide num_heads = " + std::to_string(fixed_.heads) + ".");
    const int64_t causal = node.integer("causal", 0, 0);
    if (causal > 1)
      throw NodeError(label_ + ": attribute causal is " + std::to_string(causal) + "; it must be 0 or 1.");
    fixed_.rule.causal = causal == 1;
    fixed_.rule.window = std::min(node.integer("window", 0, 0), kFar);
    query_offset_ = std::min(node.integer("query_offset", -1, -1), kFar);
    default_scale_ = !node.has("scale");
    fixed_.scale = node.number("scale", 1.0f);
  }

  void compute(const NodeCall& call) {
    AttentionProblem p = fixed_;
    read_qkv(label_, call, p);
    p.rule.offset = query_offset_ == -1 ? p.rule.keys - p.length : query_offset_;
    if (default_scale_) p.scale = float(1.0 / std::sqrt(double(p.dim)));
    const Tensor mask = call.input(3);
    if (mask.data != nullptr) {
      if (mask.shape != std::vector<int64_t>{p.batch, p.rule.keys})
        throw NodeError(label_ + ": key_mask has shape " + shape_text(mask.shape) + "; it must be " +
                        shape_text({p.batch, p.rule.keys}) + " (batch, keys).");
      p.key_mask = static_cast<const bool*>(mask.data);
    }
    p.y = call.output({p.batch, p.length, p.heads * p.value_dim});
    kernels_.plan_attention(p);
    call.parallel(p.tasks, [&](int64_t task) {
      const ScratchPool::Loan scratch(scratch_, p.scratch_floats);
      kernels_.run_attention(p, task, scratch.data());
    });
  }

 private:
  const std::string label_;
  const Kernels& kernels_;
  AttentionProblem fixed_;
  int64_t query_offset_;
  bool default_scale_;
  ScratchPool scratch_;
};

}  // namespace temport
