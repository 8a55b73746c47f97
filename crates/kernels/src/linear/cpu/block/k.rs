//! The K formats: blocks of 256 weights in eight parts, whose scales are integers times one float.

#[cfg(target_arch = "x86_64")]
use pulp::{cast, i16x16, u8x32, x86::V3};

use super::{Block, PART, bits, word};
#[cfg(target_arch = "x86_64")]
use crate::simd::array;

pub(in crate::linear::cpu) struct Q4K;
pub(in crate::linear::cpu) struct Q5K;
pub(in crate::linear::cpu) struct Q6K;

/// Blocks of Q6_K whose integers are the file's, with a scale for each sixteen.
#[cfg(target_arch = "x86_64")]
pub(in crate::linear::cpu) struct Q6KSixteens;

/// The six-bit scales and minima of eight parts, from the twelve bytes they are packed in.
#[inline(always)]
fn sixes(block: &[u8], [first, second]: [f32; 2], parts: &mut [[f32; 2]]) {
    let (a, b, c) = (word(block, 4), word(block, 8), word(block, 12));
    let scale = [a & 0x3f3f_3f3f, (c & 0x0f0f_0f0f) | (a >> 6 & 0x0303_0303) << 4].map(u32::to_le_bytes);
    let least = [b & 0x3f3f_3f3f, (c >> 4 & 0x0f0f_0f0f) | (b >> 6 & 0x0303_0303) << 4].map(u32::to_le_bytes);
    let both = scale.as_flattened().iter().zip(least.as_flattened());
    for (part, (&scale, &least)) in parts[..8].iter_mut().zip(both) {
        *part = [first * f32::from(scale), -(second * f32::from(least))];
    }
}

/// Nibbles of a part: two parts share 32 bytes, the first has the low ones.
#[inline(always)]
fn nibbles(bytes: &[u8], part: usize) -> [i32; PART] {
    let bytes = &bytes[part / 2 * PART..(part / 2 + 1) * PART];
    let shift = part % 2 * 4;
    std::array::from_fn(|i| i32::from(bytes[i] >> shift & 15))
}

/// As [`nibbles`], in registers.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn nibble_ints(v3: V3, bytes: &[u8], part: usize) -> [i16x16; 2] {
    let (count, mask) = (cast([part as u64 % 2 * 4, 0]), cast(v3.splat_u16x16(15)));
    let mut halves = [v3.splat_i16x16(0); 2];
    for (i, half) in halves.iter_mut().enumerate() {
        // Two parts are of the same bytes, which are widened once for both.
        let bytes: [u8; PART / 2] = array(&bytes[part / 2 * PART + i * PART / 2..]);
        let wide = v3.avx2._mm256_cvtepu8_epi16(cast(bytes));
        *half = cast(v3.avx2._mm256_and_si256(v3.avx2._mm256_srl_epi16(wide, count), mask));
    }
    halves
}

/// The bits `mask` of 32 bytes, once they are shifted right.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn field(v3: V3, bytes: &[u8], shift: usize, mask: u8) -> u8x32 {
    let shifted = v3.avx2._mm256_srl_epi16(cast(array::<_, PART>(bytes)), cast([shift as u64, 0]));
    cast(v3.avx2._mm256_and_si256(shifted, cast(v3.splat_u8x32(mask))))
}

/// The lower four bits and, above them, the upper ones.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn upper(v3: V3, low: u8x32, high: u8x32) -> u8x32 {
    cast(v3.avx2._mm256_or_si256(cast(low), v3.avx2._mm256_slli_epi16::<4>(cast(high))))
}

/// Signed bytes as 16 bits.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn widened(v3: V3, bytes: u8x32) -> [i16x16; 2] {
    let [low, high]: [[u8; PART / 2]; 2] = cast(bytes);
    [cast(v3.avx2._mm256_cvtepi8_epi16(cast(low))), cast(v3.avx2._mm256_cvtepi8_epi16(cast(high)))]
}

impl Block for Q4K {
    const BYTES: usize = 144;
    const PARTS: usize = 8;
    const TOGETHER: usize = 2;
    const MIDDLE: i16 = 8;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        word(block, 0)
    }

    #[inline(always)]
    fn parts(block: &[u8], head: [f32; 2], parts: &mut [[f32; 2]]) {
        sixes(block, head, parts);
    }

    #[inline(always)]
    fn quants(block: &[u8], part: usize) -> [i32; PART] {
        nibbles(&block[16..], part)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: V3, block: &[u8], part: usize) -> [i16x16; 2] {
        nibble_ints(simd, &block[16..], part)
    }
}

