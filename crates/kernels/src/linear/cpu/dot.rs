//! A few rows of activations: each weight row is read once, decoded in registers and multiplied.

use std::marker::PhantomData;

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::Piece;
use super::block::{BLOCK, Block, HEADS, Heads, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use crate::linear::{BlockType, Weight};
use crate::output::Output;
use crate::simd::half::Stored;
use crate::simd::{Scratch, dot, read};

/// Rows of activations that share one decoding of the weights.
const TOGETHER: usize = 4;

/// The products of one piece of a weight with all rows of `x`.
pub(super) struct Dots<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a Weight,
    pub(super) piece: &'a Piece,
    pub(super) out: Output,
    pub(super) scratch: &'a mut Scratch,
}

impl WithSimd for Dots<'_> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        match self.weight.dtype() {
            BlockType::Q4_0 => self.run::<S, Blocks<Q4_0>>(simd),
            BlockType::Q4_1 => self.run::<S, Blocks<Q4_1>>(simd),
            BlockType::Q5_0 => self.run::<S, Blocks<Q5_0>>(simd),
            BlockType::Q5_1 => self.run::<S, Blocks<Q5_1>>(simd),
            BlockType::Q8_0 => self.run::<S, Blocks<Q8_0>>(simd),
            BlockType::F16 => self.run::<S, Dense<f16>>(simd),
            BlockType::BF16 => self.run::<S, Dense<bf16>>(simd),
            BlockType::F32 => self.run::<S, Dense<f32>>(simd),
            _ => self.expanded(simd),
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn run<S: Simd, F: Format>(self, simd: S) -> crate::Result<()> {
        let cols = self.weight.cols();
        let bytes = self.weight.blocks(self.piece.outputs.clone())?;
        for (o, row) in self.piece.outputs.clone().zip(bytes.chunks_exact(self.weight.row_bytes())) {
            let mut groups = self.x.chunks_exact(TOGETHER * cols);
            let mut at = 0;
            for x in &mut groups {
                for sum in F::times::<S, TOGETHER>(simd, row, x, cols) {
                    self.out.put(at, o, sum);
                    at += 1;
                }
            }
            for x in groups.remainder().chunks_exact(cols) {
                self.out.put(at, o, F::times::<S, 1>(simd, row, x, cols)[0]);
                at += 1;
            }
        }
        Ok(())
    }

    /// Formats without a decoder of their own: candle turns the row into f32 first.
    #[inline(always)]
    fn expanded<S: Simd>(self, simd: S) -> crate::Result<()> {
        let cols = self.weight.cols();
        let row = self.scratch.take(cols);
        for o in self.piece.outputs.clone() {
            self.weight.dequantize_row(o, row)?;
            for (r, x) in self.x.chunks_exact(cols).enumerate() {
                self.out.put(r, o, dot(simd, row, x));
            }
        }
        Ok(())
    }
}

/// A row of some format times `R` rows of activations, `x` `[R, cols]`.
trait Format {
    fn times<S: Simd, const R: usize>(simd: S, row: &[u8], x: &[f32], cols: usize) -> [f32; R];
}

struct Blocks<B>(PhantomData<B>);

impl<B: Block> Format for Blocks<B> {
    #[inline(always)]
    fn times<S: Simd, const R: usize>(simd: S, row: &[u8], x: &[f32], cols: usize) -> [f32; R] {
        let lanes = S::F32_LANES;
        assert!(x.len() >= R * cols && row.len() == cols / BLOCK * B::BYTES);
        // Two sums a row: one chain of dependent additions would wait for the adder.
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for (part, blocks) in row.chunks(HEADS * B::BYTES).enumerate() {
            let heads = Heads::read::<S, B>(simd, blocks);
            let x = x.as_ptr().wrapping_add(part * HEADS * BLOCK);
            let heads = heads.scales.iter().zip(&heads.offsets);
            for (i, (block, (&scale, &offset))) in blocks.chunks_exact(B::BYTES).zip(heads).enumerate() {
                B::each(
                    simd,
                    block,
                    scale,
                    offset,
                    #[inline(always)]
                    |at, v| {
                        for (r, sums) in sums.iter_mut().enumerate() {
                            // SAFETY: `x` holds `R` rows of `cols` numbers, and this block's 32 lie in them.
                            #[allow(unsafe_code)]
                            let x = unsafe { read::<S>(x.add(r * cols + i * BLOCK + at * lanes)) };
                            sums[at % 2] = simd.mul_add_e_f32s(v, x, sums[at % 2]);
                        }
                    },
                );
            }
        }
        finish(simd, sums)
    }
}

struct Dense<T>(PhantomData<T>);

impl<T: Stored + bytemuck::Pod> Format for Dense<T> {
    #[inline(always)]
    fn times<S: Simd, const R: usize>(simd: S, row: &[u8], x: &[f32], cols: usize) -> [f32; R] {
        let row: &[T] = bytemuck::cast_slice(row);
        let lanes = S::F32_LANES;
        assert!(x.len() >= R * cols && row.len() == cols);
        let whole = cols / (2 * lanes) * (2 * lanes);
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for start in (0..whole).step_by(2 * lanes) {
            for half in 0..2 {
                let at = start + half * lanes;
                let v = T::load(simd, &row[at..at + lanes]);
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: `x` holds `R` rows of `cols` numbers, and `at + lanes <= cols`.
                    #[allow(unsafe_code)]
                    let x = unsafe { read::<S>(x.as_ptr().add(r * cols + at)) };
                    sums[half] = simd.mul_add_e_f32s(v, x, sums[half]);
                }
            }
        }
        let mut out = finish(simd, sums);
        for (r, out) in out.iter_mut().enumerate() {
            for (w, x) in row[whole..].iter().zip(&x[r * cols + whole..(r + 1) * cols]) {
                *out += w.one() * x;
            }
        }
        out
    }
}

#[inline(always)]
fn finish<S: Simd, const R: usize>(simd: S, sums: [[S::f32s; 2]; R]) -> [f32; R] {
    let mut out = [0f32; R];
    for (out, sums) in out.iter_mut().zip(sums) {
        *out = simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]));
    }
    out
}
