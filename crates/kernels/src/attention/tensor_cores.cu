// Attention of some query rows over cached entries on tensor cores: contract and grid as in attention.cu, for keys
// and values of f16 or bf16 and head sizes 64, 96 and 128.
//
// Queries and weights are rounded to the type of the entries; products are summed in f32, and maximum, sum and output
// are f32. Outputs stay within 2^-8 (bf16) or 2^-11 (f16) of the largest value, times what the rounded logits move:
// 2^-8 or 2^-11 of the largest scale |q| |k|.
//
// Four warps of 16 packed rows each; tiles of 64 keys. The next keys are fetched while weights and values are
// multiplied, the values while queries and keys are. Rows of shared memory are 16 bytes longer than a head, so that
// the eight rows of a matrix lie in different banks.
#include "launch.cuh"
#include "tile.cuh"
#include "visible.cuh"

static const uint32_t ROWS = 64, THREADS = 128;

template <typename T, uint32_t D> struct Area {
    static const uint32_t PITCH_OF_ROW = D + 8;
    static const uint32_t BYTES = TILE * PITCH_OF_ROW * sizeof(T);
};

// Fetches entries tile..end, TILE rows; zeros behind the end.
template <typename T, uint32_t D>
DEVICE void fetch(T* area, const T* from, uint32_t tile, uint32_t end) {
    const uint32_t pieces = D / 8;
    for (uint32_t i = threadIdx.x; i < TILE * pieces; i += THREADS) {
        const uint32_t e = i / pieces, d = i % pieces * 8;
        const bool inside = tile + e < end;
        copy16_async(area + e * Area<T, D>::PITCH_OF_ROW + d, from + (size_t)(inside ? tile + e : 0) * D + d, inside);
    }
    commit_copies();
}

