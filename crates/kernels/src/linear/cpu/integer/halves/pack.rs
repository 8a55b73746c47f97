//! Weights of any format as panels of 16-bit integers.

use std::ops::Range;

use pulp::x86::V3;
use pulp::{Simd, i32x8};

use super::super::super::block::{Block, PART, each_format};
use super::super::super::panel::expand_row;
use super::super::blocks::{blocks, heads};
use super::super::pack::columns;
use super::{SLICE, slice};
use crate::linear::Weight;
use crate::simd::pairs::{COLUMNS, Halves, MOST, Pairs, join, keep, magnitude, round, vector};
use crate::simd::{array, load, step, store};

/// Where a vector of outputs goes: see [`super::Panel`], from the vector's first number on.
struct Room<'a> {
    lanes: &'a mut [i32],
    scales: &'a mut [f32],
    width: usize,
}

/// Numbers that [`pack`] needs as its buffer.
pub(super) const fn buffer(cols: usize) -> usize {
    cols + MOST * cols / 2
}

/// Packs the weight rows `outputs` as [`super::Panel`] has them. Columns behind the last hold anything: nobody reads
/// them back.
#[inline(always)]
pub(super) fn pack<P: Pairs>(
    pairs: P,
    weight: &Weight,
    outputs: Range<usize>,
    lanes: &mut [i32],
    scales: &mut [f32],
    buffer: &mut [f32],
) -> crate::Result<()> {
    let width = outputs.len().next_multiple_of(P::LANES);
    for at in (0..width).step_by(P::LANES) {
        let outputs = outputs.start + at..outputs.end;
        let to = Room { lanes: &mut lanes[at..], scales: &mut scales[at..], width };
        each_format! { weight.dtype(), B => of_blocks::<P, B>(pairs, weight, outputs, to, buffer)?,
            _ => of_numbers(pairs, weight, outputs, to, buffer)?,
        }
    }
    Ok(())
}

/// A vector of outputs of a weight that is dequantised row by row.
#[inline(always)]
fn of_numbers<P: Pairs>(
    pairs: P,
    weight: &Weight,
    outputs: Range<usize>,
    to: Room<'_>,
    buffer: &mut [f32],
) -> crate::Result<()> {
    let cols = weight.cols();
    let each = slice(cols);
    let (row, ints) = buffer.split_at_mut(cols);
    let ints: &mut [i32] = bytemuck::cast_slice_mut(ints);
    for (r, (o, ints)) in outputs.zip(ints.chunks_exact_mut(cols / 2)).enumerate().take(P::LANES) {
        expand_row(pairs.simd(), weight, o, row)?;
        let ints: &mut [i16] = bytemuck::cast_slice_mut(ints);
        for (slice, (row, ints)) in row.chunks(each).zip(ints.chunks_mut(each)).enumerate() {
            to.scales[slice * to.width + r] = round(pairs, row, ints);
        }
    }
    for first in (0..cols / 2).step_by(COLUMNS) {
        let mut all = [[0; COLUMNS]; MOST];
        for (all, ints) in all.iter_mut().zip(ints.chunks_exact(cols / 2)) {
            all.copy_from_slice(&ints[first..first + COLUMNS]);
        }
        pairs.columns(&all, &mut to.lanes[first * to.width..], to.width);
    }
    Ok(())
}

/// A vector of outputs of a weight in blocks: their integers, moved to the scale of their slice.
#[inline(always)]
fn of_blocks<P: Pairs, B: Block>(
    pairs: P,
    weight: &Weight,
    outputs: Range<usize>,
    to: Room<'_>,
    buffer: &mut [f32],
) -> crate::Result<()> {
    let Room { lanes, scales, width } = to;
    let parts = weight.cols() / PART;
    let rows = blocks::<MOST>(weight, outputs)?;
    let rows = &rows[..P::LANES];
    let (steps, rest) = buffer.split_at_mut(parts * P::LANES);
    let offsets = &mut rest[..parts * P::LANES];
    heads::<_, B>(pairs.simd(), rows, parts, |part, r, scale, offset| {
        (steps[part * P::LANES + r], offsets[part * P::LANES + r]) = (scale, offset);
    });
    columns::<P, Halves, B>(pairs, rows, parts, lanes, width);
    let each = slice(weight.cols());
    let together = each / PART * P::LANES;
    let slices = steps.chunks(together).zip(offsets.chunks(together)).zip(lanes.chunks_mut(each / 2 * width));
    for (((steps, offsets), lanes), scales) in slices.zip(scales.chunks_mut(width)) {
        Slice { steps, offsets, lanes, width }.fit(pairs, f32::from(B::MOST), scales);
    }
    Ok(())
}

/// The integers of a slice of a vector of outputs, and by which scale and offset of its own each part's are weights.
struct Slice<'a> {
    /// `[parts][outputs]`.
    steps: &'a [f32],
    /// As the steps.
    offsets: &'a [f32],
    /// Pairs of neighbouring inputs, a vector every `width`.
    lanes: &'a mut [i32],
    width: usize,
}

