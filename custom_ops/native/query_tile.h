// Softmax attention of one tile of query rows of one head, over all keys its rule allows: tiles of keys with a running
// maximum and sum (Rabe and Staats, arXiv 2112.05682; FlashAttention, arXiv 2205.14135).
#pragma once

#include "pack.h"
#include "rows_ahead.h"
#include "single_row.h"
#include "softmax_row.h"
#include "stages.h"

namespace temport::TEMPORT_ISA {

constexpr int64_t kMinRowBlock = 4;
constexpr int64_t kNarrowFloats = 5120;  // 20 KiB of a first-level cache of 32
constexpr int64_t kMaxGroup = 48;  // blocks

// The parts of a task's scratch, each a whole number of cache lines.
struct TileScratch {
  float *q = nullptr, *kt = nullptr, *v = nullptr, *s = nullptr, *o = nullptr;
  float *row_max = nullptr, *row_sum = nullptr, *row = nullptr;
  int32_t* mask = nullptr;
  int64_t kt_stride = 0, s_stride = 0, o_stride = 0;
  size_t floats = 0;

  // Without a base only `floats` means anything: how many the parts need.
  template <typename Problem>
  constexpr TileScratch(const Problem& p, float* base) {
    const auto take = [&](int64_t n) {
      float* part = base == nullptr ? nullptr : base + floats;
      floats += size_t(n + 15) / 16 * 16;
      return part;
    };
    // An odd number of cache lines per row, or the rows of a column would share a few sets of the cache.
    kt_stride = (p.tile_keys + 2 * kWidth + 15) / 16 * 16;
    if (kt_stride / 16 % 2 == 0) kt_stride += 16;
    // Scores are kept from the first key that a block of rows may see, not from the first key of the tile.
    const int64_t hull = p.rule.window > 0 ? p.rule.window + p.row_block : p.tile_keys;
    s_stride = least(kt_stride, (hull + kWidth + 15) / 16 * 16 + 16);
    o_stride = padded(p.value_dim);
    q = take(p.tile_rows * padded(p.dim));
    kt = take(padded(p.dim) * kt_stride);
    v = take(p.tile_keys * o_stride);
    s = take(least(p.tile_rows, p.group_blocks * p.row_block) * s_stride);
    o = take(p.tile_rows * o_stride);
    row_max = take(p.tile_rows);
    row_sum = take(p.tile_rows);
    row = take(most(kWidth * padded(p.dim), kTogether * o_stride));
    float* const lanes = take(kt_stride);
    mask = lanes == nullptr ? nullptr : reinterpret_cast<int32_t*>(lanes);
  }
};

// Tile sizes: enough rows to pay for packing the keys, keys that stay in the second-level cache.
constexpr void plan_tiles(AttentionProblem& p, int64_t max_rows, int64_t max_keys) {
  const KeyRule& rule = p.rule;
  p.row_block = kMaxRows;
  if (rule.window > 0) {
    // Rows of a block share the hull of their windows, rounded up to vectors: fewer rows may waste fewer columns. Sums
    // are made by columns of the hull: its cost is that of the widest vectors everywhere.
    double best = 0;
    for (int64_t rows = kMaxRows; rows >= kMinRowBlock; --rows) {
      const int64_t hull = (least(rule.window, rule.keys) - 1 + rows + kSums - 1) / kSums * kSums;
      const double cost = double(hull) * double(rows + 1) / double(rows);
      if (best == 0 || cost < best) best = cost, p.row_block = rows;
    }
  }
  // Panel by panel, keys and values come into the first-level cache once for all the blocks of a group. Those of a
  // narrow window stay there anyway, and so do the scores of a single block until its softmax; the group is then as
  // large as fits, because the weighted sums of one block cannot start before its softmax ends.
  const bool narrow = rule.window > 0 && rule.window <= kNarrowFloats / p.dim;
  p.score_blocks = narrow ? 1 : 8;
  p.group_blocks = narrow ? kMaxGroup : 8;
  // Tiles of about the same size, in whole blocks: one of a few rows would pack nearly as many keys as the others.
  const int64_t tiles = most(1, (p.length + max_rows - 1) / max_rows), even = (p.length + tiles - 1) / tiles;
  p.tile_rows = most(1, least(p.length, (even + p.row_block - 1) / p.row_block * p.row_block));
  p.tile_keys = most(1, least(rule.keys, max_keys));
  p.scratch_floats = TileScratch(p, nullptr).floats;
}

// Attention of rows [row_lo, row_hi) of head `head` of batch entry `batch`: leaves the weighted sums in `scratch.o` and
// the sums of weights in `scratch.row_sum`, both by row from row_lo. `Problem` is an AttentionProblem, or has its members,
// some of them known when it is compiled.
template <typename Problem>
class QueryTile {
 public:
  QueryTile(const Problem& p, const TileScratch& t, RowsAhead& ahead, int64_t batch, int64_t head,
            int64_t row_lo, int64_t row_hi)
      : p_(p),
        t_(t),
        ahead_(ahead),
        scale_(p.scale),
        batch_(batch),
        head_(head),
        row_lo_(row_lo),
        rows_(row_hi - row_lo) {
    const int64_t kv_head = head / (p.heads / p.kv_heads);
    keys_at_ = batch * p.k.batch_stride + kv_head * p.dim;
    values_at_ = batch * p.v.batch_stride + kv_head * p.value_dim;
  }

