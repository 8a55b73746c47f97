//! Register tiles: some rows of activations times two or three vectors of outputs.

use std::ops::Range;

use pulp::Simd;

use super::{Panel, Rows, slice};
use crate::output::Output;
use crate::simd::outer::Tiled;
use crate::simd::pairs::{Halves, Pairs, outer};
use crate::simd::{load, load_some, store_some};

/// One panel.
pub(super) struct Tiles<'a> {
    pub(super) x: &'a Rows<'a>,
    pub(super) outputs: Range<usize>,
    pub(super) panel: Panel<'a>,
    pub(super) out: Output<'a>,
}

/// The same, `MV` vectors wide.
pub(super) struct Wide<'a, P, const MV: usize>(pub(super) &'a Tiles<'a>, pub(super) P);

impl<P: Pairs, const MV: usize> Tiled for Wide<'_, P, MV> {
    type Simd = P::Simd;

    #[inline(always)]
    fn tile<const NR: usize>(&self, row: usize, count: usize) {
        let Self(tiles, pairs) = *self;
        let simd = pairs.simd();
        let (cols, each) = (tiles.x.cols, slice(tiles.x.cols));
        let slices = cols.div_ceil(each);
        let x = &tiles.x.lanes[row * cols / 2..(row + count) * cols / 2];
        // A tile that hangs over the last row computes that row again and drops it.
        let x: [*const i32; NR] = std::array::from_fn(|j| x.as_ptr().wrapping_add(j.min(count - 1) * cols / 2));
        let lanes = &tiles.panel.lanes[..cols / 2 * MV * P::LANES];
        for (slice, scales) in tiles.panel.scales.chunks_exact(MV * P::LANES).enumerate().take(slices) {
            let depth = slice * each / 2..((slice + 1) * each).min(cols) / 2;
            let a = x.map(|x| x.wrapping_add(depth.start));
            let b = lanes[depth.start * MV * P::LANES..].as_ptr();
            let zero = [[simd.splat_i32s(0); MV]; NR];
            // SAFETY: the slices above are whole rows and a whole panel, and `depth` ends where they do.
            #[allow(unsafe_code)]
            let sums = unsafe { outer::<P, Halves, NR, MV>(pairs, zero, depth.len(), a, 1, b) };
            for (j, sums) in sums.iter().enumerate().take(count) {
                let own = simd.splat_f32s(tiles.x.scales[(row + j) * slices + slice]);
                // SAFETY: this piece alone writes these rows and outputs, on this thread.
                #[allow(unsafe_code)]
                let y = unsafe { tiles.out.row(row + j, tiles.outputs.clone()) };
                for (v, &sum) in sums.iter().enumerate() {
                    let both = simd.mul_f32s(load::<P::Simd>(&scales[v * P::LANES..]), own);
                    let y = &mut y[v * P::LANES..];
                    let old = if slice == 0 { simd.splat_f32s(0.0) } else { load_some(simd, y) };
                    store_some(simd, y, simd.mul_add_e_f32s(pairs.number(sum), both, old));
                }
            }
        }
    }
}
