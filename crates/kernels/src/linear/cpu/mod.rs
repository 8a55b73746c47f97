//! Products for processors: direct dot products for few rows, packed panels for many, of integers
//! where the processor multiplies those faster, else of dequantised weights.

mod block;
mod dot;
#[cfg(target_arch = "x86_64")]
mod integer;
mod panel;

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Weight;
use crate::error::Result;
use crate::level::Level;
use crate::output::Output;
use crate::simd::Scratch;

/// From this many rows on a panel pays for its transposition.
const MANY: usize = 16;

/// The same for panels of integers, which are cheaper to make and to multiply.
#[cfg(target_arch = "x86_64")]
const MANY_INTEGERS: usize = 8;

/// Weights below which a product is not worth waking another thread.
const SMALL: usize = 1 << 16;

/// Bytes of dequantised panels a thread works on at a time: half a second-level cache.
const PANEL_BYTES: usize = 512 * 1024;

/// A part of one product: some outputs for some rows.
struct Piece {
    weight: usize,
    outputs: Range<usize>,
    rows: Range<usize>,
}

/// The products of `x` (`rows` rows) with every weight, in one parallel region.
pub(super) fn products(level: Level, x: &[f32], rows: usize, weights: &[&Weight], outs: &mut [Vec<f32>]) -> Result<()> {
    let outputs: Vec<Output> = outs.iter_mut().zip(weights).map(|(o, w)| Output::new(o, w.rows())).collect();
    let (arch, threads) = (level.arch(), rayon::current_num_threads());
    let total: usize = weights.iter().map(|w| w.rows() * w.cols()).sum();
    let parallel = threads > 1 && total * rows >= SMALL;
    #[cfg(target_arch = "x86_64")]
    if rows >= MANY_INTEGERS
        && let Some((simd, reach)) = integer::choose(level, weights)
    {
        return Scratch::shared(|scratch| {
            let rounded = integer::rows(simd, x, weights[0].cols(), reach, parallel, scratch);
            each(&wide(weights, rows, threads, arch), parallel, |piece, scratch| {
                let (weight, out) = (weights[piece.weight], outputs[piece.weight]);
                if integer::takes(weight) {
                    simd.run(integer::Panels { rows: &rounded, weight, piece, out, scratch })
                } else {
                    arch.dispatch(panel::Panels { x, weight, piece, out, scratch })
                }
            })
        });
    }
    if rows < MANY {
        return each(&narrow(weights, rows, threads, total), parallel, |piece, scratch| {
            let (weight, out) = (weights[piece.weight], outputs[piece.weight]);
            arch.dispatch(dot::Dots { x, weight, piece, out, scratch })
        });
    }
    each(&wide(weights, rows, threads, arch), parallel, |piece, scratch| {
        let (weight, out) = (weights[piece.weight], outputs[piece.weight]);
        arch.dispatch(panel::Panels { x, weight, piece, out, scratch })
    })
}

/// Runs every piece with a thread's scratch.
fn each(pieces: &[Piece], parallel: bool, run: impl Fn(&Piece, &mut Scratch) -> Result<()> + Sync) -> Result<()> {
    let run = |piece: &Piece| Scratch::with(|scratch| run(piece, scratch));
    if parallel && pieces.len() > 1 {
        pieces.par_iter().with_max_len(1).try_for_each(run)
    } else {
        pieces.iter().try_for_each(run)
    }
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
/// too few pieces for the threads.
fn wide(weights: &[&Weight], rows: usize, threads: usize, arch: pulp::Arch) -> Vec<Piece> {
    let unit = crate::simd::outer::widest(arch);
    let mut pieces = Vec::new();
    for (weight, w) in weights.iter().enumerate() {
        let fit = (PANEL_BYTES / (4 * w.cols() * unit)).max(1);
        let spread = w.rows().div_ceil(unit * threads * 3).max(1);
        let step = unit * fit.min(spread);
        let columns = w.rows().div_ceil(step);
        // A split of the rows repeats the dequantisation: at least 256 rows each.
        let split = (threads * 3).div_ceil(columns).min(rows / 256).max(1);
        let height = rows.div_ceil(split).next_multiple_of(8);
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
    if ids.len() * width < SMALL {
        run((ids, out))
    } else {
        ids.par_chunks(64).zip(out.par_chunks_mut(64 * width)).try_for_each(run)
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
