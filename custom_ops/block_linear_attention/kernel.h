// BlockLinearAttention: one task is a run of chunks of one head; a chunk is a block of rows, or a part of a long block.
//
// With enough heads for all threads a run is a whole sequence, and its sums of phi(k)^T v and of phi(k) stay with the
// task. With fewer, a run is one chunk: it computes its own attention and its own sums, then, in its turn, takes a copy
// of the sums before it and adds its own, and the next chunk may go on. So one head scales over threads, and sums are
// always added in the same order.
#pragma once

#include "../native/query_tile.h"

namespace temport::TEMPORT_ISA {

constexpr int64_t kLongBlock = 128;  // rows; longer blocks are cut into chunks
constexpr int64_t kChunk = 96;

// The parts of a task's scratch behind those of its tile. `sum` are the sums of a whole sequence, or of one chunk.
struct LinearScratch {
  float *phi_q = nullptr, *sum = nullptr, *before = nullptr, *ones = nullptr;
  size_t floats;

  template <typename Problem>
  constexpr LinearScratch(const Problem& p, size_t offset, float* base) : floats(offset) {
    const auto& a = p.attention;
    const auto take = [&](int64_t n) {
      float* part = base == nullptr ? nullptr : base + floats;
      floats += size_t(n + 15) / 16 * 16;
      return part;
    };
    phi_q = take(a.tile_rows * padded(a.dim));
    sum = take(p.state_floats);
    before = take(p.state_floats);
    ones = take(a.tile_rows + kWidth);
  }
};

template <typename Attention>
constexpr void count_chunks(Attention& a) {
  const int64_t block = a.rule.block, chunk = block > kLongBlock ? kChunk : block, per_block = (block + chunk - 1) / chunk;
  a.tiles = a.length / block * per_block + (a.length % block + chunk - 1) / chunk;
}

constexpr void plan_block_linear(BlockLinearProblem& p) {
  AttentionProblem& a = p.attention;
  const int64_t block = a.rule.block, sequences = a.batch * a.heads;
  p.several_blocks = a.length > block;
  p.split_blocks = block > kLongBlock;
  plan_tiles(a, most(kLongBlock, kMaxRows), p.split_blocks ? 192 : block);
  a.tile_rows = most(1, least(p.split_blocks ? kChunk : block, a.length));
  count_chunks(a);
  const bool enough = sequences % a.workers == 0 || sequences >= 4 * a.workers;
  p.hands_over = p.several_blocks && !enough;
  p.run = enough ? most(1, a.tiles) : 1;
  a.tasks = a.tiles == 0 ? 0 : sequences * (a.tiles / p.run);
  // S in column panels, then z.
  p.state_floats = (padded(a.dim) * padded(a.value_dim) + padded(a.dim) + 15) / 16 * 16;
  const size_t tile = TileScratch(a, nullptr).floats;
  a.scratch_floats = LinearScratch(p, tile, nullptr).floats;
}

// elu(x) + 1: x + 1 for positive x, e^x below.
TEMPORT_INLINE Float elu1(Float x) {
  return max(Float{}, x) + exp2_nonpositive(min(x, Float{}), kLog2E);  // the power of 0 is exactly 1
}

// phi(x) in place over whole vectors; returns its product with z.
inline float phi_row(float* x, int64_t n, bool elu, const float* z) {
  Float sums[kSumVectors] = {};
  for (int64_t j = 0; j < n; j += kSums)
#pragma GCC unroll 4
    for (int v = 0; v < kSumVectors; ++v)
      if (const int64_t at = j + v * kWidth; at < n) {
        Float y = load(x + at);
        if (elu) store(x + at, y = elu1(y));
        sums[v] = fused(y, load(z + at), sums[v]);
      }
  return sum_of(sums);
}

// `Problem` is a BlockLinearProblem, or has its members.
template <typename Problem>
class LinearRun {
 public:
  LinearRun(const Problem& p, int64_t task, float* base)
      : p_(p),
        a_(p.attention),
        t_(p.attention, base),
        l_(p, t_.floats, base),
        sequence_(task % (a_.heads * a_.batch)),
        index_(task / (a_.heads * a_.batch) * p.run),
        head_(sequence_ % a_.heads),
        batch_(sequence_ / a_.heads) {}

  void run() {
    if (p_.several_blocks && !p_.hands_over) __builtin_memset(l_.sum, 0, size_t(p_.state_floats) * 4);
    for (const int64_t end = index_ + p_.run; index_ < end; ++index_) chunk();
  }

 private:
  using Attention = Plain<decltype(Problem::attention)>;

  void chunk() {
    const int64_t block = a_.rule.block, per_block = p_.split_blocks ? (block + kChunk - 1) / kChunk : 1;
    const int64_t start = index_ / per_block * block;
    lo_ = start + index_ % per_block * a_.tile_rows;
    hi_ = least(least(lo_ + a_.tile_rows, start + block), a_.length);
    const bool starts_block = lo_ == start, first_block = start == 0, last = hi_ == a_.length;
    RowsAhead ahead;
    if (!last && !p_.hands_over) ahead = RowsAhead(a_, batch_, head_, hi_, least(hi_ + a_.tile_rows, a_.length));
    QueryTile tile(a_, t_, ahead, batch_, head_, lo_, hi_);
    tile.run([](int64_t, int64_t) {});
    const float* before = l_.sum;
    if (p_.hands_over) {
      if (!last) add_sums(tile, ahead, false);
      hand_over(starts_block, last);
      before = l_.before;
    } else if (p_.split_blocks) {
      if (starts_block && !first_block) __builtin_memcpy(l_.before, l_.sum, size_t(p_.state_floats) * 4);
      before = l_.before;
    }
    if (!first_block) linear_part(ahead, before);
    store_rows();
    if (p_.several_blocks && !p_.hands_over && !last) add_sums(tile, ahead, true);
  }