template <typename T, uint32_t D>
DEVICE void attend(const float* q, const T* k, const T* v, const uint32_t* from, const uint32_t* to,
                   const uint32_t* segment, const uint32_t* before, float* out, float* lse, uint32_t rows,
                   uint32_t heads, uint32_t group, uint32_t capacity, float scale) {
    const uint32_t ROW = Area<T, D>::PITCH_OF_ROW;
    SHARED_MEMORY(shared);
    T *key_area = (T*)shared, *value_area = (T*)(shared + Area<T, D>::BYTES);
    Seen* seen = (Seen*)(shared + 2 * Area<T, D>::BYTES); // [ROWS]
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const uint32_t kv = blockIdx.y, packed = rows * group, first = blockIdx.x * ROWS;
    const T *keys = k + (size_t)kv * capacity * D, *values = v + (size_t)kv * capacity * D;
    const auto vector = [&](uint32_t r) { // of a packed row among rows * heads
        return (size_t)((first + r) / group) * heads + kv * group + (first + r) % group;
    };
    for (uint32_t r = threadIdx.x; r < ROWS; r += THREADS)
        seen[r] = seen_by(first + r < packed, (first + r) / group, from, to, segment);
    __syncthreads();
    const Span span = share_of(span_of(seen, ROWS), TILE), own = span_of(seen + 16 * warp, 16);
    const Seen row[2] = {seen[16 * warp + g], seen[16 * warp + g + 8]};
    const auto next_tile = [&](uint32_t tile) {
        while (tile < span.end && hidden(span, before, tile, least(tile + TILE, span.end))) tile += TILE;
        return tile;
    };
    uint32_t tile = next_tile(span.start);
    if (tile < span.end) fetch<T, D>(key_area, keys, tile, span.end);

    // Queries pass through the values' memory into registers.
    for (uint32_t i = threadIdx.x; i < ROWS * D; i += THREADS) {
        const uint32_t r = i / D, d = i % D;
        value_area[r * ROW + d] = from_f32<T>(first + r < packed ? q[vector(r) * D + d] : 0.0f);
    }
    __syncthreads();
    uint32_t queries[D / 16][4];
    for (uint32_t s = 0; s < D / 16; s++)
        load_matrices(queries[s], value_area + (16 * warp + lane % 16) * ROW + 16 * s + lane / 16 * 8);
    __syncthreads();

    float highest[2] = {MINUS_INFINITY, MINUS_INFINITY}, sum[2] = {0, 0}, sums[D / 8][4];
    for (uint32_t n = 0; n < D / 8; n++)
        for (int i = 0; i < 4; i++) sums[n][i] = 0;

    while (tile < span.end) {
        const uint32_t end = least(tile + TILE, span.end), next = next_tile(tile + TILE);
        fetch<T, D>(value_area, values, tile, span.end);
        // A warp without rows, or whose rows see nothing here, only fetches.
        const bool busy = own.start < end && own.end > tile;
        float s[TILE / 8][4];
        wait_copies<1>();
        __syncthreads(); // keys are there
        if (busy) {
            for (uint32_t n = 0; n < TILE / 8; n++)
                for (int i = 0; i < 4; i++) s[n][i] = 0;
#pragma unroll
            for (uint32_t d = 0; d < D / 16; d++) {
#pragma unroll
                for (uint32_t n = 0; n < TILE / 16; n++) {
                    uint32_t b[4];
                    const uint32_t e = 16 * n + lane / 16 * 8 + lane % 8;
                    load_matrices(b, key_area + e * ROW + 16 * d + lane / 8 % 2 * 8);
                    multiply_add<T>(s[2 * n], queries[d], b[0], b[1]);
                    multiply_add<T>(s[2 * n + 1], queries[d], b[2], b[3]);
                }
            }
        }
        __syncthreads(); // keys are read
        if (next < span.end) fetch<T, D>(key_area, keys, next, span.end);
        else commit_copies(); // one group a step, so that the count below holds
        uint32_t weights[TILE / 16][4];
        if (busy) {
            const bool whole = !before && tile >= own.all_from && tile + TILE <= least(own.all_to, span.end);
            float top[2] = {highest[0], highest[1]};
#pragma unroll
            for (uint32_t n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const uint32_t e = tile + 8 * n + 2 * t + i % 2;
                    const bool visible = whole || (e < end && sees(row[i / 2], e, before));
                    s[n][i] = visible ? s[n][i] * scale : MINUS_INFINITY;
                    top[i / 2] = fmaxf(top[i / 2], s[n][i]);
                }
            float base[2], shrink[2], more[2] = {0, 0};
#pragma unroll
            for (int i = 0; i < 2; i++) {
                for (int step = 1; step < 4; step *= 2)
                    top[i] = fmaxf(top[i], __shfl_xor_sync(ALL_LANES, top[i], step));
                base[i] = top[i] == MINUS_INFINITY ? 0.0f : top[i];
                shrink[i] = exp2f(highest[i] - base[i]);
                highest[i] = top[i];
            }
#pragma unroll
            for (uint32_t n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    s[n][i] = exp2f(s[n][i] - base[i / 2]);
                    more[i / 2] += s[n][i];
                }
#pragma unroll
            for (uint32_t n = 0; n < TILE / 16; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    weights[n][i] = pack<T>(s[2 * n + i / 2][i % 2 * 2], s[2 * n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int i = 0; i < 2; i++) sum[i] = sum[i] * shrink[i] + more[i]; // a lane's part of the row
#pragma unroll
            for (uint32_t n = 0; n < D / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) sums[n][i] *= shrink[i / 2];
        }
        wait_copies<1>();
        __syncthreads(); // values are there
        if (busy) {
#pragma unroll
            for (uint32_t n = 0; n < D / 16; n++) {
#pragma unroll
                for (uint32_t e = 0; e < TILE / 16; e++) {
                    uint32_t b[4];
                    const uint32_t from_row = 16 * e + lane / 8 % 2 * 8 + lane % 8;
                    load_matrices_transposed(b, value_area + from_row * ROW + 16 * n + lane / 16 * 8);
                    multiply_add<T>(sums[2 * n], weights[e], b[0], b[1]);
                    multiply_add<T>(sums[2 * n + 1], weights[e], b[2], b[3]);
                }
            }
        }
        __syncthreads(); // values are read
        tile = next;
    }
    wait_copies<0>();
    for (int i = 0; i < 2; i++) {
        for (int step = 1; step < 4; step *= 2) sum[i] += __shfl_xor_sync(ALL_LANES, sum[i], step);
        const uint32_t r = 16 * warp + g + 8 * i;
        if (first + r >= packed) continue;
        const size_t share = (size_t)blockIdx.z * rows * heads;
        const float divide = sum[i] == 0.0f ? 1.0f : sum[i];
        float* to_row = out + (share + vector(r)) * D;
        for (uint32_t n = 0; n < D / 8; n++) {
            to_row[8 * n + 2 * t] = sums[n][2 * i] / divide;
            to_row[8 * n + 2 * t + 1] = sums[n][2 * i + 1] / divide;
        }
        if (lse && t == 0) lse[share + vector(r)] = log_sum(highest[i], sum[i]);
    }
}

#define ATTEND(name, T, D)                                                                                             \
    KERNEL(name, 128, 1)                                                                                               \
    (const float* q, const T* k, const T* v, const uint32_t* from, const uint32_t* to, const uint32_t* segment,        \
     const uint32_t* before, const uint32_t* step, float* out, float* lse, uint32_t rows, uint32_t heads,              \
     uint32_t dim, uint32_t group, uint32_t capacity, float scale) {                                                   \
        if (step) from += *step, to += *step;                                                                          \
        if (dim == D) attend<T, D>(q, k, v, from, to, segment, before, out, lse, rows, heads, group, capacity, scale); \
    }                                                                                                                  \
    EXPORT(name)

ATTEND(attention_mma_f16_64, f16, 64)
ATTEND(attention_mma_f16_96, f16, 96)
ATTEND(attention_mma_f16_128, f16, 128)
ATTEND(attention_mma_bf16_64, bf16, 64)
ATTEND(attention_mma_bf16_96, bf16, 96)
ATTEND(attention_mma_bf16_128, bf16, 128)
