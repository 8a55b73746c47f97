//! Weights of 8 bits and less as panels.

use std::ops::Range;

use pulp::Simd;

use super::super::super::block::Block;
use super::super::blocks::{blocks, heads};
use super::super::pack::columns;
use super::{EACH, PART, ZEROS};
use crate::linear::Weight;
use crate::simd::pairs::{MOST, Packing, Pairs, Quarters, keep, vector};

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
pub(super) fn pack<P: Pairs, B: Block>(
    pairs: P,
    weight: &Weight,
    outputs: Range<usize>,
    to: Room<'_>,
) -> crate::Result<()> {
    let (parts, width) = (weight.cols() / PART, to.vectors * P::LANES);
    for at in (0..width).step_by(P::LANES) {
        let rows = blocks::<MOST>(weight, outputs.start + at..outputs.end)?;
        let rows = &rows[..P::LANES];
        heads::<_, B>(pairs.simd(), rows, parts, |part, r, scale, offset| {
            (to.scales[part * width + at + r], to.offsets[part * width + at + r]) = (scale, offset);
        });
        columns::<P, Quarters, B>(pairs, rows, parts, &mut to.lanes[at..], width);
        starts(pairs, parts, &to.lanes[at..], &mut to.starts[at..], width);
    }
    Ok(())
}

/// What raised activations add to the sums of each part of a vector of outputs, negated.
#[inline(always)]
fn starts<P: Pairs>(pairs: P, parts: usize, lanes: &[i32], to: &mut [i32], width: usize) {
    let simd = pairs.simd();
    let zeros = simd.splat_i32s(ZEROS);
    for (lanes, to) in lanes.chunks(PART / EACH * width).zip(to.chunks_mut(width)).take(parts) {
        let mut sum = simd.splat_i32s(0);
        for lanes in lanes.chunks(width) {
            sum = Quarters::dot(pairs, sum, zeros, vector(simd, lanes));
        }
        let none = simd.transmute_u32s_i32s(simd.splat_i32s(0));
        let negated = simd.transmute_i32s_u32s(simd.sub_u32s(none, simd.transmute_u32s_i32s(sum)));
        keep(simd, to, negated);
    }
}
