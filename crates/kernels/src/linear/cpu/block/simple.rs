//! Formats whose block is one part: 32 integers, a scale, and for some an offset.

use pulp::Simd;

use super::{Block, PART, bits, each_converted, word};
#[cfg(target_arch = "x86_64")]
use crate::simd::array;

pub(in crate::linear::cpu) struct Q4_0;
pub(in crate::linear::cpu) struct Q4_1;
pub(in crate::linear::cpu) struct Q5_0;
pub(in crate::linear::cpu) struct Q5_1;
pub(in crate::linear::cpu) struct Q8_0;

/// The 16-bit float at the head of a block, two times.
#[inline(always)]
fn twice(block: &[u8]) -> u32 {
    u32::from(bits(block, 0)) * 0x0001_0001
}

/// Low nibbles first, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [i32; PART] {
    let bytes = &bytes[..16];
    let mut out = [0; PART];
    for i in 0..16 {
        out[i] = i32::from(bytes[i] & 15);
        out[i + 16] = i32::from(bytes[i] >> 4);
    }
    out
}

/// Nibbles with a fifth bit each, packed in 32 bits.
#[inline(always)]
fn fives(high: u32, bytes: &[u8]) -> [i32; PART] {
    let mut out = nibbles(bytes);
    for (i, q) in out.iter_mut().enumerate() {
        *q |= ((high >> i & 1) << 4) as i32;
    }
    out
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn nibble_ints(v3: pulp::x86::V3, bytes: &[u8]) -> [pulp::i16x16; 2] {
    let packed: [u8; 16] = array(bytes);
    let wide = v3.avx2._mm256_cvtepu8_epi16(pulp::cast(packed));
    let low = v3.avx2._mm256_and_si256(wide, pulp::cast(v3.splat_u16x16(15)));
    [pulp::cast(low), pulp::cast(v3.avx2._mm256_srli_epi16::<4>(wide))]
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn five_ints(v3: pulp::x86::V3, high: u32, bytes: &[u8]) -> [pulp::i16x16; 2] {
    // Each lane has a bit of its own to look for in half of the upper bits.
    let own = pulp::cast(std::array::from_fn::<u16, 16, _>(|i| 1 << i));
    let mut halves = nibble_ints(v3, bytes);
    for (half, high) in halves.iter_mut().zip([high as u16, (high >> 16) as u16]) {
        let found = v3.avx2._mm256_and_si256(pulp::cast(v3.splat_u16x16(high)), own);
        let fifth = v3.avx2._mm256_and_si256(v3.avx2._mm256_cmpeq_epi16(found, own), pulp::cast(v3.splat_u16x16(16)));
        *half = pulp::cast(v3.avx2._mm256_or_si256(pulp::cast(*half), fifth));
    }
    halves
}

/// Nibbles through a table of the sixteen weights a block can hold: no conversion, no addition.
#[inline(always)]
fn each_nibble<S: Simd>(simd: S, bytes: &[u8], [scale, offset]: [f32; 2], f: &mut impl FnMut(usize, S::f32s)) -> bool {
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
    const TIMES: [f32; 2] = [1.0, -8.0];
    const MIDDLE: i16 = 8;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        twice(block)
    }

    #[inline(always)]
    fn quants(block: &[u8], _: usize) -> [i32; PART] {
        nibbles(&block[2..])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: pulp::x86::V3, block: &[u8], _: usize) -> [pulp::i16x16; 2] {
        nibble_ints(simd, &block[2..])
    }

    #[inline(always)]
    fn each<S: Simd>(simd: S, block: &[u8], part: usize, by: [f32; 2], mut f: impl FnMut(usize, S::f32s)) {
        if !each_nibble(simd, &block[2..], by, &mut f) {
            each_converted::<S, Self>(simd, block, part, by, f);
        }
    }
}

impl Block for Q4_1 {
    const BYTES: usize = 20;
    const MIDDLE: i16 = 8;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        word(block, 0)
    }

    #[inline(always)]
    fn quants(block: &[u8], _: usize) -> [i32; PART] {
        nibbles(&block[4..])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: pulp::x86::V3, block: &[u8], _: usize) -> [pulp::i16x16; 2] {
        nibble_ints(simd, &block[4..])
    }

    #[inline(always)]
    fn each<S: Simd>(simd: S, block: &[u8], part: usize, by: [f32; 2], mut f: impl FnMut(usize, S::f32s)) {
        if !each_nibble(simd, &block[4..], by, &mut f) {
            each_converted::<S, Self>(simd, block, part, by, f);
        }
    }
}

impl Block for Q5_0 {
    const BYTES: usize = 22;
    const TIMES: [f32; 2] = [1.0, -16.0];
    const MIDDLE: i16 = 16;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        twice(block)
    }

    #[inline(always)]
    fn quants(block: &[u8], _: usize) -> [i32; PART] {
        fives(word(block, 2), &block[6..])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: pulp::x86::V3, block: &[u8], _: usize) -> [pulp::i16x16; 2] {
        five_ints(simd, word(block, 2), &block[6..])
    }
}

impl Block for Q5_1 {
    const BYTES: usize = 24;
    const MIDDLE: i16 = 16;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        word(block, 0)
    }

    #[inline(always)]
    fn quants(block: &[u8], _: usize) -> [i32; PART] {
        fives(word(block, 4), &block[8..])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: pulp::x86::V3, block: &[u8], _: usize) -> [pulp::i16x16; 2] {
        five_ints(simd, word(block, 4), &block[8..])
    }
}

impl Block for Q8_0 {
    const BYTES: usize = 34;
    const TIMES: [f32; 2] = [1.0, 0.0];
    const MOST: i16 = 128;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        twice(block)
    }

    #[inline(always)]
    fn quants(block: &[u8], _: usize) -> [i32; PART] {
        let bytes = &block[2..2 + PART];
        std::array::from_fn(|i| i32::from(bytes[i] as i8))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: pulp::x86::V3, block: &[u8], _: usize) -> [pulp::i16x16; 2] {
        let halves: [[u8; 16]; 2] = [array(&block[2..]), array(&block[18..])];
        let mut ints = [simd.splat_i16x16(0); 2];
        for (ints, half) in ints.iter_mut().zip(halves) {
            *ints = pulp::cast(simd.avx2._mm256_cvtepi8_epi16(pulp::cast(half)));
        }
        ints
    }

    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
    fn each<S: Simd>(simd: S, block: &[u8], part: usize, by: [f32; 2], mut f: impl FnMut(usize, S::f32s)) {
        #[cfg(target_arch = "x86_64")]
        if let Some(v4) = crate::simd::v4(simd) {
            let scale = v4.splat_f32x16(by[0]);
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
            let scale = v3.splat_f32x8(by[0]);
            for i in 0..4 {
                let packed: [u8; 8] = array(&block[2 + i * 8..]);
                let wide = v3.avx2._mm256_cvtepi8_epi32(pulp::cast([u64::from_le_bytes(packed), 0]));
                let number: pulp::f32x8 = pulp::cast(v3.avx._mm256_cvtepi32_ps(wide));
                f(i, crate::simd::generic::<S, _>(v3.mul_f32x8(number, scale)));
            }
            return;
        }
        each_converted::<S, Self>(simd, block, part, by, f);
    }
}
