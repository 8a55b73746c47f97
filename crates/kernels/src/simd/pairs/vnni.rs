//! AVX-512 with VNNI: sixteen lanes, and one instruction for a dot product.

use std::arch::x86_64::{__m512i, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32};
use std::ops::Deref;

use pulp::{Simd, f32x16, i32x16, u32x16};

use super::{COLUMNS, MOST, POWERS, Pairs, WithPairs, keep};
use crate::simd::transpose::transpose16;

/// Proof that the processor has AVX-512 and its 16-bit dot products.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(pulp::x86::V4);

impl Deref for Vnni {
    type Target = pulp::x86::V4;

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Vnni {
    /// The proof, where it holds.
    pub(crate) fn find() -> Option<Self> {
        crate::simd::arch::avx512().filter(|_| std::arch::is_x86_feature_detected!("avx512vnni")).map(Self)
    }
}

impl Pairs for Vnni {
    type Simd = pulp::x86::V4;

    #[inline(always)]
    fn simd(self) -> Self::Simd {
        self.0
    }

    #[inline(always)]
    fn avx2(self) -> pulp::x86::V3 {
        *self.0
    }

    #[inline(always)]
    fn dot(self, acc: i32x16, a: i32x16, b: i32x16) -> i32x16 {
        // SAFETY: a `Vnni` exists only where the processor has the instruction.
        #[allow(unsafe_code)]
        let sum: __m512i = unsafe { _mm512_dpwssd_epi32(pulp::cast(acc), pulp::cast(a), pulp::cast(b)) };
        pulp::cast(sum)
    }

    #[inline(always)]
    fn dot_bytes(self, acc: i32x16, a: i32x16, b: i32x16) -> i32x16 {
        // SAFETY: as in `dot`.
        #[allow(unsafe_code)]
        let sum: __m512i = unsafe { _mm512_dpbusd_epi32(pulp::cast(acc), pulp::cast(a), pulp::cast(b)) };
        pulp::cast(sum)
    }

    #[inline(always)]
    fn number(self, x: i32x16) -> f32x16 {
        pulp::cast(self.avx512f._mm512_cvtepi32_ps(pulp::cast(x)))
    }

    #[inline(always)]
    fn nearest(self, x: f32x16) -> i32x16 {
        pulp::cast(self.avx512f._mm512_cvtps_epi32(pulp::cast(x)))
    }

    #[inline(always)]
    fn power(self, x: f32x16) -> f32x16 {
        const DOWN: i32 = std::arch::x86_64::_MM_FROUND_TO_NEG_INF | std::arch::x86_64::_MM_FROUND_NO_EXC;
        let fraction = pulp::cast(self.avx512dq._mm512_reduce_ps::<DOWN>(pulp::cast(x)));
        let mut p = self.splat_f32x16(POWERS[0]);
        for &c in &POWERS[1..] {
            p = self.mul_add_f32x16(p, fraction, self.splat_f32x16(c));
        }
        // Multiplies by two to the power of the next integer below `x`.
        pulp::cast(self.avx512f._mm512_scalef_ps(pulp::cast(p), pulp::cast(x)))
    }

    #[inline(always)]
    fn peak(self, x: u32x16) -> f32 {
        f32::from_bits(self.avx512f._mm512_reduce_max_epu32(pulp::cast(x)))
    }

    #[inline(always)]
    fn narrow(self, x: i32x16, to: &mut [i16]) {
        let ints: [i16; MOST] = pulp::cast(self.avx512f._mm512_cvtsepi32_epi16(pulp::cast(x)));
        to.copy_from_slice(&ints);
    }

    #[inline(always)]
    fn columns(self, from: &[[i32; COLUMNS]; MOST], to: &mut [i32], step: usize) {
        // A loop: what `map` calls would not be compiled for these instructions.
        let mut rows = [self.splat_i32s(0); MOST];
        for (row, &from) in rows.iter_mut().zip(from) {
            *row = pulp::cast(from);
        }
        for (column, to) in transpose16(self.0, rows).into_iter().zip(to.chunks_mut(step)) {
            keep(self.0, to, column);
        }
    }

    fn run<W: WithPairs>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,bmi2,lzcnt,popcnt")]
        fn inside<W: WithPairs>(pairs: Vnni, work: W) -> W::Output {
            work.with_pairs(pairs)
        }
        // SAFETY: a `Vnni` exists only where `find` saw all of these; V4 includes the last three.
        #[allow(unsafe_code)]
        unsafe {
            inside(self, work)
        }
    }
}
