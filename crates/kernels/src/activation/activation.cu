// silu(gate) * up, element by element: `count` numbers of f32 each.
#include "launch.cuh"

KERNEL(silu_mul, 256, 1)(const float* gate, const float* up, float* out, uint64_t count) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}
EXPORT(silu_mul)
