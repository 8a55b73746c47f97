//! Activations and weights as integers of 16 bits.
//!
//! The inputs of a row are cut into slices of one length; those of a slice share a scale, in a row of activations and
//! in a row of weights. Scales follow from norms, so that the sum of a slice's products fits 32 bits; it is exact, and
//! becomes a number once a slice. Each factor's rounding moves a product by some 6e-6 of what the two norms allow.

mod pack;
mod tile;

use tile::{Tiles, Wide};

use super::super::block::PART;
use super::x86::panel;
use super::{Panels, TOGETHER, bands};
use crate::simd::Scratch;
use crate::simd::outer::{WIDE, each_tile};
use crate::simd::pairs::{Integers, Pairs, WithPairs, round};
use crate::threads;

/// The most inputs that share a scale.
const SLICE: usize = 256;

/// Inputs of a slice of rows of `cols`, whole parts.
const fn slice(cols: usize) -> usize {
    cols.div_ceil(cols.div_ceil(SLICE)).next_multiple_of(PART)
}

/// Rounded activations.
pub(in crate::linear::cpu) struct Rows<'a> {
    cols: usize,
    /// Integers of two neighbouring inputs in each lane, `[rows][cols / 2]`.
    lanes: &'a [i32],
    /// `[rows][slices]`; NaN where an activation of the slice is NaN or infinite.
    scales: &'a [f32],
}

/// Rounds `x` `[rows, cols]`; `cols` is a multiple of 32.
pub(super) fn rows<'a>(simd: Integers, x: &[f32], cols: usize, parallel: bool, scratch: &'a mut Scratch) -> Rows<'a> {
    let (rows, slices) = (x.len() / cols, cols.div_ceil(slice(cols)));
    let (lanes, scales) = scratch.take(x.len() / 2 + rows * slices).split_at_mut(x.len() / 2);
    let outs = lanes.chunks_mut(TOGETHER * cols / 2).zip(scales.chunks_mut(TOGETHER * slices));
    threads::each_of(parallel, x.chunks(TOGETHER * cols).zip(outs), |(x, (lanes, scales))| {
        simd.run(Round { x, cols, lanes: bytemuck::cast_slice_mut(lanes), scales });
    });
    Rows { cols, lanes: bytemuck::cast_slice(lanes), scales }
}

struct Round<'a> {
    x: &'a [f32],
    cols: usize,
    lanes: &'a mut [i16],
    scales: &'a mut [f32],
}

impl WithPairs for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) {
        let slice = slice(self.cols);
        let rows = self.x.chunks_exact(self.cols).zip(self.lanes.chunks_exact_mut(self.cols));
        for ((x, ints), scales) in rows.zip(self.scales.chunks_exact_mut(self.cols.div_ceil(slice))) {
            for ((x, ints), scale) in x.chunks(slice).zip(ints.chunks_mut(slice)).zip(scales) {
                *scale = round(pairs, x, ints);
            }
        }
    }
}

/// Packed weights of up to [`panel`] outputs; `width` is their number, whole vectors.
struct Panel<'a> {
    /// As the activations', `[in / 2][width]`.
    lanes: &'a [i32],
    /// `[slices][width]`.
    scales: &'a [f32],
}

impl WithPairs for Panels<'_, Rows<'_>> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) -> Self::Output {
        let Panels { rows: x, weight, piece, out, scratch } = self;
        let (most, cols) = (panel::<P>(), weight.cols());
        let panels = piece.outputs.len().div_ceil(most);
        let (lanes, numbers) = (most * cols / 2, most * cols.div_ceil(slice(cols)));
        let all = scratch.take(panels * (lanes + numbers) + pack::buffer(cols));
        let (packed, buffer) = all.split_at_mut(panels * (lanes + numbers));
        for (panel, to) in packed.chunks_exact_mut(lanes + numbers).enumerate() {
            let (lanes, scales) = to.split_at_mut(lanes);
            pack::pack(pairs, weight, piece.panel(panel, most), bytemuck::cast_slice_mut(lanes), scales, buffer)?;
        }
        for rows in bands(piece, cols) {
            for (panel, packed) in packed.chunks_exact(lanes + numbers).enumerate() {
                let (lanes, scales) = packed.split_at(lanes);
                let outputs = piece.panel(panel, most);
                let vectors = outputs.len().div_ceil(P::LANES);
                let tiles = Tiles { x, outputs, panel: Panel { lanes: bytemuck::cast_slice(lanes), scales }, out };
                match vectors {
                    1 => each_tile(&Wide::<P, 1>(&tiles, pairs), rows.clone()),
                    2 => each_tile(&Wide::<P, 2>(&tiles, pairs), rows.clone()),
                    _ => each_tile(&Wide::<P, WIDE>(&tiles, pairs), rows.clone()),
                }
            }
        }
        Ok(())
    }
}
