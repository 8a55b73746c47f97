//! 16-bit floats to f32, exactly.

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

/// What a cache may hold.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// Converts `from` into `to`, which is as long.
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]);

    /// The first `S::F32_LANES` values of `from`.
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::f32s;

    /// One value.
    fn one(self) -> f32;

    /// The numbers themselves where no conversion is needed.
    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
}

impl Stored for f32 {
    #[inline(always)]
    fn widen<S: Simd>(_: S, from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    #[inline(always)]
    fn load<S: Simd>(_: S, from: &[Self]) -> S::f32s {
        super::load::<S>(from)
    }

    #[inline(always)]
    fn one(self) -> f32 {
        self
    }

    #[inline(always)]
    fn as_f32(from: &[Self]) -> Option<&[f32]> {
        Some(from)
    }
}

impl Stored for f16 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]) {
        widen(simd, from, to);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::f32s {
        #[cfg(target_arch = "x86_64")]
        if let Some(v4) = super::v4(simd) {
            let halves: [f16; 16] = super::array(from);
            let wide: pulp::f32x16 = pulp::cast(v4.avx512f._mm512_cvtph_ps(pulp::cast(halves.map(f16::to_bits))));
            return super::generic::<S, _>(wide);
        }
        load_each::<S, _>(simd, from)
    }

    #[inline(always)]
    fn one(self) -> f32 {
        f16_to_f32(self.to_bits())
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]) {
        widen(simd, from, to);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::f32s {
        load_each::<S, _>(simd, from)
    }

    #[inline(always)]
    fn one(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// `k . q[h]` for `H` vectors `q` `[H, dim]`, `k` holding `dim` values.
#[inline(always)]
pub(crate) fn dots<S: Simd, T: Stored, const H: usize>(simd: S, k: &[T], q: &[f32], dim: usize) -> [f32; H] {
    let lanes = S::F32_LANES;
    let (k, q) = (&k[..dim], &q[..H * dim]);
    let whole = dim / lanes * lanes;
    let mut acc = [simd.splat_f32s(0.0); H];
    for d in (0..whole).step_by(lanes) {
        let k = T::load(simd, &k[d..d + lanes]);
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
            *out += k[d].one() * q[h * dim + d];
        }
    }
    out
}

#[inline(always)]
fn load_each<S: Simd, T: Stored>(_: S, from: &[T]) -> S::f32s {
    let mut out = [0f32; 16];
    for (o, &v) in out[..S::F32_LANES].iter_mut().zip(&from[..S::F32_LANES]) {
        *o = v.one();
    }
    super::load::<S>(&out)
}

#[inline(always)]
fn widen<S: Simd, T: Stored>(simd: S, from: &[T], to: &mut [f32]) {
    let lanes = S::F32_LANES;
    let (mut to, mut from) = (to.chunks_exact_mut(lanes), from.chunks_exact(lanes));
    for (o, f) in (&mut to).zip(&mut from) {
        super::store::<S>(o, T::load(simd, f));
    }
    for (o, &f) in to.into_remainder().iter_mut().zip(from.remainder()) {
        *o = f.one();
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
        crate::simd::arch().dispatch(All(&halves, &mut out));
        for (h, &o) in halves.iter().zip(&out) {
            assert!(same(h.to_f32(), o), "{h:?} became {o}");
            assert!(same(h.to_f32(), f16_to_f32(h.to_bits())), "{h:?} became {}", f16_to_f32(h.to_bits()));
        }
        let brains: Vec<bf16> = bits.iter().map(|&b| bf16::from_bits(b)).collect();
        crate::simd::arch().dispatch(All(&brains, &mut out));
        for (h, &o) in brains.iter().zip(&out) {
            assert!(same(h.to_f32(), o), "{h:?} became {o}");
        }
    }
}
