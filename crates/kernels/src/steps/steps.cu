// The end of a decoding step: its token is noted, becomes the next step's, and the counter goes on.
//
// pick is one; told [most, 6] gets its words; token and at are one number each. recent [window] or null: the token takes
// the place of the oldest there. One thread.
#include "launch.cuh"

KERNEL(steps_turn, 32, 1)
(const uint32_t* pick, uint32_t* told, uint32_t* token, uint32_t* at, uint32_t* recent, uint32_t most, uint32_t window) {
    if (threadIdx.x != 0 || *at >= most) return;
    for (uint32_t w = 0; w < 6; w++) told[*at * 6 + w] = pick[w];
    *token = pick[0];
    if (recent) recent[*at % window] = pick[0];
    *at += 1;
}
EXPORT(steps_turn)
