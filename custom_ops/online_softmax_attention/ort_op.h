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
  static ort::Status* infer_shapes(const ShapeInference& node) {
    const int64_t heads = node.count("num_heads", 0);
    return infer_attention_shape(node, heads, node.count("kv_num_heads", heads));
  }

  OnlineSoftmaxAttention(const NodeInfo& node, DType dtype, const Kernels& kernels)
      : label_(node.label()), kernels_(kernels) {
    fixed_.dtype = dtype;
    fixed_.workers = std::max(1u, std::thread::hardware_concurrency());
    fixed_.heads = node.required_count("num_heads");
    fixed_.kv_heads = node.integer("kv_num_heads", fixed_.heads, 1, kMostCount);
    if (fixed_.heads % fixed_.kv_heads != 0)
      throw NodeError(label_ + ": attribute kv_num_heads is " + std::to_string(fixed_.kv_heads) +
                      "; it must divide num_heads = " + std::to_string(fixed_.heads) + ".");
    const int64_t causal = node.integer("causal", 0, INT64_MIN, INT64_MAX);
    if (causal != 0 && causal != 1)
      throw NodeError(label_ + ": attribute causal is " + std::to_string(causal) + "; it must be 0 or 1.");
    fixed_.rule.causal = causal == 1;
    read_positions(node);
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
      p.key_mask = static_cast<const uint8_t*>(mask.data);
    }
    p.y = call.output({p.batch, p.length, times(p.heads, p.value_dim)});
    if (p.batch == 0 || p.length == 0) return;
    kernels_.plan_attention(p);
    call.parallel(p.tasks, [&](int64_t task) {
      const ScratchPool::Loan scratch(scratch_, p.scratch_floats);
      kernels_.run_attention(p, task, scratch.data());
    });
  }

 private:
  // Sums of positions must not overflow, so none may be further than kFar: behind every key, an offset may as well be
  // nearer by what the window then loses, and a window that begins before every key may as well begin nearer.
  void read_positions(const NodeInfo& node) {
    int64_t &window = fixed_.rule.window, &offset = query_offset_;
    window = node.integer("window", 0, 0, INT64_MAX);
    offset = node.integer("query_offset", -1, -1, INT64_MAX);
    if (offset > kFar && window > 0) window = std::max<int64_t>(1, window - (offset - kFar));
    offset = std::min(offset, kFar);
    window = std::min(window, 4 * kFar);
  }

  const std::string label_;
  const Kernels& kernels_;
  AttentionProblem fixed_;
  int64_t query_offset_;
  bool default_scale_;
  ScratchPool scratch_;
};

}  // namespace temport
