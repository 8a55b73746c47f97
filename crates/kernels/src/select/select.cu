// Pooling and exact top-k of rows of scores, in one cooperative launch.
//
// scores [rows, entries] f32; pinned [entries] u32 flags or null. pooled [rows, entries] gets the smoothed scores,
// indices [rows, k + pins] the kept entries, ascending: all pinned ones and the `k` largest of the others, equal ones
// by the lower index (both zeros alike). `k` is at most the number of entries that are not pinned.
// bad [rows, 2] starts at the largest number and gets the first index at which a score, and a pooled score, is NaN
// or infinite; the indices mean nothing then.
// work [rows, 3 * 2048 + 1 + 2 * blocks] of zeros. Grid: x blocks that share a row, y rows; all must be resident.
//
// Radix select on keys that order like the scores, digits of 11, 11 and 10 bits: three histograms, then one pass
// that collects in entry order. Nothing is sorted. Windows are summed neighbour by neighbour in ascending order,
// as the plain implementation does, so that pooled scores are the same to the last bit.
#include "launch.cuh"
#include "scan.cuh"

static const uint32_t BINS = 2048;
// What `kind` of pool: none, the published mean, the mean at the ends over what is there, the largest.
enum { AS_IT_IS = 0, MEAN_OF_ALL = 1, MEAN_OF_INSIDE = 2, LARGEST = 3 };

DEVICE uint32_t key_of(float score) {
    // Adding zero turns -0.0 into 0.0 and leaves every other number alone.
    const uint32_t bits = __float_as_uint(score + 0.0f);
    return bits ^ ((uint32_t)((int32_t)bits >> 31) | 0x80000000u);
}

DEVICE float pool(const float* scores, uint32_t e, uint32_t entries, uint32_t kind, uint32_t width) {
    if (kind == AS_IT_IS) return scores[e];
    const uint32_t reach = width / 2, first = e > reach ? e - reach : 0;
    const uint32_t last = (uint32_t)least(entries - 1 - e, reach) + e;
    float all = kind == LARGEST ? MINUS_INFINITY : 0.0f;
    for (uint32_t i = first; i <= last; i++) {
        if (kind == LARGEST) all = scores[i] > all ? scores[i] : all;
        else all += scores[i];
    }
    if (kind == LARGEST) return all;
    return all / (float)(kind == MEAN_OF_INSIDE ? last - first + 1 : width);
}

// All blocks of the row have come this far `times` times.
DEVICE void meet(uint32_t* arrived, uint32_t times) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1);
        while (*(volatile uint32_t*)arrived < gridDim.x * times) relax();
        __threadfence();
    }
    __syncthreads();
}

// The digit of the `wanted`-th largest key, by the counts of all digits, and how many keys have a larger one.
struct Digit { uint32_t digit, above; };
DEVICE Digit find(const uint32_t* counts, uint32_t wanted, uint32_t* shared) {
    const uint32_t bins = BINS / blockDim.x, top = BINS - threadIdx.x * bins; // bins below `top`, the largest first
    uint32_t mine = 0;
    for (uint32_t b = 1; b <= bins; b++) mine += *(const volatile uint32_t*)(counts + top - b);
    uint32_t above = scan(mine, shared).before;
    if (above < wanted && above + mine >= wanted) {
        uint32_t digit = top - 1;
        for (;; digit--) {
            const uint32_t count = *(const volatile uint32_t*)(counts + digit);
            if (above + count >= wanted) break;
            above += count;
        }
        shared[0] = digit;
        shared[1] = above;
    }
    __syncthreads();
    const Digit found = {shared[0], shared[1]};
    __syncthreads();
    return found;
}

