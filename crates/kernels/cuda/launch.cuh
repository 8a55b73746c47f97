// What every kernel is written against: CUDA under nvcc, an emulation of it under a plain C++ compiler.
//
// Kernels keep to this header's words, so the same text runs on a GPU and, thread by thread, in a test
// on the CPU. Shared memory is always the dynamic block of the launch; whole warps take part in every
// warp-wide operation and whole blocks in every __syncthreads().
#pragma once
#include <stdint.h>

typedef unsigned long long u64; // what atomicAdd takes

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef __nv_bfloat16 bf16;
typedef __half f16;

#define KERNEL(name, threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks) name
#define EXPORT(name)
#define DEVICE static __device__ __forceinline__
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]

DEVICE float to_f32(float x) { return x; }
DEVICE float to_f32(f16 x) { return __half2float(x); }
DEVICE float to_f32(bf16 x) { return __bfloat162float(x); }
template <typename T> DEVICE T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ f16 from_f32<f16>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x) { return __float2bfloat16_rn(x); }

// Lets the other blocks of a cooperative launch go on.
DEVICE void relax() {}

// 16 bytes from global to shared memory without passing through registers; zeros where `valid` is false.
DEVICE void copy16_async(void* to, const void* from, bool valid) {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most `PENDING` of this thread's groups of copies are under way.
template <int PENDING> DEVICE void wait_copies() { asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory"); }

// Four 8 x 8 matrices of 16-bit numbers; lane `l` names row `l % 8` of matrix `l / 8`.
DEVICE void load_matrices(uint32_t r[4], const void* row) {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
DEVICE void load_matrices_transposed(uint32_t r[4], const void* row) {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

// c (16 x 8, f32) += a (16 x 16) b (16 x 8), each spread over the lanes of a warp.
template <typename T> DEVICE void multiply_add(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void multiply_add<f16>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply_add<bf16>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#else
#include "emulate.hpp"
#endif

static const uint32_t ALL_LANES = 0xffffffffu;

// Below every finite logit. The difference of two is no number: kernels subtract a base that is finite.
#define MINUS_INFINITY (-__builtin_huge_valf())

// Two 16-bit numbers in one register, the first in the low half.
template <typename T> DEVICE uint32_t pack(float low, float high) {
    const T a = from_f32<T>(low), b = from_f32<T>(high);
    return (uint32_t)*(const uint16_t*)&a | (uint32_t)*(const uint16_t*)&b << 16;
}

DEVICE float warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

DEVICE uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
DEVICE uint32_t most(uint32_t a, uint32_t b) { return a > b ? a : b; }

// Remembers the first index whose value is NaN or infinite; `*first` starts at the largest number.
DEVICE void note_if_not_finite(float x, uint32_t index, uint32_t* first) {
    if ((__float_as_uint(x) & 0x7f800000u) == 0x7f800000u) atomicMin(first, index);
}
