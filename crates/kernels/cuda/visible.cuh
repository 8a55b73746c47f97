// Which entries a row sees, and which tiles of entries a block of rows need not look at.
#pragma once
#include "launch.cuh"

// Entries from..to, of those before `segment` only the tagged ones.
struct Seen { uint32_t from, to, segment; };

// `segment` is null where every entry of the range is seen. An absent row sees nothing.
DEVICE Seen seen_by(bool present, uint32_t row, const uint32_t* from, const uint32_t* to, const uint32_t* segment) {
    Seen seen = {0xffffffffu, 0, 0};
    if (present && from[row] < to[row]) seen = {from[row], to[row], segment ? segment[row] : 0};
    return seen;
}

// before [entries + 1] counts the tagged entries before each one.
DEVICE bool sees(const Seen& row, uint32_t e, const uint32_t* before) {
    if (e < row.from || e >= row.to) return false;
    return !before || e >= row.segment || before[e + 1] != before[e];
}

// What a block of rows sees: nothing outside start..end, everything of its range within all_from..all_to,
// and before `segment` tagged entries only.
struct Span { uint32_t start, end, all_from, all_to, segment; };

DEVICE Span span_of(const Seen* rows, uint32_t count) {
    Span span = {0xffffffffu, 0, 0, 0xffffffffu, 0xffffffffu};
    for (uint32_t r = 0; r < count; r++) {
        span.start = least(span.start, rows[r].from);
        span.end = most(span.end, rows[r].to);
        span.all_from = most(span.all_from, rows[r].from);
        span.all_to = least(span.all_to, rows[r].to);
        if (rows[r].from < rows[r].to) span.segment = least(span.segment, rows[r].segment);
    }
    if (span.start >= span.end) span.start = span.end = 0;
    return span;
}

// This block's share of the entries, in whole tiles.
DEVICE Span share_of(Span span, uint32_t tile) {
    const uint32_t tiles = (span.end - span.start + tile - 1) / tile, each = (tiles + gridDim.z - 1) / gridDim.z;
    span.start = least(span.start + blockIdx.z * each * tile, span.end);
    span.end = least(span.start + each * tile, span.end);
    return span;
}

// Whether no row of the block sees an entry of start..end because none is tagged.
DEVICE bool hidden(const Span& span, const uint32_t* before, uint32_t start, uint32_t end) {
    return before && end <= span.segment && before[end] == before[start];
}

// The base-2 log-sum-exp of a running maximum and sum; minus infinity where nothing was seen.
DEVICE float log_sum(float highest, float sum) {
    return highest == MINUS_INFINITY && sum == 0.0f ? MINUS_INFINITY : highest + log2f(sum);
}
