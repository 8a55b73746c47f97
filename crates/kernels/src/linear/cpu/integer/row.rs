//! One row of activations, as decoding has it: integers of 16 bits, 32 with a scale, beside the blocks' own integers.
//!
//! With `x = s a` for the activations of a part and `w = scale q + offset` for the weights, the part adds
//! `s scale sum(a q) + offset s sum(a)` to the product. Sums of integers are exact, and both terms have the same `a`,
//! so that what rounding moves an activation by is multiplied by the weight as a whole. Q6_K, whose scales are of
//! sixteen weights, has two sums a part and no offset.

use pulp::x86::V3;
use pulp::{Simd, cast, f32x8, i32x8};

use super::super::Piece;
use super::super::block::{Block, HEADS, Heads, PART, Q6KSixteens, each_format};
use super::blocks::has_bytes;
use super::part::round_part;
use crate::error::{Result, invalid};
use crate::level::Level;
use crate::linear::{BlockType, Weight};
use crate::output::Output;
use crate::simd::pairs::{Avx2, Pairs, WithPairs};
use crate::simd::{Scratch, array};

/// Weight rows that are read together: one sum alone would wait for itself.
const TOGETHER: usize = 4;

/// The largest integer that an activation may become: beside weights' integers of 128, the most there are, the four
/// products that a lane adds up stay below 2^24 and become floats exactly.
const REACH: f32 = 32767.0;

/// Numbers in a vector.
const LANES: usize = 8;

/// Whether a weight's blocks are multiplied so.
pub(in crate::linear::cpu) fn takes(weight: &Weight) -> bool {
    has_bytes(weight) || weight.dtype() == BlockType::Q6K
}

/// The instructions for it, where the level has them and any of a call's weights is for them.
pub(in crate::linear::cpu) fn find(level: Level, weights: &[&Weight]) -> Option<Avx2<false>> {
    Avx2::<false>::find().filter(|_| level >= Level::Avx2 && weights.iter().any(|weight| takes(weight)))
}

/// A rounded row.
pub(in crate::linear::cpu) struct Row<'a> {
    simd: Avx2<false>,
    /// `[cols / 32]`
    ints: &'a [[i16; PART]],
    /// What the integers of a part are multiplied by, NaN where an activation of the part is NaN or infinite, and the sum
    /// of what they stand for. Zeros follow up to a whole vector.
    by: &'a [[f32; 2]],
}

/// Rounds `x`, whose length is a multiple of 32.
pub(in crate::linear::cpu) fn row<'a>(simd: Avx2<false>, x: &[f32], scratch: &'a mut Scratch) -> Row<'a> {
    let parts = x.len() / PART;
    let all = scratch.take(x.len() / 2 + (2 * parts).next_multiple_of(LANES));
    let (ints, by) = all.split_at_mut(x.len() / 2);
    let (ints, by) = (bytemuck::cast_slice_mut(ints), bytemuck::cast_slice_mut(by));
    simd.run(Round { x, ints, by });
    by[parts..].fill([0.0; 2]);
    Row { simd, ints, by }
}

struct Round<'a> {
    x: &'a [f32],
    ints: &'a mut [[i16; PART]],
    by: &'a mut [[f32; 2]],
}

impl WithPairs for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) {
        for ((x, ints), by) in self.x.chunks_exact(PART).zip(self.ints).zip(self.by) {
            let (scale, _) = round_part(pairs, x, REACH, ints);
            let mut sum = 0;
            for &int in &*ints {
                sum += i32::from(int);
            }
            *by = [scale, scale * sum as f32];
        }
    }
}

impl Row<'_> {
    /// Multiplies one piece of a weight that [`takes`] holds for.
    pub(in crate::linear::cpu) fn multiply(&self, weight: &Weight, piece: &Piece, out: Output<'_>) -> Result<()> {
        self.simd.run(Products { row: self, weight, piece, out })
    }
}

struct Products<'a> {
    row: &'a Row<'a>,
    weight: &'a Weight,
    piece: &'a Piece,
    out: Output<'a>,
}

