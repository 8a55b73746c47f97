//! Activations as integers of one or two signed digits to the base 256, where the processor multiplies signed bytes, and
//! block formats' integers as they are.
//!
//! With `x = scale_x * a` for the 32 activations of a part and `w = scale_w * q + offset` for the weights, the part adds
//! `scale_x * scale_w * sum(a q) + offset * sum(x)` to the product. Two digits hold 16 bits but for the outermost 256
//! integers, one digit is what an activation of 8 bits has.

mod tile;

use std::ops::Range;

use super::super::block::{Block, PART, each_format};
use super::blocks::{blocks, heads, skewed};
use super::{Panels, TOGETHER, bands};
use crate::linear::Weight;
use crate::simd::Scratch;
use crate::simd::sdot::{Sdot, WithSdot};
use crate::threads;

/// Vectors of four outputs that a panel is wide.
const WIDE: usize = 2;

/// Outputs of a panel.
const OUTPUTS: usize = 4 * WIDE;

/// How fine activations are.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::linear::cpu) enum Digits {
    One,
    Two,
}

impl Digits {
    /// As a number.
    const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The largest integer they hold.
    const fn reach(self) -> f32 {
        match self {
            Self::One => 127.0,
            Self::Two => 127.0 * 257.0,
        }
    }
}

/// Rounded activations.
pub(in crate::linear::cpu) struct Rows<'a> {
    digits: Digits,
    /// Inputs of a row, over 32.
    parts: usize,
    /// The highest digits of a part's activations, then the next, `[rows][parts][digits][32]`.
    bytes: &'a [i8],
    /// What the integers of a part must be multiplied by, `[rows][parts]`; NaN where an activation of the part is NaN
    /// or infinite.
    scales: &'a [f32],
    /// Sums of the activations of a part, not rounded, shaped as the scales.
    sums: &'a [f32],
}

/// Rounds `x` `[rows, cols]`; `cols` is a multiple of 32.
pub(super) fn rows<'a>(digits: Digits, x: &[f32], cols: usize, parallel: bool, scratch: &'a mut Scratch) -> Rows<'a> {
    let (parts, each) = (x.len() / PART, digits.count() * PART);
    let (bytes, numbers) = scratch.take(parts * each / 4 + 2 * parts).split_at_mut(parts * each / 4);
    let (scales, sums) = numbers.split_at_mut(parts);
    let bytes: &mut [i8] = bytemuck::cast_slice_mut(bytes);
    let step = TOGETHER * cols;
    let outs =
        bytes.chunks_mut(step / PART * each).zip(scales.chunks_mut(step / PART)).zip(sums.chunks_mut(step / PART));
    threads::each_of(parallel, x.chunks(step).zip(outs), |(x, ((bytes, scales), sums))| {
        let parts = x.as_chunks::<PART>().0.iter().zip(bytes.chunks_exact_mut(each));
        for ((x, bytes), (scale, sum)) in parts.zip(scales.iter_mut().zip(sums)) {
            (*scale, *sum) = round(digits, x, bytes);
        }
    });
    Rows { digits, parts: cols / PART, bytes, scales, sums }
}

/// The digits of a part; answers what they must be multiplied by, and the sum of its activations.
fn round(digits: Digits, x: &[f32; PART], to: &mut [i8]) -> (f32, f32) {
    // Bits of positive floats are ordered as the numbers, with infinity and NaN on top.
    let peak = f32::from_bits(x.iter().fold(0, |most, x| most.max(x.abs().to_bits())));
    let (scale, inverse) = crate::simd::step(peak, peak / digits.reach());
    let mut sums = [0f32; 4];
    for x in x.chunks_exact(4) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
    let ints = x.map(|x| (x * inverse).round_ties_even() as i32);
    let (high, low) = to.split_at_mut(to.len() - PART);
    for (low, int) in low.iter_mut().zip(ints) {
        *low = int as i8;
    }
    for (high, int) in high.iter_mut().zip(ints) {
        *high = ((int - i32::from(int as i8)) >> 8) as i8;
    }
    (scale, sums.iter().sum())
}

/// A part of a panel.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Part {
    /// Four neighbouring inputs of each output, as often as a part has them.
    fours: [[[i8; 4]; OUTPUTS]; PART / 4],
    scales: [f32; OUTPUTS],
    offsets: [f32; OUTPUTS],
}

/// Numbers of f32 in whose room it fits.
const ROOM: usize = size_of::<Part>() / 4;

impl WithSdot for Panels<'_, Rows<'_>> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_sdot(self, simd: Sdot) -> Self::Output {
        let Panels { rows: x, weight, piece, out, scratch } = self;
        let panels = piece.outputs.len().div_ceil(OUTPUTS);
        let packed: &mut [Part] = bytemuck::cast_slice_mut(scratch.take(panels * x.parts * ROOM));
        for (panel, to) in packed.chunks_exact_mut(x.parts).enumerate() {
            each_format! { weight.dtype(), B => pack::<B>(simd, weight, piece.panel(panel, OUTPUTS), to)?,
                other => return crate::error::invalid("linear", format!("{other:?} has no integers")),
            }
        }
        for rows in bands(piece, weight.cols()) {
            for (panel, packed) in packed.chunks_exact(x.parts).enumerate() {
                let tiles = tile::Tiles { x, outputs: piece.panel(panel, OUTPUTS), panel: packed, out };
                match (x.digits, skewed(weight)) {
                    (Digits::One, false) => tiles.run::<1, false>(simd, rows.clone()),
                    (Digits::One, true) => tiles.run::<1, true>(simd, rows.clone()),
                    (Digits::Two, false) => tiles.run::<2, false>(simd, rows.clone()),
                    (Digits::Two, true) => tiles.run::<2, true>(simd, rows.clone()),
                }
            }
        }
        Ok(())
    }
}

/// Packs the weight rows `outputs`. Columns behind the last repeat it, and nobody reads them back.
#[inline(always)]
fn pack<B: Block>(simd: Sdot, weight: &Weight, outputs: Range<usize>, to: &mut [Part]) -> crate::Result<()> {
    let rows = blocks::<OUTPUTS>(weight, outputs)?;
    heads::<_, B>(simd.simd(), &rows, to.len(), |part, r, scale, offset| {
        (to[part].scales[r], to[part].offsets[r]) = (scale, offset);
    });
    for (r, row) in rows.iter().enumerate() {
        for (part, to) in to.iter_mut().enumerate() {
            let block = &row[part / B::PARTS * B::BYTES..][..B::BYTES];
            let ints = B::quants(block, part % B::PARTS);
            for (to, four) in to.fours.iter_mut().zip(ints.as_chunks::<4>().0) {
                to[r] = four.map(|q| (q - i32::from(B::MIDDLE)) as i8);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
