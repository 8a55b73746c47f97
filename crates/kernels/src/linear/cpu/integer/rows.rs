//! Activations as 16-bit integers, once for all weights of a call.

use super::super::block::PART;
use crate::simd::vnni::{LANES, Vnni, WithVnni};
use crate::simd::{Scratch, load};
use crate::threads;

/// Peaks below this count as zero: their inverse would overflow.
const TINY: f32 = 1e-30;

/// Rows that one task rounds.
const TOGETHER: usize = 16;

/// Rounded activations.
pub(in crate::linear::cpu) struct Rows<'a> {
    pub(super) cols: usize,
    /// `[rows][cols]`.
    pub(super) ints: &'a [i16],
    /// What the integers of a part must be multiplied by, `[rows][cols / 32]`; NaN where an
    /// activation of the part is NaN or infinite.
    pub(super) scales: &'a [f32],
    /// Sums of the activations of a part, not rounded, shaped as the scales.
    pub(super) sums: &'a [f32],
}

/// Rounds `x` `[rows, cols]` to integers of at most `reach`; `cols` is a multiple of 32.
pub(in crate::linear::cpu) fn rows<'a>(
    simd: Vnni,
    x: &[f32],
    cols: usize,
    reach: i16,
    parallel: bool,
    scratch: &'a mut Scratch,
) -> Rows<'a> {
    let parts = x.len() / PART;
    let (ints, rest) = scratch.take(x.len() / 2 + 2 * parts).split_at_mut(x.len() / 2);
    let (scales, sums) = rest.split_at_mut(parts);
    let ints: &mut [i16] = bytemuck::cast_slice_mut(ints);
    let reach = f32::from(reach);
    let step = TOGETHER * cols;
    let outs = ints.chunks_mut(step).zip(scales.chunks_mut(step / PART)).zip(sums.chunks_mut(step / PART));
    threads::each_of(parallel, x.chunks(step).zip(outs), |(x, ((ints, scales), sums))| {
        simd.run(Round { x, ints, scales, sums, reach });
    });
    Rows { cols, ints, scales, sums }
}

struct Round<'a> {
    x: &'a [f32],
    ints: &'a mut [i16],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
    reach: f32,
}

impl WithVnni for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_vnni(self, simd: Vnni) {
        let parts = self.x.chunks_exact(PART).zip(self.ints.chunks_exact_mut(PART));
        for ((x, to), (scale, sum)) in parts.zip(self.scales.iter_mut().zip(self.sums)) {
            let ints;
            (ints, *scale, *sum) = round(simd, x, self.reach);
            to.copy_from_slice(&pulp::cast::<_, [i16; PART]>(ints));
        }
    }
}

/// The integers of a part, what they must be multiplied by, and the sum of its activations.
#[inline(always)]
pub(super) fn round(simd: Vnni, x: &[f32], reach: f32) -> (pulp::i16x32, f32, f32) {
    let low: pulp::f32x16 = load::<pulp::x86::V4>(x);
    let high: pulp::f32x16 = load::<pulp::x86::V4>(&x[LANES..]);
    let magnitude = |v: pulp::f32x16| simd.and_u32x16(pulp::cast(v), simd.splat_u32x16(0x7fff_ffff));
    let peak = simd.avx512f._mm512_max_epu32(pulp::cast(magnitude(low)), pulp::cast(magnitude(high)));
    // Of positive floats the bits are ordered as the numbers, with infinity and NaN on top.
    let peak = f32::from_bits(simd.avx512f._mm512_reduce_max_epu32(peak));
    let (scale, inverse) = if !peak.is_finite() {
        (f32::NAN, 0.0)
    } else if peak < TINY {
        (0.0, 0.0)
    } else {
        (peak / reach, reach / peak)
    };
    let inverse = simd.splat_f32x16(inverse);
    let low_ints = simd.narrow(simd.nearest(simd.mul_f32x16(low, inverse)));
    let high_ints = simd.narrow(simd.nearest(simd.mul_f32x16(high, inverse)));
    (
        pulp::cast([low_ints, high_ints]),
        scale,
        simd.avx512f._mm512_reduce_add_ps(pulp::cast(simd.add_f32x16(low, high))),
    )
}
