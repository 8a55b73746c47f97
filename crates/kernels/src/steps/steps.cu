// The end of a decoding step: its token is noted, becomes the next step's, and the counter goes on.
//
// top [6] as logits.cu gives it; told [most, 6]; token and at are one number each. One thread.
#include "launch.cuh"

KERNEL(steps_turn, 32, 1)(const uint32_t* top, uint32_t* told, uint32_t* token, uint32_t* at, uint32_t most) {
    if (threadIdx.x != 0 || *at >= most) return;
    for (uint32_t w = 0; w < 6; w++) told[*at * 6 + w] = top[w];
    *token = top[0];
    *at += 1;
}
EXPORT(steps_turn)
