// What keys say of their entries by themselves: their lengths, and how much they resemble the others.
//
// k [heads, capacity, dim] f32, f16 or bf16, of which `entries` are in use; numbers are [heads, entries] f32. A warp
// takes an entry, its lanes every 32nd number of the key. Sums are f32 and differ from the plain loop by order only.
// Grid of both: x over entries, y over heads, any number of blocks in x.
#include "launch.cuh"

// out: the lengths; one that is not finite is noted by the lowest index in `*bad`. Where `sums` is no null,
// sums [blocks in x, heads, dim] are of each block's keys, divided by their lengths.
template <typename T>
DEVICE void lengths(const T* k, float* out, float* sums, uint32_t* bad, uint32_t entries, uint32_t capacity,
                    uint32_t dim) {
    SHARED_MEMORY(shared);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32, head = blockIdx.y;
    float* all = (float*)shared; // [warps][dim]
    float* own = all + warp * dim;
    const T* keys = k + (size_t)head * capacity * dim;
    if (sums) for (uint32_t d = lane; d < dim; d += 32) own[d] = 0;
    for (uint32_t e = blockIdx.x * warps + warp; e < entries; e += gridDim.x * warps) {
        const T* key = keys + (size_t)e * dim;
        float square = 0;
        for (uint32_t d = lane; d < dim; d += 32) square += to_f32(key[d]) * to_f32(key[d]);
        const float length = sqrtf(warp_sum(square));
        if (lane == 0) {
            out[head * entries + e] = length;
            note_if_not_finite(length, head * entries + e, bad);
        }
        if (sums && length > 0) for (uint32_t d = lane; d < dim; d += 32) own[d] += to_f32(key[d]) / length;
    }
    if (!sums) return;
    __syncthreads();
    for (uint32_t d = threadIdx.x; d < dim; d += blockDim.x) {
        float sum = 0;
        for (uint32_t w = 0; w < warps; w++) sum += all[w * dim + d];
        sums[((size_t)blockIdx.x * gridDim.y + head) * dim + d] = sum;
    }
}

// out: each key's cosine with the sum of its head's sums; 0 where either has no length.
template <typename T>
DEVICE void likeness(const T* k, const float* lengths, const float* sums, float* out, uint32_t entries,
                     uint32_t capacity, uint32_t dim, uint32_t shares) {
    SHARED_MEMORY(shared);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32, head = blockIdx.y;
    float* mean = (float*)shared; // [dim], up to a factor
    for (uint32_t d = threadIdx.x; d < dim; d += blockDim.x) {
        float sum = 0;
        for (uint32_t s = 0; s < shares; s++) sum += sums[((size_t)s * gridDim.y + head) * dim + d];
        mean[d] = sum;
    }
    __syncthreads();
    float square = 0;
    for (uint32_t d = lane; d < dim; d += 32) square += mean[d] * mean[d];
    const float size = sqrtf(warp_sum(square));
    for (uint32_t e = blockIdx.x * warps + warp; e < entries; e += gridDim.x * warps) {
        const T* key = k + ((size_t)head * capacity + e) * dim;
        float product = 0;
        for (uint32_t d = lane; d < dim; d += 32) product += to_f32(key[d]) * mean[d];
        product = warp_sum(product);
        if (lane == 0) {
            const float length = lengths[head * entries + e];
            out[head * entries + e] = length > 0 && size > 0 ? product / size / length : 0.0f;
        }
    }
}

#define MEASURES(name, T)                                                                                              \
    KERNEL(keys_lengths_##name, 256, 2)                                                                                \
    (const T* k, float* out, float* sums, uint32_t* bad, uint32_t entries, uint32_t capacity, uint32_t dim) {          \
        lengths<T>(k, out, sums, bad, entries, capacity, dim);                                                         \
    }                                                                                                                  \
    EXPORT(keys_lengths_##name)                                                                                        \
    KERNEL(keys_likeness_##name, 256, 2)                                                                               \
    (const T* k, const float* lengths, const float* sums, float* out, uint32_t entries, uint32_t capacity,             \
     uint32_t dim, uint32_t shares) {                                                                                  \
        likeness<T>(k, lengths, sums, out, entries, capacity, dim, shares);                                            \
    }                                                                                                                  \
    EXPORT(keys_likeness_##name)

MEASURES(f32, float)
MEASURES(f16, f16)
MEASURES(bf16, bf16)
