//! Numbers of 16 and 32 bits, and whatever else can be read as f32 a vector at a time.

use candle_core::WithDType;
use half::{bf16, f16};
use pulp::Simd;

/// f16 bits to f32 without a branch or a table, so that a loop of it becomes vector code.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let sign = (bits & 0x8000) << 16;
    let magnitude = (bits & 0x7fff) << 13;
    // Subnormals: 2^-14 (1 + m) - 2^-14 is exact and never touches an f32 subnormal, which is slow.
    let tiny = f32::from_bits(magnitude + (113 << 23)) - f32::from_bits(113 << 23);
    let rebased = magnitude + (112 << 23);
    let value = match magnitude & 0x0f80_0000 {
        0 => tiny.to_bits(),
        0x0f80_0000 => magnitude + (224 << 23),
        _ => rebased,
    };
    f32::from_bits(value | sign)
}

/// [`f16_to_f32`] of eight.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn f16x8_to_f32x8(_: pulp::x86::V3, bits: [u16; 8]) -> pulp::f32x8 {
    // SAFETY: tokens of AVX2, those within tokens of AVX-512 among them, come from `arch::avx2` and `arch::avx512`,
    // which look for F16C.
    #[allow(unsafe_code)]
    pulp::cast(unsafe { std::arch::x86_64::_mm256_cvtph_ps(pulp::cast(bits)) })
}

/// [`f16_to_f32`] of four.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn f16x4_to_f32x4(_: pulp::aarch64::Neon, bits: [u16; 4]) -> pulp::f32x4 {
    let wide: std::arch::aarch64::float32x4_t;
    // SAFETY: every processor with NEON has the instruction, which touches registers alone. The intrinsic for it needs
    // a type that is not stable.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::asm!(
            "fcvtl {wide:v}.4s, {bits:v}.4h",
            wide = out(vreg) wide, bits = in(vreg) f64::from_bits(pulp::cast(bits)),
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    pulp::cast(wide)
}

/// [`f16_to_f32`] of the halves of four words, the lower one first.
#[inline(always)]
pub(crate) fn f16_pairs<S: Simd>(simd: S, words: [u32; 4]) -> [[f32; 2]; 4] {
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = super::v4(simd).map_or(super::v3(simd), |v4| Some(*v4)) {
        let [a, b, c, d]: [i32; 4] = pulp::cast(words);
        return pulp::cast(f16x8_to_f32x8(v3, pulp::cast(v3.sse2._mm_set_epi32(d, c, b, a))));
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(neon) = super::neon(simd) {
        let [low, high]: [[u16; 4]; 2] = pulp::cast(words);
        return pulp::cast([f16x4_to_f32x4(neon, low), f16x4_to_f32x4(neon, high)]);
    }
    let _ = simd;
    words.map(|word| [f16_to_f32(word as u16), f16_to_f32((word >> 16) as u16)])
}

/// An element of weights or of a cache that becomes f32 exactly.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// What the tensor library knows it as.
    type Raw: WithDType;

    /// Numbers in one.
    const EACH: usize = 1;

    /// The elements of a tensor.
    fn of(raw: &[Self::Raw]) -> &[Self];

    /// Converts `from` into `to`, which holds [`Stored::EACH`] times as many.
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]);

    /// The numbers of a row from `at + ahead * S::F32_LANES` on, one vector of them. `at` is a multiple of
    /// [`Stored::EACH`], or the vector lies in the same element as number `at`.
    fn load<S: Simd>(simd: S, row: &[Self], at: usize, ahead: usize) -> S::f32s;

    /// One number of a row.
    fn number(row: &[Self], at: usize) -> f32;

    /// `k . q[h]` for `H` vectors `q` `[H, dim]`, `k` holding `dim` numbers.
    #[inline(always)]
    fn dots<S: Simd, const H: usize>(simd: S, k: &[Self], q: &[f32], dim: usize) -> [f32; H] {
        dots(simd, k, q, dim)
    }

    /// The numbers themselves where no conversion is needed.
    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
}

impl Stored for f32 {
    type Raw = Self;

    #[inline(always)]
    fn of(raw: &[Self]) -> &[Self] {
        raw
    }

    #[inline(always)]
    fn widen<S: Simd>(_: S, from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    #[inline(always)]
    fn load<S: Simd>(_: S, row: &[Self], at: usize, ahead: usize) -> S::f32s {
        super::load::<S>(&row[at + ahead * S::F32_LANES..])
    }

    #[inline(always)]
    fn number(row: &[Self], at: usize) -> f32 {
        row[at]
    }

    #[inline(always)]
    fn as_f32(from: &[Self]) -> Option<&[f32]> {
        Some(from)
    }
}

impl Stored for f16 {
    type Raw = Self;

