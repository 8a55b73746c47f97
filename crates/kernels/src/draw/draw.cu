// A token is drawn: what recent tokens lose, what weights logits have, which of them a random number hits.
#include "launch.cuh"
#include "pick.cuh"
#include "scan.cuh"

static const double ONE = 1099511627776.0; // 2^40, the weight of the most likely token
static const uint32_t DIGITS = 512;        // of 9 bits; five are a weight
static const int FIRST_SHIFT = 36, SHIFT = 9;

// logits [count] f32 at the indices `recent` [window] are divided by the penalty, or multiplied where negative, each
// once; before [window] gets what they were. An index from `count` on is none. One block with a thread for each.
KERNEL(draw_penalize, 1024, 1)
(float* logits, const uint32_t* recent, float* before, uint32_t window, uint32_t count, double penalty) {
    const uint32_t slot = threadIdx.x;
    if (slot >= window || recent[slot] >= count) return;
    for (uint32_t other = 0; other < slot; other++)
        if (recent[other] == recent[slot]) return;
    const double logit = logits[recent[slot]], largest = 3.4028234663852886e38;
    before[slot] = (float)logit;
    const double after = logit > 0 ? logit / penalty : logit * penalty;
    logits[recent[slot]] = (float)(after > largest ? largest : after < -largest ? -largest : after);
}
EXPORT(draw_penalize)

// weights [count] of logits [count] f32, of which `top` is the largest. Temperature 0: only the largest have one.
KERNEL(draw_weights, 256, 1)
(const float* logits, const Pick* top, u64* weights, uint32_t count, double temperature) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const double distance = (double)logits[i] - (double)top->value;
    const double share = temperature == 0 ? (double)(distance == 0) : exp(distance / temperature);
    weights[i] = (u64)(share * ONE + 0.5);
}
EXPORT(draw_weights)

// The likeliest tokens, of equals the lower index first: all above a weight and the first `ties` of those at it.
struct Cut { u64 weight, ties; };

// What a token weighs if it is left, else 0. `rank` counts the tokens at the cut's weight that came before.
DEVICE u64 left_of(u64 weight, Cut cut, u64 least_weight, u64* rank) {
    const bool in = weight > cut.weight || (weight == cut.weight && (*rank)++ < cut.ties);
    return in && weight >= least_weight ? weight : 0;
}

// The fewest of the likeliest tokens that reach `wanted`, counted or weighed; all together do. Digit by digit, the
// highest first, over the tokens whose digits before are those of the last one wanted. What has the digit 0, most
// tokens, need not be counted: it is what all others fall short of.
template <bool WEIGHED>
DEVICE Cut reach(const u64* weights, uint32_t count, u64 wanted, u64* bins, u64* sums, u64* found) {
    u64 prefix = 0;
    for (int shift = FIRST_SHIFT; shift >= 0; shift -= SHIFT) {
        for (uint32_t b = threadIdx.x; b < DIGITS; b += blockDim.x) bins[b] = 0;
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
            const u64 digits = weights[i] >> shift, digit = digits % DIGITS;
            if (digit != 0 && digits / DIGITS == prefix) atomicAdd(bins + digit, WEIGHED ? weights[i] : 1);
        }
        __syncthreads();
        // The largest digit first.
        const uint32_t mine = DIGITS - 1 - threadIdx.x;
        const u64 amount = threadIdx.x < DIGITS - 1 ? bins[mine] : 0;
        const Scanned<u64> above = scan(amount, sums);
        if (threadIdx.x == 0 && above.all < wanted) {
            found[0] = 0;
            found[1] = above.all;
        }
        if (above.before < wanted && above.before + amount >= wanted) {
            found[0] = mine;
            found[1] = above.before;
        }
        __syncthreads();
        prefix = prefix * DIGITS + found[0];
        wanted -= found[1];
        __syncthreads();
    }
    return Cut{prefix, WEIGHED ? (wanted + prefix - 1) / prefix : wanted};
}

// pick->index becomes the token that the random number of step `*at` (of `draws`, the last one behind them) hits among
// those that top k, top p and the least weight leave, and pick->value its logit, before the penalty if that was applied
// (`window` > 0, as draw_penalize has it). randoms [draws, 2] are numbers of 64 bits, the lower half first. Where a
// logit was not finite the pick stays as it is. One block; its threads are at least DIGITS.
KERNEL(draw_pick, 1024, 1)
(const u64* weights, const float* logits, const uint32_t* recent, const float* before, const uint32_t* randoms,
 const uint32_t* at, Pick* pick, uint32_t count, uint32_t window, uint32_t draws, uint32_t top_k, double top_p,
 u64 least_weight) {
    SHARED_MEMORY(shared);
    u64 *sums = (u64*)shared, *bins = sums + 32, *found = bins + DIGITS; // [warps], [DIGITS], [2]
    if (pick->bad != 0xffffffffu) return;
    Cut cut = {0, count};
    if (top_k < count) cut = reach<false>(weights, count, top_k, bins, sums, found);
    if (top_p < 1) {
        u64 mine = 0;
        for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) mine += weights[i] > cut.weight ? weights[i] : 0;
        // Of weight 0 there may be fewer than `ties`: they weigh nothing.
        const u64 total = scan(mine, sums).all + cut.ties * cut.weight;
        const u64 wanted = (u64)ceil(top_p * (double)total);
        cut = reach<true>(weights, count, wanted < 1 ? 1 : wanted > total ? total : wanted, bins, sums, found);
    }
    // Neighbours are one thread's, so that what comes before a token is what the threads before have and a little.
    const uint32_t share = (count + blockDim.x - 1) / blockDim.x;
    const uint32_t start = least(threadIdx.x * share, count), end = least(start + share, count);
    u64 equal = 0;
    for (uint32_t i = start; i < end; i++) equal += weights[i] == cut.weight;
    const u64 first_rank = scan(equal, sums).before;
    u64 kept = 0, rank = first_rank;
    for (uint32_t i = start; i < end; i++) kept += left_of(weights[i], cut, least_weight, &rank);
    const Scanned<u64> mass = scan(kept, sums);
    const uint32_t draw = least(*at, draws - 1);
    const u64 random = (u64)randoms[2 * draw + 1] << 32 | randoms[2 * draw];
    const u64 hit = __umul64hi(random, mass.all);
    if (hit < mass.before || hit >= mass.before + kept) return;
    u64 sum = mass.before;
    rank = first_rank;
    for (uint32_t i = start; i < end; i++) {
        sum += left_of(weights[i], cut, least_weight, &rank);
        if (sum <= hit) continue;
        float value = logits[i];
        for (uint32_t slot = window; slot-- > 0;)
            if (recent[slot] == i) value = before[slot]; // the first of its slots has it
        pick->index = i;
        pick->value = value;
        return;
    }
}
EXPORT(draw_pick)
