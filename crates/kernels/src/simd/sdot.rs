//! Dot products of signed bytes, four in each lane of 32 bits: ARM's `sdot`, four times as many products in a cycle as of
//! f32.

use pulp::{Simd, f32x4, i8x16, i32x4};

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Sdot;
#[cfg(not(target_arch = "aarch64"))]
pub(crate) use plain::Sdot;

/// Work on dot products. Everything it calls must be `inline(always)`.
pub(crate) trait WithSdot {
    type Output;
    fn with_sdot(self, simd: Sdot) -> Self::Output;
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::{float32x4_t, int32x4_t, vcvtq_f32_s32, vfmaq_f32, vfmaq_n_f32, vshlq_n_s32};
    use std::arch::asm;

    use pulp::aarch64::Neon;

    use super::*;

    /// Proof that the processor has the instruction.
    #[derive(Clone, Copy)]
    pub(crate) struct Sdot(Neon);

    impl Sdot {
        /// The proof, where it holds.
        pub(crate) fn find() -> Option<Self> {
            Neon::try_new().filter(|_| std::arch::is_aarch64_feature_detected!("dotprod")).map(Self)
        }

        #[inline(always)]
        pub(crate) fn simd(self) -> impl Simd {
            self.0
        }

        /// `acc` and in each lane the products of four bytes of `a` with the four of lane `LANE` of `b`; wraps.
        #[inline(always)]
        pub(crate) fn dot<const LANE: usize>(self, acc: i32x4, a: i8x16, b: i8x16) -> i32x4 {
            let mut acc: int32x4_t = pulp::cast(acc);
            let (a, b): (int32x4_t, int32x4_t) = (pulp::cast(a), pulp::cast(b));
            // SAFETY: a `Sdot` exists only where the processor has the instruction, which touches registers alone. The
            // intrinsic for it is not stable.
            #[allow(unsafe_code)]
            unsafe {
                asm!(
                    "sdot {acc:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
                    acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b, lane = const LANE,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            pulp::cast(acc)
        }

        /// 256 times as much; wraps.
        #[inline(always)]
        pub(crate) fn raise(self, x: i32x4) -> i32x4 {
            // SAFETY: `Neon` is the proof of these instructions.
            #[allow(unsafe_code)]
            let raised: int32x4_t = unsafe { vshlq_n_s32::<8>(pulp::cast(x)) };
            pulp::cast(raised)
        }

        /// `acc + x * by`, rounded once.
        #[inline(always)]
        pub(crate) fn add(self, acc: f32x4, x: i32x4, by: f32x4) -> f32x4 {
            // SAFETY: as in `raise`.
            #[allow(unsafe_code)]
            let sum: float32x4_t = unsafe { vfmaq_f32(pulp::cast(acc), vcvtq_f32_s32(pulp::cast(x)), pulp::cast(by)) };
            pulp::cast(sum)
        }

        /// `acc + x * by`, rounded once.
        #[inline(always)]
        pub(crate) fn add_numbers(self, acc: f32x4, x: f32x4, by: f32) -> f32x4 {
            // SAFETY: as in `raise`.
            #[allow(unsafe_code)]
            let sum: float32x4_t = unsafe { vfmaq_n_f32(pulp::cast(acc), pulp::cast(x), by) };
            pulp::cast(sum)
        }

        /// Runs `work` compiled for the instruction.
        pub(crate) fn run<W: WithSdot>(self, work: W) -> W::Output {
            #[target_feature(enable = "neon,dotprod")]
            fn inside<W: WithSdot>(simd: Sdot, work: W) -> W::Output {
                work.with_sdot(simd)
            }
            // SAFETY: a `Sdot` exists only where `find` saw both.
            #[allow(unsafe_code)]
            unsafe {
                inside(self, work)
            }
        }
    }
}

/// The same without the instruction, so that what is built on it is tested on any processor.
#[cfg(not(target_arch = "aarch64"))]
mod plain {
    use std::array::from_fn;

    use super::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Sdot;

    impl Sdot {
        pub(crate) fn find() -> Option<Self> {
            Some(Self)
        }

        pub(crate) fn simd(self) -> impl Simd {
            pulp::Scalar
        }

        pub(crate) fn dot<const LANE: usize>(self, acc: i32x4, a: i8x16, b: i8x16) -> i32x4 {
            let (acc, a, b): ([i32; 4], [[i8; 4]; 4], [[i8; 4]; 4]) = (pulp::cast(acc), pulp::cast(a), pulp::cast(b));
            let products = |a: [i8; 4]| a.iter().zip(b[LANE]).map(|(&a, b)| i32::from(a) * i32::from(b)).sum::<i32>();
            pulp::cast(from_fn::<i32, 4, _>(|i| acc[i].wrapping_add(products(a[i]))))
        }

        pub(crate) fn raise(self, x: i32x4) -> i32x4 {
            pulp::cast(pulp::cast::<_, [i32; 4]>(x).map(|x| x << 8))
        }

        pub(crate) fn add(self, acc: f32x4, x: i32x4, by: f32x4) -> f32x4 {
            let (acc, x, by): ([f32; 4], [i32; 4], [f32; 4]) = (pulp::cast(acc), pulp::cast(x), pulp::cast(by));
            pulp::cast(from_fn::<f32, 4, _>(|i| (x[i] as f32).mul_add(by[i], acc[i])))
        }

        pub(crate) fn add_numbers(self, acc: f32x4, x: f32x4, by: f32) -> f32x4 {
            let (acc, x): ([f32; 4], [f32; 4]) = (pulp::cast(acc), pulp::cast(x));
            pulp::cast(from_fn::<f32, 4, _>(|i| x[i].mul_add(by, acc[i])))
        }

        pub(crate) fn run<W: WithSdot>(self, work: W) -> W::Output {
            work.with_sdot(self)
        }
    }
}
