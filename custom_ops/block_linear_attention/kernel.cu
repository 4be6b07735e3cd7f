// CUDA kernels of BlockLinearAttention: states of the blocks, their running sums, the linear part, and the
// softmax inside each block by the tile loop, which adds the linear part as it stores.
#include "../cuda/arguments.cuh"

namespace temport {

struct BlockLinear {
    Attention layout;
    float *states, *sums, *linear;  // [B, H, n, D, Dv], [B, H, n, D], [B, T, H*Dv]
    int block_size, blocks, elu1, key_sum;
    float eps;
};

constexpr int kThreads = 128, kRows = 16;

template <class T> DEVICE float feature(const BlockLinear& p, T x) {
    const float value = to_float(x);
    return !p.elu1 ? value : value > 0 ? value + 1 : expf(value);
}

// One thread block per (part of D x Dv, block of rows, batch and head): S = sum phi(k)^T v, z = sum phi(k).
template <class T> KERNEL(kThreads) block_states(const BlockLinear p) {
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

// In place: each block's entry becomes the sum over the blocks before it.
KERNEL(kThreads) sum_earlier(const BlockLinear p) {
    const Attention& l = p.layout;
    const int size = l.head_dim * l.value_dim, at = int(blockIdx.x) * kThreads + int(threadIdx.x);
    if (at >= size + l.head_dim) return;
    const int stride = at < size ? size : l.head_dim;
    float* entry = at < size ? p.states + int64_t(blockIdx.y) * p.blocks * size + at
                             : p.sums + int64_t(blockIdx.y) * p.blocks * l.head_dim + (at - size);
    float total = 0;
    for (int block = 0; block < p.blocks; ++block, entry += stride) {
        const float own = *entry;
        *entry = total;
        total += own;
    }
}

// One thread block per (kRows rows of one block, batch and head): phi(q) S / (phi(q).z + eps), in float32.
template <class T> KERNEL(kThreads) linear_part(const BlockLinear p) {
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

template <class T> int launch_linear(const BlockLinear& p, int batch, void* stream) {
    const Attention& l = p.layout;
    const unsigned size = unsigned(l.head_dim * l.value_dim), heads = unsigned(batch * l.heads);
    const dim3 state_grid((size + kThreads - 1) / kThreads, unsigned(p.blocks), heads);
    int code = launch(block_states<T>, state_grid, kThreads, 0, stream, p);
    if (code) return code;
    const unsigned entries = size + unsigned(l.head_dim);
    code = launch(sum_earlier, dim3((entries + kThreads - 1) / kThreads, heads), kThreads, 0, stream, p);
    if (code) return code;
    const unsigned parts = unsigned(p.blocks * ((p.block_size + kRows - 1) / kRows));
    return launch(linear_part<T>, dim3(parts, heads), kThreads, size_t(kRows * l.head_dim) * 4, stream, p);
}

inline int64_t block_count(const temport_block_linear& a) {
    return (a.length + a.block_size - 1) / a.block_size;
}

}  // namespace temport

using namespace temport;

extern "C" size_t temport_cuda_block_linear_workspace(const temport_block_linear* a) {
    if (!a || a->block_size < 1) return 0;
    const int64_t states = a->batch * a->heads * block_count(*a) * a->head_dim * (a->value_dim + 1);
    return size_t(states + a->batch * a->length * a->heads * a->value_dim) * 4;
}

extern "C" int temport_cuda_block_linear(const temport_block_linear* a, void* stream) {
    if (!a || !a->workspace) return kNull;
    BlockLinear p{};
    Attention& l = p.layout;
    const int refusal = lay_out(l, a->q, a->k, a->v, a->y, a->batch, a->length, a->length, a->heads, a->heads,
                                a->head_dim, a->value_dim, a->element_type);
    if (refusal) return refusal;
    if (a->block_size < 1) return kRule;
    if (a->batch * a->heads > 65535 || block_count(*a) > 65535) return kSizes;
    if (a->batch == 0 || a->length == 0) return kOk;
    l.block = int(a->block_size < a->length ? a->block_size : a->length);
    l.causal = 1;
    l.scale = a->scale;
    p.block_size = l.block;
    p.blocks = int(block_count(*a));
    p.elu1 = a->elu1;
    p.key_sum = a->key_sum;
    p.eps = a->eps;
    const int64_t states = a->batch * a->heads * p.blocks * int64_t(a->head_dim) * a->value_dim;
    p.states = static_cast<float*>(a->workspace);
    p.sums = p.states + states;
    p.linear = p.sums + a->batch * a->heads * p.blocks * int64_t(a->head_dim);
    if (p.blocks > 1) {
        const int code = a->element_type == TEMPORT_FLOAT16    ? launch_linear<f16>(p, int(a->batch), stream)
                         : a->element_type == TEMPORT_BFLOAT16 ? launch_linear<bf16>(p, int(a->batch), stream)
                                                               : launch_linear<float>(p, int(a->batch), stream);
        if (code) return code;
        l.addend = p.linear;
    }
    return launch_attention(l, int(a->batch), a->element_type, stream);
}
