// What the kernels ask of the machine, in one place: half types, tensor-core products, asynchronous copies.
// With TEMPORT_EMULATE the same kernels are compiled for the host (emulate.h) and tested without a GPU.
#pragma once

#include <cstdint>

#ifdef TEMPORT_EMULATE
#include "emulate.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define DEVICE __device__ __forceinline__
#define HOST_DEVICE __host__ __device__ inline
#define KERNEL(threads) __global__ void __launch_bounds__(threads)

using f16 = __half;
using bf16 = __nv_bfloat16;

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(f16 x) { return __half2float(x); }
DEVICE float to_float(bf16 x) { return __bfloat162float(x); }
DEVICE void assign(float& to, float x) { to = x; }
DEVICE void assign(f16& to, float x) { to = __float2half_rn(x); }
DEVICE void assign(bf16& to, float x) { to = __float2bfloat16_rn(x); }

template <class T> DEVICE uint32_t pack2(float low, float high);
template <> DEVICE uint32_t pack2<f16>(float low, float high) {
    __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}
template <> DEVICE uint32_t pack2<bf16>(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}

DEVICE char* shared_memory() {
    extern __shared__ __align__(16) char memory[];
    return memory;
}
DEVICE void block_barrier() { __syncthreads(); }
DEVICE float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
DEVICE float shuffle(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE uint32_t warp_votes(bool x) { return __ballot_sync(0xffffffffu, x); }  // bit l: that of lane l
DEVICE float exp2_fast(float x) { return exp2f(x); }

// d += a b for a 16x16 tile a, a 16x8 tile b: the fragment layouts of PTX `mma.sync.m16n8k16`.
template <class T> DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
#define TEMPORT_MMA(type, name)                                                                          \
    template <> DEVICE void mma<type>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name ".f32 "                      \
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                             \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                    \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                    \
    }
TEMPORT_MMA(f16, "f16")
TEMPORT_MMA(bf16, "bf16")
#undef TEMPORT_MMA

// Four 8x8 tiles of 16-bit elements; lane l gives the address of row l%8 of tile l/8 (PTX `ldmatrix`).
template <bool Transposed> DEVICE void load_tiles(uint32_t (&r)[4], const void* row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    if (Transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// 16 bytes from global to shared memory without passing through registers; zeros where `present` is false.
DEVICE void copy_async(void* to, const void* from, bool present) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    int bytes = present ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}
DEVICE void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
DEVICE void copies_wait() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

// Launch `kernel(p)`; returns a cudaError_t.
template <class P>
int launch(void (*kernel)(P), dim3 grid, int threads, size_t shared, void* stream, const P& p) {
    if (shared > 48 * 1024) {
        cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared));
        if (error != cudaSuccess) return error;
    }
    void* arguments[] = {const_cast<P*>(&p)};
    // its own result: cudaGetLastError could also return what another library left behind
    return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, dim3(unsigned(threads)), arguments, shared,
                            static_cast<cudaStream_t>(stream));
}
#endif
