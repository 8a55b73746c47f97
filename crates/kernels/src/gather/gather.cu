// Entries of many tensors by index, in one launch.
//
// from[n]  [heads of n, capacity, dim]   n < tensors, row-major, of one type
// to[n]    [heads, count, dim]           to[n][h][i] = from[n][first_head + h][indices[i]]
//
// Indices must be below `capacity`; the host has looked. Entries are copied bit by bit.
// Grid: x over 16-byte pieces (single numbers where dim does not divide into them), y over tensors and heads.
#include "launch.cuh"

// Tensors of a launch, whose parameters are two tables of as many pointers.
static const int TENSORS = 64;
struct Sources { const void* at[TENSORS]; };
struct Targets { void* at[TENSORS]; };

// Pieces of W numbers: 16 bytes, or one number.
template <typename T, int W>
DEVICE void gather_pieces(const Sources& from, const Targets& to, const uint32_t* indices, uint32_t heads,
                          uint32_t first_head, uint32_t capacity, uint32_t count, uint32_t dim) {
    const uint32_t pieces = dim / W;
    const size_t piece = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (piece >= (size_t)count * pieces) return;
    const uint32_t i = (uint32_t)(piece / pieces), at = (uint32_t)(piece % pieces) * W;
    const uint32_t tensor = blockIdx.y / heads, head = blockIdx.y % heads;
    const T* row = (const T*)from.at[tensor] + ((size_t)(first_head + head) * capacity + indices[i]) * dim;
    T* out = (T*)to.at[tensor] + ((size_t)head * count + i) * dim + at;
    if (W == 1) *out = row[at];
    else *(uint4*)out = *(const uint4*)(row + at);
}

#define GATHER(name, T, W)                                                                                             \
    KERNEL(name, 256, 1)                                                                                               \
    (const Sources from, const Targets to, const uint32_t* indices, uint32_t heads, uint32_t first_head,               \
     uint32_t capacity, uint32_t count, uint32_t dim) {                                                                \
        gather_pieces<T, W>(from, to, indices, heads, first_head, capacity, count, dim);                               \
    }                                                                                                                  \
    EXPORT(name)

GATHER(gather_f32, float, 4)
GATHER(gather_f32_single, float, 1)
GATHER(gather_f16, f16, 8)
GATHER(gather_f16_single, f16, 1)
GATHER(gather_bf16, bf16, 8)
GATHER(gather_bf16_single, bf16, 1)
