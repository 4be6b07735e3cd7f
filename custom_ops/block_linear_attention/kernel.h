// BlockLinearAttention: one task is one chunk of rows of one head: a block, or a part of a long block.
//
// Everything but the running sums is independent between chunks. A chunk first computes its own attention and its own
// phi(K)^T V; then, in its turn, it takes a copy of the sums before it and adds its own, and the next chunk may go on.
// So one head scales over threads, nothing is computed twice, and sums are always added in the same order.
#pragma once

#include "query_tile.h"

namespace temport::TEMPORT_ISA {

constexpr int64_t kLongBlock = 128;  // rows; longer blocks are cut into chunks
constexpr int64_t kChunk = 96;

// The parts of a chunk's scratch behind those of its tile.
struct LinearScratch {
  float *phi_q, *own, *before, *inter;
  size_t floats;

  LinearScratch(const BlockLinearProblem& p, size_t offset, float* base) : floats(offset) {
    const AttentionProblem& a = p.attention;
    const auto take = [&](int64_t n) {
      float* part = base == nullptr ? nullptr : base + floats;
      floats += size_t(n + 15) / 16 * 16;
      return part;
    };
    phi_q = take(a.tile_rows * padded(a.dim));
    own = take(p.state_floats);
    before = take(p.state_floats);
    inter = take(a.tile_rows * padded(a.value_dim));
  }
};

inline void plan_block_linear(BlockLinearProblem& p) {
  AttentionProblem& a = p.attention;
  const int64_t block = a.rule.block;
  p.several_blocks = a.length > block;
  p.split_blocks = block > kLongBlock;
  plan_tiles(a, most(kLongBlock, kMaxRows), 192);
  const int64_t chunk = p.split_blocks ? kChunk : block;
  a.tile_rows = most(1, least(chunk, a.length));
  const int64_t per_block = (block + chunk - 1) / chunk, whole = a.length / block;
  a.tiles = whole * per_block + (a.length % block + chunk - 1) / chunk;
  // S in column panels, then z.
  p.state_floats = (padded(a.dim) * padded(a.value_dim) + padded(a.dim) + 15) / 16 * 16;
  const size_t tile = TileScratch(a, nullptr).floats;
  a.scratch_floats = LinearScratch(p, tile, nullptr).floats;
}

// elu(x) + 1 in place over whole vectors: x + 1 for positive x, e^x below.
inline void elu1_row(float* x, int64_t n) {
  for (int64_t j = 0; j < n; j += kWidth) {
    const Float y = load(x + j);
    const Float below = select(y < 0.0f, y, Float{});
    store(x + j, select(y > 0.0f, y + 1.0f, exp2_nonpositive(below * kLog2E)));
  }
}

class Chunk {
 public:
  Chunk(const BlockLinearProblem& p, int64_t task, float* base)
      : p_(p),
        a_(p.attention),
        t_(p.attention, base),
        l_(p, t_.floats, base),
        state_(p.states[task % (a_.heads * a_.batch)]),
        index_(task / (a_.heads * a_.batch)),
        head_(task % (a_.heads * a_.batch) % a_.heads),
        batch_(task % (a_.heads * a_.batch) / a_.heads) {
    const int64_t block = a_.rule.block, per_block = (block + a_.tile_rows - 1) / a_.tile_rows;
    const int64_t start = p.split_blocks ? index_ / per_block * block : index_ * a_.tile_rows;
    lo_ = p.split_blocks ? start + index_ % per_block * a_.tile_rows : start;
    hi_ = least(least(lo_ + a_.tile_rows, start + block), a_.length);
    starts_block_ = lo_ == start;
    first_block_ = start == 0;
  }

  void run() {
    QueryTile tile(a_, t_, batch_, head_, lo_, hi_);
    tile.run();
    const bool last = hi_ == a_.length;
    if (p_.several_blocks) {
      if (!last) own_sums(tile);
      hand_over(last);
    }
    if (!first_block_) linear_part();
    for (int64_t r = 0; r < hi_ - lo_; ++r) {
      float *o = t_.o + r * t_.o_stride, factor = 1.0f / t_.row_sum[r];  // every row sees itself
      if (!first_block_) {
        add_linear_part(o, factor, r);
        factor = 1.0f;
      }
      store_row(o, factor, a_.value_dim, a_.dtype, a_.y,
                ((batch_ * a_.length + lo_ + r) * a_.heads + head_) * a_.value_dim);
    }
  }

 private:
  float* z(float* state) const { return state + padded(a_.dim) * padded(a_.value_dim); }

