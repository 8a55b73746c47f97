//! Blocks of sixteen outputs as vectors over the outputs.

use std::ops::Range;

use pulp::i32x16;

use super::super::block::{Block, HEADS, Heads, PART};
use crate::linear::Weight;
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
    let mut heads = Heads::new();
    for v in 0..to.vectors {
        let mut rows: [&[u8]; LANES] = [&[]; LANES];
        for (r, row) in rows.iter_mut().enumerate() {
            let o = (outputs.start + v * LANES + r).min(outputs.end - 1);
            *row = weight.blocks(o..o + 1)?;
        }
        for first in (0..parts).step_by(HEADS) {
            let count = HEADS.min(parts - first);
            let block = first / B::PARTS;
            for (r, row) in rows.iter().enumerate() {
                heads.read::<_, B>(*simd, &row[block * B::BYTES..(block + count / B::PARTS) * B::BYTES]);
                for i in 0..count {
                    let at = ((first + i) * to.vectors + v) * LANES + r;
                    to.scales[at] = heads.scales[i];
                    // Centring the integers moves their middle into the offset.
                    to.offsets[at] = heads.scales[i].mul_add(f32::from(B::MIDDLE), heads.offsets[i]);
                }
            }
        }
        for part in 0..parts {
            let from = part / B::PARTS * B::BYTES;
            let middle = simd.splat_i16x32(B::MIDDLE);
            let mut ints = [simd.splat_i32x16(0); LANES];
            for (ints, row) in ints.iter_mut().zip(&rows) {
                let raw = B::ints(*simd, &row[from..from + B::BYTES], part % B::PARTS);
                *ints = pulp::cast(simd.wrapping_sub_i16x32(raw, middle));
            }
            let start = (part * PART / 2 * to.vectors + v) * LANES;
            let room = to.pairs[start..].chunks_mut(to.vectors * LANES);
            for (pairs, to) in transpose(simd, ints).into_iter().zip(room) {
                to[..LANES].copy_from_slice(&pulp::cast::<_, [i32; LANES]>(pairs));
            }
        }
    }
    Ok(())
}

/// Rows to columns.
#[inline(always)]
fn transpose(simd: Vnni, rows: [i32x16; 16]) -> [i32x16; 16] {
    let f = simd.avx512f;
    let mut fours = rows;
    for g in 0..4 {
        // Neighbouring rows interleaved within each quarter of a vector, then neighbouring pairs:
        // quarter `q` of `fours[4 g + c]` is column `4 q + c` of the rows from `4 g` on.
        let [a, b, c, d] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let [a, b, c, d] = [pulp::cast(a), pulp::cast(b), pulp::cast(c), pulp::cast(d)];
        let (ab, cd) = (f._mm512_unpacklo_epi32(a, b), f._mm512_unpacklo_epi32(c, d));
        fours[4 * g] = pulp::cast(f._mm512_unpacklo_epi64(ab, cd));
        fours[4 * g + 1] = pulp::cast(f._mm512_unpackhi_epi64(ab, cd));
        let (ab, cd) = (f._mm512_unpackhi_epi32(a, b), f._mm512_unpackhi_epi32(c, d));
        fours[4 * g + 2] = pulp::cast(f._mm512_unpacklo_epi64(ab, cd));
        fours[4 * g + 3] = pulp::cast(f._mm512_unpackhi_epi64(ab, cd));
    }
    let mut columns = fours;
    for c in 0..4 {
        let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        let [a, b, d, e] = [pulp::cast(a), pulp::cast(b), pulp::cast(d), pulp::cast(e)];
        let (low, high) = (f._mm512_shuffle_i32x4::<0x88>(a, b), f._mm512_shuffle_i32x4::<0x88>(d, e));
        columns[c] = pulp::cast(f._mm512_shuffle_i32x4::<0x88>(low, high));
        columns[8 + c] = pulp::cast(f._mm512_shuffle_i32x4::<0xdd>(low, high));
        let (low, high) = (f._mm512_shuffle_i32x4::<0xdd>(a, b), f._mm512_shuffle_i32x4::<0xdd>(d, e));
        columns[4 + c] = pulp::cast(f._mm512_shuffle_i32x4::<0x88>(low, high));
        columns[12 + c] = pulp::cast(f._mm512_shuffle_i32x4::<0xdd>(low, high));
    }
    columns
}
