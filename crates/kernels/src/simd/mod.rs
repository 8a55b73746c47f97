//! Vector code shared by the operations: one source for AVX-512, AVX2, NEON and plain scalars.
//!
//! Functions here are `inline(always)` and generic over [`pulp::Simd`]: they only become vector
//! code inside a `WithSimd` operation that [`arch`] dispatches.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
mod arch;
pub(crate) mod exp;
pub(crate) mod half;
pub(crate) mod outer;
#[cfg(target_arch = "x86_64")]
pub(crate) mod pairs;
pub(crate) mod scratch;
#[cfg(any(test, target_arch = "aarch64"))]
pub(crate) mod sdot;
#[cfg(target_arch = "x86_64")]
pub(crate) mod strips;
#[cfg(target_arch = "x86_64")]
pub(crate) mod transpose;

use pulp::Simd;

pub(crate) use arch::Arch;
pub(crate) use scratch::Scratch;

/// The instructions of the level in use.
pub(crate) fn arch() -> Arch {
    crate::level::current().arch()
}

/// A vector read from the start of `from`.
#[inline(always)]
pub(crate) fn load<S: Simd>(from: &[f32]) -> S::f32s {
    let from = &from[..S::F32_LANES];
    // SAFETY: the slice holds a vector's numbers.
    #[allow(unsafe_code)]
    unsafe {
        read::<S>(from.as_ptr())
    }
}

/// A vector read from memory.
///
/// # Safety
/// `S::F32_LANES` numbers must be readable from `from` on.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) unsafe fn read<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller's; a vector is plain data of any alignment.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// Writes a vector to the start of `to`.
#[inline(always)]
pub(crate) fn store<S: Simd>(to: &mut [f32], value: S::f32s) {
    let to = &mut to[..S::F32_LANES];
    // SAFETY: the slice has room for a vector's numbers, and a vector is plain data.
    #[allow(unsafe_code)]
    unsafe {
        to.as_mut_ptr().cast::<S::f32s>().write_unaligned(value);
    }
}

/// A vector read from the start of `from`, with zeros where it ends.
#[inline(always)]
pub(crate) fn load_some<S: Simd>(simd: S, from: &[f32]) -> S::f32s {
    if from.len() >= S::F32_LANES { load::<S>(from) } else { simd.partial_load_f32s(from) }
}

/// Writes as much of a vector to the start of `to` as there is room for.
#[inline(always)]
pub(crate) fn store_some<S: Simd>(simd: S, to: &mut [f32], value: S::f32s) {
    if to.len() >= S::F32_LANES { store::<S>(to, value) } else { simd.partial_store_f32s(to, value) }
}

/// `N` values from the start of `from`.
#[inline(always)]
pub(crate) fn array<T: bytemuck::Pod, const N: usize>(from: &[T]) -> [T; N] {
    let from = &from[..N];
    // SAFETY: the slice holds `N` values of plain data.
    #[allow(unsafe_code)]
    unsafe {
        from.as_ptr().cast::<[T; N]>().read_unaligned()
    }
}

/// `a . b`, with enough partial sums to keep the multipliers busy.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let lanes = S::F32_LANES;
    let mut sums = [simd.splat_f32s(0.0); 4];
    let (mut a4, mut b4) = (a.chunks_exact(4 * lanes), b.chunks_exact(4 * lanes));
    for (a, b) in (&mut a4).zip(&mut b4) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = simd.mul_add_e_f32s(load::<S>(&a[i * lanes..]), load::<S>(&b[i * lanes..]), *sum);
        }
    }
    let (mut a1, mut b1) = (a4.remainder().chunks_exact(lanes), b4.remainder().chunks_exact(lanes));
    for (a, b) in (&mut a1).zip(&mut b1) {
        sums[0] = simd.mul_add_e_f32s(load::<S>(a), load::<S>(b), sums[0]);
    }
    let tail: f32 = a1.remainder().iter().zip(b1.remainder()).map(|(a, b)| a * b).sum();
    let pair = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
    simd.reduce_sum_f32s(pair) + tail
}

/// Peaks below this count as zero: their inverse would overflow.
const TINY: f32 = 1e-30;

/// Scale and inverse of numbers up to `peak` that are to be multiples of `step`: NaN and 0 where they are not all
/// finite, zeros where they are next to nothing.
#[inline(always)]
pub(crate) fn step(peak: f32, step: f32) -> (f32, f32) {
    if !peak.is_finite() || !step.is_finite() {
        (f32::NAN, 0.0)
    } else if peak < TINY {
        (0.0, 0.0)
    } else {
        (step, 1.0 / step)
    }
}

/// The index of the first NaN or infinity.
pub(crate) fn not_finite(values: &[f32]) -> Option<usize> {
    struct Any<'a>(&'a [f32]);
    impl pulp::WithSimd for Any<'_> {
        type Output = bool;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> bool {
            let mut bad = 0u32;
            for v in self.0 {
                bad |= u32::from(v.to_bits() & 0x7f80_0000 == 0x7f80_0000);
            }
            bad != 0
        }
    }
    // The search that stops early only runs when there is something to find.
    if crate::simd::arch().dispatch(Any(values)) { values.iter().position(|v| !v.is_finite()) } else { None }
}

/// The AVX-512 token behind a generic one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn v4<S: Simd>(simd: S) -> Option<pulp::x86::V4> {
    token(simd)
}

/// The AVX2 token behind a generic one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn v3<S: Simd>(simd: S) -> Option<pulp::x86::V3> {
    token(simd)
}

/// The NEON token behind a generic one.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn neon<S: Simd>(simd: S) -> Option<pulp::aarch64::Neon> {
    token(simd)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn token<S: Simd, T: Simd>(simd: S) -> Option<T> {
    use std::any::TypeId;
    if TypeId::of::<S>() != TypeId::of::<T>() {
        return None;
    }
    // SAFETY: the two types are the same, and tokens are `Copy`.
    #[allow(unsafe_code)]
    Some(unsafe { std::mem::transmute_copy::<S, T>(&simd) })
}

/// A platform's vector as the vector of a generic token. Sizes must agree, which they do on the
/// paths that `v4`, `v3` and `neon` open; elsewhere the call is never reached.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(crate) fn generic<S: Simd, V: bytemuck::Pod>(vector: V) -> S::f32s {
    if size_of::<V>() == size_of::<S::f32s>() {
        // SAFETY: both are plain data of the same size.
        #[allow(unsafe_code)]
        return unsafe { std::mem::transmute_copy::<V, S::f32s>(&vector) };
    }
    bytemuck::Zeroable::zeroed()
}
