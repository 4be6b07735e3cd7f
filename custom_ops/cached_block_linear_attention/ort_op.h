// CachedBlockLinearAttention as a node: softmax attention to the rows of the current block, and the linear branch.
#pragma once

#include <cmath>

#include "linear_branch.h"
#include "ring_cache.h"
#include "scratch.h"

namespace temport {

class CachedBlockLinearAttention {
 public:
  static constexpr const char* kName = "CachedBlockLinearAttention";
  static constexpr size_t kInputs = 7, kOutputs = 6;
  static constexpr OtherInput kOtherInput = {6, ort::kInt64};

  static ort::Status* infer_shapes(const ShapeInference& node) {
    ort::Status* status = infer_ring_shapes(node);
    Shape sums;
    for (size_t i = 3; i < kOutputs && status == nullptr; ++i)
      if (node.input(i, sums)) status = node.set_output(i, sums);
    return status;
  }

  CachedBlockLinearAttention(const NodeInfo& node, DType dtype, const Kernels& kernels)
      : label_(node.label()), kernels_(kernels) {
    attention_.dtype = linear_.dtype = dtype;
    attention_.heads = attention_.kv_heads = linear_.heads = node.required_count("num_heads");
    read_linear_branch(node, linear_);
  }

  void compute(const NodeCall& call) {
    AttentionProblem a = attention_;
    const RingCache ring(label_, call, 6, a);
    a.scale = float(1.0 / std::sqrt(double(a.dim)));
    LinearStepProblem p = linear_;
    p.dim = a.dim;
    p.row = a.dim + 1;
    p.qkv = a.q.data;
    p.y = a.y;
    const std::vector<int64_t> sums{ring.batch(), a.heads, a.dim, a.dim + 1};
    bind_sums(call, 3, "Earlier", sums, p.earlier, p.next_earlier);
    bind_sums(call, 4, "Block", sums, p.block, p.next_block);
    bind_sums(call, 5, "Lost", sums, p.lost, p.next_lost);
    need_apart(label_,
               {{"Earlier", p.earlier, p.next_earlier}, {"Block", p.block, p.next_block}, {"Lost", p.lost, p.next_lost}},
               elements(sums) * bytes_of(a.dtype), false);

    ring.write_newest(call, kernels_);
    const size_t step_floats = kernels_.linear_step_floats(a.dim);
    const int64_t touched = 2 * ring.rows() * a.dim + 6 * a.dim * (a.dim + 1);
    share_heads(call, ring.batch(), a.heads, touched, [&](int64_t entry, int64_t first, int64_t heads) {
      const int64_t filled = ring.slot(entry) + 1;
      const ScratchPool::Loan scratch(scratch_, step_floats + kernels_.single_row_floats(a, heads));
      kernels_.run_single_row(ring.entry(a, entry, filled), first, heads, scratch.data() + step_floats);
      for (int64_t head = first; head < first + heads; ++head)
        kernels_.run_linear_step(p, entry, head, filled == ring.rows(), scratch.data());
    });
  }

 private:
  // Input and output `index`.
  void bind_sums(const NodeCall& call, size_t index, const char* name, const std::vector<int64_t>& shape,
                 const void*& before, void*& after) const {
    before = data_of(label_, name, call.input(index), shape);
    after = call.output(index, shape);
    if (after == nullptr) throw NodeError(label_ + ": output Next" + name + " must be given.");
  }

  const std::string label_;
  const Kernels& kernels_;
  AttentionProblem attention_;
  LinearStepProblem linear_;
  ScratchPool scratch_;
};

}  // namespace temport
