// Entries of many tensors by index, in one launch.
//
// from[n]  [heads of n, capacity, dim]   n < tensors, row-major, of one type
// to[n]    [heads, count, dim]           to[n][h][i] = from[n][first_head + h][indices[i]]
//
// Tensors whose bit is set in `turned` are keys that move: entry i turns by cos[i], sin[i] ([count, half], the
// pairs of RoPE), which is exact in the pairs' algebra since rotations add up; sums are f32 and rounded once.
// Indices must be below `capacity`; the host has looked. Entries copied as they are, are copied bit by bit.
// Grid: x over 16-byte pieces (single numbers where dim does not divide into them), y over tensors and heads.
#include "launch.cuh"

// As many as fit a launch's parameters: keys and values of 32 layers.
static const int TENSORS = 64;
struct Sources { const void* at[TENSORS]; };
struct Targets { void* at[TENSORS]; };

template <typename T> DEVICE T turned_number(const T* row, uint32_t i, const float* cos, const float* sin, uint32_t half,
                                             bool interleaved) {
    if (i >= 2 * half) return row[i];
    const uint32_t pair = interleaved ? i / 2 : i % half;
    const bool first = interleaved ? i % 2 == 0 : i < half;
    const uint32_t other = interleaved ? i ^ 1 : first ? i + half : i - half;
    const float own = to_f32(row[i]), partner = to_f32(row[other]);
    return from_f32<T>(first ? own * cos[pair] - partner * sin[pair] : own * cos[pair] + partner * sin[pair]);
}

// Pieces of W numbers: 16 bytes, or one number.
template <typename T, int W>
DEVICE void gather_pieces(const Sources& from, const Targets& to, const uint32_t* indices, const float* cos,
                          const float* sin, uint64_t turned, uint32_t heads, uint32_t first_head, uint32_t capacity,
                          uint32_t count, uint32_t dim, uint32_t half, bool interleaved) {
    const uint32_t pieces = dim / W;
    const size_t piece = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (piece >= (size_t)count * pieces) return;
    const uint32_t i = (uint32_t)(piece / pieces), at = (uint32_t)(piece % pieces) * W;
    const uint32_t tensor = blockIdx.y / heads, head = blockIdx.y % heads;
    const T* row = (const T*)from.at[tensor] + ((size_t)(first_head + head) * capacity + indices[i]) * dim;
    T* out = (T*)to.at[tensor] + ((size_t)head * count + i) * dim + at;
    if (!(turned >> tensor & 1)) {
        if (W == 1) *out = row[at];
        else *(uint4*)out = *(const uint4*)(row + at);
        return;
    }
    cos += (size_t)i * half;
    sin += (size_t)i * half;
    alignas(16) T numbers[W];
    for (int w = 0; w < W; w++) numbers[w] = turned_number(row, at + w, cos, sin, half, interleaved);
    if (W == 1) *out = numbers[0];
    else *(uint4*)out = *(const uint4*)numbers;
}

#define GATHER(name, T, W)                                                                                             \
    KERNEL(name, 256, 1)                                                                                               \
    (const Sources from, const Targets to, const uint32_t* indices, const float* cos, const float* sin,                \
     uint64_t turned, uint32_t heads, uint32_t first_head, uint32_t capacity, uint32_t count, uint32_t dim,            \
     uint32_t half, uint32_t interleaved) {                                                                            \
        gather_pieces<T, W>(from, to, indices, cos, sin, turned, heads, first_head, capacity, count, dim, half,        \
                            interleaved != 0);                                                                         \
    }                                                                                                                  \
    EXPORT(name)

GATHER(gather_f32, float, 4)
GATHER(gather_f32_single, float, 1)
GATHER(gather_f16, f16, 8)
GATHER(gather_f16_single, f16, 1)
GATHER(gather_bf16, bf16, 8)
GATHER(gather_bf16_single, bf16, 1)
