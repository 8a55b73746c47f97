//! Register tiles: some rows of activations times two or three vectors of outputs.

use std::ops::Range;

use pulp::Simd;

use super::{EACH, PART, Panel, Rows};
use crate::output::Output;
use crate::simd::outer::tall;
use crate::simd::pairs::{Pairs, Quarters, outer, vector};
use crate::simd::{load, load_some, store_some};

/// One panel against a block of rows, over some parts of the depth.
pub(super) struct Tiles<'a> {
    pub(super) x: &'a Rows<'a>,
    pub(super) rows: Range<usize>,
    pub(super) depth: Range<usize>,
    pub(super) outputs: Range<usize>,
    pub(super) panel: Panel<'a>,
    pub(super) out: Output<'a>,
}

impl Tiles<'_> {
    #[inline(always)]
    pub(super) fn run<P: Pairs, const MV: usize, const SKEWED: bool>(&self, pairs: P) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            let left = self.rows.end - row;
            // Integer and f32 sums of four rows and three vectors fill 24 of 32 registers. Where there are 16
            // the integers of six rows and two vectors take 12, and the f32 sums wait in memory.
            row += if tall::<P::Simd>() == 6 && left > 4 {
                self.tile::<P, 6, MV, SKEWED>(pairs, row)
            } else if left > 2 {
                self.tile::<P, 4, MV, SKEWED>(pairs, row)
            } else {
                self.tile::<P, 2, MV, SKEWED>(pairs, row)
            };
        }
    }

    /// Up to `NR` rows from `row` on; answers how many.
    #[inline(always)]
    fn tile<P: Pairs, const NR: usize, const MV: usize, const SKEWED: bool>(&self, pairs: P, row: usize) -> usize {
        let simd = pairs.simd();
        let count = (self.rows.end - row).min(NR);
        let (parts, each) = (self.x.cols / PART, PART / EACH);
        let mut acc = [[simd.splat_f32s(0.0); MV]; NR];
        if self.depth.start != 0 {
            for (j, acc) in acc.iter_mut().enumerate().take(count) {
                // SAFETY: this piece alone writes these rows and outputs, on this thread.
                #[allow(unsafe_code)]
                let y = unsafe { self.out.row(row + j, self.outputs.clone()) };
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = load_some(simd, &y[v * P::LANES..]);
                }
            }
        }
        // A tile that hangs over the last row computes that row again and drops it.
        let at: [usize; NR] = std::array::from_fn(|j| row + j.min(count - 1));
        let last = (row + count) * parts;
        assert!(self.depth.end <= parts && self.x.scales.len() >= last && self.x.sums.len() >= last);
        assert!(self.x.lanes.len() >= last * each && self.panel.lanes.len() >= parts * each * MV * P::LANES);
        let (scales, offsets) =
            (&self.panel.scales[..parts * MV * P::LANES], &self.panel.offsets[..parts * MV * P::LANES]);
        let x: [*const i32; NR] = at.map(|row| self.x.lanes.as_ptr().wrapping_add(row * parts * each));
        for part in self.depth.clone() {
            let mut start = [simd.splat_i32s(0); MV];
            for (v, start) in start.iter_mut().enumerate() {
                *start = vector(simd, &self.panel.starts[(part * MV + v) * P::LANES..]);
            }
            let weights = self.panel.lanes.as_ptr().wrapping_add(part * each * MV * P::LANES);
            let x = x.map(|x| x.wrapping_add(part * each));
            // SAFETY: `part < parts`; as asserted, the rows hold `parts` parts of `each` lanes each, and the panel
            // as many rows of `MV` vectors.
            #[allow(unsafe_code)]
            let sums = unsafe { outer::<P, Quarters, NR, MV>(pairs, [start; NR], each, x, 1, weights) };
            for v in 0..MV {
                let scale = load::<P::Simd>(&scales[(part * MV + v) * P::LANES..]);
                let offset = load::<P::Simd>(&offsets[(part * MV + v) * P::LANES..]);
                for j in 0..NR {
                    // SAFETY: asserted above for the last row of the tile and the last part.
                    #[allow(unsafe_code)]
                    let (own, sum) = unsafe {
                        (
                            *self.x.scales.get_unchecked(at[j] * parts + part),
                            *self.x.sums.get_unchecked(at[j] * parts + part),
                        )
                    };
                    let both = simd.mul_f32s(scale, simd.splat_f32s(own));
                    acc[j][v] = simd.mul_add_e_f32s(pairs.number(sums[j][v]), both, acc[j][v]);
                    if SKEWED {
                        acc[j][v] = simd.mul_add_e_f32s(offset, simd.splat_f32s(sum), acc[j][v]);
                    }
                }
            }
        }
        for (j, acc) in acc.iter().enumerate().take(count) {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            let y = unsafe { self.out.row(row + j, self.outputs.clone()) };
            for (v, &acc) in acc.iter().enumerate() {
                store_some(simd, &mut y[v * P::LANES..], acc);
            }
        }
        count
    }
}