impl Block for Q5K {
    const BYTES: usize = 176;
    const PARTS: usize = 8;
    const TOGETHER: usize = 2;
    const MIDDLE: i16 = 16;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        word(block, 0)
    }

    #[inline(always)]
    fn parts(block: &[u8], head: [f32; 2], parts: &mut [[f32; 2]]) {
        sixes(block, head, parts);
    }

    /// The fifth bit of weight `i` of part `p` is bit `p` of byte `i`.
    #[inline(always)]
    fn quants(block: &[u8], part: usize) -> [i32; PART] {
        let (high, low) = (&block[16..16 + PART], nibbles(&block[48..], part));
        std::array::from_fn(|i| low[i] | i32::from(high[i] >> part & 1) << 4)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: V3, block: &[u8], part: usize) -> [i16x16; 2] {
        let low = field(simd, &block[48 + part / 2 * PART..], part % 2 * 4, 15);
        widened(simd, upper(simd, low, field(simd, &block[16..], part, 1)))
    }
}

/// Where the integers of a part lie: the nibbles' bytes and their shift, the upper bits' and theirs.
#[inline(always)]
fn six_at(part: usize) -> (usize, usize, usize, usize) {
    let (half, quarter) = (part / 4, part % 4);
    (half * 64 + quarter % 2 * PART, quarter / 2 * 4, 128 + half * PART, quarter * 2)
}

/// The file's integers of a part, from -32 to 31.
#[inline(always)]
fn six_quants(block: &[u8], part: usize) -> [i32; PART] {
    let (low, low_shift, high, high_shift) = six_at(part);
    let (low, high) = (&block[low..low + PART], &block[high..high + PART]);
    std::array::from_fn(|i| i32::from(low[i] >> low_shift & 15 | (high[i] >> high_shift & 3) << 4) - 32)
}

/// As [`six_quants`], in registers.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn six_ints(v3: V3, block: &[u8], part: usize) -> [i16x16; 2] {
    let (low, low_shift, high, high_shift) = six_at(part);
    let all = upper(v3, field(v3, &block[low..], low_shift, 15), field(v3, &block[high..], high_shift, 3));
    widened(v3, cast(v3.avx2._mm256_sub_epi8(cast(all), cast(v3.splat_u8x32(32)))))
}

/// The integers are those of the file times the scale of their sixteen, which leaves the float as the
/// scale of the part: they reach from -4064 to 4096.
impl Block for Q6K {
    const BYTES: usize = 210;
    const PARTS: usize = 8;
    const MOST: i16 = 4096;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        bits(block, 208).into()
    }

    #[inline(always)]
    fn parts(_: &[u8], [scale, _]: [f32; 2], parts: &mut [[f32; 2]]) {
        parts[..8].fill([scale, 0.0]);
    }

    #[inline(always)]
    fn quants(block: &[u8], part: usize) -> [i32; PART] {
        let scales = [block[192 + part * 2] as i8, block[193 + part * 2] as i8].map(i32::from);
        let quants = six_quants(block, part);
        std::array::from_fn(|i| quants[i] * scales[i / 16])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ints(simd: V3, block: &[u8], part: usize) -> [i16x16; 2] {
        let mut ints = six_ints(simd, block, part);
        for (ints, &scale) in ints.iter_mut().zip(&block[192 + part * 2..]) {
            let scale = simd.splat_i16x16(i16::from(scale as i8));
            *ints = cast(simd.avx2._mm256_mullo_epi16(cast(*ints), cast(scale)));
        }
        ints
    }
}

#[cfg(target_arch = "x86_64")]
impl Block for Q6KSixteens {
    const BYTES: usize = Q6K::BYTES;
    const PARTS: usize = Q6K::PARTS;
    const TOGETHER: usize = 4;
    const SIXTEENS: bool = true;
    const MOST: i16 = 32;

    #[inline(always)]
    fn head(block: &[u8]) -> u32 {
        Q6K::head(block)
    }

    #[inline(always)]
    fn parts(block: &[u8], [scale, _]: [f32; 2], parts: &mut [[f32; 2]]) {
        for (part, &int) in parts[..8].as_flattened_mut().iter_mut().zip(&block[192..208]) {
            *part = scale * f32::from(int as i8);
        }
    }

    #[inline(always)]
    fn quants(block: &[u8], part: usize) -> [i32; PART] {
        six_quants(block, part)
    }

    #[inline(always)]
    fn ints(simd: V3, block: &[u8], part: usize) -> [i16x16; 2] {
        six_ints(simd, block, part)
    }
}