KERNEL(select_top, 256, 2)
(const float* scores, const uint32_t* pinned, float* pooled, uint32_t* indices, uint32_t* bad, uint32_t* work,
 uint32_t entries, uint32_t kind, uint32_t width, uint32_t k, uint32_t free, uint32_t room) {
    SHARED_MEMORY(shared);
    uint32_t *counts = (uint32_t*)shared, *small = counts + BINS; // [BINS], [32]
    const uint32_t row = blockIdx.y;
    scores += (size_t)row * entries;
    pooled += (size_t)row * entries;
    indices += (size_t)row * room;
    bad += 2 * row;
    work += (size_t)row * (3 * BINS + 1 + 2 * gridDim.x);
    uint32_t *arrived = work + 3 * BINS, *found = arrived + 1, meetings = 0; // found [blocks][2]
    const uint32_t share = (entries + gridDim.x - 1) / gridDim.x;
    const uint32_t start = least(blockIdx.x * share, entries), end = least(start + share, entries);

    uint32_t threshold = 0xffffffffu, ties = 0, prefix = 0, known = 0, wanted = k;
    const uint32_t shifts[3] = {21, 10, 0};
    for (int digit = 0; digit < 3; digit++) {
        for (uint32_t b = threadIdx.x; b < BINS; b += blockDim.x) counts[b] = 0;
        __syncthreads();
        for (uint32_t e = start + threadIdx.x; e < end; e += blockDim.x) {
            float score;
            if (digit == 0) {
                note_if_not_finite(scores[e], e, bad);
                score = pooled[e] = pool(scores, e, entries, kind, width);
                note_if_not_finite(score, e, bad + 1);
            } else {
                score = pooled[e];
            }
            const uint32_t key = key_of(score);
            if ((pinned && pinned[e]) || (key & known) != prefix) continue;
            atomicAdd(counts + (key >> shifts[digit] & (digit == 2 ? 1023 : BINS - 1)), 1);
        }
        __syncthreads();
        if (k == 0 || k == free) break; // pooling is done, and the choice is made
        uint32_t* all = work + digit * BINS;
        for (uint32_t b = threadIdx.x; b < BINS; b += blockDim.x)
            if (counts[b]) atomicAdd(all + b, counts[b]);
        meet(arrived, ++meetings);
        const Digit one = find(all, wanted, small);
        wanted -= one.above;
        prefix |= one.digit << shifts[digit];
        known |= (digit == 2 ? 1023u : BINS - 1) << shifts[digit];
        threshold = prefix;
        ties = wanted;
    }
    if (k == free && k > 0) threshold = 0, ties = 0; // below the key of every finite score

    // What this block keeps for sure and how many are equal to the threshold.
    uint32_t sure = 0, equal = 0;
    for (uint32_t e = start + threadIdx.x; e < end; e += blockDim.x) {
        const uint32_t key = key_of(pooled[e]);
        const bool pin = pinned && pinned[e];
        sure += pin || key > threshold;
        equal += !pin && key == threshold;
    }
    sure = scan(sure, small).all;
    equal = scan(equal, small).all;
    if (threadIdx.x == 0) {
        found[2 * blockIdx.x] = sure;
        found[2 * blockIdx.x + 1] = equal;
    }
    meet(arrived, ++meetings);
    uint32_t sure_before = 0, equal_before = 0;
    for (uint32_t b = 0; b < blockIdx.x; b++) {
        sure_before += *(volatile uint32_t*)(found + 2 * b);
        equal_before += *(volatile uint32_t*)(found + 2 * b + 1);
    }
    for (uint32_t from = start; from < end; from += blockDim.x) {
        const uint32_t e = from + threadIdx.x;
        const uint32_t key = e < end ? key_of(pooled[e]) : 0;
        const bool pin = e < end && pinned && pinned[e];
        const bool is_sure = e < end && (pin || key > threshold), is_equal = e < end && !pin && key == threshold;
        const Scanned<uint32_t> of_sure = scan<uint32_t>(is_sure, small), of_equal = scan<uint32_t>(is_equal, small);
        const uint32_t rank = equal_before + of_equal.before;
        if (is_sure || (is_equal && rank < ties)) {
            const uint32_t to = sure_before + of_sure.before + least(rank, ties);
            if (to < room) indices[to] = e; // beyond only where a score is not finite
        }
        sure_before += of_sure.all;
        equal_before += of_equal.all;
    }
}
EXPORT(select_top)
