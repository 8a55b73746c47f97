//! Products for processors: direct dot products for few rows, packed panels for many, of what the
//! processor multiplies fastest: bytes or pairs of bf16 in tile registers, integers, or f32.

mod block;
mod dot;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod integer;
mod panel;
#[cfg(target_arch = "x86_64")]
mod squares;

use std::ops::Range;

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
use integer::{has_bytes, row, tiled};

use super::Weight;
use crate::activation;
use crate::error::Result;
use crate::level::Level;
use crate::output::Output;
use crate::simd::Scratch;
#[cfg(target_arch = "x86_64")]
use crate::simd::amx::Amx;
use crate::simd::outer::widest;
#[cfg(target_arch = "x86_64")]
use crate::simd::strips::SIDE;
use crate::{rows, threads};

/// From this many rows on a panel pays for its transposition.
const MANY: usize = 16;

/// The same for panels of integers, which multiply faster.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const MANY_INTEGERS: usize = 12;

/// The same for tile registers: their rows are sixteen, or 32.
#[cfg(target_arch = "x86_64")]
const MANY_TILED: usize = 24;

/// Multiplications below which another thread is not worth waking.
const SMALL: usize = 1 << 16;

/// Bytes of dequantised panels a thread works on at a time: half a second-level cache.
const PANEL_BYTES: usize = 512 * 1024;

/// Rows that are packed together at most: no piece starts within such a block.
const BLOCK: usize = 32;

#[cfg(target_arch = "x86_64")]
const _: () = assert!(BLOCK.is_multiple_of(SIDE));

/// A part of one product: some outputs for some rows.
struct Piece {
    weight: usize,
    outputs: Range<usize>,
    rows: Range<usize>,
}

impl Piece {
    /// The outputs of panel `i`, where whole ones have `width`.
    fn panel(&self, i: usize, width: usize) -> Range<usize> {
        let start = self.outputs.start + i * width;
        start..(start + width).min(self.outputs.end)
    }

    /// The rows, `height` at a time.
    fn bands(&self, height: usize) -> impl Iterator<Item = Range<usize>> {
        let end = self.rows.end;
        self.rows.clone().step_by(height).map(move |start| start..(start + height).min(end))
    }
}

/// Multiplies one piece of a weight, into the result or a window of it.
type Multiply<'a> = dyn Fn(&Weight, &Piece, Output<'_>, &mut Scratch) -> Result<()> + Sync + 'a;

/// The products of `x` (`rows` rows) with every weight, in one parallel region.
pub(super) fn products(level: Level, x: &[f32], rows: usize, weights: &[&Weight], outs: &mut [Vec<f32>]) -> Result<()> {
    // SAFETY: a piece's rows and outputs are in no other piece, and a thread does a piece as a whole.
    #[allow(unsafe_code)]
    let outputs = outs.iter_mut().zip(weights).map(|(out, w)| unsafe { Output::new(out, w.rows()) });
    let outputs: Vec<Output<'_>> = outputs.collect();
    Call { level, x, rows, weights }
        .run(weights, |multiply, piece, scratch| multiply(weights[piece.weight], piece, outputs[piece.weight], scratch))
}

/// `out = silu(x gate^T) * (x up^T)`. The second product exists for one piece at a time, in the cache.
pub(super) fn gated(level: Level, x: &[f32], rows: usize, gate: &Weight, up: &Weight, out: &mut [f32]) -> Result<()> {
    // SAFETY: as in `products`.
    #[allow(unsafe_code)]
    let out = unsafe { Output::new(out, gate.rows()) };
    Call { level, x, rows, weights: &[gate, up] }.run(&[gate], |multiply, piece, scratch| {
        multiply(gate, piece, out, scratch)?;
        Scratch::beside(|ups| {
            let width = piece.outputs.len();
            let ups = ups.take(piece.rows.len() * width);
            // SAFETY: this thread alone has `ups`.
            #[allow(unsafe_code)]
            let window = unsafe { Output::window(ups, piece.rows.start, piece.outputs.clone()) };
            multiply(up, piece, window, scratch)?;
            for (row, ups) in piece.rows.clone().zip(ups.chunks_exact(width)) {
                // SAFETY: this piece alone writes these rows and outputs, on this thread.
                #[allow(unsafe_code)]
                let gates = unsafe { out.row(row, piece.outputs.clone()) };
                activation::cpu::gated(level.arch(), gates, ups);
            }
            Ok(())
        })
    })
}

