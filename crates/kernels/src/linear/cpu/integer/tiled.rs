//! Products in tile registers: an activation's integer, of 16 bits with a scale for every 32, is `256 * high + low`, two
//! bytes, and each of them times the weights' bytes is one instruction for 16 rows, 16 outputs and 32 inputs.
//! The weights' integers, scales and offsets are those of [`super::bytes`].

use std::arch::asm;
use std::ops::Range;

use pulp::i8x32;

use super::super::Piece;
use super::super::block::{Block, PART, each_format};
use super::blocks::{blocks, has_bytes, heads, skewed};
use super::pack::ints;
use super::part::round_part;
use crate::linear::Weight;
use crate::output::Output;
use crate::simd::amx::{Amx, Registers, Shape, WithAmx};
use crate::simd::pairs::{MOST as LANES, Pairs};
use crate::simd::transpose::transpose16;
use crate::simd::{Scratch, load, store_some};
use crate::threads;

type V4 = pulp::x86::V4;

/// Rows of a block.
const TALL: usize = 16;

/// The largest integer that an activation may become: the weights' integers reach 128.
const REACH: f32 = 32767.0;

/// A part of a block of rows.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Part {
    high: [[i8; PART]; TALL],
    low: [[u8; PART]; TALL],
    /// As in [`super::bytes::Rows`].
    scales: [f32; TALL],
    sums: [f32; TALL],
}

/// A part of sixteen outputs.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Weights {
    /// Four neighbouring inputs of each output, as often as a part has them.
    fours: [[i32; LANES]; PART / 4],
    scales: [f32; LANES],
    offsets: [f32; LANES],
}

/// Numbers of f32 in whose room they fit.
const PART_ROOM: usize = size_of::<Part>() / 4;
const WEIGHTS_ROOM: usize = size_of::<Weights>() / 4;

/// Rounded activations, `[rows / 16][cols / 32]`, zeros for rows that do not exist.
pub(in crate::linear::cpu) struct Rows<'a> {
    all: &'a [Part],
    parts: usize,
}

/// Numbers that [`rows`] needs for as many activations in rows of `cols`.
pub(in crate::linear::cpu) const fn room(activations: usize, cols: usize) -> usize {
    activations.div_ceil(TALL * cols) * (cols / PART) * PART_ROOM
}

/// Rounds `x` `[rows, cols]`; `cols` is a multiple of 32 where there are rows.
pub(in crate::linear::cpu) fn rows<'a>(
    simd: Amx,
    x: &[f32],
    cols: usize,
    parallel: bool,
    room: &'a mut [f32],
) -> Rows<'a> {
    let all: &mut [Part] = bytemuck::cast_slice_mut(room);
    let parts = cols / PART;
    let blocks = x.chunks(TALL * cols).zip(all.chunks_exact_mut(parts.max(1)));
    threads::each_of(parallel, blocks, |(x, to)| simd.run(Round { x, cols, to }));
    Rows { all, parts }
}

/// Up to [`TALL`] rows into the parts of their block.
struct Round<'a> {
    x: &'a [f32],
    cols: usize,
    to: &'a mut [Part],
}

impl WithAmx for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_amx(self, simd: Amx) {
        let given = self.x.len() / self.cols;
        for (r, row) in self.x.chunks_exact(self.cols).enumerate() {
            for (x, to) in row.chunks_exact(PART).zip(&mut *self.to) {
                let mut ints = [0i16; PART];
                (to.scales[r], to.sums[r]) = round_part(*simd, x, REACH, &mut ints);
                let high = simd.avx512bw._mm512_srai_epi16::<8>(pulp::cast(ints));
                to.high[r] = pulp::cast(simd.avx512bw._mm512_cvtepi16_epi8(high));
                to.low[r] = pulp::cast(simd.avx512bw._mm512_cvtepi16_epi8(pulp::cast(ints)));
            }
        }
        for to in self.to {
            to.high[given..].fill([0; PART]);
            to.low[given..].fill([0; PART]);
            to.scales[given..].fill(0.0);
            to.sums[given..].fill(0.0);
        }
    }
}

/// The products of one piece of a weight with the rows `piece.rows`, which start at a block.
pub(in crate::linear::cpu) struct Panels<'a> {
    pub(in crate::linear::cpu) rows: &'a Rows<'a>,
    pub(in crate::linear::cpu) weight: &'a Weight,
    pub(in crate::linear::cpu) piece: &'a Piece,
    pub(in crate::linear::cpu) out: Output<'a>,
    pub(in crate::linear::cpu) scratch: &'a mut Scratch,
}

impl WithAmx for Panels<'_> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_amx(self, simd: Amx) -> Self::Output {
        if !has_bytes(self.weight) {
            return crate::error::invalid("linear", format!("{:?} has no bytes", self.weight.dtype()));
        }
        let (piece, rows, parts) = (self.piece, self.piece.rows.clone(), self.rows.parts);
        let panels = piece.outputs.len().div_ceil(LANES);
        let packed: &mut [Weights] = bytemuck::cast_slice_mut(self.scratch.take(panels * parts * WEIGHTS_ROOM));
        for (panel, to) in packed.chunks_exact_mut(parts).enumerate() {
            each_format! { self.weight.dtype(), B => pack::<B>(simd, self.weight, piece.panel(panel, LANES), to)?,
                other => return crate::error::invalid("linear", format!("{other:?} has no integers")),
            }
        }
        let skewed = skewed(self.weight);
        let multiplier = Multiplier::new(simd);
        for top in rows.clone().step_by(TALL) {
            let block = &self.rows.all[top / TALL * parts..][..parts];
            for (panel, weights) in packed.chunks_exact(parts).enumerate() {
                let sums = if skewed {
                    multiplier.block::<true>(simd, block, weights)
                } else {
                    multiplier.block::<false>(simd, block, weights)
                };
                for (row, sums) in (top..rows.end).zip(sums) {
                    // SAFETY: this piece alone writes these rows and outputs, on this thread.
                    #[allow(unsafe_code)]
                    let y = unsafe { self.out.row(row, piece.panel(panel, LANES)) };
                    store_some(**simd, y, sums);
                }
            }
        }
        Ok(())
    }
}

