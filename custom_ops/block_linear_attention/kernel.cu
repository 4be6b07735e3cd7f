// CUDA kernels of BlockLinearAttention: states of the blocks, their running sums, the linear part, and the
// softmax inside each block by the tile loop, which adds the linear part as it stores.
#include "../cuda/arguments.cuh"
#include "linear_part.cuh"

namespace temport {

template <class T> KERNEL(kThreads) block_states(const BlockLinear p) { sum_block<T>(p); }
KERNEL(kThreads) sum_earlier(const BlockLinear p) { sum_earlier_blocks(p); }
template <class T> KERNEL(kThreads) linear_part(const BlockLinear p) { use_states<T>(p); }

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
    p.own_states = p.states;
    p.own_sums = p.sums;
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
