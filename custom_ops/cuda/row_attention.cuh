// One row of attention by one warp, key by key and in float32: for the rows that the tiles cannot finish. There a weight
// of 0 times an infinity or a NaN is NaN, also where it is the value of a key that the row does not see; and weights that
// sum to 0 are those of a row without keys, or of scores that are all -inf.
#pragma once

#include "attention.h"

namespace temport {

constexpr float kLog2e = 1.4426950408889634f;
DEVICE float minus_infinity() { return -INFINITY; }

// Scores are products of queries with keys, and the scale is met where they become weights: of large ones only the
// difference is exact. What `products` takes is a sign, so that the greatest product is the greatest score, or all of a
// scale that would take a difference out of range.
struct Scale {
    float products, factor;
    DEVICE explicit Scale(float scale) {
        const float size = scale < 0 ? -scale : scale;
        const bool fits = size >= 0x1p-100f && size <= 0x1p99f;
        products = !fits ? scale : scale < 0 ? -1.0f : 1.0f;
        factor = fits ? size * kLog2e : kLog2e;
    }
};

DEVICE bool visible(const Attention& p, int batch, int row, int key) {
    return key >= p.first_key(row) && key <= p.last_key(row) &&
           (!p.key_mask || p.key_mask[int64_t(batch) * p.key_length + key]);
}

DEVICE bool finite(float x) { return x - x == 0; }

// All lanes of a warp, for the same row.
template <class T>
DEVICE void attend_row(const Attention& p, int batch, int head, int row) {
    constexpr int kColumns = 256 / 32;  // of the widest head
    const int lane = int(threadIdx.x) % 32, kv_head = head / (p.heads / p.kv_heads);
    const T* q = static_cast<const T*>(p.q) + batch * p.q_batch + row * p.q_row + head * p.head_dim;
    const T* k = static_cast<const T*>(p.k) + batch * p.k_batch + kv_head * p.head_dim;
    const T* v = static_cast<const T*>(p.v) + batch * p.v_batch + kv_head * p.value_dim;
    const Scale scale(p.scale);
    float output[kColumns] = {}, highest = minus_infinity(), total = 0;
    bool empty = true;
    for (int first = p.first_key(row); first <= p.last_key(row); first += 32) {
        const int key = first + lane;
        const bool seen = visible(p, batch, row, key);
        float score = seen ? 0.0f : minus_infinity();
        for (int d = 0; seen && d < p.head_dim; ++d) score += to_float(q[d]) * to_float(k[key * p.k_row + d]);
        if (scale.products != 1 && seen) score *= scale.products;
        float top = fmaxf(highest, score);
        for (int lanes = 16; lanes > 0; lanes /= 2) top = fmaxf(top, shuffle_xor(top, lanes));
        const float shift = top == minus_infinity() ? 0.0f : top;
        const float shrink = exp2_fast((highest - shift) * scale.factor);
        const float weight = exp2_fast((score - shift) * scale.factor);
        highest = top;
        total *= shrink;
        for (int c = 0; c < kColumns; ++c) output[c] *= shrink;
#pragma unroll 1  // unrolled, this rare way would take registers from the tiles
        for (int other = 0; other < 32; ++other) {
            const float share = shuffle(weight, other);
            if (!visible(p, batch, row, first + other)) continue;
            empty = false;
            total += share;
            for (int c = 0; c < kColumns; ++c)
                if (lane + 32 * c < p.value_dim)
                    output[c] += share * to_float(v[(first + other) * p.v_row + lane + 32 * c]);
        }
    }
    const int64_t at = ((int64_t(batch) * p.query_length + row) * p.heads + head) * p.value_dim;
    for (int c = 0; c < kColumns; ++c) {
        const int d = lane + 32 * c;
        if (d >= p.value_dim) continue;
        const float y = empty ? 0.0f : output[c] / total;
        assign(static_cast<T*>(p.y)[at + d], y + (p.addend ? p.addend[at + d] : 0.0f));
    }
}

}  // namespace temport
