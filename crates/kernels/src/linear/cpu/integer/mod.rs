//! Many rows of activations on processors that multiply 16-bit integers faster than f32.
//!
//! With `x = scale_x * a` for the 32 activations of a part and `w = scale_w * q + offset` for the
//! weights, the part adds `scale_x * scale_w * sum(a q) + offset * sum(x)` to the product. The
//! weights' integers `q` are taken as they are; the activations' integers `a` are rounded to
//! 16 bits, with a scale for every 32, so that one huge activation costs its neighbours only; or to
//! 8 bits where all weights of the call allow it. Those are raised by 128, because bytes are multiplied
//! without a sign, and sums start at what that adds, negated.

pub(super) mod bytes;
mod grain;
mod pack;
mod rows;
mod tile;

use grain::Grain;
pub(super) use rows::{Rows, rows};

use std::marker::PhantomData;

use super::Piece;
use super::block::{PART, each_format};
use crate::level::Level;
use crate::linear::{Activations, BlockType, Weight};
use crate::output::Output;
use crate::simd::Scratch;
use crate::simd::outer::{WIDE, wide};
use crate::simd::pairs::{Halves, Integers, Pairs, Quarters, WithPairs};

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

/// What multiplies, and how activations become integers.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    simd: Integers,
    /// The largest integer of an activation.
    reach: i16,
    /// Whether integers are bytes, four in a lane.
    bytes: bool,
}

/// The choice for a call, where the level has instructions for any of its weights.
///
/// The sum of 32 products must fit 32 bits: the weights' integers reach 4096 in Q6_K, else 128.
pub(super) fn choose(level: Level, weights: &[&Weight]) -> Option<Choice> {
    const _: () = assert!(32 * 4096 * 16383 <= i32::MAX as i64);
    const _: () = assert!(32 * 128 * 32767 <= i32::MAX as i64);
    let simd = Integers::find(level)?;
    let taken = || weights.iter().filter(|w| takes(w));
    taken().next()?;
    let six = taken().any(|w| w.dtype() == BlockType::Q6K);
    // In a call all activations are rounded alike: bytes where all weights bear them.
    let bytes = simd.has_bytes() && !six && taken().all(|w| w.activations() == Activations::Bits8);
    let reach = match (bytes, six) {
        (true, _) => 127,
        (_, true) => 16383,
        (_, false) => 32767,
    };
    Some(Choice { simd, reach, bytes })
}

impl Choice {
    /// Multiplies one piece of a weight that [`takes`] holds for.
    pub(super) fn multiply(self, panels: Panels<'_>) -> crate::Result<()> {
        if self.bytes {
            self.simd.run(Packed::<Quarters>(panels, PhantomData))
        } else {
            self.simd.run(Packed::<Halves>(panels, PhantomData))
        }
    }
}

/// The products of one piece of a weight with the rows `piece.rows`.
pub(super) struct Panels<'a> {
    pub(super) rows: &'a Rows<'a>,
    pub(super) weight: &'a Weight,
    pub(super) piece: &'a Piece,
    pub(super) out: Output,
    pub(super) scratch: &'a mut Scratch,
}

/// The same, packed so.
struct Packed<'a, L>(Panels<'a>, PhantomData<L>);

/// Packed weights of up to [`panel`] outputs; `width` is their number, whole vectors.
struct Panel<'a> {
    /// Neighbouring inputs' integers, `[in / each][width]`.
    lanes: &'a [i32],
    /// Where the sums of a part start, `[in / 32][width]`, if activations are raised.
    starts: &'a [i32],
    /// `[in / 32][width]`.
    scales: &'a [f32],
    /// As the scales.
    offsets: &'a [f32],
}

impl<L: Grain> WithPairs for Packed<'_, L> {
    type Output = crate::Result<()>;

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) -> Self::Output {
        let Panels { rows: x, weight, piece, out, scratch } = self.0;
        let (most, cols) = (panel::<P>(), weight.cols());
        let (outputs, parts) = (piece.outputs.clone(), cols / PART);
        let panels = outputs.len().div_ceil(most);
        let (lanes, numbers) = (most * cols / L::EACH, most * parts);
        let raised = if L::RAISED == 0 { 0 } else { numbers };
        let all = scratch.take(panels * (lanes + raised + 2 * numbers));
        let (integers, rest) = all.split_at_mut(panels * (lanes + raised));
        let (scales, offsets) = rest.split_at_mut(panels * numbers);
        let integers: &mut [i32] = bytemuck::cast_slice_mut(integers);

        let span = |panel: usize| {
            let start = outputs.start + panel * most;
            start..(start + most).min(outputs.end)
        };
        let room = integers.chunks_exact_mut(lanes + raised).zip(scales.chunks_exact_mut(numbers));
        for (panel, ((integers, scales), offsets)) in room.zip(offsets.chunks_exact_mut(numbers)).enumerate() {
            let (lanes, starts) = integers.split_at_mut(lanes);
            let to = pack::Room { vectors: span(panel).len().div_ceil(P::LANES), lanes, starts, scales, offsets };
            each_format! { weight.dtype(), B => pack::pack::<P, L, B>(pairs, weight, span(panel), to)?,
                other => return crate::error::invalid("linear", format!("{other:?} has no integers")),
            }
        }
        let skewed = skewed(weight);
        // Rows in blocks that stay in the second-level cache while all panels pass over them.
        let block = (128 * 1024 / cols).clamp(2, 64) * 8;
        for start in piece.rows.clone().step_by(block) {
            let rows = start..(start + block).min(piece.rows.end);
            for from in (0..cols).step_by(DEPTH) {
                let depth = from / PART..(from + DEPTH).min(cols) / PART;
                for panel in 0..panels {
                    let tiles = tile::Tiles {
                        x,
                        rows: rows.clone(),
                        depth: depth.clone(),
                        outputs: span(panel),
                        panel: Panel {
                            lanes: &integers[panel * (lanes + raised)..][..lanes],
                            starts: &integers[panel * (lanes + raised) + lanes..][..raised],
                            scales: &scales[panel * numbers..(panel + 1) * numbers],
                            offsets: &offsets[panel * numbers..(panel + 1) * numbers],
                        },
                        out,
                    };
                    match (span(panel).len().div_ceil(P::LANES), skewed) {
                        (1, true) => tiles.run::<P, L, 1, true>(pairs),
                        (2, true) => tiles.run::<P, L, 2, true>(pairs),
                        (_, true) => tiles.run::<P, L, WIDE, true>(pairs),
                        (1, false) => tiles.run::<P, L, 1, false>(pairs),
                        (2, false) => tiles.run::<P, L, 2, false>(pairs),
                        (_, false) => tiles.run::<P, L, WIDE, false>(pairs),
                    }
                }
            }
        }
        Ok(())
    }
}
