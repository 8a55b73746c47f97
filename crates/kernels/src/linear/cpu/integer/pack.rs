//! Blocks of a vector of outputs as vectors over the outputs.

use std::ops::Range;

use pulp::{Simd, i16x16};

use super::super::block::{Block, HEADS, Heads, PART};
use super::Grain;
use crate::linear::Weight;
use crate::simd::pairs::{COLUMNS, MOST, Pairs, keep, vector};

/// Where a panel goes: see [`super::Panel`], as many vectors wide.
pub(super) struct Room<'a> {
    pub(super) vectors: usize,
    pub(super) lanes: &'a mut [i32],
    pub(super) starts: &'a mut [i32],
    pub(super) scales: &'a mut [f32],
    pub(super) offsets: &'a mut [f32],
}

/// Packs the weight rows `outputs`. Columns behind the last repeat it, and nobody reads them back.
#[inline(always)]
pub(super) fn pack<P: Pairs, L: Grain, B: Block>(
    pairs: P,
    weight: &Weight,
    outputs: Range<usize>,
    to: Room<'_>,
) -> crate::Result<()> {
    let (parts, each) = (weight.cols() / PART, PART / L::EACH);
    for v in 0..to.vectors {
        let rows = blocks(weight, outputs.start + v * P::LANES..outputs.end)?;
        let rows = &rows[..P::LANES];
        heads::<P, B>(pairs, rows, parts, |part, r, scale, offset| {
            let at = (part * to.vectors + v) * P::LANES + r;
            (to.scales[at], to.offsets[at]) = (scale, offset);
        });
        // As many parts as sixteen lanes hold.
        let together = COLUMNS / each;
        for first in (0..parts).step_by(together) {
            let mut all = [[0; COLUMNS]; MOST];
            for (all, row) in all.iter_mut().zip(rows) {
                for (part, lanes) in (first..parts).zip(all.chunks_exact_mut(each)) {
                    L::weights(pairs.avx2(), ints::<P, B>(pairs, row, part), lanes);
                }
            }
            let start = (first * each * to.vectors + v) * P::LANES;
            pairs.columns(&all, &mut to.lanes[start..], to.vectors * P::LANES);
        }
        if L::RAISED != 0 {
            starts::<P, L>(pairs, v, parts, to.vectors, to.lanes, to.starts);
        }
    }
    Ok(())
}

/// What raised activations add to the sums of each part of vector `v`, negated.
#[inline(always)]
fn starts<P: Pairs, L: Grain>(pairs: P, v: usize, parts: usize, vectors: usize, lanes: &[i32], to: &mut [i32]) {
    let (simd, width) = (pairs.simd(), vectors * P::LANES);
    let zeros = simd.splat_i32s(L::ZEROS);
    for (lanes, to) in lanes.chunks_exact(PART / L::EACH * width).zip(to.chunks_exact_mut(width)).take(parts) {
        let mut sum = simd.splat_i32s(0);
        for lanes in lanes.chunks_exact(width) {
            sum = L::dot(pairs, sum, zeros, vector(simd, &lanes[v * P::LANES..]));
        }
        let none = simd.transmute_u32s_i32s(simd.splat_i32s(0));
        let negated = simd.transmute_i32s_u32s(simd.sub_u32s(none, simd.transmute_u32s_i32s(sum)));
        keep(simd, &mut to[v * P::LANES..], negated);
    }
}

/// The blocks of the first weight rows of `outputs`, the last repeated where there are fewer.
pub(super) fn blocks(weight: &Weight, outputs: Range<usize>) -> crate::Result<[&[u8]; MOST]> {
    let mut rows: [&[u8]; MOST] = [&[]; MOST];
    for (row, o) in rows.iter_mut().zip(outputs.start..) {
        let o = o.min(outputs.end - 1);
        *row = weight.blocks(o..o + 1)?;
    }
    Ok(rows)
}

/// Hands out the scale and the offset of every part of every row: `f(part, row, scale, offset)`.
#[inline(always)]
pub(super) fn heads<P: Pairs, B: Block>(
    pairs: P,
    rows: &[&[u8]],
    parts: usize,
    mut f: impl FnMut(usize, usize, f32, f32),
) {
    let mut heads = Heads::new();
    for first in (0..parts).step_by(HEADS) {
        let count = HEADS.min(parts - first);
        let block = first / B::PARTS;
        for (r, row) in rows.iter().enumerate() {
            heads.read::<P::Simd, B>(pairs.simd(), &row[block * B::BYTES..(block + count / B::PARTS) * B::BYTES]);
            for i in 0..count {
                // Centring the integers moves their middle into the offset.
                f(first + i, r, heads.scales[i], heads.scales[i].mul_add(f32::from(B::MIDDLE), heads.offsets[i]));
            }
        }
    }
}

/// The integers of a part of a row, centred.
#[inline(always)]
pub(super) fn ints<P: Pairs, B: Block>(pairs: P, row: &[u8], part: usize) -> [i16x16; 2] {
    let (v3, from) = (pairs.avx2(), part / B::PARTS * B::BYTES);
    let mut ints = B::ints(v3, &row[from..from + B::BYTES], part % B::PARTS);
    for ints in &mut ints {
        *ints = pulp::cast(v3.avx2._mm256_sub_epi16(pulp::cast(*ints), pulp::cast(v3.splat_i16x16(B::MIDDLE))));
    }
    ints
}
