//! Vector instructions to compile work for.

use pulp::WithSimd;

/// Vector instructions that the processor has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arch(pulp::Arch);

impl Arch {
    /// None of its own.
    pub(crate) fn plain() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        return Self(pulp::Arch::Scalar);
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        return Self(pulp::Arch::new());
    }

    #[cfg(target_arch = "aarch64")]
    pub(crate) fn neon() -> Option<Self> {
        pulp::aarch64::Neon::try_new().map(|simd| Self(pulp::Arch::Neon(simd)))
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx2() -> Option<Self> {
        avx2().map(|simd| Self(pulp::Arch::V3(simd)))
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx512() -> Option<Self> {
        avx512().map(|simd| Self(pulp::Arch::V4(simd)))
    }

    /// Runs `work` compiled for the instructions.
    pub(crate) fn dispatch<W: WithSimd>(self, work: W) -> W::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V3(simd) => {
                #[target_feature(enable = "avx2,f16c,fma,bmi1,bmi2,lzcnt,popcnt")]
                fn inside<W: WithSimd>(simd: pulp::x86::V3, work: W) -> W::Output {
                    work.with_simd(simd)
                }
                // SAFETY: `avx2` alone makes this variant.
                #[allow(unsafe_code)]
                unsafe {
                    inside(simd, work)
                }
            }
            arch => arch.dispatch(work),
        }
    }
}

/// The library's token of AVX2 where the processor has F16C as well, as all do: the library does not count that
/// among AVX2, and code for the token here takes it for granted.
#[cfg(target_arch = "x86_64")]
pub(super) fn avx2() -> Option<pulp::x86::V3> {
    pulp::x86::V3::try_new().filter(|_| std::arch::is_x86_feature_detected!("f16c"))
}

/// The library's token of AVX-512 where the processor has F16C as well: see [`avx2`], whose token it includes.
#[cfg(target_arch = "x86_64")]
pub(super) fn avx512() -> Option<pulp::x86::V4> {
    pulp::x86::V4::try_new().filter(|_| std::arch::is_x86_feature_detected!("f16c"))
}