  // Calls finish(first, rows), rows counted from row_lo, as soon as the sums of these rows are complete.
  template <typename Finish>
  void run(const Finish& finish) {
    prepare_queries();
    const int64_t lo = p_.rule.lo(row_lo_), hi = p_.rule.hi(row_lo_ + rows_ - 1);
    if (lo >= hi) {
      __builtin_memset(t_.o, 0, size_t(rows_ * t_.o_stride) * 4);
      finish(0, rows_);
    }
    // Tiles of keys end where they end for every row: where a row's sums are cut does not depend on its tile.
    const int64_t origin = p_.rule.block > 0 ? lo : 0;
    for (int64_t key = lo, end = lo; key < hi; key = end) {
      end = least(origin + ((key - origin) / p_.tile_keys + 1) * p_.tile_keys, hi);
      if (rows_ == 1) {
        single_row(key, end, key > lo);
        if (end == hi) finish(0, 1);
        continue;
      }
      pack(key, end);
      for (int64_t first = 0; first < rows_;) {
        const int64_t rows = cut_group(first);
        for (int from = 0; from < count_;) {
          const int to = int(least(count_, from + p_.score_blocks));
          score(from, to);
          for (; from < to; ++from) softmax(blocks_[from]);
        }
        weigh(key > lo);
        if (hi_ == hi) finish(first, rows);
        first += rows;
      }
    }
  }

  // Packs keys and values [lo, hi); at most tile_keys of them.
  void pack(int64_t lo, int64_t hi) {
    const StageTimer timer(kPackStage);
    lo_ = lo;
    hi_ = hi;
    const uint8_t* mask = read_mask(lo, hi);
    pack_keys(p_.k, p_.dtype, keys_at_ + lo * p_.k.row_stride, hi - lo, p_.dim, t_.kt, t_.kt_stride, t_.row);
    finite_ = pack_values(p_.v, p_.dtype, values_at_ + lo * p_.v.row_stride, hi - lo, p_.value_dim,
                          masked_ ? mask : nullptr, t_.v, t_.row);
  }

  bool packed(int64_t lo, int64_t hi) const { return lo_ == lo && hi_ == hi; }