  // phi(K)^T V and the sum of phi(k) of this chunk.
  void own_sums(QueryTile& tile) {
    if (!tile.packed(lo_, hi_)) tile.pack(lo_, hi_);
    const int64_t n = hi_ - lo_, width = padded(a_.dim);
    for (int64_t d = 0; d < width; ++d) {
      float* row = t_.kt + d * t_.kt_stride;
      if (p_.elu1 && d < a_.dim) elu1_row(row, padded(n));
      float sum = 0;
      int64_t j = 0;
      Float sums{};
      for (; j + kWidth <= n; j += kWidth) sums += load(row + j);
      for (; j < n; ++j) sum += row[j];
      z(l_.own)[d] = sum + sum_of(sums);
    }
    for (int i = 0; i < Panel::count(a_.value_dim); ++i) {
      const Panel v = Panel::at(i, a_.value_dim, n), s = Panel::at(i, a_.value_dim, width);
      for (int64_t d = 0; d < width; d += kMaxRows)
        multiply(int(least(kMaxRows, width - d)), s.vectors, t_.kt + d * t_.kt_stride, t_.kt_stride, n,
                 t_.v + v.offset, v.stride, l_.own + s.offset + d * s.stride, s.stride, false);
    }
  }

  // Waits for the chunk before this one, copies the sums of the earlier blocks, adds this chunk's own.
  void hand_over(bool last) {
    for (int spins = 0; state_.turn.load(std::memory_order_acquire) != index_; ++spins) p_.wait(spins);
    if (p_.split_blocks) {
      if (starts_block_) __builtin_memcpy(state_.snapshot, state_.sum, size_t(p_.state_floats) * 4);
      __builtin_memcpy(l_.before, state_.snapshot, size_t(p_.state_floats) * 4);
    }
    for (int64_t i = 0; i < p_.state_floats; i += kWidth) {
      const Float sum = load(state_.sum + i);
      if (!p_.split_blocks) store(l_.before + i, sum);
      if (!last) store(state_.sum + i, sum + load(l_.own + i));
    }
    state_.turn.store(index_ + 1, std::memory_order_release);
  }

  // phi(q) S of every row.
  void linear_part() {
    const int64_t width = padded(a_.dim), rows = hi_ - lo_;
    const int64_t q_at = batch_ * a_.q.batch_stride + head_ * a_.dim + lo_ * a_.q.row_stride;
    const bool in_place = a_.dtype == DType::kFloat32 && !p_.elu1;
    phi_q_ = in_place ? static_cast<const float*>(a_.q.data) + q_at : l_.phi_q;
    phi_q_stride_ = in_place ? a_.q.row_stride : width;
    for (int64_t r = 0; r < rows && !in_place; ++r) {
      float* q = l_.phi_q + r * width;
      load_row(a_.q.data, a_.dtype, q_at + r * a_.q.row_stride, a_.dim, 1.0f, q);
      if (p_.elu1) elu1_row(q, width);
    }
    for (int i = 0; i < Panel::count(a_.value_dim); ++i) {
      const Panel s = Panel::at(i, a_.value_dim, width);
      for (int64_t r = 0; r < rows; r += kMaxRows)
        multiply(int(least(kMaxRows, rows - r)), s.vectors, phi_q_ + r * phi_q_stride_, phi_q_stride_, a_.dim,
                 l_.before + s.offset, s.stride, l_.inter + r * t_.o_stride + i * kPanel, t_.o_stride, false);
    }
  }

  // o = factor * o + phi(q) S / (phi(q).z + eps).
  void add_linear_part(float* o, float factor, int64_t r) {
    float share = 1;
    if (p_.divide) {
      float denominator = p_.eps;
      Float sums{};
      const float *q = phi_q_ + r * phi_q_stride_, *keys = z(l_.before);
      int64_t d = 0;
      for (; d + kWidth <= a_.dim; d += kWidth) sums += load(q + d) * load(keys + d);
      for (; d < a_.dim; ++d) denominator += q[d] * keys[d];
      share = 1.0f / (denominator + sum_of(sums));
    }
    const float* inter = l_.inter + r * t_.o_stride;
    for (int64_t j = 0; j < t_.o_stride; j += kWidth) store(o + j, load(o + j) * factor + load(inter + j) * share);
  }

  const BlockLinearProblem& p_;
  const AttentionProblem& a_;
  TileScratch t_;
  LinearScratch l_;
  LinearState& state_;
  int64_t index_, head_, batch_, lo_, hi_;
  const float* phi_q_ = nullptr;
  int64_t phi_q_stride_ = 0;
  bool starts_block_, first_block_;
};

inline void run_block_linear(const BlockLinearProblem& p, int64_t task, float* base) { Chunk(p, task, base).run(); }

}  // namespace temport::TEMPORT_ISA
