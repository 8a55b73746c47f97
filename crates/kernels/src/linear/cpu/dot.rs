//! A few rows of activations: each weight row is read once, decoded in registers and multiplied.

use std::marker::PhantomData;

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::Piece;
use super::block::{Block, HEADS, Heads, PART, each_format};
use crate::linear::{BlockType, Weight};
use crate::output::Output;
use crate::simd::half::Stored;
use crate::simd::{Scratch, dot, read};

/// Rows of activations that share one decoding of the weights, and weight rows that are read together.
const TOGETHER: usize = 4;

/// The products of one piece of a weight with all rows of `x`.
pub(super) struct Dots<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a Weight,
    pub(super) piece: &'a Piece,
    pub(super) out: Output<'a>,
    pub(super) scratch: &'a mut Scratch,
}

impl WithSimd for Dots<'_> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        each_format! { self.weight.dtype(), B => self.run::<S, Blocks<B>>(simd),
            BlockType::F16 => self.run::<S, Dense<f16>>(simd),
            BlockType::BF16 => self.run::<S, Dense<bf16>>(simd),
            BlockType::F32 => self.run::<S, Dense<f32>>(simd),
            _ => self.expanded(simd),
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn run<S: Simd, F: Format>(mut self, simd: S) -> crate::Result<()> {
        let outputs = self.piece.outputs.clone();
        let whole = outputs.start + outputs.len() / TOGETHER * TOGETHER;
        for o in (outputs.start..whole).step_by(TOGETHER) {
            self.rows::<S, F, TOGETHER>(simd, o)?;
        }
        for o in whole..outputs.end {
            self.rows::<S, F, 1>(simd, o)?;
        }
        Ok(())
    }

    /// `W` weight rows from output `o` on. Several at once keep more sums going than one multiplier
    /// waits for, and share the reading of `x`.
    #[inline(always)]
    fn rows<S: Simd, F: Format, const W: usize>(&mut self, simd: S, o: usize) -> crate::Result<()> {
        let cols = self.weight.cols();
        let weights = self.weight.blocks(o..o + W)?;
        let mut groups = self.x.chunks_exact(TOGETHER * cols);
        let mut at = 0;
        for x in &mut groups {
            for (w, weights) in weights.chunks_exact(self.weight.row_bytes()).enumerate() {
                for (r, sum) in F::times::<S, 1, TOGETHER>(simd, weights, x, cols)[0].into_iter().enumerate() {
                    self.out.put(at + r, o + w, sum);
                }
            }
            at += TOGETHER;
        }
        for x in groups.remainder().chunks_exact(cols) {
            for (w, [sum]) in F::times::<S, W, 1>(simd, weights, x, cols).into_iter().enumerate() {
                self.out.put(at, o + w, sum);
            }
            at += 1;
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

/// `W` rows of some format times `R` rows of activations, `x` `[R, cols]`.
trait Format {
    fn times<S: Simd, const W: usize, const R: usize>(simd: S, rows: &[u8], x: &[f32], cols: usize) -> [[f32; R]; W];
}

struct Blocks<B>(PhantomData<B>);

impl<B: Block> Format for Blocks<B> {
    #[inline(always)]
    fn times<S: Simd, const W: usize, const R: usize>(simd: S, rows: &[u8], x: &[f32], cols: usize) -> [[f32; R]; W] {
        let (lanes, parts) = (S::F32_LANES, cols / PART);
        let bytes = parts / B::PARTS * B::BYTES;
        assert!(x.len() >= R * cols && rows.len() == W * bytes);
        let mut sums = [[[simd.splat_f32s(0.0); 2]; R]; W];
        let mut heads = [const { Heads::new() }; W];
        for first in (0..parts).step_by(HEADS) {
            let count = HEADS.min(parts - first);
            let start = first / B::PARTS * B::BYTES;
            for (w, heads) in heads.iter_mut().enumerate() {
                heads.read::<S, B>(simd, &rows[w * bytes + start..][..count / B::PARTS * B::BYTES]);
            }
            for i in 0..count {
                let from = (first + i) / B::PARTS * B::BYTES;
                for w in 0..W {
                    B::each(
                        simd,
                        &rows[w * bytes + from..w * bytes + from + B::BYTES],
                        i % B::PARTS,
                        heads[w].0[i],
                        #[inline(always)]
                        |at, v| {
                            for (r, sums) in sums[w].iter_mut().enumerate() {
                                // SAFETY: `x` holds `R` rows of `cols` numbers, and this part's 32 lie in them.
                                #[allow(unsafe_code)]
                                let x =
                                    unsafe { read::<S>(x.as_ptr().add(r * cols + (first + i) * PART + at * lanes)) };
                                sums[at % 2] = simd.mul_add_e_f32s(v, x, sums[at % 2]);
                            }
                        },
                    );
                }
            }
        }
        finish(simd, sums)
    }
}

struct Dense<T>(PhantomData<T>);

impl<T: Stored + bytemuck::Pod> Format for Dense<T> {
    #[inline(always)]
    fn times<S: Simd, const W: usize, const R: usize>(simd: S, rows: &[u8], x: &[f32], cols: usize) -> [[f32; R]; W] {
        let rows: &[T] = bytemuck::cast_slice(rows);
        let lanes = S::F32_LANES;
        assert!(x.len() >= R * cols && rows.len() == W * cols);
        let whole = cols / lanes * lanes;
        let mut sums = [[[simd.splat_f32s(0.0); 2]; R]; W];
        for at in (0..whole).step_by(lanes) {
            for w in 0..W {
                let v = T::load(simd, rows, w * cols + at, 0);
                for (r, sums) in sums[w].iter_mut().enumerate() {
                    // SAFETY: `x` holds `R` rows of `cols` numbers, and `at + lanes <= cols`.
                    #[allow(unsafe_code)]
                    let x = unsafe { read::<S>(x.as_ptr().add(r * cols + at)) };
                    sums[0] = simd.mul_add_e_f32s(v, x, sums[0]);
                }
            }
        }
        let mut out = finish(simd, sums);
        for (w, out) in out.iter_mut().enumerate() {
            for (r, out) in out.iter_mut().enumerate() {
                for at in whole..cols {
                    *out += T::number(rows, w * cols + at) * x[r * cols + at];
                }
            }
        }
        out
    }
}

#[inline(always)]
fn finish<S: Simd, const W: usize, const R: usize>(simd: S, sums: [[[S::f32s; 2]; R]; W]) -> [[f32; R]; W] {
    let mut out = [[0f32; R]; W];
    for w in 0..W {
        for r in 0..R {
            out[w][r] = simd.reduce_sum_f32s(simd.add_f32s(sums[w][r][0], sums[w][r][1]));
        }
    }
    out
}
