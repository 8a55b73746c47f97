// Attention of some query rows over cached entries, in f32 throughout.
//
// q [rows, heads, dim] f32; k and v [kv_heads, capacity, dim] f32, f16 or bf16; out [rows, heads, dim] f32. Query head h
// reads kv head h / group. Row r sees the entries from[r] <= e < to[r]; where `before` is given ([entries + 1], how
// many entries have a tag before each), only those of its own segment, from segment[r] on, and earlier ones with a tag.
// Where `step` is no null, row r sees what row r + *step of the ranges says. `scale` holds the factor log2(e). A row that
// sees nothing gets zeros. What a row does not see never counts, not even a NaN, except that a NaN value among entries of
// a tile in use spoils its dimension.
//
// The rows of the group's query heads stand together: 64 packed rows (row, head) by 64 keys a tile, online softmax.
// Grid: row tiles, kv heads, shares of the entries. With several shares out is [shares, rows, heads, dim] and `lse`
// [shares, rows, heads] the base-2 log-sum-exp, for `attention_merge`; with one share `lse` may be null.
#include "launch.cuh"
#include "tile.cuh"
#include "visible.cuh"

// DC: pieces of 64 dimensions in an output row.
template <typename T, int DC>
DEVICE void attend(const float* q, const T* k, const T* v, const uint32_t* from, const uint32_t* to,
                   const uint32_t* segment, const uint32_t* before, float* out, float* lse, uint32_t rows,
                   uint32_t heads, uint32_t dim, uint32_t group, uint32_t capacity, float scale) {
    SHARED_MEMORY(shared);
    float* slices = (float*)shared;                 // of the products; then values [TILE][PITCH]
    float* weights = (float*)(shared + SLICES);     // [TILE keys][PITCH rows]
    Seen* seen = (Seen*)(weights + TILE * PITCH);   // [TILE]
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16, kv = blockIdx.y, packed = rows * group;
    const uint32_t first = blockIdx.x * TILE;
    const T *keys = k + (size_t)kv * capacity * dim, *values = v + (size_t)kv * capacity * dim;
    const auto offset = [&](uint32_t r) { // of a packed row in q and out
        return ((size_t)((first + r) / group) * heads + kv * group + (first + r) % group) * dim;
    };
    for (uint32_t r = threadIdx.x; r < TILE; r += blockDim.x)
        seen[r] = seen_by(first + r < packed, (first + r) / group, from, to, segment);
    __syncthreads();
    const Span span = share_of(span_of(seen, TILE), TILE);

    float highest[4], sum[4], sums[4][4 * DC];
    for (int i = 0; i < 4; i++) {
        highest[i] = MINUS_INFINITY;
        sum[i] = 0;
        for (int d = 0; d < 4 * DC; d++) sums[i][d] = 0;
    }
    for (uint32_t tile = span.start; tile < span.end; tile += TILE) {
        const uint32_t end = least(tile + TILE, span.end);
        if (hidden(span, before, tile, end)) continue;
        const auto query = [&](uint32_t r) { return first + r < packed ? q + offset(r) : nullptr; };
        const auto key = [&](uint32_t e) { return tile + e < end ? keys + (size_t)(tile + e) * dim : nullptr; };
        float s[4][4];
        tile_products<T>(dim, slices, query, key, s);
        for (int i = 0; i < 4; i++) {
            const Seen row = seen[4 * y + i];
            float top = MINUS_INFINITY;
            for (int j = 0; j < 4; j++) {
                const uint32_t e = tile + 4 * x + j;
                s[i][j] = e < end && sees(row, e, before) ? s[i][j] * scale : MINUS_INFINITY;
                top = fmaxf(top, s[i][j]);
            }
            top = fmaxf(highest[i], row_max(top));
            const float base = top == MINUS_INFINITY ? 0.0f : top, shrink = exp2f(highest[i] - base);
            float more = 0;
            for (int j = 0; j < 4; j++) {
                const float weight = exp2f(s[i][j] - base);
                more += weight;
                weights[(4 * x + j) * PITCH + 4 * y + i] = weight;
            }
            sum[i] = sum[i] * shrink + row_sum(more);
            highest[i] = top;
            for (int d = 0; d < 4 * DC; d++) sums[i][d] *= shrink;
        }
        for (int c = 0; c < DC; c++) {
            __syncthreads(); // weights are written, earlier values are read
            for (uint32_t i = threadIdx.x; i < TILE * TILE; i += blockDim.x) {
                const uint32_t e = i / TILE, d = c * TILE + i % TILE;
                const bool inside = tile + e < end && d < dim;
                slices[e * PITCH + i % TILE] = inside ? to_f32(values[(size_t)(tile + e) * dim + d]) : 0.0f;
            }
            __syncthreads();
            for (uint32_t e = 0; e < end - tile; e++) {
                const float4 w = *(const float4*)(weights + e * PITCH + 4 * y);
                const float4 u = *(const float4*)(slices + e * PITCH + 4 * x);
                const float a[4] = {w.x, w.y, w.z, w.w}, b[4] = {u.x, u.y, u.z, u.w};
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 4; j++) sums[i][4 * c + j] += a[i] * b[j];
            }
        }
        __syncthreads(); // values are read
    }
    for (int i = 0; i < 4; i++) {
        const uint32_t r = 4 * y + i;
        if (first + r >= packed) continue;
        const size_t share = (size_t)blockIdx.z * rows * heads;
        const float divide = sum[i] == 0.0f ? 1.0f : sum[i];
        float* row = out + share * dim + offset(r);
        for (int c = 0; c < DC; c++)
            for (int j = 0; j < 4; j++) {
                const uint32_t d = c * TILE + 4 * x + j;
                if (d < dim) row[d] = sums[i][4 * c + j] / divide;
            }
        if (lse && x == 0) lse[share + offset(r) / dim] = log_sum(highest[i], sum[i]);
    }
}

