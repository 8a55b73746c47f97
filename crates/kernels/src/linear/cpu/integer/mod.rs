//! Activations as integers on processors that multiply integers faster than f32.
//!
//! [`halves`]: activations and weights become integers of 16 bits, some neighbours with a scale of their own.
//! [`bytes`]: activations become integers of 8 bits, where all weights of the call allow it, and block formats'
//! integers are taken as they are. [`tiled`] does the latter with activations of 16 bits, where the processor
//! has tile registers, and [`digits`] with either on ARM. [`row`] is for one row.

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
mod part;
#[cfg(target_arch = "x86_64")]
pub(super) mod row;
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
#[cfg(target_arch = "x86_64")]
use crate::simd::pairs::Integers;
#[cfg(target_arch = "aarch64")]
use crate::simd::sdot::Sdot;

/// Rows that one task rounds.
const TOGETHER: usize = 16;

/// Rows in bands that stay in the second-level cache while all panels pass over them.
fn bands(piece: &Piece, cols: usize) -> impl Iterator<Item = Range<usize>> {
    piece.bands((128 * 1024 / cols).clamp(2, 64) * 8)
}

/// How a call's activations become integers: all alike.
#[derive(Clone, Copy)]
pub(super) enum Choice {
    #[cfg(target_arch = "x86_64")]
    Halves(Integers),
    #[cfg(target_arch = "x86_64")]
    Bytes(Integers),
    #[cfg(target_arch = "aarch64")]
    Digits(Sdot, digits::Digits),
}

impl Choice {
    /// Rounds `x` `[rows, cols]`.
    pub(super) fn rows<'a>(self, x: &[f32], cols: usize, parallel: bool, scratch: &'a mut Scratch) -> Rows<'a> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Halves(simd) => Rows::Halves(simd, halves::rows(simd, x, cols, parallel, scratch)),
            #[cfg(target_arch = "x86_64")]
            Self::Bytes(simd) => Rows::Bytes(simd, bytes::rows(simd, x, cols, parallel, scratch)),
            #[cfg(target_arch = "aarch64")]
            Self::Digits(simd, digits) => Rows::Digits(simd, digits::rows(digits, x, cols, parallel, scratch)),
        }
    }
}

/// Rounded activations, once for all weights of a call, and what multiplies them.
pub(super) enum Rows<'a> {
    #[cfg(target_arch = "x86_64")]
    Halves(Integers, halves::Rows<'a>),
    #[cfg(target_arch = "x86_64")]
    Bytes(Integers, bytes::Rows<'a>),
    #[cfg(target_arch = "aarch64")]
    Digits(Sdot, digits::Rows<'a>),
}

impl Rows<'_> {
    /// Multiplies one piece of a weight that [`takes`] holds for with the rows `piece.rows`.
    pub(super) fn multiply(
        &self,
        weight: &Weight,
        piece: &Piece,
        out: Output<'_>,
        scratch: &mut Scratch,
    ) -> crate::Result<()> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Halves(simd, rows) => simd.run(Panels { rows, weight, piece, out, scratch }),
            #[cfg(target_arch = "x86_64")]
            Self::Bytes(simd, rows) => simd.run(Panels { rows, weight, piece, out, scratch }),
            #[cfg(target_arch = "aarch64")]
            Self::Digits(simd, rows) => simd.run(Panels { rows, weight, piece, out, scratch }),
        }
    }
}

/// The products of one piece of a weight.
struct Panels<'a, R> {
    rows: &'a R,
    weight: &'a Weight,
    piece: &'a Piece,
    out: Output<'a>,
    scratch: &'a mut Scratch,
}
