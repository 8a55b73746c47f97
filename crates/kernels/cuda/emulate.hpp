// Grid, block, warp and shared memory of CUDA on one CPU thread, for tests.
//
// Every thread of a block is a fiber; a barrier hands over to the next one until all have arrived. All
// blocks of a cooperative launch are alive at once. A launch in which nobody can go on is reported, not
// waited for. An asynchronous copy happens late in some blocks and early in others.
#pragma once
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

struct uint3 { uint32_t x, y, z; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };

struct bf16 { uint16_t bits; };
struct f16 { uint16_t bits; };

#define __device__
#define __forceinline__ inline
#define DEVICE static inline
#define KERNEL(name, threads, blocks) static void name
#define EXPORT(name) static const emulate::Registered registered_##name(#name, &emulate::call<decltype(name), name>);
#define SHARED_MEMORY(name) unsigned char* name = emulate::self().block->shared

static inline uint32_t __float_as_uint(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline float __uint_as_float(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }

DEVICE float to_f32(float x) { return x; }
DEVICE float to_f32(bf16 x) { return __uint_as_float((uint32_t)x.bits << 16); }
DEVICE float to_f32(f16 x) {
    const uint32_t sign = (uint32_t)(x.bits & 0x8000) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    const float size = exponent ? ldexpf((float)(fraction | 1024), (int)exponent - 25) : ldexpf((float)fraction, -24);
    return sign ? -size : size;
}
template <typename T> DEVICE T from_f32(float x);
template <> inline float from_f32<float>(float x) { return x; }
template <> inline bf16 from_f32<bf16>(float x) {
    const uint32_t bits = __float_as_uint(x);
    if (x != x) return bf16{0x7fff};
    return bf16{(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
template <> inline f16 from_f32<f16>(float x) {
    const uint16_t sign = (uint16_t)(__float_as_uint(x) >> 16 & 0x8000);
    const float size = fabsf(x);
    if (x != x) return f16{0x7fff};
    if (size >= 65520.0f) return f16{(uint16_t)(sign | 0x7c00)};
    if (size < ldexpf(1, -14)) return f16{(uint16_t)(sign | (uint16_t)nearbyintf(size * 16777216.0f))};
    int exponent;
    const float fraction = frexpf(size, &exponent); // 0.5 .. 1
    const uint32_t digits = (uint32_t)nearbyintf(fraction * 2048.0f); // 1024 .. 2048
    return f16{(uint16_t)(sign | (((uint32_t)(exponent + 13) << 10) + digits))};
}

namespace emulate {

struct Block;

struct Copy { void* to; const void* from; bool valid; };

struct Fiber {
    Block* block;
    uint3 thread;
    uint32_t lane, warp;
    bool started = false, done = false;
    ucontext_t start;
    jmp_buf at;
    std::unique_ptr<char[]> stack;
    std::vector<std::vector<Copy>> groups = std::vector<std::vector<Copy>>(1);
};

struct Barrier { uint32_t arrived = 0, generation = 0; };

struct Warp {
    Barrier barrier;
    alignas(16) unsigned char slots[32][64];
};

struct Block {
    uint3 index;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Warp> warps;
    Barrier barrier;
    int any = 0;
    std::vector<unsigned char> memory;
    unsigned char* shared;

    // Blocks differ in what a GPU leaves open, so that a missing barrier shows: every second one runs its threads
    // backwards, every second pair copies at once instead of when it waits.
    uint32_t number() const { return index.x + index.y + index.z; }
};

struct Machine {
    uint3 grid, block;
    Fiber* current = nullptr;
    jmp_buf scheduler;
    uint64_t progress = 0;
    void (*entry)(void**);
    void** args;
};

inline Machine& machine() { static Machine m; return m; }
inline Fiber& self() { return *machine().current; }

inline void yield() {
    Fiber& f = self();
    if (_setjmp(f.at) == 0) _longjmp(machine().scheduler, 1);
}

inline void trampoline() {
    Machine& m = machine();
    m.entry(m.args);
    m.current->done = true;
    m.progress++;
    _longjmp(m.scheduler, 1);
}

inline void resume(Fiber& f) {
    Machine& m = machine();
    m.current = &f;
    if (_setjmp(m.scheduler) != 0) return;
    if (f.started) _longjmp(f.at, 1);
    f.started = true;
    setcontext(&f.start);
}

inline void wait(Barrier& barrier, uint32_t members) {
    const uint32_t generation = barrier.generation;
    if (++barrier.arrived == members) {
        barrier.arrived = 0;
        barrier.generation++;
        machine().progress++;
        return;
    }
    while (barrier.generation == generation) yield();
}

inline void wait_warp() { wait(self().block->warps[self().warp].barrier, 32); }

// Every lane puts a value down; `read` sees those of all lanes.
template <typename V, typename R> auto exchange(const V& value, R read) {
    static_assert(sizeof(V) <= 64, "a slot holds 64 bytes");
    Warp& warp = self().block->warps[self().warp];
    memcpy(warp.slots[self().lane], &value, sizeof(V));
    wait_warp();
    auto result = read([&](uint32_t lane) { V v; memcpy(&v, warp.slots[lane], sizeof(V)); return v; });
    wait_warp();
    return result;
}

typedef void (*Entry)(void**);
inline std::map<std::string, Entry>& kernels() { static std::map<std::string, Entry> all; return all; }
struct Registered { Registered(const char* name, Entry entry) { kernels()[name] = entry; } };

template <typename F> struct Caller;
template <typename... P> struct Caller<void(P...)> {
    template <void (*kernel)(P...), size_t... I> static void run(void** args, std::index_sequence<I...>) {
        kernel(*(std::remove_reference_t<P>*)args[I]...);
    }
};
template <typename F> struct Arity;
template <typename... P> struct Arity<void(P...)> { typedef std::make_index_sequence<sizeof...(P)> Indices; };
template <typename F, F* kernel> void call(void** args) {
    Caller<F>::template run<kernel>(args, typename Arity<F>::Indices());
}

inline std::unique_ptr<Block> make_block(uint3 index, uint32_t shared) {
    Machine& m = machine();
    auto block = std::make_unique<Block>();
    block->index = index;
    block->memory.assign(shared + 128, 0xa5); // no number that a kernel may rely on
    block->shared = (unsigned char*)(((uintptr_t)block->memory.data() + 127) / 128 * 128);
    block->warps.resize((m.block.x + 31) / 32);
    const size_t stack = 64 * 1024;
    for (uint32_t t = 0; t < m.block.x; t++) {
        auto f = std::make_unique<Fiber>();
        f->block = block.get();
        f->thread = {t, 0, 0};
        f->lane = t % 32;
        f->warp = t / 32;
        f->stack.reset(new char[stack]);
        getcontext(&f->start);
        f->start.uc_stack.ss_sp = f->stack.get();
        f->start.uc_stack.ss_size = stack;
        f->start.uc_link = nullptr;
        makecontext(&f->start, trampoline, 0);
        block->fibers.push_back(std::move(f));
    }
    return block;
}

// Runs blocks to their ends; false if nobody can go on.
inline bool run(std::vector<std::unique_ptr<Block>>& blocks) {
    Machine& m = machine();
    for (int idle = 0; idle < 1000;) {
        const uint64_t before = m.progress;
        bool alive = false;
        for (auto& block : blocks) {
            const bool backwards = block->number() % 2 == 1;
            for (size_t i = 0; i < block->fibers.size(); i++) {
                Fiber& f = *block->fibers[backwards ? block->fibers.size() - 1 - i : i];
                if (f.done) continue;
                alive = true;
                resume(f);
            }
        }
        if (!alive) return true;
        idle = m.progress == before ? idle + 1 : 0;
    }
    return false;
}

} // namespace emulate

#define threadIdx (emulate::self().thread)
#define blockIdx (emulate::self().block->index)
#define blockDim (emulate::machine().block)
#define gridDim (emulate::machine().grid)

inline void __syncthreads() { emulate::wait(emulate::self().block->barrier, blockDim.x); }
inline int __syncthreads_or(int x) {
    emulate::Block& b = *emulate::self().block;
    __syncthreads();
    b.any = 0;
    __syncthreads();
    b.any |= x;
    __syncthreads();
    return b.any;
}
inline void __threadfence() {}
DEVICE void relax() { emulate::yield(); }

template <typename V> V __shfl_xor_sync(uint32_t, V x, int bits) {
    const uint32_t lane = emulate::self().lane;
    return emulate::exchange(x, [&](auto of) { return of(lane ^ bits); });
}
template <typename V> V __shfl_up_sync(uint32_t, V x, uint32_t by) {
    const uint32_t lane = emulate::self().lane;
    return emulate::exchange(x, [&](auto of) { return of(lane >= by ? lane - by : lane); });
}

// Fibers change hands at barriers only, so a plain read and write is atomic.
template <typename N> N atomicAdd(N* at, std::common_type_t<N> by) {
    const N old = *at;
    *at += by;
    emulate::machine().progress++;
    return old;
}
inline uint32_t atomicMin(uint32_t* at, uint32_t with) {
    const uint32_t old = *at;
    *at = old < with ? old : with;
    return old;
}
inline u64 __umul64hi(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }

namespace emulate {
inline void copy(const Copy& c) {
    if (c.valid) memcpy(c.to, c.from, 16);
    else memset(c.to, 0, 16);
}
} // namespace emulate

DEVICE void copy16_async(void* to, const void* from, bool valid) {
    const emulate::Copy copy = {to, from, valid};
    if (emulate::self().block->number() / 2 % 2 == 1) emulate::copy(copy);
    else emulate::self().groups.back().push_back(copy);
}
DEVICE void commit_copies() { emulate::self().groups.emplace_back(); }
template <int PENDING> DEVICE void wait_copies() {
    auto& groups = emulate::self().groups; // the last one is still open
    while (groups.size() > PENDING + 1) {
        for (const emulate::Copy& c : groups.front()) emulate::copy(c);
        groups.erase(groups.begin());
    }
}

// Register `i` of lane `l`: row `l / 4`, columns `2 (l % 4)` and the next, of matrix `i`.
DEVICE void load_matrices(uint32_t r[4], const void* row) {
    const uint32_t lane = emulate::self().lane;
    emulate::exchange(row, [&](auto of) {
        for (int i = 0; i < 4; i++) memcpy(&r[i], (const char*)of(8 * i + lane / 4) + 4 * (lane % 4), 4);
        return 0;
    });
}
// Rows and columns change places.
DEVICE void load_matrices_transposed(uint32_t r[4], const void* row) {
    const uint32_t lane = emulate::self().lane;
    emulate::exchange(row, [&](auto of) {
        for (int i = 0; i < 4; i++) {
            uint16_t two[2];
            for (int e = 0; e < 2; e++) two[e] = ((const uint16_t*)of(8 * i + 2 * (lane % 4) + e))[lane / 4];
            memcpy(&r[i], two, 4);
        }
        return 0;
    });
}

// m16n8k16: with g = lane / 4 and t = lane % 4 a lane holds of a the rows g and g + 8 (registers 0, 1; columns
// 2t, 2t + 1) and the same of columns + 8 (registers 2, 3); of b rows 2t, 2t + 1 (register 0) and + 8 (1) of
// column g; of c rows g (0, 1) and g + 8 (2, 3) of columns 2t, 2t + 1.
template <typename T> DEVICE void multiply_add(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    struct Held { uint32_t a[4], b[2]; };
    const Held mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const uint32_t lane = emulate::self().lane;
    const auto half = [](uint32_t pair, uint32_t which) {
        const uint16_t bits = (uint16_t)(pair >> 16 * which);
        return to_f32(T{bits});
    };
    emulate::exchange(mine, [&](auto of) {
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
            float sum = 0;
            for (uint32_t k = 0; k < 16; k++) {
                const Held left = of(row % 8 * 4 + k % 8 / 2), right = of(column * 4 + k % 8 / 2);
                sum += half(left.a[row / 8 + 2 * (k / 8)], k % 2) * half(right.b[k / 8], k % 2);
            }
            c[i] += sum;
        }
        return 0;
    });
}
