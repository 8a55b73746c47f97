//! How the block formats become numbers in registers.
//!
//! A part is 32 weights `scale * q + offset` with small integers `q`. A block of the simple formats
//! is one part, a block of the K formats eight, whose scales and offsets follow from two 16-bit floats
//! and small integers. Formats beyond these go through candle's own dequantisation.

mod k;
mod simple;

use pulp::Simd;

#[cfg(target_arch = "x86_64")]
pub(super) use k::Q6KSixteens;
pub(super) use k::{Q4K, Q5K, Q6K};
pub(super) use simple::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

use crate::simd::half::f16_pairs;
use crate::simd::{load, store};

/// A `match` on a block type whose first arm is for all formats here, the format being the type `$B`.
macro_rules! each_format {
    ($dtype:expr, $B:ident => $do:expr, $($others:tt)*) => {
        match $dtype {
            $crate::linear::BlockType::Q4_0 => { type $B = $crate::linear::cpu::block::Q4_0; $do }
            $crate::linear::BlockType::Q4_1 => { type $B = $crate::linear::cpu::block::Q4_1; $do }
            $crate::linear::BlockType::Q5_0 => { type $B = $crate::linear::cpu::block::Q5_0; $do }
            $crate::linear::BlockType::Q5_1 => { type $B = $crate::linear::cpu::block::Q5_1; $do }
            $crate::linear::BlockType::Q8_0 => { type $B = $crate::linear::cpu::block::Q8_0; $do }
            $crate::linear::BlockType::Q4K => { type $B = $crate::linear::cpu::block::Q4K; $do }
            $crate::linear::BlockType::Q5K => { type $B = $crate::linear::cpu::block::Q5K; $do }
            $crate::linear::BlockType::Q6K => { type $B = $crate::linear::cpu::block::Q6K; $do }
            $($others)*
        }
    };
}
pub(super) use each_format;

/// Weights of a part.
pub(super) const PART: usize = 32;

/// A format of parts of 32 weights.
pub(super) trait Block: 'static {
    /// Bytes of a block.
    const BYTES: usize;

    /// Parts of a block; divides [`HEADS`].
    const PARTS: usize = 1;

    /// Consecutive parts that lie in the same bytes; divides [`Block::PARTS`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const TOGETHER: usize = 1;

    /// Whether the two numbers of a part are the scales of its halves, and there is no offset. Such a format has no
    /// [`Block::each`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const SIXTEENS: bool = false;

    /// The middle of the integers: they are smallest, and so is what rounding the other factor does
    /// to a product, once it is subtracted.
    const MIDDLE: i16 = 0;

    /// The most that the integers differ from their middle by.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const MOST: i16 = Self::MIDDLE;

    /// What the two floats of a block of one part are multiplied by to be its scale and offset.
    const TIMES: [f32; 2] = [1.0; 2];

    /// The bits of the two 16-bit floats of a block, the first in the lower half.
    fn head(block: &[u8]) -> u32;

    /// Scale and offset of each part of a block of several, given [`Block::head`] as f32.
    #[inline(always)]
    fn parts(block: &[u8], head: [f32; 2], parts: &mut [[f32; 2]]) {
        let _ = (block, head, parts);
    }

    /// The integers of a part; they fit 16 bits.
    fn quants(block: &[u8], part: usize) -> [i32; PART];

    /// [`Block::quants`] in two registers.
    #[cfg(target_arch = "x86_64")]
    fn ints(simd: pulp::x86::V3, block: &[u8], part: usize) -> [pulp::i16x16; 2];

    /// Hands out the 32 weights, given scale and offset, vector by vector: `f(i, v)` gets those from `i * lanes` on.
    #[inline(always)]
    fn each<S: Simd>(simd: S, block: &[u8], part: usize, by: [f32; 2], f: impl FnMut(usize, S::f32s)) {
        each_converted::<S, Self>(simd, block, part, by, f);
    }
}