/// Rows and all weights that they are multiplied with.
struct Call<'a> {
    level: Level,
    x: &'a [f32],
    rows: usize,
    weights: &'a [&'a Weight],
}

impl Call<'_> {
    /// Cuts the products with `split`, some of the weights, into pieces and does `work` for each.
    fn run(
        self,
        split: &[&Weight],
        work: impl Fn(&Multiply<'_>, &Piece, &mut Scratch) -> Result<()> + Sync,
    ) -> Result<()> {
        let Self { level, x, rows, weights } = self;
        let (arch, threads) = (level.arch(), threads::count());
        let size = |weights: &[&Weight]| weights.iter().map(|w| w.rows() * w.cols()).sum::<usize>();
        let parallel = threads > 1 && size(weights) * rows >= SMALL;
        let panels = |weight: &Weight, piece: &Piece, out: Output<'_>, scratch: &mut Scratch| {
            arch.dispatch(panel::Panels { x, weight, piece, out, scratch })
        };
        #[cfg(target_arch = "x86_64")]
        if rows >= MANY_TILED
            && level >= Level::Amx
            && let Some(simd) = Amx::find()
        {
            return Scratch::shared(|scratch| {
                // Both forms of the rows where the call's weights need both.
                let cols = weights[0].cols();
                let of = |takes: fn(&Weight) -> bool| if weights.iter().any(|w| takes(w)) { x } else { &[] };
                let (ints, pairs) = (of(has_bytes), of(squares::takes));
                let room = tiled::room(ints.len(), cols);
                let (for_ints, for_pairs) = scratch.take(room + squares::room(pairs.len(), cols)).split_at_mut(room);
                let ints = &tiled::rows(simd, ints, cols, parallel, for_ints);
                let pairs = &squares::rows(simd, pairs, cols, parallel, for_pairs);
                let multiply = |weight: &Weight, piece: &Piece, out: Output<'_>, scratch: &mut Scratch| {
                    if has_bytes(weight) {
                        simd.run(tiled::Panels { rows: ints, weight, piece, out, scratch })
                    } else if squares::takes(weight) {
                        simd.run(squares::Squares { rows: pairs, weight, piece, out, scratch })
                    } else {
                        panels(weight, piece, out, scratch)
                    }
                };
                let pieces = wide(split, self.rows, threads, SIDE);
                each(&pieces, parallel, |piece, scratch| work(&multiply, piece, scratch))
            });
        }
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if rows >= MANY_INTEGERS
            && let Some(choice) = integer::choose(level, weights)
        {
            return Scratch::shared(|scratch| {
                let rows = &choice.rows(x, weights[0].cols(), parallel, scratch);
                let multiply = |weight: &Weight, piece: &Piece, out: Output<'_>, scratch: &mut Scratch| {
                    if integer::takes(weight) {
                        rows.multiply(weight, piece, out, scratch)
                    } else {
                        panels(weight, piece, out, scratch)
                    }
                };
                let pieces = wide(split, self.rows, threads, widest(arch));
                each(&pieces, parallel, |piece, scratch| work(&multiply, piece, scratch))
            });
        }
        if rows < MANY {
            let dots = |weight: &Weight, piece: &Piece, out: Output<'_>, scratch: &mut Scratch| {
                arch.dispatch(dot::Dots { x, weight, piece, out, scratch })
            };
            let pieces = narrow(split, rows, threads, size(split));
            #[cfg(target_arch = "x86_64")]
            if rows == 1
                && let Some(simd) = row::find(level, weights)
            {
                return Scratch::shared(|scratch| {
                    let row = row::row(simd, x, scratch);
                    let multiply = |weight: &Weight, piece: &Piece, out: Output<'_>, scratch: &mut Scratch| {
                        if row::takes(weight) {
                            row.multiply(weight, piece, out)
                        } else {
                            dots(weight, piece, out, scratch)
                        }
                    };
                    each(&pieces, parallel, |piece, scratch| work(&multiply, piece, scratch))
                });
            }
            return each(&pieces, parallel, |piece, scratch| work(&dots, piece, scratch));
        }
        each(&wide(split, rows, threads, widest(arch)), parallel, |piece, scratch| work(&panels, piece, scratch))
    }
}