  int64_t z_at() const { return padded(a_.dim) * padded(a_.value_dim); }

  // phi(K)^T V and the sum of phi(k) of this chunk.
  void add_sums(QueryTile<Attention>& tile, RowsAhead& ahead, bool accumulate) {
    if (!tile.packed(lo_, hi_)) tile.pack(lo_, hi_);
    const StageTimer timer(kStateStage);
    const int64_t n = hi_ - lo_, width = padded(a_.dim);
    for (int64_t j = 0; j < padded(n); ++j) l_.ones[j] = j < n;  // phi of the padding is not 0
    for (int64_t d = 0; d < width; ++d) {
      float* row = t_.kt + d * t_.kt_stride;
      const float sum = d < a_.dim ? phi_row(row, padded(n), p_.elu1, l_.ones) : 0.0f;
      l_.sum[z_at() + d] = accumulate ? l_.sum[z_at() + d] + sum : sum;
    }
    for (int i = 0; i < Panel::count(a_.value_dim); ++i) {
      const Panel v = Panel::at(i, a_.value_dim, n), s = Panel::at(i, a_.value_dim, width);
      for (int64_t d = 0; d < width; d += kMaxRows) {
        multiply<true>(int(least(kMaxRows, width - d)), s.vectors, t_.kt + d * t_.kt_stride, t_.kt_stride, n,
                       t_.v + v.offset, v.stride, l_.sum + s.offset + d * s.stride, s.stride, accumulate);
        ahead.step();
      }
    }
  }

  // Waits for the chunk before this one, copies the sums of the earlier blocks, adds this chunk's own.
  void hand_over(bool starts_block, bool last) {
    const StageTimer timer(kStateStage);
    LinearState& state = p_.states[sequence_];
    for (int spins = 0; __atomic_load_n(&state.turn, __ATOMIC_ACQUIRE) != index_; ++spins) p_.wait(spins);
    if (p_.split_blocks) {
      if (starts_block) __builtin_memcpy(state.snapshot, state.sum, size_t(p_.state_floats) * 4);
      __builtin_memcpy(l_.before, state.snapshot, size_t(p_.state_floats) * 4);
    }
    for (int64_t i = 0; i < p_.state_floats; i += kWidth) {
      const Float sum = load(state.sum + i);
      if (!p_.split_blocks) store(l_.before + i, sum);
      if (!last) store(state.sum + i, sum + load(l_.sum + i));
    }
    __atomic_store_n(&state.turn, index_ + 1, __ATOMIC_RELEASE);
  }

  // o += row_sum * phi(q) S / (phi(q).z + eps): with the division by row_sum still to come, the linear part is added.
  void linear_part(RowsAhead& ahead, const float* before) {
    const StageTimer timer(kInterStage);
    const int64_t width = padded(a_.dim), rows = hi_ - lo_;
    const int64_t q_at = batch_ * a_.q.batch_stride + head_ * a_.dim + lo_ * a_.q.row_stride;
    const float* z = before + z_at();
    for (int64_t r = 0; r < rows; ++r) {
      float* q = l_.phi_q + r * width;
      load_row(a_.q.data, a_.dtype, q_at + r * a_.q.row_stride, a_.dim, 1.0f, q);
      const float product = phi_row(q, width, p_.elu1, z);  // z is 0 beyond dim
      const float share = p_.divide ? t_.row_sum[r] / (p_.eps + product) : t_.row_sum[r];
      for (int64_t d = 0; d < width; d += kWidth) store(q + d, load(q + d) * share);
    }
    for (int i = 0; i < Panel::count(a_.value_dim); ++i) {
      const Panel s = Panel::at(i, a_.value_dim, width);
      for (int64_t r = 0; r < rows; r += kMaxRows) {
        multiply<true>(int(least(kMaxRows, rows - r)), s.vectors, l_.phi_q + r * width, width, a_.dim, before + s.offset,
                 s.stride, t_.o + r * t_.o_stride + i * kPanel, t_.o_stride, true);
        ahead.step();
      }
    }
  }

  void store_rows() {
    const StageTimer timer(kStoreStage);
    for (int64_t r = 0; r < hi_ - lo_; ++r)
      store_row(t_.o + r * t_.o_stride, 1.0f / t_.row_sum[r], a_.value_dim, a_.dtype, a_.y,  // every row sees itself
                ((batch_ * a_.length + lo_ + r) * a_.heads + head_) * a_.value_dim);
  }

  const Problem& p_;
  const Attention& a_;
  TileScratch t_;
  LinearScratch l_;
  int64_t sequence_, index_, head_, batch_, lo_ = 0, hi_ = 0;  // index_: of the chunk in its sequence
};

template <typename Problem>
inline void run_block_linear(const Problem& p, int64_t task, float* base) {
  LinearRun(p, task, base).run();
}

}  // namespace temport::TEMPORT_ISA
