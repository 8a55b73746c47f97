//! A part of a row of activations as integers.

use pulp::Simd;

use super::super::block::PART;
use crate::simd::pairs::{Pairs, magnitude};
use crate::simd::{load, step};

/// The integers of a part; answers what they must be multiplied by, and the sum of its activations.
#[inline(always)]
pub(super) fn round_part<P: Pairs>(pairs: P, x: &[f32], reach: f32, ints: &mut [i16]) -> (f32, f32) {
    let (simd, x, ints) = (pairs.simd(), &x[..PART], &mut ints[..PART]);
    let (mut peak, mut sum) = (simd.splat_u32s(0), simd.splat_f32s(0.0));
    for x in x.chunks_exact(P::LANES) {
        let x = load::<P::Simd>(x);
        peak = simd.max_u32s(peak, magnitude(simd, x));
        sum = simd.add_f32s(sum, x);
    }
    let peak = pairs.peak(peak);
    let (scale, inverse) = step(peak, peak / reach);
    let inverse = simd.splat_f32s(inverse);
    for (x, ints) in x.chunks_exact(P::LANES).zip(ints.chunks_exact_mut(P::LANES)) {
        pairs.narrow(pairs.nearest(simd.mul_f32s(load::<P::Simd>(x), inverse)), ints);
    }
    (scale, simd.reduce_sum_f32s(sum))
}