 private:
  // The key mask of keys [lo, hi), and the lanes that it sets; null without one.
  const uint8_t* read_mask(int64_t lo, int64_t hi) {
    const uint8_t* mask = p_.key_mask == nullptr ? nullptr : p_.key_mask + batch_ * p_.rule.keys + lo;
    masked_ = false;
    if (mask != nullptr) {
      for (int64_t j = 0; j < hi - lo; ++j) masked_ |= !mask[j];
      for (int64_t j = 0; masked_ && j < t_.kt_stride; ++j) t_.mask[j] = j < hi - lo && mask[j] ? -1 : 0;
    }
    return mask;
  }

  // Scores, softmax and weighted sums of the only row over keys [lo, hi), nothing packed.
  void single_row(int64_t lo, int64_t hi, bool accumulate) {
    lo_ = lo;
    read_mask(lo, hi);
    if (!accumulate) __builtin_memset(t_.o, 0, size_t(t_.o_stride) * 4);
    {
      const StageTimer timer(kScoreStage);
      score_row(q_, RowReader(p_.k, p_.dtype, keys_at_, p_.dim, t_.row), lo, hi - lo, padded(p_.dim), t_.s);
    }
    softmax({1, 0, lo, hi - lo, t_.s});
    const StageTimer timer(kWeighStage);
    const RowReader values(p_.v, p_.dtype, values_at_, p_.value_dim, t_.row);
    float* const sum = t_.v;  // where nothing is packed
    lo_ = -1;
    __builtin_memset(sum, 0, size_t(t_.o_stride) * 4);
    for (int64_t key = lo, end = lo; key < hi; key = end) {
      end = end_of_sum(key, hi);
      weigh_row(t_.s + (key - lo), values, key, end - key, t_.o_stride, masked_ ? t_.mask + (key - lo) : nullptr, sum);
      add_sum(sum, t_.o_stride, t_.o);
    }
  }

  // float32 queries without a scale are read where they are (a single row in whole vectors), others are converted.
  void prepare_queries() {
    const int64_t at = batch_ * p_.q.batch_stride + head_ * p_.dim + row_lo_ * p_.q.row_stride;
    const bool whole = rows_ > 1 || padded(p_.dim) == p_.dim;
    const bool in_place = p_.dtype == DType::kFloat32 && scale_.queries == 1 && whole;
    q_ = in_place ? static_cast<const float*>(p_.q.data) + at : t_.q;
    q_stride_ = in_place ? p_.q.row_stride : padded(p_.dim);
    for (int64_t r = 0; r < rows_; ++r) {
      t_.row_max[r] = kNothing;
      t_.row_sum[r] = 0;
      if (in_place)
        for (int64_t d = 0; d < p_.dim; d += 16) __builtin_prefetch(q_ + r * q_stride_ + d, 0, 2);
      else
        load_row(p_.q.data, p_.dtype, at + r * p_.q.row_stride, p_.dim, scale_.queries, t_.q + r * q_stride_);
    }
  }

  // Rows [first, first + rows) of the tile and the hull of the keys of this key tile that they may see; `s` are their
  // scores.
  struct RowBlock {
    int rows;
    int64_t first, key_lo, keys;
    float* s;
  };

  // Cuts blocks from row `first` on; returns how many rows they have.
  int64_t cut_group(int64_t first) {
    int64_t r = first;
    for (count_ = 0; count_ < p_.group_blocks && r < rows_; ++count_) {
      const int64_t rows = least(p_.row_block, rows_ - r), row = row_lo_ + r;
      const int64_t lo = most(lo_, p_.rule.lo(row)), hi = least(hi_, p_.rule.hi(row + rows - 1));
      blocks_[count_] = {int(rows), r, lo, most(0, hi - lo), t_.s + (r - first) * t_.s_stride};
      r += rows;
    }
    return r - first;
  }

  // Panel by panel.
  void score(int from, int to) {
    const StageTimer timer(kScoreStage);
    bool more = true;
    for (int64_t column = 0; more; column += kPanel) {
      more = false;
      for (int i = from; i < to; ++i) {
        const RowBlock& b = blocks_[i];
        if (column >= b.keys) continue;
        const int vectors = int(least(kPanelVectors, (b.keys - column + kWidth - 1) / kWidth));
        multiply(b.rows, vectors, q_ + b.first * q_stride_, q_stride_, p_.dim, t_.kt + (b.key_lo - lo_) + column,
                 t_.kt_stride, b.s + column, t_.s_stride, false);
        ahead_.step();
        more |= column + kPanel < b.keys;
      }
    }
  }

