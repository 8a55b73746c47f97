// A logit among others, as `logits::told` reads it.
#pragma once
#include <stdint.h>

struct Pick {
    uint32_t index; // below the number of logits, whatever these are
    float value;
    double log_sum; // of the exponentials of all logits
    uint32_t bad;   // the lowest index of a number that is NaN or infinite; none: the largest number
    float bad_value;
};
