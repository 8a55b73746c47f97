//! Which integers ARM processors multiply.

use super::super::Piece;
use super::blocks::has_bytes;
use super::{Panels, digits};
use crate::level::Level;
use crate::linear::{Activations, Weight};
use crate::output::Output;
use crate::simd::Scratch;
use crate::simd::sdot::Sdot;

/// Whether a weight is multiplied as integers.
pub(in super::super) fn takes(weight: &Weight) -> bool {
    has_bytes(weight)
}

/// How a call's activations become integers: all alike.
#[derive(Clone, Copy)]
pub(in super::super) struct Choice(Sdot, digits::Digits);

/// The choice for a call, where the level has an instruction for any of its weights.
pub(in super::super) fn choose(level: Level, weights: &[&Weight]) -> Option<Choice> {
    let simd = (level == Level::Dotprod).then(Sdot::find)??;
    let taken = || weights.iter().filter(|w| takes(w));
    taken().next()?;
    let coarse = taken().all(|w| w.activations() == Activations::Bits8);
    Some(Choice(simd, if coarse { digits::Digits::One } else { digits::Digits::Two }))
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
        Rows(self.0, digits::rows(self.1, x, cols, parallel, scratch))
    }
}

/// Rounded activations, once for all weights of a call, and what multiplies them.
pub(in super::super) struct Rows<'a>(Sdot, digits::Rows<'a>);

impl Rows<'_> {
    /// Multiplies one piece of a weight that [`takes`] holds for with the rows `piece.rows`.
    pub(in super::super) fn multiply(
        &self,
        weight: &Weight,
        piece: &Piece,
        out: Output,
        scratch: &mut Scratch,
    ) -> crate::Result<()> {
        self.0.run(Panels { rows: &self.1, weight, piece, out, scratch })
    }
}
