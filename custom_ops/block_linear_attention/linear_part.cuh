// The linear part of BlockLinearAttention: states of the blocks, their running sums, and their use; in float32.
#pragma once

#include "../cuda/attention.h"

namespace temport {

struct BlockLinear {
    Attention layout;
    float *states, *sums, *linear;  // [B, H, n, D, Dv], [B, H, n, D], [B, T, H*Dv]
    const float *own_states, *own_sums;  // before summation over blocks; may be the same memory
    int block_size, blocks, elu1, key_sum;
    float eps;
};

constexpr int kThreads = 128, kRows = 16;

template <class T> DEVICE float feature(const BlockLinear& p, T x) {
    const float value = to_float(x);
    return !p.elu1 ? value : value > 0 ? value + 1 : expf(value);
}

// One thread block per (part of D x Dv, block of rows, batch and head): S = sum phi(k)^T v, z = sum phi(k).
template <class T> DEVICE void sum_block(const BlockLinear& p) {
    const Attention& l = p.layout;
    const int block = int(blockIdx.y), head = int(blockIdx.z) % l.heads, batch = int(blockIdx.z) / l.heads;
    const int first = block * p.block_size, last = min(first + p.block_size, l.query_length);
    const T* k = static_cast<const T*>(l.k) + batch * l.k_batch + head * l.head_dim;
    const T* v = static_cast<const T*>(l.v) + batch * l.v_batch + head * l.value_dim;
    const int64_t which = int64_t(blockIdx.z) * p.blocks + block;
    const int at = int(blockIdx.x) * kThreads + int(threadIdx.x), row = at / l.value_dim, column = at % l.value_dim;
    if (row >= l.head_dim) return;
    float state = 0, sum = 0;
    for (int t = first; t < last; ++t) {
        const float key = feature(p, k[t * l.k_row + row]);
        state += key * to_float(v[t * l.v_row + column]);
        sum += key;
    }
    p.states[(which * l.head_dim + row) * l.value_dim + column] = state;
    if (column == 0) p.sums[which * l.head_dim + row] = sum;
}

// Each block's entry becomes the sum over the blocks before it.
DEVICE void sum_earlier_blocks(const BlockLinear& p) {
    const Attention& l = p.layout;
    const int size = l.head_dim * l.value_dim, at = int(blockIdx.x) * kThreads + int(threadIdx.x);
    if (at >= size + l.head_dim) return;
    const int stride = at < size ? size : l.head_dim;
    const int64_t first = int64_t(blockIdx.y) * p.blocks * stride + (at < size ? at : at - size);
    const float* own = (at < size ? p.own_states : p.own_sums) + first;
    float* sum = (at < size ? p.states : p.sums) + first;
    float total = 0;
    for (int block = 0; block < p.blocks; ++block, own += stride, sum += stride) {
        const float term = *own;
        *sum = total;
        total += term;
    }
}

// One thread block per (kRows rows of one block, batch and head): phi(q) S / (phi(q).z + eps), in float32.
template <class T> DEVICE void use_states(const BlockLinear& p) {
    const Attention& l = p.layout;
    const int parts = (p.block_size + kRows - 1) / kRows, head = int(blockIdx.y) % l.heads;
    const int block = int(blockIdx.x) / parts, batch = int(blockIdx.y) / l.heads;
    const int first = block * p.block_size + int(blockIdx.x) % parts * kRows;
    const int rows = min(min(kRows, l.query_length - first), (block + 1) * p.block_size - first);
    if (rows <= 0) return;
    const T* q = static_cast<const T*>(l.q) + batch * l.q_batch + head * l.head_dim;
    const int64_t which = int64_t(blockIdx.y) * p.blocks + block;
    const float* state = p.states + which * l.head_dim * l.value_dim;
    const float* sums = p.sums + which * l.head_dim;
    float* query = reinterpret_cast<float*>(shared_memory());
    for (int i = int(threadIdx.x); i < kRows * l.head_dim; i += kThreads) {
        const int row = i / l.head_dim, d = i % l.head_dim;
        query[i] = row < rows ? feature(p, q[(first + row) * l.q_row + d]) : 0.0f;
    }
    block_barrier();
    for (int column = int(threadIdx.x); column < l.value_dim; column += kThreads) {
        float value[kRows] = {}, denominator[kRows] = {};
        for (int d = 0; d < l.head_dim; ++d) {
            const float entry = state[d * l.value_dim + column], sum = sums[d];
#pragma unroll
            for (int row = 0; row < kRows; ++row) {
                value[row] += query[row * l.head_dim + d] * entry;
                denominator[row] += query[row * l.head_dim + d] * sum;
            }
        }
#pragma unroll
        for (int row = 0; row < kRows; ++row) {
            if (row >= rows) break;
            const int64_t at = ((int64_t(batch) * l.query_length + first + row) * l.heads + head) * l.value_dim;
            const float divisor = p.key_sum ? denominator[row] + p.eps : 1.0f;
            p.linear[at + column] = block > 0 ? value[row] / divisor : 0.0f;
        }
    }
}

}  // namespace temport
