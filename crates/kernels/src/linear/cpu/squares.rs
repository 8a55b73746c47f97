//! Many rows of activations on processors with matrix tiles: activations and dequantised weights as
//! sums of two bf16, multiplied in squares of 32 rows by 32 outputs.

use std::ops::Range;

use super::integer::has_bytes;
use super::{Piece, panel};
use crate::linear::{BlockType, Weight};
use crate::output::Output;
use crate::simd::Scratch;
use crate::simd::amx::{Amx, Tiles, WithAmx};
use crate::simd::pairs::MOST as LANES;
use crate::simd::strips::{DEPTH, SIDE, STRIP, Strip, left, right};
use crate::threads;

/// Split activations, `[rows / 32][cols / 32]`, both rounded up: zeros stand for what does not exist.
pub(super) struct Rows<'a> {
    strips: &'a [Strip],
    steps: usize,
}

/// Whether a weight's numbers are two bf16, or integers times a scale that have no bytes. Those of f32 stay
/// what they are.
pub(super) fn takes(weight: &Weight) -> bool {
    !has_bytes(weight) && weight.dtype() != BlockType::F32
}

/// Numbers that [`rows`] needs for as many activations in rows of `cols`.
pub(super) const fn room(activations: usize, cols: usize) -> usize {
    activations.div_ceil(SIDE * cols) * cols.div_ceil(DEPTH) * STRIP
}

/// Splits `x` `[rows, cols]`.
pub(super) fn rows<'a>(simd: Amx, x: &[f32], cols: usize, parallel: bool, room: &'a mut [f32]) -> Rows<'a> {
    let strips: &mut [Strip] = bytemuck::cast_slice_mut(room);
    let steps = cols.div_ceil(DEPTH);
    let blocks = x.chunks(SIDE * cols).zip(strips.chunks_exact_mut(steps));
    threads::each_of(parallel, blocks, |(x, strips)| simd.run(Split { x, cols, strips }));
    Rows { strips, steps }
}

/// Up to [`SIDE`] rows of activations into the strips of their block.
struct Split<'a> {
    x: &'a [f32],
    cols: usize,
    strips: &'a mut [Strip],
}

impl WithAmx for Split<'_> {
    type Output = ();

    #[inline(always)]
    fn with_amx(self, simd: Amx) {
        for r in 0..SIDE {
            let row = self.x.chunks_exact(self.cols).nth(r).unwrap_or_default();
            left(simd, row, r, self.strips);
        }
    }
}

/// The products of one piece of a weight with the rows `piece.rows`, which start at a block.
pub(super) struct Squares<'a> {
    pub(super) rows: &'a Rows<'a>,
    pub(super) weight: &'a Weight,
    pub(super) piece: &'a Piece,
    pub(super) out: Output<'a>,
    pub(super) scratch: &'a mut Scratch,
}

impl WithAmx for Squares<'_> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_amx(self, simd: Amx) -> Self::Output {
        let (piece, rows, steps) = (self.piece, self.piece.rows.clone(), self.rows.steps);
        let panels = piece.outputs.len().div_ceil(SIDE);
        let (packed, wide) =
            self.scratch.take(panels * steps * STRIP + LANES * self.weight.cols()).split_at_mut(panels * steps * STRIP);
        let packed: &mut [Strip] = bytemuck::cast_slice_mut(packed);
        for (panel, strips) in packed.chunks_exact_mut(steps).enumerate() {
            pack(simd, self.weight, piece.panel(panel, SIDE), wide, strips)?;
        }
        let tiles = Tiles::new(simd);
        let mut square = [0f32; SIDE * SIDE];
        for top in rows.clone().step_by(SIDE) {
            let left = &self.rows.strips[top / SIDE * steps..][..steps];
            for (panel, right) in packed.chunks_exact(steps).enumerate() {
                tiles.product(left, right, &mut square);
                for (row, sums) in (top..rows.end).zip(square.chunks_exact(SIDE)) {
                    // SAFETY: this piece alone writes these rows and outputs, on this thread.
                    #[allow(unsafe_code)]
                    let y = unsafe { self.out.row(row, piece.panel(panel, SIDE)) };
                    y.copy_from_slice(&sums[..y.len()]);
                }
            }
        }
        Ok(())
    }
}

/// Dequantises, splits and transposes the weight rows `outputs`, at most [`SIDE`].
#[inline(always)]
fn pack(
    simd: Amx,
    weight: &Weight,
    outputs: Range<usize>,
    wide: &mut [f32],
    strips: &mut [Strip],
) -> crate::Result<()> {
    let cols = weight.cols();
    for half in 0..SIDE / LANES {
        let outputs =
            (outputs.start + half * LANES).min(outputs.end)..outputs.end.min(outputs.start + (half + 1) * LANES);
        for (o, row) in outputs.clone().zip(wide.chunks_exact_mut(cols)) {
            panel::expand_row(**simd, weight, o, row)?;
        }
        right(simd, &wide[..outputs.len() * cols], cols, half, strips);
    }
    Ok(())
}
