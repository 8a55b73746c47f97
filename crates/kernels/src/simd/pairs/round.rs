//! Numbers as 16-bit integers whose dot products fit 32 bits.

use pulp::Simd;

use super::{MOST, Pairs, magnitude};
use crate::simd::{load, step};

/// Rounds a vector to integers and answers their scale: NaN if one of the numbers is NaN or
/// infinite, 0 if all are zero.
///
/// Their Euclidean norm stays below 2^15.5, so that by Cauchy-Schwarz the dot product of two such vectors, and any
/// part of it, fits 32 bits. `x` is padded with zeros to whole vectors, `to` is not.
#[inline(always)]
pub(crate) fn round<P: Pairs>(pairs: P, x: &[f32], to: &mut [i16]) -> f32 {
    let simd = pairs.simd();
    let mut peak = simd.splat_u32s(0);
    for x in x.chunks_exact(P::LANES) {
        peak = simd.max_u32s(peak, magnitude(simd, load::<P::Simd>(x)));
    }
    let peak = pairs.peak(peak);
    // Relative to the peak: squares of large numbers would overflow.
    let inverse = simd.splat_f32s(step(peak, peak).1);
    let mut squares = simd.splat_f32s(0.0);
    for x in x.chunks_exact(P::LANES) {
        let x = simd.mul_f32s(load::<P::Simd>(x), inverse);
        squares = simd.mul_add_e_f32s(x, x, squares);
    }
    let norm = simd.reduce_sum_f32s(squares).sqrt();
    // Rounding moves each number by half at most, the norm by half the root of their count.
    let reach = 46_339.0 - 0.5 * (to.len() as f32).sqrt();
    let (scale, inverse) = step(peak, peak * (norm / reach).max(1.0 / 32767.0));
    let inverse = simd.splat_f32s(inverse);
    for (x, to) in x.chunks_exact(P::LANES).zip(to.chunks_mut(P::LANES)) {
        let ints = pairs.nearest(simd.mul_f32s(load::<P::Simd>(x), inverse));
        if to.len() == P::LANES {
            pairs.narrow(ints, to);
        } else {
            let mut all = [0i16; MOST];
            pairs.narrow(ints, &mut all[..P::LANES]);
            to.copy_from_slice(&all[..to.len()]);
        }
    }
    scale
}
