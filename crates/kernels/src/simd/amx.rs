//! Tile registers (AMX): sixteen rows of 64 bytes that are multiplied as wholes. A core does sixteen times
//! as many products of bf16 in a cycle as of f32, and thirty-two times as many of bytes, if its host lets it: on
//! virtual machines they have been seen at a third of that for minutes.
//!
//! [`Tiles`] multiply numbers that are the sum of two bf16, as [`Amx::split`] makes them: `high` is the nearest
//! to the number, `low` the nearest to the rest. A product leaves out `low * low` alone and is off by 5e-5
//! of itself at most, at a third of the speed of bare bf16.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _mm512_cvtne2ps_pbh};
use std::marker::PhantomData;
use std::sync::LazyLock;

use pulp::{f32x16, i32x16};

use super::pairs::Vnni;
use super::strips::{SIDE, Square, Strip};

/// Proof that processor and kernel let this process use tiles, and that the processor has VNNI and
/// AVX-512 BF16.
#[derive(Clone, Copy)]
pub(crate) struct Amx(Vnni);

/// Work that becomes code for these instructions inside [`Amx::run`]. Everything it calls must be
/// `inline(always)`.
pub(crate) trait WithAmx {
    type Output;
    fn with_amx(self, simd: Amx) -> Self::Output;
}

impl std::ops::Deref for Amx {
    type Target = Vnni;

    #[inline(always)]
    fn deref(&self) -> &Vnni {
        &self.0
    }
}

impl Amx {
    /// The proof, where it holds. Asks the kernel for the tile registers, once.
    pub(crate) fn find() -> Option<Self> {
        static GRANTED: LazyLock<bool> = LazyLock::new(|| has_tiles() && ask());
        Vnni::find().filter(|_| std::arch::is_x86_feature_detected!("avx512bf16") && *GRANTED).map(Self)
    }

    /// Runs `work` compiled for these instructions.
    pub(crate) fn run<W: WithAmx>(self, work: W) -> W::Output {
        #[target_feature(
            enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,avx512bf16,bmi2,lzcnt,popcnt"
        )]
        fn inside<W: WithAmx>(simd: Amx, work: W) -> W::Output {
            work.with_amx(simd)
        }
        // SAFETY: an `Amx` exists only where `find` saw these instructions.
        #[allow(unsafe_code)]
        unsafe {
            inside(self, work)
        }
    }

    /// 32 numbers as pairs of neighbouring bf16: the nearest to each, and the nearest to what that leaves.
    #[inline(always)]
    pub(crate) fn split(self, first: f32x16, second: f32x16) -> (i32x16, i32x16) {
        let high = self.round(first, second);
        let [a, b]: [pulp::i16x16; 2] = pulp::cast(high);
        (high, self.round(self.sub_f32x16(first, self.widen(a)), self.sub_f32x16(second, self.widen(b))))
    }

    /// 32 numbers as the nearest bf16, in order.
    #[inline(always)]
    pub(crate) fn round(self, first: f32x16, second: f32x16) -> i32x16 {
        // SAFETY: an `Amx` exists only where the processor has the instruction.
        #[allow(unsafe_code)]
        let both = unsafe { _mm512_cvtne2ps_pbh(pulp::cast(second), pulp::cast(first)) };
        // SAFETY: both types are 64 bytes of plain data.
        #[allow(unsafe_code)]
        unsafe {
            std::mem::transmute(both)
        }
    }

    /// Sixteen bf16 as f32.
    #[inline(always)]
    fn widen(self, x: pulp::i16x16) -> f32x16 {
        let wide = self.avx512f._mm512_cvtepu16_epi32(pulp::cast(x));
        pulp::cast(self.avx512f._mm512_slli_epi32::<16>(wide))
    }
}

/// Whether the processor has tiles and multiplies bf16 and bytes in them.
fn has_tiles() -> bool {
    const ALL: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    // AVX-512 alone, which `find` looks for as well, needs leaf 7.
    std::arch::is_x86_feature_detected!("avx512f") && __cpuid_count(7, 0).edx & ALL == ALL
}