impl WithPairs for Products<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) -> Result<()> {
        let simd = pairs.avx2();
        if self.weight.dtype() == BlockType::Q6K {
            return self.run::<Q6KSixteens>(simd);
        }
        each_format! { self.weight.dtype(), B => self.run::<B>(simd),
            other => invalid("linear", format!("{other:?} has no integers")),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn run<B: Block>(self, simd: V3) -> Result<()> {
        let outputs = self.piece.outputs.clone();
        let whole = outputs.start + outputs.len() / TOGETHER * TOGETHER;
        for o in (outputs.start..whole).step_by(TOGETHER) {
            self.put::<B, TOGETHER>(simd, o)?;
        }
        for o in whole..outputs.end {
            self.put::<B, 1>(simd, o)?;
        }
        Ok(())
    }

    /// `W` weight rows from output `o` on.
    #[inline(always)]
    fn put<B: Block, const W: usize>(&self, simd: V3, o: usize) -> Result<()> {
        let sums = self.row.times::<B, W>(simd, self.weight.blocks(o..o + W)?);
        for (w, sum) in sums.into_iter().enumerate() {
            self.out.put(0, o + w, sum);
        }
        Ok(())
    }
}

impl Row<'_> {
    /// `W` weight rows times the row.
    #[inline(always)]
    fn times<B: Block, const W: usize>(&self, simd: V3, rows: &[u8]) -> [f32; W] {
        let parts = self.ints.len();
        let bytes = parts / B::PARTS * B::BYTES;
        assert!(rows.len() == W * bytes);
        let mut sums = [simd.splat_f32x8(0.0); W];
        let mut offsets = [simd.splat_f32x8(0.0); W];
        let mut heads = [const { Heads::new() }; W];
        for first in (0..parts).step_by(HEADS) {
            let count = HEADS.min(parts - first);
            let start = first / B::PARTS * B::BYTES;
            for (w, (heads, offsets)) in heads.iter_mut().zip(&mut offsets).enumerate() {
                heads.read::<_, B>(simd, &rows[w * bytes + start..][..count / B::PARTS * B::BYTES]);
                let by = self.by[first..].as_flattened().chunks_exact(LANES);
                for (heads, by) in heads.0.as_flattened_mut().chunks_exact_mut(LANES).zip(by) {
                    let by: f32x8 = cast(array::<_, LANES>(by));
                    let by = if B::SIXTEENS { cast(simd.avx._mm256_moveldup_ps(cast(by))) } else { by };
                    let both = simd.mul_f32x8(cast(array::<_, LANES>(heads)), by);
                    heads.copy_from_slice(&cast::<_, [f32; LANES]>(both));
                    if !B::SIXTEENS {
                        *offsets = simd.add_f32x8(*offsets, both);
                    }
                }
            }
            for group in 0..count / B::TOGETHER {
                let i = group * B::TOGETHER;
                let from = (first + i) / B::PARTS * B::BYTES;
                let part = i % B::PARTS / B::TOGETHER * B::TOGETHER;
                // In registers for all rows; those of further parts are read where they are multiplied.
                let kept: [i32x8; 2] = cast(self.ints[first + i]);
                for (w, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `rows` holds `W` rows of `bytes`, and part `first + i` lies in the block that starts at `from`
                    // of each.
                    #[allow(unsafe_code)]
                    let block = unsafe { std::slice::from_raw_parts(rows.as_ptr().add(w * bytes + from), B::BYTES) };
                    for next in 0..B::TOGETHER {
                        let [a, b] = if next == 0 { kept } else { cast(self.ints[first + i + next]) };
                        let [p, q] = B::ints(simd, block, part + next);
                        let low = simd.avx2._mm256_madd_epi16(cast(p), cast(a));
                        let high = simd.avx2._mm256_madd_epi16(cast(q), cast(b));
                        let head = &heads[w].0[i + next];
                        if B::SIXTEENS {
                            let [low, high]: [f32x8; 2] =
                                [cast(simd.avx._mm256_cvtepi32_ps(low)), cast(simd.avx._mm256_cvtepi32_ps(high))];
                            *sum = simd.mul_add_f32x8(low, simd.splat_f32x8(head[0]), *sum);
                            *sum = simd.mul_add_f32x8(high, simd.splat_f32x8(head[1]), *sum);
                        } else {
                            let both = simd.avx2._mm256_add_epi32(low, high);
                            let number: f32x8 = cast(simd.avx._mm256_cvtepi32_ps(both));
                            *sum = simd.mul_add_f32x8(number, simd.splat_f32x8(head[0]), *sum);
                        }
                    }
                }
            }
        }
        let mut out = [0.0; W];
        for ((out, sum), offsets) in out.iter_mut().zip(sums).zip(offsets) {
            let [_, a, _, b, _, c, _, d]: [f32; LANES] = cast(offsets);
            *out = simd.reduce_sum_f32s(sum) + ((a + b) + (c + d));
        }
        out
    }
}
