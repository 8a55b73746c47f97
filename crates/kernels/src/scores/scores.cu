// How strongly given queries ask for each cached entry.
//
// q [rows, heads, dim] f32; k [kv_heads, capacity, dim] f32, f16 or bf16, of which `entries` are in use; query head
// h reads kv head h / group. Everything is summed in f32.
//
// Raw scores are linear in the queries, so rows, and heads that only add up, are folded into one query a kv head
// first (`scores_fold`); then keys are read once (`scores_raw`) and are never expanded to the query heads.
// Softmax scores take two sweeps: `scores_totals` leaves every row's log-sum-exp, `scores_columns` sums the weights
// over the rows by span of entries, `scores_combine` adds heads up. Memory is heads x (rows + entries).
// Scores that are not finite are noted by the lowest index in `*bad`.
#include "launch.cuh"
#include "tile.cuh"

// What raw scores of several folded queries become.
static const uint32_t ADD = 0, EACH = 1, LARGEST = 2;

// q [rows, heads, dim] to folded [kv_heads, each, dim]: sums over rows, times `scale`; with each == 1 over the heads of
// the group too, weighted by weights [heads], else one head each. Grid: kv_heads * each blocks.
KERNEL(scores_fold, 128, 1)
(const float* q, const float* weights, float* folded, uint32_t rows, uint32_t heads, uint32_t dim, uint32_t group,
 uint32_t each, float scale) {
    const uint32_t first = blockIdx.x / each * group + (each == 1 ? 0 : blockIdx.x % each);
    const uint32_t last = each == 1 ? first + group : first + 1;
    for (uint32_t d = threadIdx.x; d < dim; d += blockDim.x) {
        float sum = 0;
        for (uint32_t h = first; h < last; h++) {
            float row_sum = 0;
            for (uint32_t r = 0; r < rows; r++) row_sum += q[((size_t)r * heads + h) * dim + d] * scale;
            // 0 times what is no number would be none.
            if (weights[h] != 0) sum += weights[h] * row_sum;
        }
        folded[(size_t)blockIdx.x * dim + d] = sum;
    }
}
EXPORT(scores_fold)

// W numbers of a key row: one, or 16 bytes of them.
template <typename T, int W> DEVICE void load_piece(const T* from, float to[W]) {
    if (W == 1) {
        to[0] = to_f32(*from);
    } else {
        alignas(16) T numbers[W];
        *(uint4*)numbers = *(const uint4*)from;
        for (int w = 0; w < W; w++) to[w] = to_f32(numbers[w]);
    }
}

