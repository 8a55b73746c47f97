// y += x in place, `count` numbers of f32 each.
#include "launch.cuh"

KERNEL(residual_add, 256, 1)(float* y, const float* x, uint64_t count) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] += x[i];
}
EXPORT(residual_add)
