//! Many rows of activations on processors that multiply 16-bit integers faster than f32.
//!
//! With `x = scale_x * a` for the 32 activations of a part and `w = scale_w * q + offset` for the
//! weights, the part adds `scale_x * scale_w * sum(a q) + offset * sum(x)` to the product. The
//! weights' integers `q` are taken as they are; the activations' integers `a` are rounded to
//! 16 bits, with a scale for every 32, so that one huge activation costs its neighbours only.

pub(super) mod bytes;
mod pack;
mod rows;
mod tile;

pub(super) use rows::{Rows, rows};

use super::Piece;
use super::block::{PART, each_format};
use crate::level::Level;
use crate::linear::{BlockType, Weight};
use crate::output::Output;
use crate::simd::Scratch;
use crate::simd::outer::{WIDE, wide};
use crate::simd::pairs::{Integers, Pairs, WithPairs};

/// Inputs that are multiplied before the tile goes back to memory: the slice of a panel they take
/// (27 KiB) stays in the first-level cache while the rows pass by.
const DEPTH: usize = 256;

/// Outputs of a whole panel.
const fn panel<P: Pairs>() -> usize {
    wide::<P::Simd>() * P::LANES
}

/// Whether a weight's numbers are integers with a scale for every 32.
pub(super) fn takes(weight: &Weight) -> bool {
    use BlockType::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    matches!(weight.dtype(), Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4K | Q5K | Q6K)
}

/// Whether a weight's parts have offsets once their integers are centred.
fn skewed(weight: &Weight) -> bool {
    matches!(weight.dtype(), BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K)
}

/// The instructions, and the largest integer that an activation may become, where the level has them
/// and any of the weights is for them.
///
/// The sum of 32 products must fit 32 bits: the weights' integers reach 4096 in Q6_K, else 128.
pub(super) fn choose(level: Level, weights: &[&Weight]) -> Option<(Integers, i16)> {
    const _: () = assert!(32 * 4096 * 16383 <= i32::MAX as i64);
    const _: () = assert!(32 * 128 * 32767 <= i32::MAX as i64);
    let reach = |w: &&Weight| if w.dtype() == BlockType::Q6K { 16383 } else { 32767 };
    let reach = weights.iter().filter(|w| takes(w)).map(reach).min()?;
    Some((Integers::find(level)?, reach))
}

/// The products of one piece of a weight with the rows `piece.rows`.
pub(super) struct Panels<'a> {
    pub(super) rows: &'a Rows<'a>,
    pub(super) weight: &'a Weight,
    pub(super) piece: &'a Piece,
    pub(super) out: Output,
    pub(super) scratch: &'a mut Scratch,
}

/// Packed weights of up to [`panel`] outputs; `width` is their number, whole vectors.
struct Panel<'a> {
    /// Pairs of neighbouring inputs' integers, `[in / 2][width]`.
    pairs: &'a [i32],
    /// `[in / 32][width]`.
    scales: &'a [f32],
    /// As the scales.
    offsets: &'a [f32],
}

impl WithPairs for Panels<'_> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, simd: P) -> Self::Output {
        let most = panel::<P>();
        let cols = self.weight.cols();
        let (outputs, parts) = (self.piece.outputs.clone(), cols / PART);
        let panels = outputs.len().div_ceil(most);
        let (pairs, numbers) = (most * cols / 2, most * parts);
        let all = self.scratch.take(panels * (pairs + 2 * numbers));
        let (packed, rest) = all.split_at_mut(panels * pairs);
        let (scales, offsets) = rest.split_at_mut(panels * numbers);
        let packed: &mut [i32] = bytemuck::cast_slice_mut(packed);

        let span = |panel: usize| {
            let start = outputs.start + panel * most;
            start..(start + most).min(outputs.end)
        };
        let room = packed.chunks_exact_mut(pairs).zip(scales.chunks_exact_mut(numbers));
        for (panel, ((pairs, scales), offsets)) in room.zip(offsets.chunks_exact_mut(numbers)).enumerate() {
            let to = pack::Room { vectors: span(panel).len().div_ceil(P::LANES), pairs, scales, offsets };
            each_format! { self.weight.dtype(), B => pack::pack::<P, B>(simd, self.weight, span(panel), to)?,
                other => return crate::error::invalid("linear", format!("{other:?} has no integers")),
            }
        }
        let skewed = skewed(self.weight);
        // Rows in blocks that stay in the second-level cache while all panels pass over them.
        let block = (128 * 1024 / cols).clamp(2, 64) * 8;
        for start in self.piece.rows.clone().step_by(block) {
            let rows = start..(start + block).min(self.piece.rows.end);
            for from in (0..cols).step_by(DEPTH) {
                let depth = from / PART..(from + DEPTH).min(cols) / PART;
                for panel in 0..panels {
                    let tiles = tile::Tiles {
                        x: self.rows,
                        rows: rows.clone(),
                        depth: depth.clone(),
                        outputs: span(panel),
                        panel: Panel {
                            pairs: &packed[panel * pairs..(panel + 1) * pairs],
                            scales: &scales[panel * numbers..(panel + 1) * numbers],
                            offsets: &offsets[panel * numbers..(panel + 1) * numbers],
                        },
                        out: self.out,
                    };
                    match (span(panel).len().div_ceil(P::LANES), skewed) {
                        (1, true) => tiles.run::<P, 1, true>(simd),
                        (2, true) => tiles.run::<P, 2, true>(simd),
                        (_, true) => tiles.run::<P, WIDE, true>(simd),
                        (1, false) => tiles.run::<P, 1, false>(simd),
                        (2, false) => tiles.run::<P, 2, false>(simd),
                        (_, false) => tiles.run::<P, WIDE, false>(simd),
                    }
                }
            }
        }
        Ok(())
    }
}
