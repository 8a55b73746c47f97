//! Which integers ARM processors multiply.

use super::Choice;
use super::blocks::has_bytes;
use super::digits::Digits;
use crate::level::Level;
use crate::linear::{Activations, Weight};
use crate::simd::sdot::Sdot;

/// Whether a weight is multiplied as integers.
pub(in super::super) fn takes(weight: &Weight) -> bool {
    has_bytes(weight)
}

/// The choice for a call, where the level has an instruction for any of its weights.
pub(in super::super) fn choose(level: Level, weights: &[&Weight]) -> Option<Choice> {
    let simd = (level == Level::Dotprod).then(Sdot::find)??;
    let taken = || weights.iter().filter(|w| takes(w));
    taken().next()?;
    let coarse = taken().all(|w| w.activations() == Activations::Bits8);
    Some(Choice::Digits(simd, if coarse { Digits::One } else { Digits::Two }))
}
