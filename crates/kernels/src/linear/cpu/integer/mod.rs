//! Many rows of activations on processors that multiply integers faster than f32.
//!
//! [`halves`]: activations and weights become integers of 16 bits, some neighbours with a scale of their own.
//! [`bytes`]: activations become integers of 8 bits, where all weights of the call allow it, and block formats'
//! integers are taken as they are. [`tiled`] does the latter with activations of 16 bits, where the processor
//! has tile registers.

pub(super) mod bytes;
mod halves;
mod pack;
pub(super) mod tiled;

use std::ops::Range;

use super::Piece;
use crate::level::Level;
use crate::linear::{Activations, BlockType, Weight};
use crate::output::Output;
use crate::simd::Scratch;
use crate::simd::outer::wide;
use crate::simd::pairs::{Integers, Pairs};

/// Rows that one task rounds.
const TOGETHER: usize = 16;

/// Outputs of a whole panel.
const fn panel<P: Pairs>() -> usize {
    wide::<P::Simd>() * P::LANES
}

/// Rows in bands that stay in the second-level cache while all panels pass over them.
fn bands(piece: &Piece, cols: usize) -> impl Iterator<Item = Range<usize>> {
    piece.bands((128 * 1024 / cols).clamp(2, 64) * 8)
}

/// Whether a weight is multiplied as integers. Those of f32 stay what they are.
pub(super) fn takes(weight: &Weight) -> bool {
    weight.dtype() != BlockType::F32 && weight.cols().is_multiple_of(bytes::PART)
}

/// How a call's activations become integers: all alike.
#[derive(Clone, Copy)]
pub(super) enum Choice {
    Halves(Integers),
    Bytes(Integers),
}

/// The choice for a call, where the level has instructions for any of its weights.
pub(super) fn choose(level: Level, weights: &[&Weight]) -> Option<Choice> {
    let simd = Integers::find(level)?;
    let taken = || weights.iter().filter(|w| takes(w));
    taken().next()?;
    let coarse = |w: &&&Weight| w.activations() == Activations::Bits8 && bytes::takes(w);
    let bytes = simd.has_bytes() && taken().all(|w| coarse(&w));
    Some(if bytes { Choice::Bytes(simd) } else { Choice::Halves(simd) })
}

impl Choice {
    /// Rounds `x` `[rows, cols]`.
    pub(super) fn rows<'a>(self, x: &[f32], cols: usize, parallel: bool, scratch: &'a mut Scratch) -> Rows<'a> {
        match self {
            Self::Halves(simd) => Rows::Halves(simd, halves::rows(simd, x, cols, parallel, scratch)),
            Self::Bytes(simd) => Rows::Bytes(simd, bytes::rows(simd, x, cols, parallel, scratch)),
        }
    }
}

/// Rounded activations, once for all weights of a call, and what multiplies them.
pub(super) enum Rows<'a> {
    Halves(Integers, halves::Rows<'a>),
    Bytes(Integers, bytes::Rows<'a>),
}

impl Rows<'_> {
    /// Multiplies one piece of a weight that [`takes`] holds for with the rows `piece.rows`.
    pub(super) fn multiply(
        &self,
        weight: &Weight,
        piece: &Piece,
        out: Output,
        scratch: &mut Scratch,
    ) -> crate::Result<()> {
        match self {
            Self::Halves(simd, rows) => simd.run(Panels { rows, weight, piece, out, scratch }),
            Self::Bytes(simd, rows) => simd.run(Panels { rows, weight, piece, out, scratch }),
        }
    }
}

/// The products of one piece of a weight.
struct Panels<'a, R> {
    rows: &'a R,
    weight: &'a Weight,
    piece: &'a Piece,
    out: Output,
    scratch: &'a mut Scratch,
}
