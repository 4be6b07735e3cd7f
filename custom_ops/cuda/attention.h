// One softmax attention as the kernels take it: pointers, strides and which keys a row sees.
#pragma once

#include "device.cuh"

namespace temport {

// Sizes and layout; strides are in elements. Head h of a tensor starts at h * its head width inside a row.
struct Attention {
    const void *q, *k, *v;
    const uint8_t* key_mask;  // [B, S], 1 = attend, or null
    const float* addend;      // [B, T, H*Dv] added to the result, or null
    void* y;                  // [B, T, H*Dv]
    int query_length, key_length, heads, kv_heads, head_dim, value_dim;
    int64_t q_row, k_row, v_row, q_batch, k_batch, v_batch;
    int offset;      // query row t stands at key position t + offset
    int window;      // 0: no limit
    int block;       // 0, or: keys of the query's own block only
    int causal;      // keys later than the query are excluded
    int vectorised;  // every row of every tensor starts at a multiple of 16 bytes
    float scale;

    DEVICE int first_key(int row) const {
        int position = row + offset;
        int low = block > 0 ? position / block * block : window > 0 ? position - window + 1 : 0;
        return low > 0 ? low : 0;
    }
    DEVICE int last_key(int row) const {
        int position = row + offset;
        return causal && position < key_length - 1 ? position : key_length - 1;
    }
};

}  // namespace temport
