// The tile loop as one kernel with plain arguments, for engines that carry their kernels as PTX.
// Macros choose the variant (aot_kernels.py): TEMPORT_ELEMENT, TEMPORT_WIDTH (padded head dim), tile sizes,
// TEMPORT_PACKED (Q, K and V in one tensor), TEMPORT_MASK or TEMPORT_LINEAR (one more input).
// Arguments come in TensorRT's order: tensors read, integers, tensor written.
#include "arguments.cuh"
#include "tile_attention.cuh"

using namespace temport;

#ifdef TEMPORT_PACKED
#define TEMPORT_QKV const void* q
#else
#define TEMPORT_QKV const void *q, const void *k, const void *v
#endif
#if defined(TEMPORT_MASK)
#define TEMPORT_MORE , const uint8_t* key_mask
#elif defined(TEMPORT_LINEAR)
#define TEMPORT_MORE , const float* addend
#else
#define TEMPORT_MORE
#endif

// `first_position` is query_offset + 1, so that no argument is negative; block and window are 0 for no limit.
extern "C" KERNEL(TEMPORT_THREADS)
    temport_attention(TEMPORT_QKV TEMPORT_MORE, int query_length, int key_length, int heads, int kv_heads, int head_dim,
                      int value_dim, int causal, int window, int first_position, int block, int scale_bits, void* y) {
    using T = TEMPORT_ELEMENT;
#ifdef TEMPORT_PACKED
    const void *k = nullptr, *v = nullptr;
#endif
    Attention p{};
    lay_out(p, q, k, v, y, 1, query_length, key_length, heads, kv_heads, head_dim, value_dim, kElementType<T>);
#if defined(TEMPORT_MASK)
    p.key_mask = key_mask;
#elif defined(TEMPORT_LINEAR)
    p.addend = addend;
#endif
    p.offset = first_position ? first_position - 1 : key_length - query_length;
    p.window = window;
    p.block = block;
    p.causal = causal || window > 0;
    p.scale = from_bits(scale_bits);
#ifdef TEMPORT_WARPS
    using Tile = HalfTile<T, TEMPORT_WIDTH, TEMPORT_WARPS, TEMPORT_KEYS>;
    static_assert(Tile::kShared == TEMPORT_SHARED && Tile::kThreads == TEMPORT_THREADS, "launch parameter");
    half_tile<T, TEMPORT_WIDTH, TEMPORT_WARPS, TEMPORT_KEYS>(p);
#else
    using Tile = FloatTile<TEMPORT_WIDTH, TEMPORT_KEYS>;
    static_assert(Tile::kShared == TEMPORT_SHARED && Tile::kThreads == TEMPORT_THREADS, "launch parameter");
    float_tile<TEMPORT_WIDTH, TEMPORT_KEYS>(p);
#endif
}
