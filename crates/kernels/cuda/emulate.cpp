#include "launch.cuh"

// 0: done; 1: no kernel of this name; 2: nobody could go on.
extern "C" int skimlm_emulate(const char* name, const uint32_t grid[3], uint32_t threads, uint32_t shared,
                              int cooperative, void** args) {
    const auto found = emulate::kernels().find(name);
    if (found == emulate::kernels().end()) return 1;
    emulate::Machine& m = emulate::machine();
    m.grid = {grid[0], grid[1], grid[2]};
    m.block = {threads, 1, 1};
    m.entry = found->second;
    m.args = args;
    std::vector<std::unique_ptr<emulate::Block>> alive;
    for (uint32_t z = 0; z < grid[2]; z++)
        for (uint32_t y = 0; y < grid[1]; y++)
            for (uint32_t x = 0; x < grid[0]; x++) {
                alive.push_back(emulate::make_block({x, y, z}, shared));
                if (cooperative) continue;
                if (!emulate::run(alive)) return 2;
                alive.clear();
            }
    return emulate::run(alive) ? 0 : 2;
}
