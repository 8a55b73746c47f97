//! Activations as integers of 8 bits, where their weights allow it, and block formats' integers as they are.
//!
//! With `x = scale_x * a` for the 32 activations of a part and `w = scale_w * q + offset` for the
//! weights, the part adds `scale_x * scale_w * sum(a q) + offset * sum(x)` to the product. Bytes are multiplied
//! without a sign on one side: activations are raised by 128, and sums start at what that adds, negated.

mod pack;
mod rows;
mod tile;

pub(super) use rows::{Rows, rows};

use super::super::block::{PART, each_format};
use super::blocks::skewed;
use super::x86::panel;
use super::{Panels, bands};
use crate::simd::outer::WIDE;
use crate::simd::pairs::{Packing, Pairs, Quarters, WithPairs};

/// Inputs that are multiplied before the tile goes back to memory: the slice of a panel they take
/// (16.5 KiB with AVX-512) stays in the first-level cache while the rows pass by.
const DEPTH: usize = 256;

/// Integers in a lane.
const EACH: usize = Quarters::EACH;

/// What all activations' integers are raised by.
const RAISED: i16 = 128;

/// A lane of zeros, raised.
const ZEROS: i32 = i32::from_le_bytes([128; 4]);

/// Packed weights of up to [`panel`] outputs; `width` is their number, whole vectors.
struct Panel<'a> {
    /// Neighbouring inputs' integers, `[in / 4][width]`.
    lanes: &'a [i32],
    /// Where the sums of a part start, `[in / 32][width]`.
    starts: &'a [i32],
    /// `[in / 32][width]`.
    scales: &'a [f32],
    /// As the scales.
    offsets: &'a [f32],
}

impl WithPairs for Panels<'_, Rows<'_>> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) -> Self::Output {
        let Panels { rows: x, weight, piece, out, scratch } = self;
        let (most, cols) = (panel::<P>(), weight.cols());
        let (panels, parts) = (piece.outputs.len().div_ceil(most), cols / PART);
        let (lanes, numbers) = (most * cols / EACH, most * parts);
        let all = scratch.take(panels * (lanes + 3 * numbers));
        let (integers, rest) = all.split_at_mut(panels * (lanes + numbers));
        let (scales, offsets) = rest.split_at_mut(panels * numbers);
        let integers: &mut [i32] = bytemuck::cast_slice_mut(integers);

        let room = integers.chunks_exact_mut(lanes + numbers).zip(scales.chunks_exact_mut(numbers));
        for (panel, ((integers, scales), offsets)) in room.zip(offsets.chunks_exact_mut(numbers)).enumerate() {
            let (lanes, starts) = integers.split_at_mut(lanes);
            let to = pack::Room {
                vectors: piece.panel(panel, most).len().div_ceil(P::LANES),
                lanes,
                starts,
                scales,
                offsets,
            };
            each_format! { weight.dtype(), B => pack::pack::<P, B>(pairs, weight, piece.panel(panel, most), to)?,
                other => return crate::error::invalid("linear", format!("{other:?} has no integers")),
            }
        }
        let skewed = skewed(weight);
        for rows in bands(piece, cols) {
            for from in (0..cols).step_by(DEPTH) {
                let depth = from / PART..(from + DEPTH).min(cols) / PART;
                for panel in 0..panels {
                    let (lanes, starts) = integers[panel * (lanes + numbers)..][..lanes + numbers].split_at(lanes);
                    let tiles = tile::Tiles {
                        x,
                        rows: rows.clone(),
                        depth: depth.clone(),
                        outputs: piece.panel(panel, most),
                        panel: Panel {
                            lanes,
                            starts,
                            scales: &scales[panel * numbers..(panel + 1) * numbers],
                            offsets: &offsets[panel * numbers..(panel + 1) * numbers],
                        },
                        out,
                    };
                    match (piece.panel(panel, most).len().div_ceil(P::LANES), skewed) {
                        (1, true) => tiles.run::<P, 1, true>(pairs),
                        (2, true) => tiles.run::<P, 2, true>(pairs),
                        (_, true) => tiles.run::<P, WIDE, true>(pairs),
                        (1, false) => tiles.run::<P, 1, false>(pairs),
                        (2, false) => tiles.run::<P, 2, false>(pairs),
                        (_, false) => tiles.run::<P, WIDE, false>(pairs),
                    }
                }
            }
        }
        Ok(())
    }
}
