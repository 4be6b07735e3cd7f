// Checks of the C interface and the layout that follows from it, shared by the ops.
#pragma once

#include <cstring>

#include "api.h"
#include "attention.h"

namespace temport {

enum Refusal { kOk = 0, kNull = -1, kSizes = -2, kHeads = -3, kHeadDim = -4, kType = -5, kRule = -6, kTooLong = -7 };

constexpr int64_t kLongest = int64_t(1) << 30;
constexpr int kWidest = 256;

template <class T> constexpr int kElementType = sizeof(T) == 4 ? TEMPORT_FLOAT32 : TEMPORT_FLOAT16;  // by size

// The float whose bits are `bits`: where arguments can only be integers.
HOST_DEVICE float from_bits(int32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

HOST_DEVICE bool aligned(const void* pointer, int64_t stride_bytes) {
    return (reinterpret_cast<uintptr_t>(pointer) | uintptr_t(stride_bytes)) % 16 == 0;
}

// Pointers and strides of Q, K, V, packed or not, into `p`; returns a Refusal.
HOST_DEVICE int lay_out(Attention& p, const void* q, const void* k, const void* v, void* y, int64_t batch, int64_t T,
                   int64_t S, int heads, int kv_heads, int head_dim, int value_dim, int element_type) {
    if (!q || !y || (!k) != (!v)) return kNull;
    if (element_type < TEMPORT_FLOAT32 || element_type > TEMPORT_BFLOAT16) return kType;
    if (heads < 1 || kv_heads < 1 || heads % kv_heads) return kHeads;
    if (head_dim < 1 || value_dim < 1 || head_dim > kWidest || value_dim > kWidest) return kHeadDim;
    if (batch < 0 || T < 0 || S < 0 || batch > 65535 || heads > 65535) return kSizes;
    if (T > kLongest || S > kLongest) return kTooLong;
    const bool packed = !k;
    if (packed && (S != T || value_dim != head_dim)) return kSizes;
    const int64_t size = element_type == TEMPORT_FLOAT32 ? 4 : 2;
    const int64_t q_width = int64_t(heads) * head_dim, k_width = int64_t(kv_heads) * head_dim;
    p.q_row = packed ? q_width + 2 * k_width : q_width;
    p.k_row = packed ? p.q_row : k_width;
    p.v_row = packed ? p.q_row : int64_t(kv_heads) * value_dim;
    const char* base = static_cast<const char*>(q);
    p.q = q;
    p.k = packed ? base + q_width * size : k;
    p.v = packed ? base + (q_width + k_width) * size : v;
    p.q_batch = p.q_row * T;
    p.k_batch = p.k_row * S;
    p.v_batch = p.v_row * S;
    p.y = y;
    p.query_length = int(T);
    p.key_length = int(S);
    p.heads = heads;
    p.kv_heads = kv_heads;
    p.head_dim = head_dim;
    p.value_dim = value_dim;
    p.vectorised = aligned(p.q, p.q_row * size) && aligned(p.k, p.k_row * size) && aligned(p.v, p.v_row * size) &&
                   head_dim * size % 16 == 0 && value_dim * size % 16 == 0;
    return kOk;
}

// Launch the tile loop for `p` in its element type; returns 0 or a cudaError_t.
int launch_attention(const Attention& p, int batch, int element_type, void* stream);

}  // namespace temport
