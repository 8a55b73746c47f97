// The most likely of some logits, and the sum of all exponentials, in two launches.
//
// logits [count] f32. A part is what a share of them tells: the index of the largest (the lowest of equals), its value, the
// sum of exp(logit - value) as two floats (the second is what the first one rounds away), the lowest index of a number
// that is NaN or infinite (none: the largest number) and that number. An index is always below `count`.
// Exponentials are f32, their sums f64. The parts [blocks] of contiguous shares, one a block, become one pick.
#include "launch.cuh"
#include "pick.cuh"

struct Part { uint32_t index; float value, high, low; uint32_t bad; float bad_value; };

struct Best { float value; uint32_t index; };

DEVICE Best better(Best a, float value, uint32_t index) {
    return value > a.value || (value == a.value && index < a.index) ? Best{value, index} : a;
}

DEVICE Best warp_best(Best x) {
    for (int step = 16; step > 0; step /= 2)
        x = better(x, __shfl_xor_sync(ALL_LANES, x.value, step), __shfl_xor_sync(ALL_LANES, x.index, step));
    return x;
}

DEVICE double warp_sum(double x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

DEVICE uint32_t warp_least(uint32_t x) {
    for (int step = 16; step > 0; step /= 2) x = least(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

KERNEL(logits_parts, 256, 1)(const float* logits, Part* parts, uint32_t count) {
    SHARED_MEMORY(shared);
    double* sums = (double*)shared;     // [warps]
    Best* bests = (Best*)(sums + 8);    // [warps]
    uint32_t* bads = (uint32_t*)(bests + 8); // [warps]
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const uint32_t share = (count + gridDim.x - 1) / gridDim.x;
    const uint32_t start = least(blockIdx.x * share, count), end = least(start + share, count);
    Best best = {MINUS_INFINITY, least(start, count - 1)};
    uint32_t bad = 0xffffffffu;
    for (uint32_t i = start + threadIdx.x; i < end; i += blockDim.x) {
        best = better(best, logits[i], i);
        if ((__float_as_uint(logits[i]) & 0x7f800000u) == 0x7f800000u) bad = least(bad, i);
    }
    best = warp_best(best);
    bad = warp_least(bad);
    if (lane == 0) {
        bests[warp] = best;
        bads[warp] = bad;
    }
    __syncthreads();
    for (uint32_t w = 0; w < warps; w++) {
        best = better(best, bests[w].value, bests[w].index);
        bad = least(bad, bads[w]);
    }
    double sum = 0;
    for (uint32_t i = start + threadIdx.x; i < end; i += blockDim.x) sum += (double)expf(logits[i] - best.value);
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0;
    for (uint32_t w = 0; w < warps; w++) sum += sums[w];
    const float high = (float)sum;
    parts[blockIdx.x] = Part{best.index, best.value, high, (float)(sum - high), bad, bad < count ? logits[bad] : 0.0f};
}
EXPORT(logits_parts)

// One warp.
KERNEL(logits_merge, 32, 1)(const Part* parts, Pick* out, uint32_t count) {
    Best best = {parts[0].value, parts[0].index};
    uint32_t bad = 0xffffffffu;
    for (uint32_t p = threadIdx.x; p < count; p += blockDim.x) {
        best = better(best, parts[p].value, parts[p].index);
        // Shares ascend, so the first part with such a number has the lowest.
        if (parts[p].bad != 0xffffffffu) bad = least(bad, p);
    }
    best = warp_best(best);
    bad = warp_least(bad);
    double sum = 0;
    for (uint32_t p = threadIdx.x; p < count; p += blockDim.x)
        sum += ((double)parts[p].high + (double)parts[p].low) * exp((double)parts[p].value - (double)best.value);
    sum = warp_sum(sum);
    if (threadIdx.x != 0) return;
    const bool fine = bad == 0xffffffffu;
    const uint32_t which = fine ? bad : parts[bad].bad;
    *out = Pick{best.index, best.value, (double)best.value + log(sum), which, fine ? 0.0f : parts[bad].bad_value};
}
EXPORT(logits_merge)
