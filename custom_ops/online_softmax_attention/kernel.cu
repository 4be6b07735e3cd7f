// CUDA kernel of OnlineSoftmaxAttention: the tile loop with the causal and window rule.
#include "../cuda/arguments.cuh"

using namespace temport;

extern "C" int temport_cuda_online_softmax(const temport_online_softmax* a, void* stream) {
    if (!a) return kNull;
    Attention p{};
    const int refusal = lay_out(p, a->q, a->k, a->v, a->y, a->batch, a->query_length, a->key_length, a->heads,
                                a->kv_heads, a->head_dim, a->value_dim, a->element_type);
    if (refusal) return refusal;
    if (a->window < 0 || a->query_offset < -1) return kRule;
    if (a->query_offset > kLongest) return kTooLong;
    p.key_mask = a->key_mask;
    p.offset = int(a->query_offset < 0 ? a->key_length - a->query_length : a->query_offset);
    p.window = int(a->window < kLongest ? a->window : kLongest);
    p.causal = a->causal || a->window > 0;
    p.scale = a->scale;
    return launch_attention(p, int(a->batch), a->element_type, stream);
}

extern "C" const char* temport_cuda_error(int code) {
    switch (code) {
        case kOk: return "no error";
        case kNull: return "a required pointer is null, or only one of K and V is given";
        case kSizes: return "sizes are negative, too large for a grid, or do not fit packed QKV";
        case kHeads: return "head counts must be positive and kv_heads must divide heads";
        case kHeadDim: return "head dims must be 1 to 256";
        case kType: return "the element type must be float32, float16 or bfloat16";
        case kRule: return "window must be at least 0 and query_offset at least -1; block_size at least 1";
        case kTooLong: return "lengths and offsets must be at most 2^30";
    }
    return code > 0 ? "CUDA error" : "unknown error";
}
