// The kernels' machine on the host: blocks one after another, the threads of a block as fibers that switch at
// barriers. Tensor-core products and tile loads are done by the last lane of a warp to arrive, for all lanes.
//
// It is as unkind as a GPU may be, so that a mistake shows in the result or ends the process: shared memory starts
// out as NaN; an asynchronous copy lands as late as it may, when its thread waits; each warp runs as far ahead of the
// others as barriers let it, the first warp first in one block and the last one first in the next; addresses of 16-byte
// accesses must be multiples of 16; a grid or an amount of shared memory that no launch would take is refused.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define DEVICE inline
#define HOST_DEVICE inline
#define KERNEL(threads) void
inline int min(int a, int b) { return a < b ? a : b; }

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

struct f16 { uint16_t bits; };
struct bf16 { uint16_t bits; };

inline float to_float(float x) { return x; }
inline float to_float(f16 x) {
    _Float16 value;
    std::memcpy(&value, &x, 2);
    return float(value);
}
inline float to_float(bf16 x) {
    uint32_t wide = uint32_t(x.bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}
inline void assign(float& to, float x) { to = x; }
inline void assign(f16& to, float x) {
    _Float16 value = _Float16(x);
    std::memcpy(&to, &value, 2);
}
inline void assign(bf16& to, float x) {
    uint32_t wide;
    std::memcpy(&wide, &x, 4);
    bool nan = x != x;
    to.bits = nan ? 0x7fff : uint16_t((wide + 0x7fff + ((wide >> 16) & 1)) >> 16);  // round to nearest even
}
template <class T> inline uint32_t pack2(float low, float high) {
    T pair[2];
    assign(pair[0], low);
    assign(pair[1], high);
    uint32_t packed;
    std::memcpy(&packed, pair, 4);
    return packed;
}

namespace emulate {
// Wait until every live thread of the block (or warp) is here; the last one runs `work` first.
void block_wait();
void warp_wait(void (*work)());
// Per-lane slots through which the lanes of the present warp show each other their operands.
struct Lane {
    const void* address;
    uint32_t* tiles;
    float* d;
    uint32_t a[4], b[2];
    float value;
};
Lane* lanes();
unsigned lane();
char* shared();
void copy_later(void* to, const void* from, bool present);
void land_copies();
void must_be_aligned(const void* address);
// `call(kernel)` in every thread. Returns what cudaLaunchKernel would: 0, or cudaErrorInvalidValue or
// cudaErrorInvalidConfiguration.
int run(dim3 grid, int threads, size_t shared_bytes, void (*call)(const void*), const void* kernel);
template <class K> int run(dim3 grid, int threads, size_t shared_bytes, const K& kernel) {
    return run(grid, threads, shared_bytes, [](const void* k) { (*static_cast<const K*>(k))(); }, &kernel);
}
}  // namespace emulate

inline char* shared_memory() { return emulate::shared(); }
inline void block_barrier() { emulate::block_wait(); }
inline float shuffle(float x, int lane) {
    emulate::lanes()[emulate::lane()].value = x;
    emulate::warp_wait([] {});
    float other = emulate::lanes()[lane].value;
    emulate::warp_wait([] {});
    return other;
}
inline float shuffle_xor(float x, int mask) { return shuffle(x, int(emulate::lane()) ^ mask); }
inline uint32_t warp_votes(bool x) {
    emulate::lanes()[emulate::lane()].value = x;
    emulate::warp_wait([] {});
    uint32_t votes = 0;
    for (int l = 0; l < 32; ++l) votes |= uint32_t(emulate::lanes()[l].value != 0) << l;
    emulate::warp_wait([] {});
    return votes;
}
inline float exp2_fast(float x) { return std::exp2(x); }

template <class T> inline float half_of(uint32_t pair, int index) {
    T x;
    x.bits = uint16_t(pair >> (16 * index));
    return to_float(x);
}

template <class T> inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    emulate::Lane& mine = emulate::lanes()[emulate::lane()];
    mine.d = d;
    std::memcpy(mine.a, a, sizeof(a));
    mine.b[0] = b0;
    mine.b[1] = b1;
    emulate::warp_wait([] {
        emulate::Lane* lanes = emulate::lanes();
        float A[16][16], B[16][8];
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 2; ++e) {
                int g = l / 4, c = 2 * (l % 4) + e;
                A[g][c] = half_of<T>(lanes[l].a[0], e);
                A[g + 8][c] = half_of<T>(lanes[l].a[1], e);
                A[g][c + 8] = half_of<T>(lanes[l].a[2], e);
                A[g + 8][c + 8] = half_of<T>(lanes[l].a[3], e);
                B[c][g] = half_of<T>(lanes[l].b[0], e);
                B[c + 8][g] = half_of<T>(lanes[l].b[1], e);
            }
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 4; ++e) {
                int row = l / 4 + 8 * (e / 2), column = 2 * (l % 4) + e % 2;
                float sum = 0;
                for (int k = 0; k < 16; ++k) sum += A[row][k] * B[k][column];
                lanes[l].d[e] += sum;
            }
    });
}

template <bool Transposed> inline void load_tiles(uint32_t (&r)[4], const void* row) {
    emulate::Lane& mine = emulate::lanes()[emulate::lane()];
    emulate::must_be_aligned(row);
    mine.address = row;
    mine.tiles = r;
    emulate::warp_wait([] {
        emulate::Lane* lanes = emulate::lanes();
        for (int l = 0; l < 32; ++l)
            for (int tile = 0; tile < 4; ++tile) {
                uint16_t pair[2];
                for (int e = 0; e < 2; ++e) {
                    int r = l / 4, c = 2 * (l % 4) + e;
                    int from = Transposed ? c : r, column = Transposed ? r : c;
                    pair[e] = static_cast<const uint16_t*>(lanes[8 * tile + from].address)[column];
                }
                std::memcpy(&lanes[l].tiles[tile], pair, 4);
            }
    });
}

inline void copy_async(void* to, const void* from, bool present) { emulate::copy_later(to, from, present); }
inline void copies_commit() {}
inline void copies_wait() { emulate::land_copies(); }

template <class P> int launch(void (*kernel)(P), dim3 grid, int threads, size_t shared, void*, const P& p) {
    return emulate::run(grid, threads, shared, [&] { kernel(p); });
}
