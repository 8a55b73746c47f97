// Root-mean-square normalisation, with the residual addition before it where there is one.
//
// x [rows, width] f32, weight [width]; out = x / sqrt(mean(x^2) + eps) * weight, row by row.
// `added` [rows, width] or null: x += added first, and x keeps the sum. One block a row.
// Sums are f32 over the lanes of a block, so they differ from the plain loop by order only.
#include "launch.cuh"

KERNEL(rms_norm, 256, 1)
(float* x, const float* added, const float* weight, float* out, uint32_t width, float eps) {
    SHARED_MEMORY(shared);
    float* sums = (float*)shared; // [warps]
    float* row = x + (size_t)blockIdx.x * width;
    const float* more = added ? added + (size_t)blockIdx.x * width : nullptr;
    float sum = 0;
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) {
        float v = row[i];
        if (more) row[i] = v = v + more[i];
        sum += v * v;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    float total = 0;
    for (uint32_t w = 0; w < blockDim.x / 32; w++) total += sums[w];
    const float scale = 1.0f / sqrtf(total / width + eps);
    out += (size_t)blockIdx.x * width;
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) out[i] = row[i] * scale * weight[i];
}
EXPORT(rms_norm)