/// Asks for the tile registers, which a process does not have unasked: they make its signal frames larger.
/// The kernel says no where it does not know them or where a thread's signal stack is too small.
#[cfg(target_os = "linux")]
fn ask() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_int = 18;
    // SAFETY: the call reads and writes no memory of this process.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn ask() -> bool {
    false
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
pub(crate) struct Shape {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shape {
    /// Rows of each register, and bytes of their rows.
    pub(crate) const fn new(registers: [(u8, u16); 8]) -> Self {
        let mut shape = Self { palette: 1, start: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        let mut i = 0;
        while i < registers.len() {
            assert!(registers[i].0 <= 16 && registers[i].1 <= 64);
            (shape.rows[i], shape.bytes[i]) = registers[i];
            i += 1;
        }
        shape
    }
}

/// This thread's tile registers, until dropped: a thread that keeps them costs the kernel 8 KiB at every
/// switch.
pub(crate) struct Registers(PhantomData<*const ()>);

impl Registers {
    #[inline(always)]
    pub(crate) fn new(_: Amx, shape: &'static Shape) -> Self {
        // SAFETY: an `Amx` exists only where this process may use tiles; `Shape::new` makes valid ones.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) shape, options(nostack, readonly, preserves_flags));
        }
        Self(PhantomData)
    }
}

impl Drop for Registers {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: made by `new` on this thread, so that the instruction exists and is allowed.
        #[allow(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nomem, nostack, preserves_flags));
        }
    }
}

/// Eight full registers, which multiply strips.
pub(crate) struct Tiles(#[allow(dead_code, reason = "configured while it lives")] Registers);

impl Tiles {
    #[inline(always)]
    pub(crate) fn new(simd: Amx) -> Self {
        static FULL: Shape = Shape::new([(16, 64); 8]);
        Self(Registers::new(simd, &FULL))
    }

    /// `to = left * right^T`: [`SIDE`] rows of [`SIDE`] sums, `to` row by row.
    #[inline(always)]
    pub(crate) fn product(&self, left: &[Strip], right: &[Strip], to: &mut Square) {
        assert!(!left.is_empty() && left.len() == right.len());
        // Four sums keep the multiplier busy while each waits for its last product; four tiles are left
        // for both sides: left low and right high, then left high, then right low.
        // SAFETY: the tiles are configured while `self` lives, and on its thread alone. The loop reads
        // `left.len()` strips of both sides, which there are, and the rest reads and writes the square.
        #[allow(unsafe_code)]
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{left} + {line} + 2048]",
                "tileloadd tmm6, [{right} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {line} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{left} + {line} + 3072]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{left} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{left} + {line} + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm6, [{right} + {line} + 2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {line} + 3072]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {left}, 4096",
                "add {right}, 4096",
                "dec {count}",
                "jnz 2b",
                "tilestored [{to} + {width}], tmm0",
                "tilestored [{to} + {width} + 64], tmm1",
                "tilestored [{to} + {width} + 2048], tmm2",
                "tilestored [{to} + {width} + 2112], tmm3",
                left = inout(reg) left.as_ptr() => _,
                right = inout(reg) right.as_ptr() => _,
                count = inout(reg) left.len() => _,
                line = in(reg) 64usize,
                width = in(reg) SIDE * 4,
                to = in(reg) to.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;
    use crate::simd::pairs::MOST as LANES;
    use crate::simd::strips::{DEPTH, left, right};
    use crate::testing::numbers;

    /// `rows` times the transposed `columns`, both `[32][cols]`.
    struct Product<'a> {
        rows: &'a [f32],
        columns: &'a [f32],
        cols: usize,
    }

    impl WithAmx for Product<'_> {
        type Output = Square;

        #[inline(always)]
        fn with_amx(self, simd: Amx) -> Square {
            let mut lefts = vec![Strip::zeroed(); self.cols.div_ceil(DEPTH)];
            let mut rights = lefts.clone();
            self.rows.chunks_exact(self.cols).enumerate().for_each(|(r, row)| left(simd, row, r, &mut lefts));
            for (half, rows) in self.columns.chunks_exact(LANES * self.cols).enumerate() {
                right(simd, rows, self.cols, half, &mut rights);
            }
            let (tiles, mut out) = (Tiles::new(simd), [f32::NAN; SIDE * SIDE]);
            tiles.product(&lefts, &rights, &mut out);
            out
        }
    }

    #[test]
    fn a_square_is_what_its_sums_are() {
        let Some(simd) = Amx::find() else { return skipped!("no AMX") };
        for cols in [1, 32, 40, 160] {
            let (rows, columns) = (numbers(1, SIDE * cols), numbers(2, SIDE * cols));
            let got = simd.run(Product { rows: &rows, columns: &columns, cols });
            for (at, got) in got.iter().enumerate() {
                let (row, column) = (&rows[at / SIDE * cols..][..cols], &columns[at % SIDE * cols..][..cols]);
                let products = || row.iter().zip(column).map(|(l, r)| f64::from(*l) * f64::from(*r));
                let (want, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
                assert!((f64::from(*got) - want).abs() <= size * 4.7e-5, "at {at} of {cols}: {got}, not {want}");
            }
        }
    }
}
