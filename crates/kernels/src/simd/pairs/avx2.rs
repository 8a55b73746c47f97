//! AVX2: eight lanes; a dot product is a multiplication and an addition, or with AVX-VNNI one instruction
//! that gives the same.

use std::arch::x86_64::{__m256i, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32};

use pulp::x86::V3;
use pulp::{Simd, f32x8, i32x8, u32x8};

use super::{COLUMNS, MOST, POWERS, Pairs, WithPairs, keep};
use crate::simd::transpose::transpose8;

/// Proof that the processor has AVX2 and, if `FUSED`, AVX-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const FUSED: bool>(V3);

impl<const FUSED: bool> Avx2<FUSED> {
    /// The proof, where it holds.
    pub(crate) fn find() -> Option<Self> {
        crate::simd::arch::avx2().filter(|_| !FUSED || std::arch::is_x86_feature_detected!("avxvnni")).map(Self)
    }
}

impl<const FUSED: bool> Pairs for Avx2<FUSED> {
    type Simd = V3;

    #[inline(always)]
    fn simd(self) -> V3 {
        self.0
    }

    #[inline(always)]
    fn avx2(self) -> V3 {
        self.0
    }

    #[inline(always)]
    fn dot(self, acc: i32x8, a: i32x8, b: i32x8) -> i32x8 {
        if FUSED {
            // SAFETY: such an `Avx2` exists only where the processor has the instruction.
            #[allow(unsafe_code)]
            let sum: __m256i = unsafe { _mm256_dpwssd_avx_epi32(pulp::cast(acc), pulp::cast(a), pulp::cast(b)) };
            pulp::cast(sum)
        } else {
            let products = self.0.avx2._mm256_madd_epi16(pulp::cast(a), pulp::cast(b));
            pulp::cast(self.0.avx2._mm256_add_epi32(pulp::cast(acc), products))
        }
    }

    #[inline(always)]
    fn dot_bytes(self, acc: i32x8, a: i32x8, b: i32x8) -> i32x8 {
        if FUSED {
            // SAFETY: as in `dot`.
            #[allow(unsafe_code)]
            let sum: __m256i = unsafe { _mm256_dpbusd_avx_epi32(pulp::cast(acc), pulp::cast(a), pulp::cast(b)) };
            pulp::cast(sum)
        } else {
            // Every other byte as 16 bits: the instruction for bytes would saturate.
            let f = self.0.avx2;
            let (a, b) = (pulp::cast(a), pulp::cast(b));
            let even = f._mm256_and_si256(a, pulp::cast(self.0.splat_u16x16(0xff)));
            let sum =
                self.dot(acc, pulp::cast(even), pulp::cast(f._mm256_srai_epi16::<8>(f._mm256_slli_epi16::<8>(b))));
            self.dot(sum, pulp::cast(f._mm256_srli_epi16::<8>(a)), pulp::cast(f._mm256_srai_epi16::<8>(b)))
        }
    }

    #[inline(always)]
    fn number(self, x: i32x8) -> f32x8 {
        pulp::cast(self.0.avx._mm256_cvtepi32_ps(pulp::cast(x)))
    }

    #[inline(always)]
    fn nearest(self, x: f32x8) -> i32x8 {
        pulp::cast(self.0.avx._mm256_cvtps_epi32(pulp::cast(x)))
    }

    #[inline(always)]
    fn power(self, x: f32x8) -> f32x8 {
        let simd = self.0;
        // What is lower than any exponent becomes that of zero. Of a NaN the maximum keeps the second.
        let x = simd.max_f32x8(simd.splat_f32x8(-127.0), x);
        let whole: f32x8 = pulp::cast(simd.avx._mm256_floor_ps(pulp::cast(x)));
        let fraction = simd.sub_f32x8(x, whole);
        let mut p = simd.splat_f32x8(POWERS[0]);
        for &c in &POWERS[1..] {
            p = simd.mul_add_f32x8(p, fraction, simd.splat_f32x8(c));
        }
        let exponent = simd.avx2._mm256_add_epi32(pulp::cast(self.nearest(whole)), pulp::cast(simd.splat_i32x8(127)));
        simd.mul_f32x8(p, pulp::cast(simd.avx2._mm256_slli_epi32::<23>(exponent)))
    }

    #[inline(always)]
    fn peak(self, x: u32x8) -> f32 {
        let simd = self.0;
        let [low, high]: [std::arch::x86_64::__m128i; 2] = pulp::cast(x);
        let four = simd.sse4_1._mm_max_epu32(low, high);
        let two = simd.sse4_1._mm_max_epu32(four, simd.sse2._mm_shuffle_epi32::<0b0100_1110>(four));
        let one = simd.sse4_1._mm_max_epu32(two, simd.sse2._mm_shuffle_epi32::<0b1011_0001>(two));
        f32::from_bits(simd.sse2._mm_cvtsi128_si32(one) as u32)
    }

    #[inline(always)]
    fn narrow(self, x: i32x8, to: &mut [i16]) {
        let [low, high]: [std::arch::x86_64::__m128i; 2] = pulp::cast(x);
        let ints: [i16; 8] = pulp::cast(self.0.sse2._mm_packs_epi32(low, high));
        to.copy_from_slice(&ints);
    }

    #[inline(always)]
    fn columns(self, from: &[[i32; COLUMNS]; MOST], to: &mut [i32], step: usize) {
        for (half, to) in to.chunks_mut(8 * step).enumerate().take(2) {
            // A loop: what `map` calls would not be compiled for these instructions.
            let mut rows = [self.0.splat_i32s(0); 8];
            for (row, from) in rows.iter_mut().zip(from) {
                *row = pulp::cast(crate::simd::array::<i32, 8>(&from[8 * half..]));
            }
            for (column, to) in transpose8(self.0, rows).into_iter().zip(to.chunks_mut(step)) {
                keep(self.0, to, column);
            }
        }
    }

    fn run<W: WithPairs>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx2,f16c,fma,bmi1,bmi2,lzcnt,popcnt")]
        fn plain<W: WithPairs>(pairs: impl Pairs, work: W) -> W::Output {
            work.with_pairs(pairs)
        }
        #[target_feature(enable = "avx2,avxvnni,f16c,fma,bmi1,bmi2,lzcnt,popcnt")]
        fn fused<W: WithPairs>(pairs: impl Pairs, work: W) -> W::Output {
            work.with_pairs(pairs)
        }
        // SAFETY: an `Avx2` exists only where `find` saw these: V3 includes all but `avxvnni`, which it looks for, and
        // `f16c`, which `arch::avx2` looks for.
        #[allow(unsafe_code)]
        unsafe {
            if FUSED { fused(self, work) } else { plain(self, work) }
        }
    }
}