/// Integers to f32 and one multiply-add, on any processor.
#[inline(always)]
fn each_converted<S: Simd, B: Block + ?Sized>(
    simd: S,
    block: &[u8],
    part: usize,
    [scale, offset]: [f32; 2],
    mut f: impl FnMut(usize, S::f32s),
) {
    let (scale, offset) = (simd.splat_f32s(scale), simd.splat_f32s(offset));
    #[cfg(target_arch = "x86_64")]
    if let Some(v4) = crate::simd::v4(simd) {
        for (i, half) in B::ints(*v4, block, part).into_iter().enumerate() {
            let wide = v4.avx512f._mm512_cvtepi16_epi32(pulp::cast(half));
            let number: pulp::f32x16 = pulp::cast(v4.avx512f._mm512_cvtepi32_ps(wide));
            f(i, simd.mul_add_e_f32s(crate::simd::generic::<S, _>(number), scale, offset));
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = crate::simd::v3(simd) {
        let eights: [pulp::i16x8; 4] = pulp::cast(B::ints(v3, block, part));
        for (i, eight) in eights.into_iter().enumerate() {
            let wide = v3.avx2._mm256_cvtepi16_epi32(pulp::cast(eight));
            let number: pulp::f32x8 = pulp::cast(v3.avx._mm256_cvtepi32_ps(wide));
            f(i, simd.mul_add_e_f32s(crate::simd::generic::<S, _>(number), scale, offset));
        }
        return;
    }
    let quants = B::quants(block, part);
    let mut numbers = [0f32; PART];
    for (n, &q) in numbers.iter_mut().zip(&quants) {
        *n = q as f32;
    }
    for i in 0..PART / S::F32_LANES {
        f(i, simd.mul_add_e_f32s(load::<S>(&numbers[i * S::F32_LANES..]), scale, offset));
    }
}

/// Parts whose scales are kept together.
pub(super) const HEADS: usize = 32;

/// Blocks whose floats are converted together: a vector of AVX2 holds those of four.
const FOUR: usize = 4;

/// Scale and offset of each of up to [`HEADS`] consecutive parts.
pub(super) struct Heads(pub(super) [[f32; 2]; HEADS]);

impl Heads {
    pub(super) const fn new() -> Self {
        Self([[0.0; 2]; HEADS])
    }

    /// One conversion for four blocks, whose floats meet in a register: written to memory one by one, a vector of
    /// them would have to wait until they are there.
    #[inline(always)]
    pub(super) fn read<S: Simd, B: Block>(&mut self, simd: S, blocks: &[u8]) {
        let mut fours = blocks.chunks_exact(FOUR * B::BYTES);
        let mut at = 0;
        for blocks in &mut fours {
            let (one, two) = blocks.split_at(2 * B::BYTES);
            let heads = [B::head(one), B::head(&one[B::BYTES..]), B::head(two), B::head(&two[B::BYTES..])];
            self.put::<B, FOUR>(at, blocks, f16_pairs(simd, heads));
            at += FOUR * B::PARTS;
        }
        for block in fours.remainder().chunks_exact(B::BYTES) {
            let [head, ..] = f16_pairs(simd, [B::head(block), 0, 0, 0]);
            self.put::<B, 1>(at, block, [head]);
            at += B::PARTS;
        }
    }

    /// The parts of `N` blocks, from part `at` on.
    #[inline(always)]
    fn put<B: Block, const N: usize>(&mut self, at: usize, blocks: &[u8], heads: [[f32; 2]; N]) {
        let parts = &mut self.0[at..at + N * B::PARTS];
        if B::PARTS == 1 {
            for (part, head) in parts.iter_mut().zip(heads) {
                *part = [head[0] * B::TIMES[0], head[1] * B::TIMES[1]];
            }
        } else {
            let blocks = blocks.chunks_exact(B::BYTES).zip(heads);
            for ((block, head), parts) in blocks.zip(parts.chunks_exact_mut(B::PARTS)) {
                B::parts(block, head, parts);
            }
        }
    }
}

/// A row of blocks as f32.
#[inline(always)]
pub(super) fn expand<S: Simd, B: Block>(simd: S, row: &[u8], out: &mut [f32]) {
    let mut heads = Heads::new();
    for (blocks, out) in row.chunks(HEADS / B::PARTS * B::BYTES).zip(out.chunks_mut(HEADS * PART)) {
        heads.read::<S, B>(simd, blocks);
        for (i, out) in out.chunks_exact_mut(PART).enumerate() {
            B::each(
                simd,
                &blocks[i / B::PARTS * B::BYTES..(i / B::PARTS + 1) * B::BYTES],
                i % B::PARTS,
                heads.0[i],
                #[inline(always)]
                |at, v| {
                    store::<S>(&mut out[at * S::F32_LANES..], v);
                },
            );
        }
    }
}

#[inline(always)]
fn bits(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

#[inline(always)]
fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}