  void softmax(const RowBlock& b) {
    if (b.keys == 0) return;
    const StageTimer timer(kSoftmaxStage);
    float greatest[kMaxRows];
    for (int i = 0; i < b.rows; ++i) {
      const int64_t row = row_lo_ + b.first + i;
      greatest[i] = mask_and_max(b.s + i * t_.s_stride, b.keys, p_.rule.lo(row) - b.key_lo,
                                 p_.rule.hi(row) - b.key_lo, masked_ ? t_.mask + (b.key_lo - lo_) : nullptr);
    }
    for (int i = 0; i < b.rows; ++i) {
      const int64_t r = b.first + i;
      const float before = t_.row_max[r], now = greatest[i] > before ? greatest[i] : before;
      const bool nothing = now == kNothing;  // no key so far: all scores are -inf, and -inf - 0 gives weight 0
      const float sum = exponentials(b.s + i * t_.s_stride, b.keys, scale_.factor, nothing ? 0.0f : now);
      if (before == now || before == kNothing) {
        t_.row_sum[r] += sum;
      } else {
        const float shrink = exp2_nonpositive(broadcast(before - now), scale_.factor)[0];
        t_.row_sum[r] = t_.row_sum[r] * shrink + sum;
        float* o = t_.o + r * t_.o_stride;
        for (int64_t j = 0; j < t_.o_stride; j += kWidth) store(o + j, load(o + j) * shrink);
      }
      t_.row_max[r] = now;
    }
  }

  // Adds the weighted values to `o`, or writes them there. With infinite or NaN values, weight 0 would not keep a key
  // out: then each row multiplies its own keys only.
  void weigh(bool accumulate) {
    const StageTimer timer(kWeighStage);
    for (int j = 0; j < Panel::count(p_.value_dim); ++j) {
      const Panel panel = Panel::at(j, p_.value_dim, hi_ - lo_);
      const auto block = [&](int rows, int64_t first, const float* s, int64_t lo, int64_t hi) {
        float* const o = t_.o + first * t_.o_stride + j * kPanel;
        int64_t key = lo;
        do {
          const int64_t n = most(0, end_of_sum(key, hi) - key);
          multiply<true>(rows, panel.vectors, s + (key - lo), t_.s_stride, n, t_.v + panel.offset + (key - lo_) * panel.stride,
                         panel.stride, o, t_.o_stride, accumulate || key > lo);
          key += n;
        } while (key < hi);
        ahead_.step();
      };
      for (int i = 0; i < count_; ++i) {
        const RowBlock& b = blocks_[i];
        if (finite_) block(b.rows, b.first, b.s, b.key_lo, b.key_lo + b.keys);
        for (int64_t r = 0; r < b.rows && !finite_; ++r) {
          const int64_t row = row_lo_ + b.first + r, lo = most(b.key_lo, p_.rule.lo(row));
          block(1, b.first + r, b.s + r * t_.s_stride + (lo - b.key_lo), lo, least(b.key_lo + b.keys, p_.rule.hi(row)));
        }
      }
    }
  }

  const Problem& p_;
  const TileScratch& t_;
  RowsAhead& ahead_;
  const Scale scale_;
  int64_t batch_, head_, row_lo_, rows_, keys_at_, values_at_;
  const float* q_ = nullptr;
  int64_t q_stride_ = 0;
  int64_t lo_ = -1, hi_ = -1;  // the packed keys
  bool masked_ = false, finite_ = true;
  RowBlock blocks_[kMaxGroup];  // the rows that go through scores, softmax and weighted sums together
  int count_ = 0;
};

}  // namespace temport::TEMPORT_ISA
