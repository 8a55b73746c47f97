//! Blocks of sixteen outputs as vectors over the outputs.

use std::ops::Range;

use pulp::i16x32;

use super::super::block::{Block, HEADS, Heads, PART};
use crate::linear::Weight;
use crate::simd::transpose::transpose;
use crate::simd::vnni::{LANES, Vnni};

/// Where a panel goes: see [`super::Panel`], `vectors * LANES` wide.
pub(super) struct Room<'a> {
    pub(super) vectors: usize,
    pub(super) pairs: &'a mut [i32],
    pub(super) scales: &'a mut [f32],
    pub(super) offsets: &'a mut [f32],
}

/// Packs the weight rows `outputs`. Columns behind the last repeat it, and nobody reads them back.
#[inline(always)]
pub(super) fn pack<B: Block>(simd: Vnni, weight: &Weight, outputs: Range<usize>, to: Room<'_>) -> crate::Result<()> {
    let parts = weight.cols() / PART;
    for v in 0..to.vectors {
        let rows = blocks(weight, outputs.start + v * LANES..outputs.end)?;
        heads::<B>(simd, &rows, parts, |part, r, scale, offset| {
            let at = (part * to.vectors + v) * LANES + r;
            (to.scales[at], to.offsets[at]) = (scale, offset);
        });
        for part in 0..parts {
            // A loop: what `map` calls would not be compiled for these instructions.
            let mut all = [simd.splat_i32x16(0); LANES];
            for (all, row) in all.iter_mut().zip(&rows) {
                *all = pulp::cast(ints::<B>(simd, row, part));
            }
            let start = (part * PART / 2 * to.vectors + v) * LANES;
            let room = to.pairs[start..].chunks_mut(to.vectors * LANES);
            for (pairs, to) in transpose(*simd, all).into_iter().zip(room) {
                to[..LANES].copy_from_slice(&pulp::cast::<_, [i32; LANES]>(pairs));
            }
        }
    }
    Ok(())
}

/// The blocks of the first sixteen weight rows of `outputs`, the last repeated where there are fewer.
pub(super) fn blocks(weight: &Weight, outputs: Range<usize>) -> crate::Result<[&[u8]; LANES]> {
    let mut rows: [&[u8]; LANES] = [&[]; LANES];
    for (row, o) in rows.iter_mut().zip(outputs.start..) {
        let o = o.min(outputs.end - 1);
        *row = weight.blocks(o..o + 1)?;
    }
    Ok(rows)
}

/// Hands out the scale and the offset of every part of every row: `f(part, row, scale, offset)`.
#[inline(always)]
pub(super) fn heads<B: Block>(
    simd: Vnni,
    rows: &[&[u8]; LANES],
    parts: usize,
    mut f: impl FnMut(usize, usize, f32, f32),
) {
    let mut heads = Heads::new();
    for first in (0..parts).step_by(HEADS) {
        let count = HEADS.min(parts - first);
        let block = first / B::PARTS;
        for (r, row) in rows.iter().enumerate() {
            heads.read::<_, B>(*simd, &row[block * B::BYTES..(block + count / B::PARTS) * B::BYTES]);
            for i in 0..count {
                // Centring the integers moves their middle into the offset.
                f(first + i, r, heads.scales[i], heads.scales[i].mul_add(f32::from(B::MIDDLE), heads.offsets[i]));
            }
        }
    }
}

/// The integers of a part of a row, centred.
#[inline(always)]
pub(super) fn ints<B: Block>(simd: Vnni, row: &[u8], part: usize) -> i16x32 {
    let from = part / B::PARTS * B::BYTES;
    let raw = B::ints(*simd, &row[from..from + B::BYTES], part % B::PARTS);
    simd.wrapping_sub_i16x32(raw, simd.splat_i16x32(B::MIDDLE))
}