DEVICE float lanes_sum(float x, uint32_t lanes) {
    for (uint32_t step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

// `lanes` (a power of two) lanes share an entry; each reads pieces of W numbers of its key. Of kv heads whose asked
// [kv_heads] is 0 no key is read. Grid: x over entries.
template <typename T, int W>
DEVICE void raw_scores(const float* folded, const uint32_t* asked, const T* k, float* out, uint32_t* bad,
                       uint32_t entries, uint32_t capacity, uint32_t kv_heads, uint32_t dim, uint32_t each,
                       uint32_t lanes, uint32_t how) {
    SHARED_MEMORY(shared);
    float* queries = (float*)shared; // [kv_heads * each][dim]
    for (uint32_t i = threadIdx.x; i < kv_heads * each * dim; i += blockDim.x) queries[i] = folded[i];
    __syncthreads();
    const uint32_t lane = threadIdx.x % lanes, pieces = dim / W, at_once = blockDim.x / lanes;
    // Whole warps stay in the loop for the sums over lanes.
    const uint32_t rounds = (entries + at_once * gridDim.x - 1) / (at_once * gridDim.x);
    for (uint32_t round = 0; round < rounds; round++) {
        const uint32_t e = (round * gridDim.x + blockIdx.x) * at_once + threadIdx.x / lanes;
        float result = how == LARGEST ? MINUS_INFINITY : 0.0f;
        for (uint32_t kv = 0; kv < kv_heads; kv++) {
            if (!asked[kv]) continue;
            const T* key = k + ((size_t)kv * capacity + e) * dim;
            for (uint32_t j = 0; j < each; j++) {
                const float* query = queries + (kv * each + j) * dim;
                float sum = 0;
                if (e < entries) {
                    for (uint32_t piece = lane; piece < pieces; piece += lanes) {
                        float numbers[W];
                        load_piece<T, W>(key + piece * W, numbers);
                        for (int w = 0; w < W; w++) sum += numbers[w] * query[piece * W + w];
                    }
                }
                if (how == ADD) {
                    result += sum;
                    continue;
                }
                sum = lanes_sum(sum, lanes);
                if (how == LARGEST) {
                    // A comparison that keeps a NaN, so that it is seen.
                    if (sum != sum || sum > result) result = sum;
                } else if (lane == 0 && e < entries) {
                    const uint32_t to = (kv * each + j) * entries + e;
                    out[to] = sum;
                    note_if_not_finite(sum, to, bad);
                }
            }
        }
        if (how == ADD) result = lanes_sum(result, lanes);
        if (how != EACH && lane == 0 && e < entries) {
            out[e] = result;
            note_if_not_finite(result, e, bad);
        }
    }
}

#define RAW(name, T, W)                                                                                                \
    KERNEL(name, 256, 2)                                                                                               \
    (const float* folded, const uint32_t* asked, const T* k, float* out, uint32_t* bad, uint32_t entries,              \
     uint32_t capacity, uint32_t kv_heads, uint32_t dim, uint32_t each, uint32_t lanes, uint32_t how) {                \
        raw_scores<T, W>(folded, asked, k, out, bad, entries, capacity, kv_heads, dim, each, lanes, how);              \
    }                                                                                                                  \
    EXPORT(name)

RAW(scores_raw_f32, float, 4)
RAW(scores_raw_f32_single, float, 1)
RAW(scores_raw_f16, f16, 8)
RAW(scores_raw_f16_single, f16, 1)
RAW(scores_raw_bf16, bf16, 8)
RAW(scores_raw_bf16_single, bf16, 1)

// First sweep: base-2 log-sum-exp of each row over its entries from[row]..to[row], as far as they lie in this block's
// share. totals [shares, heads, rows]; `scale` holds the factor log2(e). Grid: row tiles, heads, shares.
template <typename T>
DEVICE void totals(const float* q, const T* k, const uint32_t* from, const uint32_t* to, float* out, uint32_t rows,
                   uint32_t heads, uint32_t dim, uint32_t group, uint32_t capacity, uint32_t entries, float scale) {
    SHARED_MEMORY(shared);
    const uint32_t first = blockIdx.x * TILE, head = blockIdx.y, x = threadIdx.x % 16, y = threadIdx.x / 16;
    const uint32_t share = (entries + TILE * gridDim.z - 1) / (TILE * gridDim.z) * TILE;
    const uint32_t start = blockIdx.z * share, end = least(start + share, entries);
    const T* keys = k + (size_t)(head / group) * capacity * dim;
    const auto query = [&](uint32_t r) {
        return first + r < rows ? q + ((size_t)(first + r) * heads + head) * dim : nullptr;
    };
    float highest[4], sum[4];
    uint32_t lo[4], hi[4];
    for (int i = 0; i < 4; i++) {
        const uint32_t row = first + 4 * y + i;
        highest[i] = MINUS_INFINITY;
        sum[i] = 0;
        lo[i] = row < rows ? from[row] : 0;
        hi[i] = row < rows ? to[row] : 0;
    }
    for (uint32_t tile = start; tile < end; tile += TILE) {
        const auto key = [&](uint32_t e) { return tile + e < end ? keys + (size_t)(tile + e) * dim : nullptr; };
        float s[4][4];
        tile_products<T>(dim, (float*)shared, query, key, s);
        for (int i = 0; i < 4; i++) {
            float top = MINUS_INFINITY;
            for (int j = 0; j < 4; j++) {
                const uint32_t e = tile + 4 * x + j;
                const bool seen = e >= lo[i] && e < hi[i] && e < end;
                s[i][j] = seen ? s[i][j] * scale : MINUS_INFINITY;
                top = fmaxf(top, s[i][j]);
            }
            top = fmaxf(highest[i], row_max(top));
            const float base = top == MINUS_INFINITY ? 0.0f : top;
            float more = 0;
            for (int j = 0; j < 4; j++) more += exp2f(s[i][j] - base);
            sum[i] = sum[i] * exp2f(highest[i] - base) + row_sum(more);
            highest[i] = top;
        }
    }
    if (x != 0) return;
    for (int i = 0; i < 4; i++) {
        const uint32_t row = first + 4 * y + i;
        if (row >= rows) continue;
        const float base = highest[i] == MINUS_INFINITY ? 0.0f : highest[i];
        out[((size_t)blockIdx.z * heads + head) * rows + row] = base + log2f(sum[i]);
    }
}

#define TOTALS(name, T)                                                                                                \
    KERNEL(name, 256, 2)                                                                                               \
    (const float* q, const T* k, const uint32_t* from, const uint32_t* to, float* out, uint32_t rows, uint32_t heads,  \
     uint32_t dim, uint32_t group, uint32_t capacity, uint32_t entries, float scale) {                                 \
        totals<T>(q, k, from, to, out, rows, heads, dim, group, capacity, entries, scale);                             \
    }                                                                                                                  \
    EXPORT(name)

TOTALS(scores_totals_f32, float)
TOTALS(scores_totals_f16, f16)
TOTALS(scores_totals_bf16, bf16)

// Second sweep: per head and entry the sum of the rows' weights, sums [heads, entries]. Grid: entry tiles, heads.
template <typename T>
DEVICE void columns(const float* q, const T* k, const uint32_t* from, const uint32_t* to, const float* totals,
                    float* out, uint32_t rows, uint32_t heads, uint32_t dim, uint32_t group, uint32_t capacity,
                    uint32_t entries, uint32_t shares, float scale) {
    SHARED_MEMORY(shared);
    float* total = (float*)(shared + SLICES); // [TILE], the rows' log-sum-exp
    float* partial = total + TILE;            // [16][TILE], sums of four rows each
    const uint32_t tile = blockIdx.x * TILE, head = blockIdx.y, x = threadIdx.x % 16, y = threadIdx.x / 16;
    const T* keys = k + (size_t)(head / group) * capacity * dim;
    const auto key = [&](uint32_t e) { return tile + e < entries ? keys + (size_t)(tile + e) * dim : nullptr; };
    float sum[4] = {0, 0, 0, 0};
    for (uint32_t first = 0; first < rows; first += TILE) {
        // Rows that see nothing of the tile are left out, and tiles of such rows.
        uint32_t any = 0;
        if (threadIdx.x < TILE && first + threadIdx.x < rows) {
            const uint32_t row = first + threadIdx.x;
            any = from[row] < tile + TILE && to[row] > tile;
            float highest = MINUS_INFINITY, all = 0;
            for (uint32_t s = 0; s < shares; s++) {
                const float one = totals[((size_t)s * heads + head) * rows + row];
                highest = one != one || one > highest ? one : highest;
            }
            const float base = highest == MINUS_INFINITY ? 0.0f : highest;
            for (uint32_t s = 0; s < shares; s++) all += exp2f(totals[((size_t)s * heads + head) * rows + row] - base);
            total[threadIdx.x] = base + log2f(all);
        }
        if (!__syncthreads_or(any)) continue;
        const auto query = [&](uint32_t r) {
            return first + r < rows ? q + ((size_t)(first + r) * heads + head) * dim : nullptr;
        };
        float s[4][4];
        tile_products<T>(dim, (float*)shared, query, key, s);
        for (int i = 0; i < 4; i++) {
            const uint32_t row = first + 4 * y + i;
            if (row >= rows) continue;
            const uint32_t lo = from[row], hi = to[row];
            for (int j = 0; j < 4; j++) {
                const uint32_t e = tile + 4 * x + j;
                if (e >= lo && e < hi) sum[j] += exp2f(s[i][j] * scale - total[4 * y + i]);
            }
        }
        __syncthreads();
    }
    for (int j = 0; j < 4; j++) partial[y * TILE + 4 * x + j] = sum[j];
    __syncthreads();
    if (threadIdx.x < TILE && tile + threadIdx.x < entries) {
        float all = 0;
        for (uint32_t i = 0; i < 16; i++) all += partial[i * TILE + threadIdx.x];
        out[(size_t)head * entries + tile + threadIdx.x] = all;
    }
}

#define COLUMNS(name, T)                                                                                               \
    KERNEL(name, 256, 2)                                                                                               \
    (const float* q, const T* k, const uint32_t* from, const uint32_t* to, const float* totals, float* out,            \
     uint32_t rows, uint32_t heads, uint32_t dim, uint32_t group, uint32_t capacity, uint32_t entries,                 \
     uint32_t shares, float scale) {                                                                                   \
        columns<T>(q, k, from, to, totals, out, rows, heads, dim, group, capacity, entries, shares, scale);            \
    }                                                                                                                  \
    EXPORT(name)

COLUMNS(scores_columns_f32, float)
COLUMNS(scores_columns_f16, f16)
COLUMNS(scores_columns_bf16, bf16)

// Adds up sums [heads, entries]: out row r takes the heads r * span .. (r + 1) * span, times weights [heads], or the
// largest of them. Grid: x over entries, y over rows of the answer.
KERNEL(scores_combine, 256, 1)
(const float* sums, const float* weights, float* out, uint32_t* bad, uint32_t entries, uint32_t span,
 uint32_t largest) {
    const uint32_t e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= entries) return;
    float result = largest ? MINUS_INFINITY : 0.0f;
    for (uint32_t h = blockIdx.y * span; h < (blockIdx.y + 1) * span; h++) {
        const float sum = sums[(size_t)h * entries + e];
        if (!largest) {
            if (weights[h] != 0) result += weights[h] * sum;
        } else if (sum != sum || sum > result) {
            result = sum;
        }
    }
    const uint32_t to = blockIdx.y * entries + e;
    out[to] = result;
    note_if_not_finite(result, to, bad);
}
EXPORT(scores_combine)
