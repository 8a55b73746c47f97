//! Activations as integers, once for all weights of a call.

use std::marker::PhantomData;

use pulp::Simd;

use super::super::block::PART;
use super::{Choice, Grain};
use crate::simd::pairs::{Halves, Pairs, Quarters, WithPairs, magnitude};
use crate::simd::{Scratch, load};
use crate::threads;

/// Peaks below this count as zero: their inverse would overflow.
const TINY: f32 = 1e-30;

/// Rows that one task rounds.
const TOGETHER: usize = 16;

/// Rounded activations.
pub(in crate::linear::cpu) struct Rows<'a> {
    pub(super) cols: usize,
    /// Integers packed as the weights' will be, `[rows][cols / each]`.
    pub(super) lanes: &'a [i32],
    /// What the integers of a part must be multiplied by, `[rows][cols / 32]`; NaN where an
    /// activation of the part is NaN or infinite.
    pub(super) scales: &'a [f32],
    /// Sums of the activations of a part, not rounded, shaped as the scales.
    pub(super) sums: &'a [f32],
}

/// Rounds `x` `[rows, cols]` to what a choice asks for; `cols` is a multiple of 32.
pub(in crate::linear::cpu) fn rows<'a>(
    choice: Choice,
    x: &[f32],
    cols: usize,
    parallel: bool,
    scratch: &'a mut Scratch,
) -> Rows<'a> {
    if choice.bytes {
        packed::<Quarters>(choice, x, cols, parallel, scratch)
    } else {
        packed::<Halves>(choice, x, cols, parallel, scratch)
    }
}

fn packed<'a, L: Grain>(choice: Choice, x: &[f32], cols: usize, parallel: bool, scratch: &'a mut Scratch) -> Rows<'a> {
    let parts = x.len() / PART;
    let (lanes, rest) = scratch.take(x.len() / L::EACH + 2 * parts).split_at_mut(x.len() / L::EACH);
    let (scales, sums) = rest.split_at_mut(parts);
    let lanes: &mut [i32] = bytemuck::cast_slice_mut(lanes);
    let step = TOGETHER * cols;
    let outs = lanes.chunks_mut(step / L::EACH).zip(scales.chunks_mut(step / PART)).zip(sums.chunks_mut(step / PART));
    threads::each_of(parallel, x.chunks(step).zip(outs), |(x, ((lanes, scales), sums))| {
        choice.simd.run(Round::<L> { x, lanes, scales, sums, reach: f32::from(choice.reach), packing: PhantomData });
    });
    Rows { cols, lanes, scales, sums }
}

struct Round<'a, L> {
    x: &'a [f32],
    lanes: &'a mut [i32],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
    reach: f32,
    packing: PhantomData<L>,
}

impl<L: Grain> WithPairs for Round<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) {
        let parts = self.x.chunks_exact(PART).zip(self.lanes.chunks_exact_mut(PART / L::EACH));
        for ((x, lanes), (scale, sum)) in parts.zip(self.scales.iter_mut().zip(self.sums)) {
            let mut ints = [0; PART];
            (*scale, *sum) = round(pairs, x, self.reach, &mut ints);
            L::activations(&ints, lanes);
        }
    }
}

/// The integers of a part; answers what they must be multiplied by, and the sum of its activations.
#[inline(always)]
pub(super) fn round<P: Pairs>(pairs: P, x: &[f32], reach: f32, ints: &mut [i16]) -> (f32, f32) {
    let (simd, x, ints) = (pairs.simd(), &x[..PART], &mut ints[..PART]);
    let (mut peak, mut sum) = (simd.splat_u32s(0), simd.splat_f32s(0.0));
    for x in x.chunks_exact(P::LANES) {
        let x = load::<P::Simd>(x);
        peak = simd.max_u32s(peak, magnitude(simd, x));
        sum = simd.add_f32s(sum, x);
    }
    let peak = pairs.peak(peak);
    let (scale, inverse) = if !peak.is_finite() {
        (f32::NAN, 0.0)
    } else if peak < TINY {
        (0.0, 0.0)
    } else {
        (peak / reach, reach / peak)
    };
    let inverse = simd.splat_f32s(inverse);
    for (x, ints) in x.chunks_exact(P::LANES).zip(ints.chunks_exact_mut(P::LANES)) {
        pairs.narrow(pairs.nearest(simd.mul_f32s(load::<P::Simd>(x), inverse)), ints);
    }
    (scale, simd.reduce_sum_f32s(sum))
}
