// CachedAttention as a node: the newest frame goes into the ring, then its query meets the filled rows.
#pragma once

#include <algorithm>
#include <cmath>

#include "ring_cache.h"
#include "scratch.h"

namespace temport {

class CachedAttention {
 public:
  static constexpr const char* kName = "CachedAttention";
  static constexpr size_t kInputs = 4, kOutputs = 3;
  static constexpr OtherInput kOtherInput = {3, ort::kInt64};
  static ort::Status* infer_shapes(const ShapeInference& node) { return infer_ring_shapes(node); }

  CachedAttention(const NodeInfo& node, DType dtype, const Kernels& kernels) : label_(node.label()), kernels_(kernels) {
    fixed_.dtype = dtype;
    fixed_.heads = fixed_.kv_heads = node.required_count("num_heads");
    default_scale_ = !node.has("scale");
    fixed_.scale = node.number("scale", 1.0f);
  }

  void compute(const NodeCall& call) {
    AttentionProblem p = fixed_;
    const RingCache ring(label_, call, 3, p);
    if (default_scale_) p.scale = float(1.0 / std::sqrt(double(p.dim)));
    ring.write_newest(call, kernels_);
    const int64_t touched = 2 * ring.rows() * p.dim;
    share_heads(call, ring.batch(), p.heads, touched, [&](int64_t entry, int64_t first, int64_t heads) {
      const int64_t filled = std::max<int64_t>(std::min(ring.frames(entry), ring.rows() - 1) + 1, 0);
      const ScratchPool::Loan scratch(scratch_, kernels_.single_row_floats(p, heads));
      kernels_.run_single_row(ring.entry(p, entry, filled), first, heads, scratch.data());
    });
  }

 private:
  const std::string label_;
  const Kernels& kernels_;
  AttentionProblem fixed_;
  bool default_scale_;
  ScratchPool scratch_;
};

}  // namespace temport