impl Slice<'_> {
    /// Makes the integers, up to `most`, those of one scale, as [`round`] would.
    #[inline(always)]
    fn fit<P: Pairs>(self, pairs: P, most: f32, scales: &mut [f32]) {
        let simd = pairs.simd();
        let inverses = load::<P::Simd>(&self.norms(pairs, most, scales));
        let Self { steps, offsets, lanes, width } = self;
        let parts = steps.chunks_exact(P::LANES).zip(offsets.chunks_exact(P::LANES));
        for ((steps, offsets), lanes) in parts.zip(lanes.chunks_mut(PART / 2 * width)) {
            let step = simd.mul_f32s(load::<P::Simd>(steps), inverses);
            let whole = pairs.nearest(step);
            let rest = simd.mul_f32s(simd.sub_f32s(step, pairs.number(whole)), simd.splat_f32s(32768.0));
            let rest = pairs.nearest(rest);
            // Offsets are rounded for two neighbours together: what is lost of one, the other has.
            let offset = simd.mul_f32s(load::<P::Simd>(offsets), inverses);
            let first = pairs.nearest(offset);
            let both = simd.transmute_u32s_i32s(pairs.nearest(simd.add_f32s(offset, offset)));
            let second = simd.transmute_i32s_u32s(simd.sub_u32s(both, simd.transmute_u32s_i32s(first)));
            let mut by = [[0; MOST]; 3];
            for (to, (low, high)) in by.iter_mut().zip([(whole, whole), (rest, rest), (first, second)]) {
                keep(simd, to, join(simd, low, high));
            }
            for at in (0..P::LANES).step_by(8) {
                let mut own = [pairs.avx2().splat_i32x8(0); 3];
                for (own, by) in own.iter_mut().zip(&by) {
                    *own = pulp::cast(array::<i32, 8>(&by[at..]));
                }
                for lanes in lanes.chunks_mut(width) {
                    let lanes = &mut lanes[at..at + 8];
                    lanes.copy_from_slice(&moved(pairs.avx2(), array(lanes), own));
                }
            }
        }
    }

    /// The scales that follow from the norms of the outputs' weights; answers their inverses.
    #[inline(always)]
    fn norms<P: Pairs>(&self, pairs: P, most: f32, scales: &mut [f32]) -> [f32; MOST] {
        let simd = pairs.simd();
        let ones = simd.splat_i32s(0x0001_0001);
        let (mut squares, mut peak) = (simd.splat_f32s(0.0), simd.splat_u32s(0));
        let parts = self.steps.chunks_exact(P::LANES).zip(self.offsets.chunks_exact(P::LANES));
        for ((steps, offsets), lanes) in parts.zip(self.lanes.chunks(PART / 2 * self.width)) {
            let (step, offset) = (load::<P::Simd>(steps), load::<P::Simd>(offsets));
            let (mut square, mut sum) = (simd.splat_i32s(0), simd.splat_i32s(0));
            for lanes in lanes.chunks(self.width) {
                let q = vector(simd, lanes);
                square = pairs.dot(square, q, q);
                sum = pairs.dot(sum, q, ones);
            }
            // (s q + o)^2 = s (s q^2 + 2 o q) + o^2
            let twice = simd.mul_f32s(simd.add_f32s(offset, offset), pairs.number(sum));
            let inner = simd.mul_add_e_f32s(step, pairs.number(square), twice);
            squares = simd.mul_add_e_f32s(step, inner, squares);
            squares = simd.mul_add_e_f32s(simd.mul_f32s(offset, offset), simd.splat_f32s(PART as f32), squares);
            let bound = simd.mul_add_e_f32s(simd.abs_f32s(step), simd.splat_f32s(most), simd.abs_f32s(offset));
            peak = simd.max_u32s(peak, magnitude(simd, bound));
        }
        let (mut inverses, mut peaks) = ([0f32; MOST], [0f32; MOST]);
        store::<P::Simd>(&mut inverses, squares);
        store::<P::Simd>(&mut peaks, simd.transmute_f32s_u32s(peak));
        for ((inverse, peak), scale) in inverses.iter_mut().zip(peaks).zip(&mut scales[..P::LANES]) {
            // Each integer may miss its number by 3/2; sums of squares may come out below zero.
            let reach = 46_339.0 - 1.5 * (SLICE as f32).sqrt();
            (*scale, *inverse) = step(peak, (inverse.max(0.0).sqrt() / reach).max(peak / 32_760.0));
        }
        inverses
    }
}

/// `whole * q + rest / 2^15 * q + offset` for all 16-bit halves.
#[inline(always)]
fn moved(simd: V3, q: [i32; 8], [whole, rest, offset]: [i32x8; 3]) -> [i32; 8] {
    let (f, q) = (simd.avx2, pulp::cast(q));
    let most = f._mm256_mullo_epi16(q, pulp::cast(whole));
    let more = f._mm256_mulhrs_epi16(q, pulp::cast(rest));
    pulp::cast(f._mm256_add_epi16(f._mm256_add_epi16(most, more), pulp::cast(offset)))
}
