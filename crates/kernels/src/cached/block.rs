//! The block of [`super::Q8_0`], read a vector at a time.

use pulp::Simd;

use super::BLOCK;
#[cfg(target_arch = "x86_64")]
use crate::simd::array;
use crate::simd::half::{Stored, f16_to_f32};
use crate::simd::{load, read, store};

/// 32 numbers: each is the scale times its integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    /// An f16, little endian: bytes, so that a block may lie anywhere.
    pub(crate) scale: [u8; 2],
    pub(crate) ints: [i8; BLOCK],
}

impl Stored for Block {
    type Raw = u8;

    const EACH: usize = BLOCK;

    #[inline(always)]
    fn of(raw: &[u8]) -> &[Self] {
        bytemuck::cast_slice(raw)
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]) {
        for (block, to) in from.iter().zip(to.chunks_exact_mut(BLOCK)) {
            let scale = block.scale(simd);
            for (i, to) in to.chunks_exact_mut(S::F32_LANES).enumerate() {
                store::<S>(to, simd.mul_f32s(block.ints(simd, i * S::F32_LANES), scale));
            }
        }
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, row: &[Self], at: usize, ahead: usize) -> S::f32s {
        // Written such that neighbouring vectors are seen to share their scale.
        let ahead = ahead * S::F32_LANES;
        let block = &row[at / BLOCK + ahead / BLOCK];
        simd.mul_f32s(block.ints(simd, at % BLOCK + ahead % BLOCK), block.scale(simd))
    }

    #[inline(always)]
    fn number(row: &[Self], at: usize) -> f32 {
        let block = &row[at / BLOCK];
        f16_to_f32(u16::from_le_bytes(block.scale)) * f32::from(block.ints[at % BLOCK])
    }

    /// Scales once a block instead of once a vector.
    #[inline(always)]
    fn dots<S: Simd, const H: usize>(simd: S, k: &[Self], q: &[f32], dim: usize) -> [f32; H] {
        let (k, q) = (&k[..dim / BLOCK], &q[..H * dim]);
        let mut sums = [simd.splat_f32s(0.0); H];
        for (b, block) in k.iter().enumerate() {
            let scale = block.scale(simd);
            let mut acc = [simd.splat_f32s(0.0); H];
            for d in (0..BLOCK).step_by(S::F32_LANES) {
                let ints = block.ints(simd, d);
                for (h, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: blocks are `BLOCK` numbers of whole vectors, and `q` holds `H` vectors of `dim`.
                    #[allow(unsafe_code)]
                    let q = unsafe { read::<S>(q.as_ptr().add(h * dim + b * BLOCK + d)) };
                    *acc = simd.mul_add_e_f32s(ints, q, *acc);
                }
            }
            for (sum, acc) in sums.iter_mut().zip(acc) {
                *sum = simd.mul_add_e_f32s(acc, scale, *sum);
            }
        }
        // A loop: the closure of a `map` would not be compiled for these instructions.
        let mut out = [0f32; H];
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = simd.reduce_sum_f32s(sum);
        }
        out
    }
}

impl Block {
    /// The scale in every lane.
    #[inline(always)]
    fn scale<S: Simd>(&self, simd: S) -> S::f32s {
        let bits = u16::from_le_bytes(self.scale);
        #[cfg(target_arch = "x86_64")]
        if let Some(v4) = crate::simd::v4(simd) {
            let wide: pulp::f32x16 = pulp::cast(v4.avx512f._mm512_cvtph_ps(pulp::cast([bits; 16])));
            return crate::simd::generic::<S, _>(wide);
        }
        simd.splat_f32s(f16_to_f32(bits))
    }

    /// A vector of the integers from `at` on.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    fn ints<S: Simd>(&self, simd: S, at: usize) -> S::f32s {
        #[cfg(target_arch = "x86_64")]
        if let Some(v4) = crate::simd::v4(simd) {
            let bytes: [i8; 16] = array(&self.ints[at..]);
            let ints = v4.avx512f._mm512_cvtepi8_epi32(pulp::cast(bytes));
            let wide: pulp::f32x16 = pulp::cast(v4.avx512f._mm512_cvtepi32_ps(ints));
            return crate::simd::generic::<S, _>(wide);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = crate::simd::v3(simd) {
            let bytes: [u8; 8] = array(bytemuck::cast_slice(&self.ints[at..]));
            let ints = v3.avx2._mm256_cvtepi8_epi32(pulp::cast([u64::from_ne_bytes(bytes), 0]));
            let wide: pulp::f32x8 = pulp::cast(v3.avx._mm256_cvtepi32_ps(ints));
            return crate::simd::generic::<S, _>(wide);
        }
        let mut out = [0f32; 16];
        for (o, &int) in out[..S::F32_LANES].iter_mut().zip(&self.ints[at..at + S::F32_LANES]) {
            *o = f32::from(int);
        }
        load::<S>(&out)
    }
}
