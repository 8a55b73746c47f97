//! Which integers x86 processors multiply.

use super::super::block::PART;
use super::Choice;
use super::blocks::has_bytes;
use crate::level::Level;
use crate::linear::{Activations, BlockType, Weight};
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

/// The choice for a call, where the level has instructions for any of its weights.
pub(in super::super) fn choose(level: Level, weights: &[&Weight]) -> Option<Choice> {
    let simd = Integers::find(level)?;
    let taken = || weights.iter().filter(|w| takes(w));
    taken().next()?;
    let coarse = |w: &&&Weight| w.activations() == Activations::Bits8 && has_bytes(w);
    let bytes = simd.has_bytes() && taken().all(|w| coarse(&w));
    Some(if bytes { Choice::Bytes(simd) } else { Choice::Halves(simd) })
}