/// Runs every piece with a thread's scratch.
fn each(pieces: &[Piece], parallel: bool, run: impl Fn(&Piece, &mut Scratch) -> Result<()> + Sync) -> Result<()> {
    let run = |piece: &Piece| Scratch::with(|scratch| run(piece, scratch));
    threads::try_each_of(parallel, pieces, run)
}

/// Pieces for few rows: about three for each thread, so that a slow core does not hold up the rest.
fn narrow(weights: &[&Weight], rows: usize, threads: usize, total: usize) -> Vec<Piece> {
    let share = (total / (threads * 3)).max(SMALL / 2);
    let mut pieces = Vec::new();
    for (weight, w) in weights.iter().enumerate() {
        let step = (share / w.cols()).max(1).next_multiple_of(8);
        for start in (0..w.rows()).step_by(step) {
            pieces.push(Piece { weight, outputs: start..(start + step).min(w.rows()), rows: 0..rows });
        }
    }
    pieces
}

/// Pieces for many rows: panels as large as the cache allows, rows split only where there would be
/// too few pieces for the threads. Outputs start at multiples of `unit`, rows at those of [`BLOCK`].
fn wide(weights: &[&Weight], rows: usize, threads: usize, unit: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (weight, w) in weights.iter().enumerate() {
        let fit = (PANEL_BYTES / (4 * w.cols() * unit)).max(1);
        let spread = w.rows().div_ceil(unit * threads * 3).max(1);
        let step = unit * fit.min(spread);
        let columns = w.rows().div_ceil(step);
        // A split of the rows repeats the dequantisation: at least 256 rows each.
        let split = (threads * 3).div_ceil(columns).min(rows / 256).max(1);
        let height = rows.div_ceil(split).next_multiple_of(BLOCK);
        for start in (0..w.rows()).step_by(step) {
            for top in (0..rows).step_by(height) {
                let outputs = start..(start + step).min(w.rows());
                pieces.push(Piece { weight, outputs, rows: top..(top + height).min(rows) });
            }
        }
    }
    pieces
}

/// The rows `ids` of a weight as f32; `ids` lie within the weight.
pub(super) fn embed(level: Level, ids: &[u32], weight: &Weight, out: &mut [f32]) -> Result<()> {
    let width = weight.cols();
    let run = |(ids, out): (&[u32], &mut [f32])| level.arch().dispatch(Rows { ids, weight, out });
    if !rows::many(out.len()) {
        run((ids, out))
    } else {
        threads::try_each_of(true, ids.chunks(64).zip(out.chunks_mut(64 * width)), run)
    }
}

struct Rows<'a> {
    ids: &'a [u32],
    weight: &'a Weight,
    out: &'a mut [f32],
}

impl WithSimd for Rows<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Result<()> {
        for (&id, row) in self.ids.iter().zip(self.out.chunks_exact_mut(self.weight.cols())) {
            panel::expand_row(simd, self.weight, id as usize, row)?;
        }
        Ok(())
    }
}
