//! Many rows of activations on processors that multiply integers faster than f32.
//!
//! [`halves`]: activations and weights become integers of 16 bits, some neighbours with a scale of their own.
//! [`bytes`]: activations become integers of 8 bits, where all weights of the call allow it, and block formats'
//! integers are taken as they are. [`tiled`] does the latter with activations of 16 bits, where the processor
//! has tile registers, and [`digits`] with either on ARM.

#[cfg(target_arch = "aarch64")]
mod arm;
mod blocks;
#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(any(test, target_arch = "aarch64"))]
mod digits;
#[cfg(target_arch = "x86_64")]
mod halves;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
pub(super) mod tiled;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

#[cfg(target_arch = "aarch64")]
pub(super) use arm::{choose, takes};
#[cfg(target_arch = "x86_64")]
pub(super) use blocks::has_bytes;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{choose, takes};

use super::Piece;
use crate::linear::Weight;
use crate::output::Output;
use crate::simd::Scratch;

/// Rows that one task rounds.
const TOGETHER: usize = 16;

/// Rows in bands that stay in the second-level cache while all panels pass over them.
fn bands(piece: &Piece, cols: usize) -> impl Iterator<Item = Range<usize>> {
    piece.bands((128 * 1024 / cols).clamp(2, 64) * 8)
}

/// The products of one piece of a weight.
struct Panels<'a, R> {
    rows: &'a R,
    weight: &'a Weight,
    piece: &'a Piece,
    out: Output,
    scratch: &'a mut Scratch,
}
