// Running sums over the threads of a block.
#pragma once
#include "launch.cuh"

// The sums of `x` over the threads before this one and over all threads; `sums` has room for one of each warp.
template <typename N> struct Scanned { N before, all; };
template <typename N> DEVICE Scanned<N> scan(N x, N* sums) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    N sum = x;
    for (uint32_t step = 1; step < 32; step *= 2) {
        const N other = __shfl_up_sync(ALL_LANES, sum, step);
        if (lane >= step) sum += other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    Scanned<N> result = {sum - x, 0};
    for (uint32_t w = 0; w < blockDim.x / 32; w++) {
        if (w < warp) result.before += sums[w];
        result.all += sums[w];
    }
    __syncthreads();
    return result;
}