    #[inline(always)]
    fn of(raw: &[Self]) -> &[Self] {
        raw
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]) {
        widen(simd, from, to);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, row: &[Self], at: usize, ahead: usize) -> S::f32s {
        let from = &row[at + ahead * S::F32_LANES..];
        #[cfg(target_arch = "x86_64")]
        if let Some(v4) = super::v4(simd) {
            let halves: [f16; 16] = super::array(from);
            let wide: pulp::f32x16 = pulp::cast(v4.avx512f._mm512_cvtph_ps(pulp::cast(halves.map(f16::to_bits))));
            return super::generic::<S, _>(wide);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = super::v3(simd) {
            return super::generic::<S, _>(f16x8_to_f32x8(v3, super::array(bytemuck::cast_slice(from))));
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(neon) = super::neon(simd) {
            return super::generic::<S, _>(f16x4_to_f32x4(neon, super::array(bytemuck::cast_slice(from))));
        }
        load_each::<S, _>(simd, from)
    }

    #[inline(always)]
    fn number(row: &[Self], at: usize) -> f32 {
        f16_to_f32(row[at].to_bits())
    }
}

impl Stored for bf16 {
    type Raw = Self;

    #[inline(always)]
    fn of(raw: &[Self]) -> &[Self] {
        raw
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]) {
        widen(simd, from, to);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, row: &[Self], at: usize, ahead: usize) -> S::f32s {
        load_each::<S, _>(simd, &row[at + ahead * S::F32_LANES..])
    }

    #[inline(always)]
    fn number(row: &[Self], at: usize) -> f32 {
        f32::from_bits(u32::from(row[at].to_bits()) << 16)
    }
}

#[inline(always)]
fn dots<S: Simd, T: Stored, const H: usize>(simd: S, k: &[T], q: &[f32], dim: usize) -> [f32; H] {
    let lanes = S::F32_LANES;
    let (k, q) = (&k[..dim], &q[..H * dim]);
    let whole = dim / lanes * lanes;
    let mut acc = [simd.splat_f32s(0.0); H];
    for d in (0..whole).step_by(lanes) {
        let k = T::load(simd, k, d, 0);
        for (h, acc) in acc.iter_mut().enumerate() {
            // SAFETY: `d + lanes <= dim`, and `q` holds `H` vectors of `dim`.
            #[allow(unsafe_code)]
            let q = unsafe { super::read::<S>(q.as_ptr().add(h * dim + d)) };
            *acc = simd.mul_add_e_f32s(k, q, *acc);
        }
    }
    let mut out = [0f32; H];
    for (h, out) in out.iter_mut().enumerate() {
        *out = simd.reduce_sum_f32s(acc[h]);
        for d in whole..dim {
            *out += T::number(k, d) * q[h * dim + d];
        }
    }
    out
}

#[inline(always)]
fn load_each<S: Simd, T: Stored>(_: S, from: &[T]) -> S::f32s {
    let mut out = [0f32; 16];
    let from = &from[..S::F32_LANES];
    for (i, o) in out[..S::F32_LANES].iter_mut().enumerate() {
        *o = T::number(from, i);
    }
    super::load::<S>(&out)
}

#[inline(always)]
fn widen<S: Simd, T: Stored>(simd: S, from: &[T], to: &mut [f32]) {
    let lanes = S::F32_LANES;
    let (mut to, mut from) = (to.chunks_exact_mut(lanes), from.chunks_exact(lanes));
    for (o, f) in (&mut to).zip(&mut from) {
        super::store::<S>(o, T::load(simd, f, 0, 0));
    }
    for (i, o) in to.into_remainder().iter_mut().enumerate() {
        *o = T::number(from.remainder(), i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct All<'a, T>(&'a [T], &'a mut [f32]);

    impl<T: Stored> pulp::WithSimd for All<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            T::widen(simd, self.0, self.1);
        }
    }

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn every_16_bit_pattern_widens_as_the_half_crate_widens_it() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut out = vec![0f32; bits.len()];
        let halves: Vec<f16> = bits.iter().map(|&b| f16::from_bits(b)).collect();
        let brains: Vec<bf16> = bits.iter().map(|&b| bf16::from_bits(b)).collect();
        for level in crate::Level::present() {
            level.arch().dispatch(All(&halves, &mut out));
            for (h, &o) in halves.iter().zip(&out) {
                assert!(same(h.to_f32(), o), "{h:?} became {o} at {level}");
                assert!(same(h.to_f32(), f16_to_f32(h.to_bits())), "{h:?} became {}", f16_to_f32(h.to_bits()));
            }
            level.arch().dispatch(All(&brains, &mut out));
            for (h, &o) in brains.iter().zip(&out) {
                assert!(same(h.to_f32(), o), "{h:?} became {o} at {level}");
            }
        }
    }
}
