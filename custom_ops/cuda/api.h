/* C interface of the CUDA kernels: device pointers in, nothing allocated, launched on the given stream.
 * Functions return 0, a positive cudaError_t, or a negative code that temport_cuda_error names. */
#ifndef TEMPORT_CUDA_API_H
#define TEMPORT_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TEMPORT_FLOAT32 = 0, TEMPORT_FLOAT16 = 1, TEMPORT_BFLOAT16 = 2 };

/* Q [B, T, H*D], K [B, S, Hkv*D], V [B, S, Hkv*Dv], key_mask [B, S] or null, Y [B, T, H*Dv].
 * With k and v null, q holds packed [B, T, (H + 2*Hkv)*D] and S = T. */
typedef struct {
    const void *q, *k, *v;
    const uint8_t* key_mask;
    void* y;
    int64_t batch, query_length, key_length;
    int32_t element_type, heads, kv_heads, head_dim, value_dim;
    int32_t causal;
    int64_t window;       /* 0: no limit */
    int64_t query_offset; /* -1: S - T */
    float scale;
} temport_online_softmax;

int temport_cuda_online_softmax(const temport_online_softmax* arguments, void* stream);

/* Q, K [B, T, H*D], V [B, T, H*Dv], or packed q alone; Y [B, T, H*Dv]. `workspace` has at least
 * temport_cuda_block_linear_workspace bytes of device memory, aligned to 16. */
typedef struct {
    const void *q, *k, *v;
    void* y;
    void* workspace;
    int64_t batch, length;
    int32_t element_type, heads, head_dim, value_dim;
    int64_t block_size;
    float scale;
    int32_t elu1;    /* feature map: 0 identity, 1 elu(x) + 1 */
    int32_t key_sum; /* normalizer: 0 none, 1 key_sum */
    float eps;
} temport_block_linear;

size_t temport_cuda_block_linear_workspace(const temport_block_linear* arguments);
int temport_cuda_block_linear(const temport_block_linear* arguments, void* stream);

const char* temport_cuda_error(int code);

#ifdef __cplusplus
}
#endif
#endif
