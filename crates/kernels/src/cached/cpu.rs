//! One pass from activations to the cache: rounding and transposition together, in pieces on all threads.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::{BLOCK, Block, reference};
use crate::level::Level;
use crate::{rows, threads};

/// Rows of one head that a task writes.
const TOGETHER: usize = 128;

/// Activations, `[rows][all][dim]`, of which the heads from `first` on are wanted.
pub(super) struct Rows<'a> {
    pub(super) x: &'a [f32],
    pub(super) all: usize,
    pub(super) dim: usize,
    pub(super) first: usize,
}

/// An element of a cache.
pub(super) trait Element: Copy + Send {
    /// Rounds a head of a row.
    fn round(level: Level, from: &[f32], to: &mut [Self]);
}

impl Element for f32 {
    fn round(_: Level, from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

impl Element for f16 {
    fn round(_: Level, from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
}

impl Element for bf16 {
    fn round(_: Level, from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
}

impl Element for Block {
    fn round(level: Level, from: &[f32], to: &mut [Self]) {
        level.arch().dispatch(Blocks { from, to });
    }
}

struct Blocks<'a> {
    from: &'a [f32],
    to: &'a mut [Block],
}

impl WithSimd for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (from, to) in self.from.chunks_exact(BLOCK).zip(self.to) {
            reference::pack(from, to);
        }
    }
}

/// Rows from `at` on of `to`, `[heads][capacity][width]`.
pub(super) fn write<T: Element>(level: Level, to: &mut [T], capacity: usize, width: usize, at: usize, from: &Rows<'_>) {
    let row = from.all * from.dim;
    let count = from.x.len() / row;
    let heads = to.chunks_exact_mut(capacity * width).enumerate();
    let pieces = heads.flat_map(|(head, to)| {
        let pieces = to[at * width..(at + count) * width].chunks_mut(TOGETHER * width);
        pieces.enumerate().map(move |(piece, to)| (head, piece * TOGETHER, to))
    });
    threads::each_of(rows::many(from.x.len()), pieces, |(head, first, to)| {
        let column = (from.first + head) * from.dim;
        for (x, to) in from.x[first * row..].chunks_exact(row).zip(to.chunks_exact_mut(width)) {
            T::round(level, &x[column..column + from.dim], to);
        }
    });
}

/// Moves rows down in every head (`head` elements), runs of neighbours at once.
pub(super) fn close_up<T: Copy + Send>(of: &mut [T], head: usize, width: usize, kept: &[u32]) {
    threads::each_of(rows::many(of.len()), of.chunks_exact_mut(head.max(1)), |of| {
        let mut to = 0;
        for run in kept.chunk_by(|a, b| a + 1 == *b) {
            let from = run[0] as usize;
            if from != to {
                of.copy_within(from * width..(from + run.len()) * width, to * width);
            }
            to += run.len();
        }
    });
}
