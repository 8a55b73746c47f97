//! Register tiles: some rows of activations times two vectors of outputs.

use std::array::from_fn;
use std::ops::Range;

use pulp::{f32x4, i8x16, i32x4};

use super::{OUTPUTS, PART, Part, Rows, WIDE};
use crate::output::Output;
use crate::simd::array;
use crate::simd::sdot::Sdot;

/// A vector of zeros.
const NONE: i8x16 = i8x16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/// One panel.
pub(super) struct Tiles<'a> {
    pub(super) x: &'a Rows<'a>,
    pub(super) outputs: Range<usize>,
    pub(super) panel: &'a [Part],
    pub(super) out: Output<'a>,
}

impl Tiles<'_> {
    /// The rows `rows`. Integer sums of eight of them take 16 of 32 registers, their activations eight, and the f32 sums
    /// wait in memory.
    #[inline(always)]
    pub(super) fn run<const DIGITS: usize, const SKEWED: bool>(&self, simd: Sdot, rows: Range<usize>) {
        let mut row = rows.start;
        while row < rows.end {
            row += match rows.end - row {
                5.. => self.tile::<8, DIGITS, SKEWED>(simd, row..rows.end),
                3.. => self.tile::<4, DIGITS, SKEWED>(simd, row..rows.end),
                _ => self.tile::<2, DIGITS, SKEWED>(simd, row..rows.end),
            };
        }
    }

    /// The first of the rows `rows`, up to `NR`; answers how many.
    #[inline(always)]
    fn tile<const NR: usize, const DIGITS: usize, const SKEWED: bool>(&self, simd: Sdot, rows: Range<usize>) -> usize {
        let (parts, count) = (self.panel.len(), rows.len().min(NR));
        // A tile that hangs over the last row computes that row again and drops it.
        let firsts: [usize; NR] = from_fn(|j| (rows.start + j.min(count - 1)) * parts);
        // What a vector holds: half a part's digits.
        let halves = self.x.bytes.as_chunks::<{ PART / 2 }>().0;
        let mut acc = [[f32x4(0.0, 0.0, 0.0, 0.0); WIDE]; NR];
        for (part, weights) in self.panel.iter().enumerate() {
            let mut sums = [[i32x4(0, 0, 0, 0); WIDE]; NR];
            for digit in 0..DIGITS {
                if digit > 0 {
                    for sum in sums.as_flattened_mut() {
                        *sum = simd.raise(*sum);
                    }
                }
                for (half, fours) in weights.fours.chunks_exact(4).enumerate() {
                    let mut x = [NONE; NR];
                    for (x, first) in x.iter_mut().zip(firsts) {
                        *x = pulp::cast(halves[((first + part) * DIGITS + digit) * 2 + half]);
                    }
                    sums = fours_of::<0, NR>(simd, sums, &fours[0], &x);
                    sums = fours_of::<1, NR>(simd, sums, &fours[1], &x);
                    sums = fours_of::<2, NR>(simd, sums, &fours[2], &x);
                    sums = fours_of::<3, NR>(simd, sums, &fours[3], &x);
                }
            }
            for ((acc, sums), first) in acc.iter_mut().zip(sums).zip(firsts) {
                let (scale, sum) = (self.x.scales[first + part], self.x.sums[first + part]);
                for (v, (acc, sums)) in acc.iter_mut().zip(sums).enumerate() {
                    let by: [f32; 4] = from_fn(|o| weights.scales[4 * v + o] * scale);
                    *acc = simd.add(*acc, sums, pulp::cast(by));
                    if SKEWED {
                        *acc = simd.add_numbers(*acc, pulp::cast(array::<f32, 4>(&weights.offsets[4 * v..])), sum);
                    }
                }
            }
        }
        for (row, acc) in rows.zip(&acc).take(count) {
            // SAFETY: this piece alone writes these rows and outputs, on this thread.
            #[allow(unsafe_code)]
            let y = unsafe { self.out.row(row, self.outputs.clone()) };
            let width = y.len().min(OUTPUTS);
            y[..width].copy_from_slice(&pulp::cast::<_, [f32; OUTPUTS]>(*acc)[..width]);
        }
        count
    }
}

/// Adds the products of four neighbouring inputs, those in lane `LANE` of each row's activations.
#[inline(always)]
fn fours_of<const LANE: usize, const NR: usize>(
    simd: Sdot,
    mut sums: [[i32x4; WIDE]; NR],
    weights: &[[i8; 4]; OUTPUTS],
    x: &[i8x16; NR],
) -> [[i32x4; WIDE]; NR] {
    let weights: [i8x16; WIDE] = pulp::cast(*weights);
    for (sums, &x) in sums.iter_mut().zip(x) {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = simd.dot::<LANE>(*sum, weights, x);
        }
    }
    sums
}
