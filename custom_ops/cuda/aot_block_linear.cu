// The linear part of BlockLinearAttention as three kernels with plain arguments, for engines that carry their
// kernels as PTX. TEMPORT_ELEMENT is the type of Q, K and V, TEMPORT_PACKED says that they are one tensor.
// Arguments come in TensorRT's order: tensors read, integers, tensors written. States are float32.
#include "../block_linear_attention/linear_part.cuh"
#include "arguments.cuh"

using namespace temport;
using T = TEMPORT_ELEMENT;

static_assert(kThreads == TEMPORT_THREADS && kRows == TEMPORT_ROWS, "launch parameter");

DEVICE BlockLinear problem(const void* q, const void* k, const void* v, void* y, int length, int heads, int head_dim,
                           int value_dim, int block_size, int elu1) {
    BlockLinear p{};
    lay_out(p.layout, q, k, v, y, 1, length, length, heads, heads, head_dim, value_dim, kElementType<T>);
    p.block_size = block_size;
    p.blocks = (length + block_size - 1) / block_size;
    p.elu1 = elu1;
    return p;
}

#ifdef TEMPORT_PACKED
#define TEMPORT_KV const void* qkv
#define TEMPORT_Q const void* qkv
#else
#define TEMPORT_KV const void *k, const void *v
#define TEMPORT_Q const void* q
#endif

extern "C" KERNEL(TEMPORT_THREADS)
    temport_block_states(TEMPORT_KV, int length, int heads, int head_dim, int value_dim, int block_size, int elu1,
                         float* states, float* sums) {
#ifdef TEMPORT_PACKED
    BlockLinear p = problem(qkv, nullptr, nullptr, states, length, heads, head_dim, value_dim, block_size, elu1);
#else
    BlockLinear p = problem(k, k, v, states, length, heads, head_dim, value_dim, block_size, elu1);
#endif
    p.states = states;
    p.sums = sums;
    sum_block<T>(p);
}

extern "C" KERNEL(TEMPORT_THREADS)
    temport_earlier_blocks(const float* own_states, const float* own_sums, int blocks, int head_dim, int value_dim,
                           float* states, float* sums) {
    BlockLinear p{};
    p.layout.head_dim = head_dim;
    p.layout.value_dim = value_dim;
    p.blocks = blocks;
    p.own_states = own_states;
    p.own_sums = own_sums;
    p.states = states;
    p.sums = sums;
    sum_earlier_blocks(p);
}

extern "C" KERNEL(TEMPORT_THREADS)
    temport_linear_part(TEMPORT_Q, const float* states, const float* sums, int length, int heads, int head_dim,
                        int value_dim, int block_size, int elu1, int key_sum, int eps_bits, float* linear) {
#ifdef TEMPORT_PACKED
    BlockLinear p = problem(qkv, nullptr, nullptr, linear, length, heads, head_dim, value_dim, block_size, elu1);
#else
    BlockLinear p = problem(q, q, q, linear, length, heads, head_dim, value_dim, block_size, elu1);
#endif
    p.states = const_cast<float*>(states);
    p.sums = const_cast<float*>(sums);
    p.linear = linear;
    p.key_sum = key_sum;
    p.eps = from_bits(eps_bits);
    use_states<T>(p);
}
