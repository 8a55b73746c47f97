//! Which implementations and instructions the operations use.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Result};
use crate::simd::Arch;

/// What computes: the plain loops, or the fast kernels with some set of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The plain implementations that define the results.
    Reference,
    /// The fast kernels without vector instructions.
    Scalar,
    /// 128-bit vectors of ARM processors.
    Neon,
    /// The same, and dot products of bytes where there are many rows.
    Dotprod,
    /// 256-bit vectors of x86 processors, and products of 16-bit integers where there is one row, or many.
    Avx2,
    /// 512-bit vectors of x86 processors.
    Avx512,
    /// The same and 16-bit integer dot products where there are many rows.
    Vnni,
    /// The same, and tile registers (AMX) for linear layers where there are many rows.
    Amx,
}

impl Level {
    /// All of them, slowest first.
    pub const ALL: [Self; 8] =
        [Self::Reference, Self::Scalar, Self::Neon, Self::Dotprod, Self::Avx2, Self::Avx512, Self::Vnni, Self::Amx];

    /// The name that `SKIMLM_KERNELS` knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Vnni => "vnni",
            Self::Amx => "amx",
        }
    }

    /// Those that run on this processor, slowest first.
    pub fn present() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.find().is_some()).collect()
    }

    /// Makes the whole process compute at this level from now on, whatever `SKIMLM_KERNELS` says:
    /// for benches that compare levels. An error if the processor lacks it.
    pub fn force(self) -> Result<()> {
        if self.find().is_none() {
            return Err(Error::Unsupported { op: "level", what: format!("{self} on this processor") });
        }
        FORCED.store(self as u8, Ordering::Relaxed);
        Ok(())
    }

    /// The vector instructions, where the processor has them.
    fn find(self) -> Option<Arch> {
        match self {
            Self::Reference | Self::Scalar => Some(Arch::plain()),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Arch::neon(),
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod => crate::simd::sdot::Sdot::find().and_then(|_| Self::Neon.find()),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Arch::avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Arch::avx512(),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => crate::simd::pairs::Vnni::find().and_then(|_| Self::Avx512.find()),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => crate::simd::amx::Amx::find().and_then(|_| Self::Avx512.find()),
            #[allow(unreachable_patterns, reason = "which levels are left depends on the target")]
            _ => None,
        }
    }

    /// Whether products of bytes are one instruction, if many rows become integers of 16 bits.
    #[cfg(test)]
    pub(crate) fn integers(self) -> Option<bool> {
        #[cfg(target_arch = "x86_64")]
        return crate::simd::pairs::Integers::find(self).map(crate::simd::pairs::Integers::has_bytes);
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// The vector instructions of the level; plain code where the processor lacks it.
    pub(crate) fn arch(self) -> Arch {
        static FOUND: LazyLock<[Arch; Level::ALL.len()]> =
            LazyLock::new(|| Level::ALL.map(|level| level.find().unwrap_or_else(Arch::plain)));
        FOUND[self as usize]
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The level in use: the one that [`Level::force`] set, else what `SKIMLM_KERNELS` asks for (read once), else the best
/// this processor has.
///
/// A name that is no level, or one that the processor lacks, is an error here. The operations do
/// not look again: whoever loads a model asks first.
pub fn level() -> Result<Level> {
    match FORCED.load(Ordering::Relaxed) {
        UNSET => ASKED.clone().map_err(|(asked, why)| refusal(&asked, &why)),
        forced => Ok(Level::ALL[usize::from(forced)]),
    }
}

/// The instruction sets this processor has, of those that matter to the kernels.
pub fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let all = [
            ("avx2", has!("avx2")),
            ("fma", has!("fma")),
            ("f16c", has!("f16c")),
            ("avxvnni", has!("avxvnni")),
            ("avx512f", has!("avx512f")),
            ("avx512bw", has!("avx512bw")),
            ("avx512dq", has!("avx512dq")),
            ("avx512vl", has!("avx512vl")),
            ("avx512vnni", has!("avx512vnni")),
            ("amx", Level::Amx.find().is_some()),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
    #[cfg(target_arch = "aarch64")]
    {
        [Level::Neon, Level::Dotprod].into_iter().filter(|level| level.find().is_some()).map(Level::name).collect()
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Vec::new()
    }
}

/// [`level`], or the best there is where that is an error.
pub(crate) fn current() -> Level {
    level().unwrap_or_else(|_| best())
}

const UNSET: u8 = u8::MAX;

static FORCED: AtomicU8 = AtomicU8::new(UNSET);

/// What the environment asks for; else the name and why it cannot be.
static ASKED: LazyLock<std::result::Result<Level, (String, String)>> =
    LazyLock::new(|| match std::env::var("SKIMLM_KERNELS") {
        Ok(name) => parse(&name),
        Err(std::env::VarError::NotPresent) => Ok(best()),
        Err(std::env::VarError::NotUnicode(name)) => {
            Err((name.to_string_lossy().into_owned(), "there is no such level".into()))
        }
    });

fn best() -> Level {
    Level::present().pop().unwrap_or(Level::Scalar)
}

fn parse(name: &str) -> std::result::Result<Level, (String, String)> {
    if name.is_empty() {
        return Ok(best());
    }
    let level = Level::ALL.into_iter().find(|level| level.name() == name);
    let level = level.ok_or_else(|| (name.to_owned(), "there is no such level".to_owned()))?;
    level.find().map(|_| level).ok_or_else(|| (name.to_owned(), "this processor lacks it".to_owned()))
}

fn refusal(asked: &str, why: &str) -> Error {
    let present: Vec<_> = Level::present().into_iter().map(Level::name).collect();
    Error::Level { asked: asked.to_owned(), why: why.to_owned(), present: present.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_not_there_cannot_be_forced() {
        for level in Level::ALL.into_iter().filter(|level| !Level::present().contains(level)) {
            let text = level.force().unwrap_err().to_string();
            assert!(text.contains(level.name()) && !text.contains("SKIMLM_KERNELS"), "{text}");
        }
    }

    #[test]
    fn a_name_is_a_level_or_is_refused() {
        for level in Level::ALL {
            match parse(level.name()) {
                Ok(found) => assert!(found == level && Level::present().contains(&level)),
                Err((asked, why)) => {
                    assert!(!Level::present().contains(&level));
                    assert_eq!((asked.as_str(), why.as_str()), (level.name(), "this processor lacks it"));
                }
            }
        }
        assert_eq!(parse(""), Ok(best()));
        for name in ["AVX2", "avx", "fast"] {
            let (asked, why) = parse(name).unwrap_err();
            let text = refusal(&asked, &why).to_string();
            assert!(
                text.contains(name) && text.contains("no such level") && text.contains("reference, scalar"),
                "{text}"
            );
        }
    }
}
