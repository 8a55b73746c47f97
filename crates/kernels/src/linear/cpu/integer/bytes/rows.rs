//! Activations as integers, once for all weights of a call.

use super::super::TOGETHER;
use super::super::part::round_part;
use super::{EACH, PART, RAISED};
use crate::simd::Scratch;
use crate::simd::pairs::{Integers, Pairs, WithPairs};
use crate::threads;

/// The largest integer that an activation may become.
const REACH: f32 = 127.0;

/// Rounded activations.
pub(in crate::linear::cpu) struct Rows<'a> {
    pub(super) cols: usize,
    /// Bytes of four neighbouring inputs, raised, in each lane, `[rows][cols / 4]`.
    pub(super) lanes: &'a [i32],
    /// What the integers of a part must be multiplied by, `[rows][cols / 32]`; NaN where an
    /// activation of the part is NaN or infinite.
    pub(super) scales: &'a [f32],
    /// Sums of the activations of a part, not rounded, shaped as the scales.
    pub(super) sums: &'a [f32],
}

/// Rounds `x` `[rows, cols]`; `cols` is a multiple of 32.
pub(in crate::linear::cpu::integer) fn rows<'a>(
    simd: Integers,
    x: &[f32],
    cols: usize,
    parallel: bool,
    scratch: &'a mut Scratch,
) -> Rows<'a> {
    let parts = x.len() / PART;
    let (lanes, rest) = scratch.take(x.len() / EACH + 2 * parts).split_at_mut(x.len() / EACH);
    let (scales, sums) = rest.split_at_mut(parts);
    let lanes: &mut [i32] = bytemuck::cast_slice_mut(lanes);
    let step = TOGETHER * cols;
    let outs = lanes.chunks_mut(step / EACH).zip(scales.chunks_mut(step / PART)).zip(sums.chunks_mut(step / PART));
    threads::each_of(parallel, x.chunks(step).zip(outs), |(x, ((lanes, scales), sums))| {
        simd.run(Round { x, lanes, scales, sums });
    });
    Rows { cols, lanes, scales, sums }
}

struct Round<'a> {
    x: &'a [f32],
    lanes: &'a mut [i32],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
}

impl WithPairs for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) {
        let parts = self.x.chunks_exact(PART).zip(self.lanes.chunks_exact_mut(PART / EACH));
        for ((x, lanes), (scale, sum)) in parts.zip(self.scales.iter_mut().zip(self.sums)) {
            let mut ints = [0; PART];
            (*scale, *sum) = round_part(pairs, x, REACH, &mut ints);
            let mut bytes = [0u8; PART];
            for (byte, int) in bytes.iter_mut().zip(ints) {
                *byte = (int + RAISED) as u8;
            }
            lanes.copy_from_slice(&pulp::cast::<_, [i32; PART / EACH]>(bytes));
        }
    }
}
