// Rotary position embedding in place, by angles a row.
//
// x [rows, heads, dim] f32; cos, sin [rows, half], half <= dim / 2: the numbers behind the rotated ones stay. Where
// `step` is no null, the first row's angles are those of row *step.
// Pair i of a head is (i, i + half), or (2i, 2i + 1) where interleaved. One thread a pair.
#include "launch.cuh"

KERNEL(rope, 256, 1)
(float* x, const float* cos, const float* sin, const uint32_t* step, uint64_t pairs, uint32_t heads, uint32_t dim,
 uint32_t half, uint32_t interleaved) {
    const size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= pairs) return;
    const uint32_t i = (uint32_t)(at % half);
    const size_t head = at / half, angle = (head / heads + (step ? *step : 0)) * half + i;
    float* first = x + head * dim + (interleaved ? 2 * i : i);
    float* second = first + (interleaved ? 1 : half);
    const float a = *first, b = *second, c = cos[angle], s = sin[angle];
    *first = a * c - b * s;
    *second = b * c + a * s;
}
EXPORT(rope)
