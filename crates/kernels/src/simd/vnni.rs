//! Products of 16-bit integers: AVX-512 with VNNI multiplies and adds twice as many of them in a
//! cycle as f32.

use std::arch::x86_64::{__m512i, _mm512_dpwssd_epi32};
use std::array::from_fn;
use std::ops::Deref;

use pulp::{f32x16, i32x16};

/// Numbers in a vector.
pub(crate) const LANES: usize = 16;

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

/// Work that becomes VNNI code inside [`Vnni::run`]. Everything it calls must be `inline(always)`.
pub(crate) trait WithVnni {
    type Output;
    fn with_vnni(self, simd: Vnni) -> Self::Output;
}

impl Vnni {
    /// The proof, where it holds.
    pub(crate) fn find() -> Option<Self> {
        pulp::x86::V4::try_new().filter(|_| std::arch::is_x86_feature_detected!("avx512vnni")).map(Self)
    }

    /// Runs `work` compiled for these instructions.
    pub(crate) fn run<W: WithVnni>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,bmi2,lzcnt,popcnt")]
        fn inside<W: WithVnni>(simd: Vnni, work: W) -> W::Output {
            work.with_vnni(simd)
        }
        // SAFETY: a `Vnni` exists only where `find` saw all of these; V4 includes the last three.
        #[allow(unsafe_code)]
        unsafe {
            inside(self, work)
        }
    }

    /// `acc + a.low * b.low + a.high * b.high` in each lane, of signed 16-bit halves; wraps.
    #[inline(always)]
    pub(crate) fn dot(self, acc: i32x16, a: i32x16, b: i32x16) -> i32x16 {
        // SAFETY: a `Vnni` exists only where the processor has the instruction.
        #[allow(unsafe_code)]
        let sum: __m512i = unsafe { _mm512_dpwssd_epi32(pulp::cast(acc), pulp::cast(a), pulp::cast(b)) };
        pulp::cast(sum)
    }

    /// Integers as numbers.
    #[inline(always)]
    pub(crate) fn number(self, x: i32x16) -> f32x16 {
        pulp::cast(self.avx512f._mm512_cvtepi32_ps(pulp::cast(x)))
    }

    /// Numbers as the nearest integers; NaN and what does not fit become the smallest integer.
    #[inline(always)]
    pub(crate) fn nearest(self, x: f32x16) -> i32x16 {
        pulp::cast(self.avx512f._mm512_cvtps_epi32(pulp::cast(x)))
    }

    /// `2^x` within 3e-6 of itself, a tenth of what a weight loses in 15 bits: a third of the work of
    /// [`super::exp::exp2`]. Exactly 1 for 0, 0 for negative infinity and what is too small, NaN for NaN.
    #[inline(always)]
    pub(crate) fn power(self, x: f32x16) -> f32x16 {
        /// Minimax polynomial of `2^f` for `0 <= f < 1`, highest power first.
        const POWERS: [f32; 5] = [1.342_668_5e-2, 5.224_247_3e-2, 0.241_280_2, 0.693_044_84, 1.0];
        const DOWN: i32 = std::arch::x86_64::_MM_FROUND_TO_NEG_INF | std::arch::x86_64::_MM_FROUND_NO_EXC;
        let fraction = pulp::cast(self.avx512dq._mm512_reduce_ps::<DOWN>(pulp::cast(x)));
        let mut p = self.splat_f32x16(POWERS[0]);
        for &c in &POWERS[1..] {
            p = self.mul_add_f32x16(p, fraction, self.splat_f32x16(c));
        }
        // Multiplies by two to the power of the next integer below `x`.
        pulp::cast(self.avx512f._mm512_scalef_ps(pulp::cast(p), pulp::cast(x)))
    }

    /// The lower 16 bits of each lane, saturated.
    #[inline(always)]
    pub(crate) fn narrow(self, x: i32x16) -> [i16; LANES] {
        pulp::cast(self.avx512f._mm512_cvtsepi32_epi16(pulp::cast(x)))
    }
}

/// `acc[j][v] += sum over k of the pairs a[j][k * step] . b[k][v]`: the integer twin of
/// [`super::outer::outer`].
///
/// # Safety
/// Every `a[j]` must be readable at `0, step, .. (pairs - 1) * step` and `b` for `pairs * MV * LANES`
/// integers.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) unsafe fn outer<const NR: usize, const MV: usize>(
    simd: Vnni,
    mut acc: [[i32x16; MV]; NR],
    pairs: usize,
    a: [*const i32; NR],
    step: usize,
    b: *const i32,
) -> [[i32x16; MV]; NR] {
    for k in 0..pairs {
        // SAFETY: `k < pairs`, and the caller vouches for that many columns and vectors.
        unsafe {
            let b: [i32x16; MV] = from_fn(|v| b.add((k * MV + v) * LANES).cast::<i32x16>().read_unaligned());
            for j in 0..NR {
                let x = simd.splat_i32x16(*a[j].add(k * step));
                for v in 0..MV {
                    acc[j][v] = simd.dot(acc[j][v], x, b[v]);
                }
            }
        }
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(i16, i16);

    impl WithVnni for One {
        type Output = i32;

        #[inline(always)]
        fn with_vnni(self, simd: Vnni) -> i32 {
            let pair = |x: i16| i32::from(x) << 16 | i32::from(x as u16);
            let [sum, ..]: [i32; 16] = pulp::cast(simd.dot(
                simd.splat_i32x16(1),
                simd.splat_i32x16(pair(self.0)),
                simd.splat_i32x16(pair(self.1)),
            ));
            sum
        }
    }

    struct Powers<'a>(&'a mut [f32]);

    impl WithVnni for Powers<'_> {
        type Output = ();

        #[inline(always)]
        fn with_vnni(self, simd: Vnni) {
            for x in self.0.chunks_exact_mut(LANES) {
                let v = simd.power(super::super::load::<pulp::x86::V4>(x));
                super::super::store::<pulp::x86::V4>(x, v);
            }
        }
    }

    #[test]
    fn powers_are_as_good_as_weights_need() {
        let Some(simd) = Vnni::find() else { return println!("skipped: no VNNI") };
        let xs: Vec<f32> = (0..64_000).map(|i| -100.0 + i as f32 * 0.0025).collect();
        let mut out = xs.clone();
        simd.run(Powers(&mut out));
        for (&x, &got) in xs.iter().zip(&out) {
            assert!((f64::from(got) / f64::from(x).exp2() - 1.0).abs() < 3.1e-6, "2^{x} = {got}");
        }
        let mut ends = [0.0f32; LANES];
        ends[..4].copy_from_slice(&[0.0, f32::NEG_INFINITY, f32::MIN, f32::NAN]);
        simd.run(Powers(&mut ends));
        assert_eq!(ends[..3], [1.0, 0.0, 0.0]);
        assert!(ends[3].is_nan());
    }

    #[test]
    fn halves_are_signed_and_added() {
        let Some(simd) = Vnni::find() else { return println!("skipped: no VNNI") };
        assert_eq!(simd.run(One(-3, 5)), -29);
        assert_eq!(simd.run(One(32767, 32767)), 2 * 32767 * 32767 + 1);
    }
}