#define ATTEND(name, T, DC)                                                                                            \
    KERNEL(name, 256, 1)                                                                                               \
    (const float* q, const T* k, const T* v, const uint32_t* from, const uint32_t* to, const uint32_t* segment,        \
     const uint32_t* before, const uint32_t* step, float* out, float* lse, uint32_t rows, uint32_t heads,              \
     uint32_t dim, uint32_t group, uint32_t capacity, float scale) {                                                   \
        if (step) from += *step, to += *step;                                                                          \
        attend<T, DC>(q, k, v, from, to, segment, before, out, lse, rows, heads, dim, group, capacity, scale);         \
    }                                                                                                                  \
    EXPORT(name)

ATTEND(attention_f32_64, float, 1)
ATTEND(attention_f32_128, float, 2)
ATTEND(attention_f32_256, float, 4)
ATTEND(attention_f16_64, f16, 1)
ATTEND(attention_f16_128, f16, 2)
ATTEND(attention_f16_256, f16, 4)
ATTEND(attention_bf16_64, bf16, 1)
ATTEND(attention_bf16_128, bf16, 2)
ATTEND(attention_bf16_256, bf16, 4)

// Adds up shares: parts [shares, rows * heads, dim] and lse [shares, rows * heads] to out. Grid: rows * heads.
KERNEL(attention_merge, 128, 1)
(const float* parts, const float* lse, float* out, uint32_t shares, uint32_t vectors, uint32_t dim) {
    const size_t row = blockIdx.x;
    float highest = MINUS_INFINITY, total = 0;
    for (uint32_t s = 0; s < shares; s++) highest = fmaxf(highest, lse[(size_t)s * vectors + row]);
    const float base = highest == MINUS_INFINITY ? 0.0f : highest;
    for (uint32_t s = 0; s < shares; s++) total += exp2f(lse[(size_t)s * vectors + row] - base);
    for (uint32_t d = threadIdx.x; d < dim; d += blockDim.x) {
        float sum = 0;
        for (uint32_t s = 0; s < shares; s++) {
            const float weight = exp2f(lse[(size_t)s * vectors + row] - base);
            // A share without weight may hold anything, and adds nothing.
            if (weight != 0.0f) sum += weight * parts[((size_t)s * vectors + row) * dim + d];
        }
        out[row * dim + d] = total == 0.0f ? 0.0f : sum / total;
    }
}
EXPORT(attention_merge)
