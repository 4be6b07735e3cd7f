// Attention of a native engine: the kernels of the ops in one thread. Tiles are planned when the engine is compiled, for
// the largest sizes, so that it is known how much memory they take; fewer rows and keys fill a part of them.
#pragma once

#include "../block_linear_attention/kernel.h"
#include "../cached_attention/panel_ring.h"
#include "../cached_block_linear_attention/kernel.h"
#include "../online_softmax_attention/kernel.h"
#include "parallel.h"

namespace temport::TEMPORT_ISA {

// The most that there can be of rows and keys, and what is fixed.
struct AttentionSizes {
  int64_t batch, length, keys, heads, kv_heads, dim, value_dim;
};
constexpr AttentionProblem attention_problem(const AttentionSizes& sizes, float scale) {
  AttentionProblem p;
  p.batch = sizes.batch;
  p.length = sizes.length;
  p.rule.keys = sizes.keys;
  p.heads = sizes.heads;
  p.kv_heads = sizes.kv_heads;
  p.dim = sizes.dim;
  p.value_dim = sizes.value_dim;
  p.scale = scale;
  return p;
}
constexpr AttentionProblem plan_softmax(const AttentionSizes& sizes, float scale, bool causal, int64_t window) {
  AttentionProblem p = attention_problem(sizes, scale);
  p.rule.causal = causal;
  p.rule.window = window;
  plan_attention(p);
  return p;
}
constexpr BlockLinearProblem plan_linear(const AttentionSizes& sizes, float scale, int64_t block, LinearBranch branch) {
  BlockLinearProblem p;
  static_cast<LinearBranch&>(p) = branch;
  p.attention = attention_problem(sizes, scale);
  p.attention.rule.causal = true;
  p.attention.rule.block = block;
  plan_block_linear(p);
  return p;
}

struct AttentionArrays {
  Operand q, k, v;
  const bool* key_mask;
  float* y;
};

// A problem with the sizes and tiles of `Plan`.
template <const AttentionProblem& Plan>
struct AttentionOf {
  static constexpr DType dtype = DType::kFloat32;
  static constexpr int64_t heads = Plan.heads, kv_heads = Plan.kv_heads, dim = Plan.dim, value_dim = Plan.value_dim;
  static constexpr int64_t tile_rows = Plan.tile_rows, tile_keys = Plan.tile_keys, row_block = Plan.row_block;
  static constexpr int64_t score_blocks = Plan.score_blocks, group_blocks = Plan.group_blocks;
  static constexpr float scale = Plan.scale;
  Operand q, k, v;
  const uint8_t* key_mask;
  float* y;
  int64_t batch, length, tiles = 0, tasks = 0;
  KeyRule rule = Plan.rule;

  AttentionOf(int64_t batch_given, int64_t length_given, int64_t keys, const AttentionArrays& arrays)
      : q(arrays.q),
        k(arrays.k),
        v(arrays.v),
        key_mask(reinterpret_cast<const uint8_t*>(arrays.key_mask)),
        y(arrays.y),
        batch(batch_given),
        length(length_given) {
    rule.keys = keys;
  }
};

template <const AttentionProblem& Plan>
void softmax_attention(int64_t batch, int64_t length, int64_t keys, int64_t offset, const AttentionArrays& arrays,
                       float* scratch) {
  AttentionOf<Plan> p(batch, length, keys, arrays);
  p.rule.offset = offset;
  count_tasks(p);
  for (int64_t task = 0; task < p.tasks; ++task) run_attention(p, task, scratch);
}

// Of the scratch memory of a kernel that each part has for itself.
constexpr int64_t part_floats(int64_t floats) { return (floats + 15) / 16 * 16; }

// `scratch` holds as many `part_floats` as there are parts.
template <const AttentionProblem& Plan, int Threads>
void softmax_attention(const Caller<Threads>& caller, int64_t batch, int64_t length, int64_t keys, int64_t offset,
                       const AttentionArrays& arrays, float* scratch) {
  AttentionOf<Plan> p(batch, length, keys, arrays);
  p.rule.offset = offset;
  count_tasks(p);
  caller.share(p.tasks, [&](int64_t part, int64_t first, int64_t last) {
    float* own = scratch + part * part_floats(Plan.scratch_floats);
    for (int64_t task = first; task < last; ++task) run_attention(p, task, own);
  });
}

// One task is a whole sequence: nothing is handed over.
template <const BlockLinearProblem& Plan>
struct BlockLinearOf {
  static constexpr AttentionProblem kAttention = Plan.attention;
  static constexpr bool elu1 = Plan.elu1, divide = Plan.divide, hands_over = false;
  static constexpr bool several_blocks = Plan.several_blocks, split_blocks = Plan.split_blocks;
  static constexpr int64_t state_floats = Plan.state_floats;
  static constexpr float eps = Plan.eps;
  static constexpr LinearState* states = nullptr;
  static constexpr void (*wait)(int) = nullptr;
  AttentionOf<kAttention> attention;
  int64_t run;
};

template <const BlockLinearProblem& Plan>
void block_linear_attention(int64_t batch, int64_t length, const AttentionArrays& arrays, float* scratch) {
  BlockLinearOf<Plan> p{{batch, length, length, arrays}, 0};
  count_chunks(p.attention);
  p.run = p.attention.tiles;
  for (int64_t task = 0; task < batch * p.attention.heads; ++task) run_block_linear(p, task, scratch);
}

template <const BlockLinearProblem& Plan, int Threads>
void block_linear_attention(const Caller<Threads>& caller, int64_t batch, int64_t length, const AttentionArrays& arrays,
                            float* scratch) {
  BlockLinearOf<Plan> p{{batch, length, length, arrays}, 0};
  count_chunks(p.attention);
  p.run = p.attention.tiles;
  caller.share(batch * p.attention.heads, [&](int64_t part, int64_t first, int64_t last) {
    float* own = scratch + part * part_floats(Plan.attention.scratch_floats);
    for (int64_t task = first; task < last; ++task) run_block_linear(p, task, own);
  });
}

// The sums of a stream's linear branch, `[batch, heads, dim, kRow]`, updated where they lie.
struct LinearSums {
  float *earlier, *block, *lost;
};
template <int64_t Heads, int64_t Dim>
struct LinearStepOf : LinearBranch {
  static constexpr int64_t heads = Heads, dim = Dim, row = linear_step_row(Dim);
  const float *qkv, *earlier, *block, *lost;
  float *next_earlier, *next_block, *next_lost, *y;
};

// One frame of CachedBlockLinearAttention; arguments are those of `PanelRing::step`.
template <int64_t Heads, int64_t Dim, int64_t Slots>
void block_linear_step(int64_t batch, LinearBranch branch, const PanelRing<Heads, Dim, Slots>& ring,
                       const LinearSums& sums, const float* qkv, const int64_t* frames, float scale, float* y) {
  using Step = LinearStepOf<Heads, Dim>;
  alignas(64) float scratch[linear_step_floats(Dim)];
  ring.template step<true>(batch, qkv, frames, scale, y);
  const Step p{branch, qkv, sums.earlier, sums.block, sums.lost, sums.earlier, sums.block, sums.lost, y};
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < Heads; ++h)
      LinearStep<DType::kFloat32, Step>(p, b, h, scratch).run(ring.slot_of(frames[b]) == Slots - 1);
}

}  // namespace temport::TEMPORT_ISA
