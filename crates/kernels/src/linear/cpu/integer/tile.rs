//! Register tiles: four rows of activations times three vectors of outputs.

use std::ops::Range;

use super::super::block::PART;
use super::{Panel, Rows};
use crate::output::Output;
use crate::simd::vnni::{LANES, Vnni, outer};
use crate::simd::{load, store};

/// Pairs of inputs in a part.
const PAIRS: usize = PART / 2;

/// One panel against a block of rows, over some parts of the depth.
pub(super) struct Tiles<'a> {
    pub(super) x: &'a Rows<'a>,
    pub(super) rows: Range<usize>,
    pub(super) depth: Range<usize>,
    pub(super) outputs: Range<usize>,
    pub(super) panel: Panel<'a>,
    pub(super) out: Output,
}

impl Tiles<'_> {
    #[inline(always)]
    pub(super) fn run<const MV: usize, const SKEWED: bool>(&self, simd: Vnni) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            // Integer and f32 sums of four rows and three vectors fill 24 of the 32 registers.
            row += if self.rows.end - row > 2 {
                self.tile::<4, MV, SKEWED>(simd, row)
            } else {
                self.tile::<2, MV, SKEWED>(simd, row)
            };
        }
    }

    /// Up to `NR` rows from `row` on; answers how many.
    #[inline(always)]
    fn tile<const NR: usize, const MV: usize, const SKEWED: bool>(&self, simd: Vnni, row: usize) -> usize {
        type V4 = pulp::x86::V4;
        let count = (self.rows.end - row).min(NR);
        let (parts, width) = (self.x.cols / PART, self.outputs.len());
        let mut acc = [[simd.splat_f32x16(0.0); MV]; NR];
        if self.depth.start != 0 {
            for (j, acc) in acc.iter_mut().enumerate().take(count) {
                // SAFETY: this piece alone writes these rows and outputs, on this thread.
                #[allow(unsafe_code)]
                let y = unsafe { self.out.row(row + j, self.outputs.clone()) };
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = if (v + 1) * LANES <= width {
                        load::<V4>(&y[v * LANES..])
                    } else {
                        pulp::Simd::partial_load_f32s(*simd, &y[v * LANES..])
                    };
                }
            }
        }
        // A tile that hangs over the last row computes that row again and drops it.
        let at: [usize; NR] = std::array::from_fn(|j| row + j.min(count - 1));
        let last = (row + count) * parts;
        assert!(self.depth.end <= parts && self.x.scales.len() >= last && self.x.sums.len() >= last);
        assert!(self.x.ints.len() >= last * PART && self.panel.pairs.len() >= parts * PAIRS * MV * LANES);
        let (scales, offsets) = (&self.panel.scales[..parts * MV * LANES], &self.panel.offsets[..parts * MV * LANES]);
        let x: [*const i32; NR] = at.map(|row| self.x.ints.as_ptr().wrapping_add(row * self.x.cols).cast());
        for part in self.depth.clone() {
            let zero = [[simd.splat_i32x16(0); MV]; NR];
            let pairs = self.panel.pairs.as_ptr().wrapping_add(part * PAIRS * MV * LANES);
            // SAFETY: `part < parts`; as asserted, the rows hold `parts` parts of 16 pairs each (on a
            // cache line's boundary plus a multiple of 64 bytes), and the panel as many rows of `MV` vectors.
            #[allow(unsafe_code)]
            let sums = unsafe { outer::<NR, MV>(simd, zero, PAIRS, x.map(|x| x.wrapping_add(part * PAIRS)), 1, pairs) };
            for v in 0..MV {
                let scale: pulp::f32x16 = load::<V4>(&scales[(part * MV + v) * LANES..]);
                let offset: pulp::f32x16 = load::<V4>(&offsets[(part * MV + v) * LANES..]);
                for j in 0..NR {
                    // SAFETY: asserted above for the last row of the tile and the last part.
                    #[allow(unsafe_code)]
                    let (own, sum) = unsafe {
                        (
                            *self.x.scales.get_unchecked(at[j] * parts + part),
                            *self.x.sums.get_unchecked(at[j] * parts + part),
                        )
                    };
                    let both = simd.mul_f32x16(scale, simd.splat_f32x16(own));
                    acc[j][v] = simd.mul_add_f32x16(simd.number(sums[j][v]), both, acc[j][v]);
                    if SKEWED {
                        acc[j][v] = simd.mul_add_f32x16(offset, simd.splat_f32x16(sum), acc[j][v]);
                    }
                }
            }
        }
        for (j, acc) in acc.iter().enumerate().take(count) {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            let y = unsafe { self.out.row(row + j, self.outputs.clone()) };
            for (v, &acc) in acc.iter().enumerate() {
                if (v + 1) * LANES <= width {
                    store::<V4>(&mut y[v * LANES..], acc);
                } else {
                    pulp::Simd::partial_store_f32s(*simd, &mut y[v * LANES..], acc);
                }
            }
        }
        count
    }
}
