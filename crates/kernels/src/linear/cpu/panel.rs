//! Many rows of activations: panels of output rows are dequantised, transposed and multiplied.
//!
//! A panel holds `wide` vectors of outputs for every input, `[in][outputs]`, in a thread's scratch:
//! the weights as a whole never exist as f32.

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::Piece;
use super::block::{each_format, expand};
use crate::linear::{BlockType, Weight};
use crate::output::Output;
use crate::simd::half::Stored;
use crate::simd::outer::{Tiled, WIDE, each_tile, outer, wide};
use crate::simd::{Scratch, load_some, store_some};

/// Inputs that are multiplied before the tile goes back to memory: the slice of a panel they take
/// (24 KiB with AVX-512) stays in the first-level cache while the rows pass by.
const DEPTH: usize = 128;

/// Weight rows that are transposed together.
const STRIP: usize = 16;

/// The products of one piece of a weight with the rows `piece.rows` of `x`.
pub(super) struct Panels<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a Weight,
    pub(super) piece: &'a Piece,
    pub(super) out: Output<'a>,
    pub(super) scratch: &'a mut Scratch,
}

impl WithSimd for Panels<'_> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let lanes = S::F32_LANES;
        let whole = wide::<S>() * lanes;
        let cols = self.weight.cols();
        let panels = self.piece.outputs.len().div_ceil(whole);
        let (packed, strip) = self.scratch.take((panels * whole + STRIP) * cols).split_at_mut(panels * whole * cols);
        for (panel, packed) in packed.chunks_exact_mut(whole * cols).enumerate() {
            let outputs = self.piece.panel(panel, whole);
            let width = outputs.len().next_multiple_of(lanes);
            pack(simd, self.weight, outputs, width, strip, &mut packed[..width * cols])?;
        }
        // Rows in blocks that stay in the second-level cache while all panels pass over them.
        for rows in self.piece.bands((64 * 1024 / cols).clamp(2, 32) * 8) {
            for from in (0..cols).step_by(DEPTH) {
                let depth = from..(from + DEPTH).min(cols);
                for (panel, packed) in packed.chunks_exact(whole * cols).enumerate() {
                    let outputs = self.piece.panel(panel, whole);
                    let vectors = outputs.len().div_ceil(lanes);
                    let tiles = Tiles { x: self.x, cols, depth: depth.clone(), outputs, packed, out: self.out };
                    match vectors {
                        1 => each_tile(&Wide::<S, 1>(&tiles, simd), rows.clone()),
                        2 => each_tile(&Wide::<S, 2>(&tiles, simd), rows.clone()),
                        _ => each_tile(&Wide::<S, WIDE>(&tiles, simd), rows.clone()),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Dequantises the rows `outputs` into `packed`, `[cols][width]`.
#[inline(always)]
fn pack<S: Simd>(
    simd: S,
    weight: &Weight,
    outputs: std::ops::Range<usize>,
    width: usize,
    strip: &mut [f32],
    packed: &mut [f32],
) -> crate::Result<()> {
    let cols = weight.cols();
    for (at, start) in outputs.clone().step_by(STRIP).enumerate() {
        let rows = start..(start + STRIP).min(outputs.end);
        let count = rows.len();
        for (o, row) in rows.zip(strip.chunks_exact_mut(cols)) {
            expand_row(simd, weight, o, row)?;
        }
        // A last strip narrower than the others leaves old numbers in columns nobody reads back.
        if count == STRIP {
            let rows: [&[f32]; STRIP] = std::array::from_fn(|r| &strip[r * cols..(r + 1) * cols]);
            for (i, to) in packed.chunks_exact_mut(width).enumerate() {
                let to = &mut to[at * STRIP..][..STRIP];
                for r in 0..STRIP {
                    to[r] = rows[r][i];
                }
            }
        } else {
            for (i, to) in packed.chunks_exact_mut(width).enumerate() {
                for r in 0..count {
                    to[at * STRIP + r] = strip[r * cols + i];
                }
            }
        }
    }
    Ok(())
}

/// One weight row as f32.
#[inline(always)]
pub(super) fn expand_row<S: Simd>(simd: S, weight: &Weight, row: usize, out: &mut [f32]) -> crate::Result<()> {
    let bytes = weight.blocks(row..row + 1)?;
    each_format! { weight.dtype(), B => expand::<S, B>(simd, bytes, out),
        BlockType::F16 => f16::widen(simd, bytemuck::cast_slice(bytes), out),
        BlockType::BF16 => bf16::widen(simd, bytemuck::cast_slice(bytes), out),
        _ => weight.dequantize_row(row, out)?,
    }
    Ok(())
}

/// One panel over a part of the depth.
struct Tiles<'a> {
    x: &'a [f32],
    cols: usize,
    depth: std::ops::Range<usize>,
    outputs: std::ops::Range<usize>,
    packed: &'a [f32],
    out: Output<'a>,
}

/// The same, `MV` vectors wide.
struct Wide<'a, S, const MV: usize>(&'a Tiles<'a>, S);

impl<S: Simd, const MV: usize> Tiled for Wide<'_, S, MV> {
    type Simd = S;

    #[inline(always)]
    fn tile<const NR: usize>(&self, row: usize, count: usize) {
        let Self(tiles, simd) = *self;
        let lanes = S::F32_LANES;
        let first = tiles.depth.start == 0;
        let mut acc = [[simd.splat_f32s(0.0); MV]; NR];
        if !first {
            for (j, acc) in acc.iter_mut().enumerate().take(count) {
                // SAFETY: this piece alone writes these rows and outputs, on this thread.
                #[allow(unsafe_code)]
                let y = unsafe { tiles.out.row(row + j, tiles.outputs.clone()) };
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = load_some(simd, &y[v * lanes..]);
                }
            }
        }
        let x = &tiles.x[row * tiles.cols..];
        let need = (count - 1) * tiles.cols + tiles.depth.end;
        let packed = &tiles.packed[tiles.depth.start * MV * lanes..tiles.depth.end * MV * lanes];
        let x = x[tiles.depth.start..need].as_ptr();
        // A tile that hangs over the last row computes that row again and drops it.
        let a: [*const f32; NR] = std::array::from_fn(|j| x.wrapping_add(j.min(count - 1) * tiles.cols));
        // SAFETY: the slices above end where the last row's depth and the panel's depth end.
        #[allow(unsafe_code)]
        let acc = unsafe { outer::<S, NR, MV>(simd, acc, tiles.depth.len(), a, 1, packed.as_ptr()) };
        for (j, acc) in acc.iter().enumerate().take(count) {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            let y = unsafe { tiles.out.row(row + j, tiles.outputs.clone()) };
            for (v, &acc) in acc.iter().enumerate() {
                store_some(simd, &mut y[v * lanes..], acc);
            }
        }
    }
}
