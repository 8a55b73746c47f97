//! Which integers x86 processors multiply.

use super::super::Piece;
use super::super::block::PART;
use super::blocks::has_bytes;
use super::{Panels, bytes, halves};
use crate::level::Level;
use crate::linear::{Activations, BlockType, Weight};
use crate::output::Output;
use crate::simd::Scratch;
use crate::simd::outer::wide;
use crate::simd::pairs::{Integers, Pairs};

/// Outputs of a whole panel.
pub(super) const fn panel<P: Pairs>() -> usize {
    wide::<P::Simd>() * P::LANES
}

/// Whether a weight is multiplied as integers. Those of f32 stay what they are.
pub(in super::super) fn takes(weight: &Weight) -> bool {
    weight.dtype() != BlockType::F32 && weight.cols().is_multiple_of(PART)
}

/// How a call's activations become integers: all alike.
#[derive(Clone, Copy)]
pub(in super::super) enum Choice {
    Halves(Integers),
    Bytes(Integers),
}

/// The choice for a call, where the level has instructions for any of its weights.
pub(in super::super) fn choose(level: Level, weights: &[&Weight]) -> Option<Choice> {
    let simd = Integers::find(level)?;
    let taken = || weights.iter().filter(|w| takes(w));
    taken().next()?;
    let coarse = |w: &&&Weight| w.activations() == Activations::Bits8 && has_bytes(w);
    let bytes = simd.has_bytes() && taken().all(|w| coarse(&w));
    Some(if bytes { Choice::Bytes(simd) } else { Choice::Halves(simd) })
}

impl Choice {
    /// Rounds `x` `[rows, cols]`.
    pub(in super::super) fn rows<'a>(
        self,
        x: &[f32],
        cols: usize,
        parallel: bool,
        scratch: &'a mut Scratch,
    ) -> Rows<'a> {
        match self {
            Self::Halves(simd) => Rows::Halves(simd, halves::rows(simd, x, cols, parallel, scratch)),
            Self::Bytes(simd) => Rows::Bytes(simd, bytes::rows(simd, x, cols, parallel, scratch)),
        }
    }
}

/// Rounded activations, once for all weights of a call, and what multiplies them.
pub(in super::super) enum Rows<'a> {
    Halves(Integers, halves::Rows<'a>),
    Bytes(Integers, bytes::Rows<'a>),
}

impl Rows<'_> {
    /// Multiplies one piece of a weight that [`takes`] holds for with the rows `piece.rows`.
    pub(in super::super) fn multiply(
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
