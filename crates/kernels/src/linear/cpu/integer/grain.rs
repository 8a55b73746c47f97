//! How finely activations are rounded, and how that is packed.

use pulp::i16x16;
use pulp::x86::V3;

use super::super::block::PART;
use crate::simd::pairs::{Halves, Packing, Quarters};

/// A packing of the 32 integers of a part.
pub(in crate::linear::cpu) trait Grain: Packing {
    /// What all activations' integers are raised by.
    const RAISED: i16;

    /// A lane of zeros, raised.
    const ZEROS: i32;

    /// Packs activations' integers.
    fn activations(ints: &[i16; PART], to: &mut [i32]);

    /// Packs weights' integers.
    fn weights(simd: V3, ints: [i16x16; 2], to: &mut [i32]);
}

impl Grain for Halves {
    const RAISED: i16 = 0;
    const ZEROS: i32 = 0;

    #[inline(always)]
    fn activations(ints: &[i16; PART], to: &mut [i32]) {
        to.copy_from_slice(bytemuck::cast_slice(ints));
    }

    #[inline(always)]
    fn weights(_: V3, ints: [i16x16; 2], to: &mut [i32]) {
        if let Some(to) = to.first_chunk_mut::<{ PART / 2 }>() {
            *to = pulp::cast(ints);
        }
    }
}

/// The instruction takes activations without a sign.
impl Grain for Quarters {
    const RAISED: i16 = 128;
    const ZEROS: i32 = i32::from_le_bytes([128; 4]);

    #[inline(always)]
    fn activations(ints: &[i16; PART], to: &mut [i32]) {
        let mut bytes = [0u8; PART];
        for (byte, &int) in bytes.iter_mut().zip(ints) {
            *byte = (int + Self::RAISED) as u8;
        }
        to.copy_from_slice(&pulp::cast::<_, [i32; PART / 4]>(bytes));
    }

    #[inline(always)]
    fn weights(simd: V3, [low, high]: [i16x16; 2], to: &mut [i32]) {
        if let Some(to) = to.first_chunk_mut::<{ PART / 4 }>() {
            // The four pieces of 64 bits come out as first, third, second and fourth.
            let bytes = simd.avx2._mm256_packs_epi16(pulp::cast(low), pulp::cast(high));
            *to = pulp::cast(simd.avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(bytes));
        }
    }
}
