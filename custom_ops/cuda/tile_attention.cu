// The tile loop in every element type and padded head dim: compiled once, used by both ops.
#include "tile_attention.cuh"

#include "arguments.cuh"

namespace temport {
namespace {

template <class T, int D, int Warps, int Keys>
int launch_half(const Attention& p, int batch, void* stream) {
    using Tile = HalfTile<T, D, Warps, Keys>;
    dim3 grid((p.query_length + Tile::kRows - 1) / Tile::kRows, p.heads, batch);
    return launch(half_attention<T, D, Warps, Keys>, grid, Tile::kThreads, Tile::kShared, stream, p);
}

template <int D, int Side>
int launch_float(const Attention& p, int batch, void* stream) {
    dim3 grid((p.query_length + Side - 1) / Side, p.heads, batch);
    return launch(float_attention<D, Side>, grid, 256, FloatTile<D, Side>::kShared, stream, p);
}

// Head dims are padded to 32, 64, 128 or 256. The tile sizes of each keep shared memory under the 99 KiB of
// compute capability 8.6 and 8.9.
template <class T>
int launch_half_any(const Attention& p, int batch, void* stream) {
    const int width = p.head_dim > p.value_dim ? p.head_dim : p.value_dim;
    if (width <= 32) return launch_half<T, 32, 8, 64>(p, batch, stream);
    if (width <= 64) return launch_half<T, 64, 8, 64>(p, batch, stream);
    if (width <= 128) return launch_half<T, 128, 8, 64>(p, batch, stream);
    return launch_half<T, 256, 4, 32>(p, batch, stream);
}

int launch_float_any(const Attention& p, int batch, void* stream) {
    const int width = p.head_dim > p.value_dim ? p.head_dim : p.value_dim;
    if (width <= 32) return launch_float<32, 64>(p, batch, stream);
    if (width <= 64) return launch_float<64, 64>(p, batch, stream);
    if (width <= 128) return launch_float<128, 32>(p, batch, stream);
    return launch_float<256, 32>(p, batch, stream);
}

}  // namespace

int launch_attention(const Attention& p, int batch, int element_type, void* stream) {
    if (batch == 0 || p.query_length == 0) return kOk;
    if (element_type == TEMPORT_FLOAT16) return launch_half_any<f16>(p, batch, stream);
    if (element_type == TEMPORT_BFLOAT16) return launch_half_any<bf16>(p, batch, stream);
    return launch_float_any(p, batch, stream);
}

}  // namespace temport
