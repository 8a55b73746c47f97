//! How the common block formats become numbers in registers.
//!
//! A block is 32 weights `scale * q + offset` with small integers `q`; scale and offset are f16 (or
//! follow from it). Formats beyond these go through candle's own dequantisation.

use half::f16;
use pulp::Simd;

use crate::simd::{array, load, store};

/// Weights of a block.
pub(super) const BLOCK: usize = 32;

/// A format of 32 weights a block.
pub(super) trait Block: 'static {
    /// Bytes of a block.
    const BYTES: usize;

    /// Scale and offset of a block; see [`Block::offset`] for formats without the latter.
    fn head(block: &[u8]) -> (u16, u16);

    /// What is added to `scale * q`, given the two halves of [`Block::head`] as f32.
    fn offset(scale: f32, second: f32) -> f32;

    /// The integers of a block.
    fn quants(block: &[u8]) -> [i32; BLOCK];

    /// Hands out the 32 weights, vector by vector: `f(i, v)` gets those from `i * lanes` on.
    #[inline(always)]
    fn each<S: Simd>(simd: S, block: &[u8], scale: f32, offset: f32, f: impl FnMut(usize, S::f32s)) {
        each_converted::<S, Self>(simd, block, scale, offset, f);
    }
}

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q8_0;

#[inline(always)]
fn bits(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Low nibbles first, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [i32; BLOCK] {
    let bytes = &bytes[..16];
    let mut out = [0; BLOCK];
    for i in 0..16 {
        out[i] = i32::from(bytes[i] & 15);
        out[i + 16] = i32::from(bytes[i] >> 4);
    }
    out
}

/// Nibbles with a fifth bit each, packed in 32 bits.
#[inline(always)]
fn fives(high: &[u8], bytes: &[u8]) -> [i32; BLOCK] {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let mut out = nibbles(bytes);
    for (i, q) in out.iter_mut().enumerate() {
        *q |= ((high >> i & 1) << 4) as i32;
    }
    out
}

/// Nibbles through a table of the sixteen weights a block can hold: no conversion, no addition.
#[inline(always)]
fn each_nibble<S: Simd>(simd: S, bytes: &[u8], scale: f32, offset: f32, f: &mut impl FnMut(usize, S::f32s)) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(v4) = crate::simd::v4(simd) {
        let avx = v4.avx512f;
        let packed: [u8; 16] = array(bytes);
        let wide = avx._mm512_cvtepu8_epi32(pulp::cast(packed));
        let steps = pulp::f32x16(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0);
        let table = v4.mul_add_f32x16(steps, v4.splat_f32x16(scale), v4.splat_f32x16(offset));
        // The permutation looks at the low four bits of an index only.
        let low: pulp::f32x16 = pulp::cast(avx._mm512_permutexvar_ps(wide, pulp::cast(table)));
        let high = avx._mm512_srli_epi32::<4>(wide);
        let high: pulp::f32x16 = pulp::cast(avx._mm512_permutexvar_ps(high, pulp::cast(table)));
        f(0, crate::simd::generic::<S, _>(low));
        f(1, crate::simd::generic::<S, _>(high));
        return true;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = crate::simd::v3(simd) {
        let avx = v3.avx2;
        let (scale, offset) = (v3.splat_f32x8(scale), v3.splat_f32x8(offset));
        for part in 0..2 {
            let half: [u8; 8] = array(&bytes[part * 8..]);
            let wide = avx._mm256_cvtepu8_epi32(pulp::cast([u64::from_le_bytes(half), 0]));
            let low = avx._mm256_and_si256(wide, pulp::cast(v3.splat_u32x8(15)));
            let high = avx._mm256_srli_epi32::<4>(wide);
            f(
                part,
                crate::simd::generic::<S, _>(v3.mul_add_f32x8(
                    pulp::cast(v3.avx._mm256_cvtepi32_ps(low)),
                    scale,
                    offset,
                )),
            );
            f(
                part + 2,
                crate::simd::generic::<S, _>(v3.mul_add_f32x8(
                    pulp::cast(v3.avx._mm256_cvtepi32_ps(high)),
                    scale,
                    offset,
                )),
            );
        }
        return true;
    }
    let _ = (simd, bytes, scale, offset, f);
    false
}

impl Block for Q4_0 {
    const BYTES: usize = 18;

    #[inline(always)]
    fn head(block: &[u8]) -> (u16, u16) {
        (bits(block, 0), 0)
    }

    #[inline(always)]
    fn offset(scale: f32, _: f32) -> f32 {
        -8.0 * scale
    }

    #[inline(always)]
    fn quants(block: &[u8]) -> [i32; BLOCK] {
        nibbles(&block[2..])
    }

    #[inline(always)]
    fn each<S: Simd>(simd: S, block: &[u8], scale: f32, offset: f32, mut f: impl FnMut(usize, S::f32s)) {
        if !each_nibble(simd, &block[2..], scale, offset, &mut f) {
            each_converted::<S, Self>(simd, block, scale, offset, f);
        }
    }
}

impl Block for Q4_1 {
    const BYTES: usize = 20;

    #[inline(always)]
    fn head(block: &[u8]) -> (u16, u16) {
        (bits(block, 0), bits(block, 2))
    }

    #[inline(always)]
    fn offset(_: f32, second: f32) -> f32 {
        second
    }

    #[inline(always)]
    fn quants(block: &[u8]) -> [i32; BLOCK] {
        nibbles(&block[4..])
    }

    #[inline(always)]
    fn each<S: Simd>(simd: S, block: &[u8], scale: f32, offset: f32, mut f: impl FnMut(usize, S::f32s)) {
        if !each_nibble(simd, &block[4..], scale, offset, &mut f) {
            each_converted::<S, Self>(simd, block, scale, offset, f);
        }
    }
}

impl Block for Q5_0 {
    const BYTES: usize = 22;

    #[inline(always)]
    fn head(block: &[u8]) -> (u16, u16) {
        (bits(block, 0), 0)
    }

    #[inline(always)]
    fn offset(scale: f32, _: f32) -> f32 {
        -16.0 * scale
    }

    #[inline(always)]
    fn quants(block: &[u8]) -> [i32; BLOCK] {
        fives(&block[2..6], &block[6..])
    }
}

impl Block for Q5_1 {
    const BYTES: usize = 24;

    #[inline(always)]
    fn head(block: &[u8]) -> (u16, u16) {
        (bits(block, 0), bits(block, 2))
    }

    #[inline(always)]
    fn offset(_: f32, second: f32) -> f32 {
        second
    }

    #[inline(always)]
    fn quants(block: &[u8]) -> [i32; BLOCK] {
        fives(&block[4..8], &block[8..])
    }
}

impl Block for Q8_0 {
    const BYTES: usize = 34;

    #[inline(always)]
    fn head(block: &[u8]) -> (u16, u16) {
        (bits(block, 0), 0)
    }

    #[inline(always)]
    fn offset(_: f32, _: f32) -> f32 {
        0.0
    }

    #[inline(always)]
    fn quants(block: &[u8]) -> [i32; BLOCK] {
        let bytes = &block[2..2 + BLOCK];
        std::array::from_fn(|i| i32::from(bytes[i] as i8))
    }

    #[inline(always)]
    fn each<S: Simd>(simd: S, block: &[u8], scale: f32, offset: f32, mut f: impl FnMut(usize, S::f32s)) {
        #[cfg(target_arch = "x86_64")]
        if let Some(v4) = crate::simd::v4(simd) {
            let scale = v4.splat_f32x16(scale);
            for i in 0..2 {
                let packed: [u8; 16] = array(&block[2 + i * 16..]);
                let wide = v4.avx512f._mm512_cvtepi8_epi32(pulp::cast(packed));
                let number: pulp::f32x16 = pulp::cast(v4.avx512f._mm512_cvtepi32_ps(wide));
                f(i, crate::simd::generic::<S, _>(v4.mul_f32x16(number, scale)));
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = crate::simd::v3(simd) {
            let scale = v3.splat_f32x8(scale);
            for i in 0..4 {
                let packed: [u8; 8] = array(&block[2 + i * 8..]);
                let wide = v3.avx2._mm256_cvtepi8_epi32(pulp::cast([u64::from_le_bytes(packed), 0]));
                let number: pulp::f32x8 = pulp::cast(v3.avx._mm256_cvtepi32_ps(wide));
                f(i, crate::simd::generic::<S, _>(v3.mul_f32x8(number, scale)));
            }
            return;
        }
        each_converted::<S, Self>(simd, block, scale, offset, f);
    }
}

/// Integers to f32 and one multiply-add: what the compiler makes vector code of anywhere.
#[inline(always)]
fn each_converted<S: Simd, B: Block + ?Sized>(
    simd: S,
    block: &[u8],
    scale: f32,
    offset: f32,
    mut f: impl FnMut(usize, S::f32s),
) {
    let quants = B::quants(block);
    let mut numbers = [0f32; BLOCK];
    for (n, &q) in numbers.iter_mut().zip(&quants) {
        *n = q as f32;
    }
    let (scale, offset) = (simd.splat_f32s(scale), simd.splat_f32s(offset));
    for i in 0..BLOCK / S::F32_LANES {
        f(i, simd.mul_add_e_f32s(load::<S>(&numbers[i * S::F32_LANES..]), scale, offset));
    }
}

/// Blocks whose scales are converted together.
pub(super) const HEADS: usize = 32;

/// Scales and offsets of up to [`HEADS`] consecutive blocks.
pub(super) struct Heads {
    pub(super) scales: [f32; HEADS],
    pub(super) offsets: [f32; HEADS],
}

impl Heads {
    pub(super) const fn new() -> Self {
        Self { scales: [0.0; HEADS], offsets: [0.0; HEADS] }
    }

    /// One conversion loop for many blocks instead of a call for each 16-bit float.
    #[inline(always)]
    pub(super) fn read<S: Simd, B: Block>(&mut self, simd: S, blocks: &[u8]) {
        use crate::simd::half::Stored;
        let mut raw = [[f16::ZERO; HEADS]; 2];
        for (i, block) in blocks.chunks_exact(B::BYTES).take(HEADS).enumerate() {
            let (first, second) = B::head(block);
            raw[0][i] = f16::from_bits(first);
            raw[1][i] = f16::from_bits(second);
        }
        f16::widen(simd, &raw[0], &mut self.scales);
        f16::widen(simd, &raw[1], &mut self.offsets);
        for (o, &s) in self.offsets.iter_mut().zip(&self.scales) {
            *o = B::offset(s, *o);
        }
    }
}

/// A row of blocks as f32.
#[inline(always)]
pub(super) fn expand<S: Simd, B: Block>(simd: S, row: &[u8], out: &mut [f32]) {
    let mut heads = Heads::new();
    for (blocks, out) in row.chunks(HEADS * B::BYTES).zip(out.chunks_mut(HEADS * BLOCK)) {
        heads.read::<S, B>(simd, blocks);
        for (i, (block, out)) in blocks.chunks_exact(B::BYTES).zip(out.chunks_exact_mut(BLOCK)).enumerate() {
            B::each(
                simd,
                block,
                heads.scales[i],
                heads.offsets[i],
                #[inline(always)]
                |at, v| {
                    store::<S>(&mut out[at * S::F32_LANES..], v);
                },
            );
        }
    }
}