/// Packs up to sixteen weight rows. Columns behind the last repeat it, and nobody reads them back.
#[inline(always)]
fn pack<B: Block>(simd: Amx, weight: &Weight, outputs: Range<usize>, to: &mut [Weights]) -> crate::Result<()> {
    let rows = blocks::<LANES>(weight, outputs)?;
    heads::<_, B>(**simd, &rows, to.len(), |part, r, scale, offset| {
        (to[part].scales[r], to[part].offsets[r]) = (scale, offset);
    });
    for (pair, to) in to.chunks_mut(2).enumerate() {
        // Two parts fill a vector; an odd last one is there twice.
        let (first, second) = (2 * pair, 2 * pair + to.len() - 1);
        // A loop: what `map` calls would not be compiled for these instructions.
        let mut fours = [simd.splat_i32x16(0); LANES];
        for (fours, row) in fours.iter_mut().zip(&rows) {
            *fours = pulp::cast([bytes::<B>(simd, row, first), bytes::<B>(simd, row, second)]);
        }
        let fours: [[[i32; LANES]; PART / 4]; 2] = pulp::cast(transpose16(**simd, fours));
        for (to, fours) in to.iter_mut().zip(fours) {
            to.fours = fours;
        }
    }
    Ok(())
}

/// The integers of a part of a row.
#[inline(always)]
fn bytes<B: Block>(simd: Amx, row: &[u8], part: usize) -> i8x32 {
    pulp::cast(simd.avx512bw._mm512_cvtepi16_epi8(pulp::cast(ints::<_, B>(*simd, row, part))))
}

/// Tile registers for parts.
struct Multiplier(#[allow(dead_code, reason = "configured while it lives")] Registers);

/// Products of a part: what the high and the low bytes give, `[rows][outputs]` each.
#[repr(C, align(64))]
struct Products {
    high: [[i32; LANES]; TALL],
    low: [[i32; LANES]; TALL],
}

impl Multiplier {
    #[inline(always)]
    fn new(simd: Amx) -> Self {
        /// Two of sums, two of activations, one of weights.
        static SHAPE: Shape = Shape::new([(16, 64), (16, 64), (16, 32), (16, 32), (8, 64), (0, 0), (0, 0), (0, 0)]);
        Self(Registers::new(simd, &SHAPE))
    }

    /// Sixteen rows by sixteen outputs. A part is multiplied while the one before it is added up.
    #[inline(always)]
    fn block<const SKEWED: bool>(&self, simd: Amx, rows: &[Part], weights: &[Weights]) -> [pulp::f32x16; TALL] {
        const NONE: Products = Products { high: [[0; LANES]; TALL], low: [[0; LANES]; TALL] };
        let mut acc = [simd.splat_f32x16(0.0); TALL];
        let mut products = [NONE; 2];
        let mut all = rows.iter().zip(weights);
        let mut before = all.next();
        if let Some((rows, weights)) = before {
            self.part(rows, weights, &mut products[0]);
        }
        for i in 0.. {
            let Some((rows, weights)) = before else { break };
            before = all.next();
            let [even, odd] = &mut products;
            let (own, next) = if i % 2 == 0 { (even, odd) } else { (odd, even) };
            if let Some((rows, weights)) = before {
                self.part(rows, weights, next);
            }
            let (scale, offset) = (load::<V4>(&weights.scales), load::<V4>(&weights.offsets));
            for (j, acc) in acc.iter_mut().enumerate() {
                let high = simd.avx512f._mm512_slli_epi32::<8>(pulp::cast(own.high[j]));
                let sum = simd.wrapping_add_i32x16(pulp::cast(high), pulp::cast(own.low[j]));
                let both = simd.mul_f32x16(scale, simd.splat_f32x16(rows.scales[j]));
                *acc = simd.mul_add_f32x16(simd.number(sum), both, *acc);
                if SKEWED {
                    *acc = simd.mul_add_f32x16(offset, simd.splat_f32x16(rows.sums[j]), *acc);
                }
            }
        }
        acc
    }

    #[inline(always)]
    fn part(&self, rows: &Part, weights: &Weights, to: &mut Products) {
        // SAFETY: the registers are configured while `self` lives, and on its thread alone. The loads and
        // stores are those of whole fields.
        #[allow(unsafe_code)]
        unsafe {
            asm!(
                "tileloadd tmm4, [{weights} + {line}]",
                "tileloadd tmm2, [{high} + {row}]",
                "tilezero tmm0",
                "tdpbssd tmm0, tmm2, tmm4",
                "tileloadd tmm3, [{low} + {row}]",
                "tilezero tmm1",
                "tdpbusd tmm1, tmm3, tmm4",
                "tilestored [{to} + {line}], tmm0",
                "tilestored [{to} + {line} + 1024], tmm1",
                weights = in(reg) weights.fours.as_ptr(),
                high = in(reg) rows.high.as_ptr(),
                low = in(reg) rows.low.as_ptr(),
                to = in(reg) to as *mut Products,
                row = in(reg) PART,
                line = in(reg) 4 * LANES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                options(nostack, preserves_flags),
            );
        }
    }
}
