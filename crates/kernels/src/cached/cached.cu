// Activations into a cache: x [rows, all, dim] f32, of whose heads to [heads, capacity, dim] takes those from
// `first_head` on, rounded to the nearest of its type, as its rows from at + *step on (`step` null: from `at` on). Rows
// beyond the capacity are left out. One thread a number.
#include "launch.cuh"

template <typename T>
DEVICE void write(const float* x, T* to, const uint32_t* step, uint64_t count, uint32_t all, uint32_t first_head,
                  uint32_t heads, uint32_t dim, uint32_t capacity, uint32_t at) {
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const size_t row = i / dim / heads, head = i / dim % heads, d = i % dim, place = at + row + (step ? *step : 0);
    if (place < capacity)
        to[(head * capacity + place) * dim + d] = from_f32<T>(x[(row * all + first_head + head) * dim + d]);
}

#define WRITE(name, T)                                                                                                 \
    KERNEL(name, 256, 1)                                                                                               \
    (const float* x, T* to, const uint32_t* step, uint64_t count, uint32_t all, uint32_t first_head, uint32_t heads,   \
     uint32_t dim, uint32_t capacity, uint32_t at) {                                                                   \
        write<T>(x, to, step, count, all, first_head, heads, dim, capacity, at);                                       \
    }                                                                                                                  \
    EXPORT(name)

WRITE(cache_write_f32, float)
WRITE(cache_write_f16, f16)
WRITE(cache_write_bf16, bf16)
