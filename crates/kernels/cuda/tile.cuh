// Products of 64 queries and 64 keys in f32, by 256 threads of 4 x 4 products each.
//
// For the operations that must give what the CPU gives: operands of f32, or 16-bit keys widened exactly. Any
// head size: operands pass through shared memory 32 dimensions at a time.
#pragma once
#include "launch.cuh"

static const uint32_t TILE = 64, DEPTH = 32, PITCH = TILE + 4;
// Bytes of shared memory that `tile_products` needs: a slice of the queries and one of the keys.
static const uint32_t SLICES = 2 * DEPTH * PITCH * sizeof(float);

// s[i][j] = query_at(4 y + i) . key_at(4 x + j) with x = thread % 16, y = thread / 16; a row that is absent (null)
// counts as zeros. All threads of the block take part; `slices` may be overwritten once it returns.
template <typename T, typename Q, typename K>
DEVICE void tile_products(uint32_t dim, float* slices, Q query_at, K key_at, float s[4][4]) {
    float *qs = slices, *ks = slices + DEPTH * PITCH; // [DEPTH][PITCH] each
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) s[i][j] = 0;
    for (uint32_t start = 0; start < dim; start += DEPTH) {
        for (uint32_t i = threadIdx.x; i < TILE * DEPTH; i += blockDim.x) {
            const uint32_t row = i / DEPTH, d = i % DEPTH;
            const float* q = query_at(row);
            const T* k = key_at(row);
            const bool inside = start + d < dim;
            qs[d * PITCH + row] = q && inside ? q[start + d] : 0.0f;
            ks[d * PITCH + row] = k && inside ? to_f32(k[start + d]) : 0.0f;
        }
        __syncthreads();
        const uint32_t depth = least(DEPTH, dim - start);
        for (uint32_t d = 0; d < depth; d++) {
            const float4 q = *(const float4*)(qs + d * PITCH + 4 * y), k = *(const float4*)(ks + d * PITCH + 4 * x);
            const float a[4] = {q.x, q.y, q.z, q.w}, b[4] = {k.x, k.y, k.z, k.w};
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) s[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
}

// Over the 16 threads that share their rows.
DEVICE float row_max(float v) {
    for (int step = 8; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, step));
    return v;
}
DEVICE float row_sum(float v) {
    for (int step = 8; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
    return v;
}
